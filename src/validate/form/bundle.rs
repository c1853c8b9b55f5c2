//! The rules of Bundle, bdl-1 to bdl-12.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html#invs>, rest 7.70

use std::collections::HashSet;

use crate::fhir::json::{Object, Value};

use super::place::Place;
use super::walk::Walk;

/// The `fullUrl`s of a Bundle's resources, each with the type of the resource, in order.
pub(super) fn full_urls<'d>(bundle: &'d Object<'d>) -> Vec<(&'d str, &'d str)> {
    let entries = bundle.get("entry").and_then(Value::as_array).unwrap_or(&[]);
    let typed = |entry: &'d Value<'d>| {
        Some((entry.str_at("fullUrl")?, entry.get("resource")?.str_at("resourceType")?))
    };
    let mut found: Vec<_> = entries.iter().filter_map(typed).collect();
    found.sort_unstable();
    found
}

impl Walk<'_, '_> {
    /// Checks a Bundle as a whole.
    pub(super) fn bundle(&mut self, bundle: &Object<'_>, place: &Place<'_>) {
        let Some(kind) = bundle.get("type").and_then(Value::as_str) else { return };
        let entries = bundle.get("entry").and_then(Value::as_array).unwrap_or(&[]);
        if bundle.contains("total") && !matches!(kind, "searchset" | "history") {
            let rule = "a total is for a searchset or a history";
            self.findings.broken("bdl-1", &place.child("total"), rule);
        }
        let list = place.child("entry");
        for (index, entry) in entries.iter().enumerate() {
            if self.findings.is_full() {
                return;
            }
            self.entry(kind, entry, &list.at(index));
        }
        if kind != "history" {
            self.unique_urls(entries, &list);
        }
        match kind {
            "document" => self.document_rules(bundle, entries, place),
            "message" if !starts_with(entries, "MessageHeader") => {
                let rule = "the first entry of a message is a MessageHeader";
                self.findings.broken("bdl-12", &list, rule);
            }
            _ => {}
        }
    }

    fn entry(&mut self, kind: &str, entry: &Value<'_>, place: &Place<'_>) {
        let has = |name| entry.get(name).is_some();
        if has("search") && kind != "searchset" {
            self.findings.broken("bdl-2", place, "search is for the entries of a searchset");
        }
        if has("request") != matches!(kind, "batch" | "transaction" | "history") {
            let rule =
                "the entries of batch, transaction and history, and no others, have a request";
            self.findings.broken("bdl-3", place, rule);
        }
        if has("response") != matches!(kind, "batch-response" | "transaction-response" | "history")
        {
            let rule = "the entries of responses and history, and no others, have a response";
            self.findings.broken("bdl-4", place, rule);
        }
        if !has("resource") && !has("request") && !has("response") {
            let rule = "an entry has a resource, a request or a response";
            self.findings.broken("bdl-5", place, rule);
        }
        if entry.str_at("fullUrl").is_some_and(|url| url.contains("/_history/")) {
            let rule = "a fullUrl names no version";
            self.findings.broken("bdl-8", &place.child("fullUrl"), rule);
        }
    }

    fn unique_urls(&mut self, entries: &[Value<'_>], list: &Place<'_>) {
        let mut seen = HashSet::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let Some(url) = entry.str_at("fullUrl") else { continue };
            let meta = entry.get("resource").and_then(|resource| resource.get("meta"));
            if !seen.insert((url, meta.and_then(|meta| meta.str_at("versionId")))) {
                let rule = "each fullUrl stands once, or with different versions";
                self.findings.broken("bdl-7", &list.at(index).child("fullUrl"), rule);
            }
        }
    }

    fn document_rules(&mut self, bundle: &Object<'_>, entries: &[Value<'_>], place: &Place<'_>) {
        let identifier = bundle.get("identifier");
        let has = |name, sibling| {
            let there = |identifier: &Value<'_>| {
                identifier.get(name).is_some() || identifier.get(sibling).is_some()
            };
            identifier.is_some_and(there)
        };
        if !has("system", "_system") || !has("value", "_value") {
            let rule = "a document has an identifier with system and value";
            self.findings.broken("bdl-9", &place.child("identifier"), rule);
        }
        if !bundle.contains("timestamp") {
            self.findings.broken("bdl-10", &place.child("timestamp"), "a document has a timestamp");
        }
        if !starts_with(entries, "Composition") {
            let rule = "the first entry of a document is a Composition";
            self.findings.broken("bdl-11", &place.child("entry"), rule);
        }
    }
}

/// Whether the first entry's resource is of the type `name`.
fn starts_with(entries: &[Value<'_>], name: &str) -> bool {
    let resource = entries.first().and_then(|entry| entry.get("resource"));
    resource.and_then(|resource| resource.str_at("resourceType")) == Some(name)
}
