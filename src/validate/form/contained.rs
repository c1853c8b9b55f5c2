//! Contained resources: the rules dom-2 to dom-5, and what `#` refers to.
//!
//! Spec: <https://hl7.org/fhir/R4/references.html#contained>, rest 7.66 to 7.68

use crate::fhir::json::{Object, Value};

use super::place::Place;
use super::walk::Walk;

/// A resource that `#` references refer into, and what was seen in it.
#[derive(Debug, Default)]
pub(super) struct Scope<'d> {
    /// The contained resources, as they stand in the document.
    contained: &'d [Value<'d>],
    /// Id and type of each of them, in the order of ids.
    ids: Vec<(&'d str, &'d str)>,
    /// What follows `#` in the references and uris seen.
    mentioned: Vec<&'d str>,
    /// The contained resource that the walk is in.
    inside: Option<usize>,
    /// The contained resources that refer to what contains them.
    refers_home: Vec<usize>,
    /// `Bundle.type`, when the resource is a Bundle.
    pub(super) bundle_type: Option<&'d str>,
    /// Whether `Patient?identifier=..` may stand in a reference.
    pub(super) allows_conditional: bool,
}

impl<'d> Scope<'d> {
    /// The scope of the resource `object` of the type `name`.
    pub(super) fn of(name: &str, object: &'d Object<'d>) -> Self {
        let contained = object.get("contained").and_then(Value::as_array).unwrap_or(&[]);
        let named = |resource: &'d Value<'d>| {
            Some((resource.str_at("id")?, resource.str_at("resourceType").unwrap_or_default()))
        };
        let mut ids: Vec<_> = contained.iter().filter_map(named).collect();
        ids.sort_unstable();
        let is_bundle = name == "Bundle";
        let bundle_type = object.get("type").and_then(Value::as_str).filter(|_| is_bundle);
        Self { contained, ids, bundle_type, ..Self::default() }
    }

    /// Whether there is something to refer to.
    pub(super) fn has_contained(&self) -> bool {
        !self.contained.is_empty()
    }

    /// Notes a text that may refer into this scope.
    pub(super) fn mention(&mut self, text: &'d str) {
        let Some(fragment) = text.strip_prefix('#') else { return };
        match (fragment, self.inside) {
            // Without contained resources nobody asks.
            _ if self.contained.is_empty() => {}
            ("", Some(index)) => self.refers_home.push(index),
            ("", None) => {}
            _ => self.mentioned.push(fragment),
        }
    }

    /// The type of the contained resource `id`.
    pub(super) fn type_of(&self, id: &str) -> Option<&'d str> {
        let found = self.ids.binary_search_by_key(&id, |(id, _)| id);
        found.ok().map(|at| self.ids[at].1)
    }
}

impl<'d> Walk<'_, 'd> {
    /// Checks one contained resource.
    pub(super) fn contained(&mut self, value: &'d Value<'d>, place: &Place<'_>) {
        if self.scope.inside.is_some() {
            let rule = "a contained resource contains no other";
            self.findings.broken("dom-2", place, rule);
            return;
        }
        let Some((id, object)) = self.resource_of(value, place) else { return };
        self.scope.inside = place.index();
        self.object(id, object, &[], place);
        self.language(object, place);
        self.scope.inside = None;
        let Some(meta) = object.get("meta") else { return };
        if meta.get("versionId").is_some() || meta.get("lastUpdated").is_some() {
            let rule = "a contained resource has no version of its own";
            self.findings.broken("dom-4", &place.child("meta"), rule);
        }
        if meta.get("security").is_some() {
            let rule = "a contained resource has no security labels of its own";
            self.findings.broken("dom-5", &place.child("meta"), rule);
        }
    }

    /// Checks what can be said once the whole resource was seen.
    pub(super) fn contained_rules(&mut self, place: &Place<'_>) {
        let contained = self.scope.contained;
        if contained.is_empty() {
            return;
        }
        self.scope.mentioned.sort_unstable();
        let all = place.child("contained");
        for (index, resource) in contained.iter().enumerate() {
            if self.findings.is_full() {
                return;
            }
            let id = resource.str_at("id");
            let is_mentioned = |id| self.scope.mentioned.binary_search(&id).is_ok();
            // Filled in the order of the walk, which is that of the document.
            let refers_home = self.scope.refers_home.binary_search(&index).is_ok();
            if !refers_home && !id.is_some_and(is_mentioned) {
                let rule = "a contained resource is referred to, or refers to its container";
                self.findings.broken("dom-3", &all.at(index), rule);
            }
        }
        let twice = self.scope.ids.windows(2).find(|pair| pair[0].0 == pair[1].0);
        if let Some(id) = twice.map(|pair| pair[0].0) {
            let is_it = |resource: &Value<'_>| resource.str_at("id") == Some(id);
            let last = contained.iter().rposition(is_it).unwrap_or(0);
            let rule = "the id of a contained resource is unique in its container";
            self.findings.broken("dom-3", &all.at(last).child("id"), rule);
        }
    }
}
