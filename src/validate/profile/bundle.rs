//! What a Bundle asks beside the invariants of its form: full urls, and references in documents
//! and messages.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html#bundle-unique>, <https://hl7.org/fhir/R4/documents.html#content>

use std::collections::HashSet;

use crate::fhir::json::Value;
use crate::fhir::{IssueCode, ResourceType, Severity};
use crate::validate::place::Place;

use super::findings::By;
use super::walk::Walk;

/// The elements of a Composition whose targets are in the document.
const IN_DOCUMENT: [&str; 7] =
    ["attester", "author", "custodian", "encounter", "event", "section", "subject"];
/// The elements of a MessageHeader whose targets are in the message.
const IN_MESSAGE: [&str; 1] = ["focus"];
/// The links between the pages of a list.
const PAGES: [&str; 6] = ["first", "last", "next", "prev", "previous", "self"];
/// The characters of a UUID.
const UUID: usize = 36;
/// Sections in sections: how deep.
const MAX_DEPTH: usize = 64;

impl<'w> Walk<'w> {
    /// Checks a Bundle; its entries are those of the walk.
    pub(super) fn bundle(&mut self, bundle: &'w Value<'w>, place: &Place<'_>) {
        let kind = bundle.str_at("type").unwrap_or_default();
        self.links(bundle, place);
        let list = place.child("entry");
        for (index, entry) in bundle.items_at("entry").iter().enumerate() {
            if self.is_over() {
                return;
            }
            let at = list.at(index);
            self.full_url(kind, entry, &at);
            if kind == "searchset" {
                self.result(entry, &at);
            }
            if index == 0 {
                let names = match kind {
                    "document" => &IN_DOCUMENT[..],
                    "message" => &IN_MESSAGE[..],
                    _ => continue,
                };
                self.first_entry(names, entry, &at);
            }
        }
    }

    /// Checks that each kind of link stands once.
    fn links(&mut self, bundle: &'w Value<'w>, place: &Place<'_>) {
        let list = place.child("link");
        let mut seen = HashSet::new();
        for (index, link) in bundle.items_at("link").iter().enumerate() {
            let Some(relation) = link.str_at("relation") else { continue };
            if !seen.insert(relation) && PAGES.contains(&relation) {
                let rule = format_args!("there is one link {relation}");
                let (severity, code) = (Severity::Error, IssueCode::BusinessRule);
                self.findings.add(severity, code, &list.at(index), rule, By::default());
            }
        }
    }

    fn full_url(&mut self, kind: &str, entry: &'w Value<'w>, place: &Place<'_>) {
        let Some(url) = entry.str_at("fullUrl").filter(|url| !url.is_empty()) else { return };
        let place = place.child("fullUrl");
        let (severity, by) = (Severity::Error, By::default());
        if !url.contains(':') {
            let rule = format_args!("a fullUrl is absolute");
            self.findings.add(severity, IssueCode::Value, &place, rule, by);
            return;
        }
        // The ids of what is still to be stored are new ones.
        if matches!(kind, "batch" | "transaction") {
            return;
        }
        let Some(resource) = entry.get("resource") else { return };
        let Some(name) = resource.str_at("resourceType") else { return };
        let Some(id) = resource.str_at("id") else {
            if named(url).is_some() {
                let rule = format_args!("the url is one of a server, and its resource has no id");
                self.findings.add(severity, IssueCode::BusinessRule, &place, rule, by);
            }
            return;
        };
        if named(url).is_some_and(|known| known != (name, id)) {
            let rule = format_args!("a fullUrl ends in the type and the id of its resource");
            self.findings.add(severity, IssueCode::BusinessRule, &place, rule, by);
        }
    }

    /// Checks one result of a search: a resource that is somewhere has an id there. A `urn` is for
    /// what has no identity of its own.
    ///
    /// <https://hl7.org/fhir/R4/bundle.html#bundle-unique>,
    /// <https://hl7.org/fhir/R4/resource-definitions.html#Resource.id>
    fn result(&mut self, entry: &'w Value<'w>, place: &Place<'_>) {
        let Some(resource) = entry.get("resource") else { return };
        // What the search had to say is made for it.
        let is_told = resource.str_at("resourceType") == Some("OperationOutcome");
        let is_somewhere = entry.str_at("fullUrl").is_some_and(|url| url.starts_with("http"));
        if is_somewhere && !is_told && resource.get("id").is_none() {
            let rule = format_args!("the results of a search have ids");
            let (severity, code) = (Severity::Error, IssueCode::Required);
            self.findings.add(severity, code, &place.child("resource"), rule, By::default());
        }
    }

    /// Checks that a reference which is the `urn:uuid` of an entry, written `Type/uuid`, names the
    /// type of that entry.
    ///
    /// <https://hl7.org/fhir/R4/bundle.html#references>
    pub(super) fn entry_type(&mut self, reference: &'w Value<'w>, place: &Place<'_>) {
        let Some(entries) = &self.entries else { return };
        let text = reference.str_at("reference").unwrap_or_default();
        let Some((name, id)) = text.split_once('/').filter(|(_, id)| id.len() == UUID) else {
            return;
        };
        let found = entries.find(&format!("urn:uuid:{id}"), None);
        let of = found.and_then(|resource| resource.str_at("resourceType"));
        if let Some(of) = of.filter(|of| *of != name && name.parse::<ResourceType>().is_ok()) {
            let rule = format_args!("the entry of this uuid is of the type {of}, not {name}");
            let (severity, code) = (Severity::Error, IssueCode::BusinessRule);
            self.findings.add(severity, code, place, rule, By::default());
        }
    }

    fn first_entry(&mut self, names: &[&str], entry: &'w Value<'w>, place: &Place<'_>) {
        let Some(resource) = entry.get("resource") else { return };
        let outer = self.scope;
        self.scope.root = resource;
        self.scope.full_url = entry.str_at("fullUrl");
        let place = place.child("resource");
        for name in names {
            if let Some(value) = resource.get(name) {
                self.included(value, MAX_DEPTH, &place.child(name));
            }
        }
        self.scope = outer;
    }

    fn is_included(&mut self, text: &'w str, place: &Place<'_>) {
        let url = self.scope.full_url;
        let is_ambiguous =
            self.entries.as_ref().is_some_and(|entries| entries.is_ambiguous(text, url));
        let (rule, code) = if self.target(text).is_none() {
            ("the target is not in the Bundle", IssueCode::NotFound)
        } else if is_ambiguous {
            let rule = "the target is in the Bundle in several versions, and none is named";
            (rule, IssueCode::MultipleMatches)
        } else {
            return;
        };
        self.findings.add(Severity::Error, code, place, format_args!("{rule}"), By::default());
    }

    /// Checks that the references in a value lead to what is in the Bundle.
    fn included(&mut self, value: &'w Value<'w>, depth: usize, place: &Place<'_>) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.included(item, depth, &place.at(index));
                }
            }
            Value::Object(object) => {
                if let Some(text) = object.get("reference").and_then(Value::as_str)
                    && self.pay_for_target(text, place)
                {
                    self.is_included(text, place);
                }
                for (key, value) in object.iter() {
                    if key != "extension" && !key.starts_with('_') {
                        self.included(value, depth, &place.child(key));
                    }
                }
            }
            _ => {}
        }
    }
}

/// The type and the id that the url of a resource on a server ends in.
fn named(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let (rest, id) = rest.rsplit_once('/')?;
    let (_, name) = rest.rsplit_once('/')?;
    name.parse::<ResourceType>().ok().map(|_| (name, id))
}
