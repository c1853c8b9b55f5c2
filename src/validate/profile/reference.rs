//! References: what they lead to inside the document, and what their targets have to be.
//!
//! Spec: <https://hl7.org/fhir/R4/references.html>, <https://hl7.org/fhir/R4/bundle.html#references>

use std::collections::HashMap;
use std::sync::Arc;

use crate::fhir::json::Value;
use crate::fhir::reference::{named_type, stated_type};
use crate::fhir::schema::{TypeId, TypeKind};
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::Node;
use crate::spec::structure::Aggregation;
use crate::validate::place::Place;

use super::findings::By;
use super::rules::{Profile, TypeRule};
use super::walk::Walk;

/// The resources of a Bundle, by what refers to them.
#[derive(Debug)]
pub(super) struct Entries<'w> {
    by_url: HashMap<&'w str, &'w Value<'w>>,
    /// By type and id, for entries whose `fullUrl` names no server.
    by_name: HashMap<(&'w str, &'w str), &'w Value<'w>>,
    /// The `fullUrl` of a resource, by its address.
    urls: HashMap<usize, &'w str>,
}

impl<'w> Entries<'w> {
    /// The entries of a Bundle.
    pub(super) fn new(bundle: &'w Value<'w>) -> Self {
        let (mut by_url, mut by_name, mut urls) = (HashMap::new(), HashMap::new(), HashMap::new());
        for entry in bundle.items_at("entry") {
            let Some(resource) = entry.get("resource") else { continue };
            if let Some(url) = entry.str_at("fullUrl") {
                by_url.entry(url).or_insert(resource);
                urls.insert(std::ptr::from_ref(resource).addr(), url);
            }
            if let (Some(name), Some(id)) = (resource.str_at("resourceType"), resource.str_at("id"))
            {
                by_name.entry((name, id)).or_insert(resource);
            }
        }
        Self { by_url, by_name, urls }
    }

    /// The `fullUrl` of a resource.
    pub(super) fn full_url(&self, resource: &Value<'_>) -> Option<&'w str> {
        self.urls.get(&std::ptr::from_ref(resource).addr()).copied()
    }

    /// What a reference in the entry of `full_url` leads to.
    pub(super) fn find(&self, text: &str, full_url: Option<&str>) -> Option<&'w Value<'w>> {
        let text = text.split('#').next().unwrap_or(text);
        let text = text.split("/_history/").next().unwrap_or(text);
        if let Some(found) = self.by_url.get(text) {
            return Some(found);
        }
        let (name, id) = text.split_once('/')?;
        if id.contains('/') {
            return None;
        }
        match full_url.and_then(server) {
            Some(base) => self.by_url.get(format!("{base}/{text}").as_str()),
            None => self.by_name.get(&(name, id)),
        }
        .copied()
    }
}

/// The base of the server that a resource's url is on.
fn server(url: &str) -> Option<&str> {
    let (rest, _) = url.rsplit_once('/')?;
    let (base, _) = rest.rsplit_once('/')?;
    base.contains("://").then_some(base)
}

impl<'w> Walk<'w> {
    /// The resource of this document that a reference leads to.
    pub(super) fn target(&self, text: &str) -> Option<Node<'w>> {
        let root = self.scope.root;
        let found = match text.strip_prefix('#') {
            Some("") => Some(root),
            Some(id) => root.items_at("contained").iter().find(|it| it.str_at("id") == Some(id)),
            None => self.entries.as_ref()?.find(text, self.scope.full_url),
        };
        let resource = self.schema.by_name("Resource")?;
        let node = Node::new(found?, resource, self.schema);
        (self.schema.get(node.type_id).kind == TypeKind::Resource).then_some(node)
    }

    /// Checks where a reference leads.
    pub(super) fn references(
        &mut self,
        types: &[&TypeRule],
        node: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let Some(text) = node.value.str_at("reference") else { return };
        if self.name(node.type_id) != "Reference" {
            return;
        }
        let target = self.target(text);
        self.aggregation(types, text, target.is_some(), place, by);
        if types.iter().any(|of| of.targets.is_empty()) {
            return;
        }
        let of = target.map(|node| node.type_id).or_else(|| {
            let named = named_type(text).and_then(|of| self.schema.by_name(of.as_str()));
            let stated = || self.schema.by_name(stated_type(node.value.str_at("type")?));
            named.or_else(stated)
        });
        let Some(of) = of else { return };
        let mut known: Vec<Arc<Profile>> = Vec::new();
        for canonical in types.iter().flat_map(|of| &of.targets) {
            match self.validator.profile(canonical) {
                Ok(profile) => known.push(profile),
                Err(fault) => {
                    let rule = format_args!("the target is not judged: {fault}");
                    self.findings.add(Severity::Warning, IssueCode::NotFound, place, rule, by);
                    return;
                }
            }
        }
        let fitting: Vec<&Arc<Profile>> =
            known.iter().filter(|profile| self.schema.is_a(of, profile.type_id)).collect();
        if fitting.is_empty() {
            self.wrong_target(&known, of, place, by);
        } else if let Some(target) = target {
            self.judge_target(&fitting, &target, place, by);
        }
    }

    fn wrong_target(&mut self, known: &[Arc<Profile>], of: TypeId, place: &Place<'_>, by: By<'_>) {
        let mut names: Vec<_> = known.iter().map(|profile| self.name(profile.type_id)).collect();
        names.sort_unstable();
        names.dedup();
        let (names, is) = (names.join(", "), self.name(of));
        let rule = format_args!("may point to {names}, not to {is}");
        self.findings.add(Severity::Error, IssueCode::BusinessRule, place, rule, by);
    }

    fn judge_target(
        &mut self,
        fitting: &[&Arc<Profile>],
        target: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let inside = Place::root("target");
        if fitting.iter().any(|profile| self.fits(profile, target, &inside)) {
            return;
        }
        let names: Vec<_> = fitting.iter().map(|profile| &*profile.canonical).collect();
        let names = names.join(", ");
        let first = fitting.first().and_then(|profile| self.fault(profile, target, &inside));
        let first = first.unwrap_or_default();
        let rule = format_args!("the target conforms to none of {names}: {first}");
        self.findings.add(Severity::Error, IssueCode::Structure, place, rule, by);
    }

    fn aggregation(
        &mut self,
        types: &[&TypeRule],
        text: &str,
        is_here: bool,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        if types.iter().any(|of| of.aggregation.is_empty()) {
            return;
        }
        let is = match (text.starts_with('#'), is_here) {
            (true, _) => Aggregation::Contained,
            (false, true) => Aggregation::Bundled,
            (false, false) => Aggregation::Referenced,
        };
        // What is in the same Bundle is referred to as well.
        let allows = |of: &&TypeRule| {
            of.aggregation.contains(&is)
                || (is == Aggregation::Bundled && of.aggregation.contains(&Aggregation::Referenced))
        };
        if !types.iter().any(allows) {
            let word = match is {
                Aggregation::Bundled => "in the same Bundle",
                Aggregation::Contained => "contained",
                Aggregation::Referenced => "elsewhere",
            };
            let rule = format_args!("the target must not be {word}");
            self.findings.add(Severity::Error, IssueCode::BusinessRule, place, rule, by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    #[test]
    fn references_lead_to_entries_by_url_or_relative_to_their_own() {
        let bundle = br#"{"resourceType":"Bundle","entry":[
            {"fullUrl":"http://a.org/fhir/Patient/1","resource":{"resourceType":"Patient","id":"1"}},
            {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Patient","id":"2"}},
            {"resource":{"resourceType":"Patient","id":"3"}}]}"#;
        let bundle = parse(bundle).expect("json");
        let entries = Entries::new(&bundle);
        let near = Some("http://a.org/fhir/Observation/9");
        for (text, from, expected) in [
            ("http://a.org/fhir/Patient/1", None, Some("1")),
            ("http://a.org/fhir/Patient/1/_history/2", None, Some("1")),
            ("Patient/1", near, Some("1")),
            ("Patient/1", Some("http://b.org/fhir/Observation/9"), None),
            ("Patient/1", Some("urn:uuid:9"), Some("1")),
            ("urn:uuid:2", near, Some("2")),
            ("Patient/2", near, None),
            ("Patient/3", near, None),
            ("Patient/3", None, Some("3")),
            ("Patient/4", near, None),
            ("x", near, None),
        ] {
            let found = entries.find(text, from).and_then(|it| it.str_at("id"));
            assert_eq!(found, expected, "{text} from {from:?}");
        }
    }
}
