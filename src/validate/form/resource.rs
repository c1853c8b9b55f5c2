//! Resources: the whole, those inside others, and the rules of single data types.
//!
//! Spec: <https://hl7.org/fhir/R4/resource.html>, rest 7e

use crate::fhir::IssueCode;
use crate::fhir::json::{Object, Value};
use crate::fhir::schema::TypeId;

use super::bundle;
use super::contained::Scope;
use super::language;
use super::place::Place;
use super::walk::Walk;

/// The system and code of the tag on a resource that was shown in part.
const SUBSETTED: (&str, &str) =
    ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "SUBSETTED");

/// The codes of `Narrative.status`.
const NARRATIVE_STATUS: [&str; 4] = ["generated", "extensions", "additional", "empty"];

impl<'s, 'd> Walk<'s, 'd> {
    /// Checks a resource that `#` references refer into.
    pub(super) fn resource(&mut self, id: TypeId, object: &'d Object<'d>, place: &Place<'_>) {
        let name = &*self.schema.get(id).name;
        let allows_conditional = self.scope.allows_conditional;
        let outer = std::mem::replace(&mut self.scope, Scope::of(name, object));
        self.scope.allows_conditional = allows_conditional;
        if name == "Bundle" {
            let outer = std::mem::replace(&mut self.full_urls, bundle::full_urls(object));
            self.object(id, object, &[], place);
            self.full_urls = outer;
            self.bundle(object, place);
        } else {
            self.object(id, object, &[], place);
        }
        self.language(object, place);
        self.contained_rules(place);
        self.scope = outer;
    }

    /// Checks a resource that is an element: contained, in a Bundle, or in Parameters.
    pub(super) fn resource_element(&mut self, value: &'d Value<'d>, place: &Place<'_>) {
        if place.name() == "contained" {
            self.contained(value, place);
            return;
        }
        if self.is_shell && place.name() == "resource" {
            return;
        }
        let Some((id, object)) = self.resource_of(value, place) else { return };
        let bundle = self.scope.bundle_type;
        if matches!(bundle, Some("batch" | "transaction")) {
            self.refuse_subsetted(object, place);
        }
        let before = self.scope.allows_conditional;
        self.scope.allows_conditional |= bundle == Some("transaction");
        self.resource(id, object, place);
        self.scope.allows_conditional = before;
    }

    /// Refuses a resource that says it is only a part of itself (rest 1.72).
    pub(super) fn refuse_subsetted(&mut self, object: &Object<'_>, place: &Place<'_>) {
        let Some(meta) = object.get("meta") else { return };
        let is_subsetted = |tag: &Value<'_>| {
            tag.str_at("system") == Some(SUBSETTED.0) && tag.str_at("code") == Some(SUBSETTED.1)
        };
        if meta.items_at("tag").iter().any(is_subsetted) {
            let rule = "a resource with the tag SUBSETTED is incomplete and cannot be stored";
            let meta = place.child("meta");
            self.findings.add(IssueCode::BusinessRule, &meta.child("tag"), rule);
        }
    }

    /// Checks that `language` is spelled like a language tag (rest 7.18).
    pub(super) fn language(&mut self, object: &Object<'_>, place: &Place<'_>) {
        if let Some(tag) = object.get("language").and_then(Value::as_str)
            && !tag.is_empty()
            && !language::is_tag(tag)
        {
            let rule = "a language is a BCP 47 tag such as en or pt-BR";
            self.findings.add(IssueCode::Value, &place.child("language"), rule);
        }
    }

    /// Checks `Narrative.status`, which is one of four codes (rest 7.63).
    fn narrative_status(&mut self, object: &Object<'_>, place: &Place<'_>) {
        let status = object.get("status").and_then(Value::as_str).filter(|code| !code.is_empty());
        if status.is_some_and(|code| !NARRATIVE_STATUS.contains(&code)) {
            let rule = format!("the status of a narrative is {}", NARRATIVE_STATUS.join(", "));
            self.findings.add(IssueCode::CodeInvalid, &place.child("status"), &rule);
        }
    }

    /// Rules about single data types that hold wherever the type is used.
    pub(super) fn rules(
        &mut self,
        id: TypeId,
        object: &'d Object<'d>,
        targets: &'s [Box<str>],
        place: &Place<'_>,
    ) {
        let is = |ruled: Option<TypeId>| ruled == Some(id);
        if is(self.ruled.reference) {
            self.reference(object, targets, place);
        } else if is(self.ruled.extension) {
            let has_value = object.iter().any(|(key, _)| is_value(key));
            if object.contains("extension") == has_value {
                let rule = "an extension has either a value or extensions, not both";
                self.findings.broken("ext-1", place, rule);
            }
        } else if is(self.ruled.parameter) {
            let has_value = object.iter().any(|(key, _)| is_value(key));
            let count = usize::from(has_value)
                + usize::from(object.contains("resource"))
                + usize::from(object.contains("part"));
            if count != 1 {
                let rule = "a parameter has one of value, resource and part";
                self.findings.broken("inv-1", place, rule);
            }
        } else if is(self.ruled.narrative) {
            self.narrative_status(object, place);
        } else if is(self.ruled.attachment) || self.ruled.designations.contains(&Some(id)) {
            self.language(object, place);
        }
        if !is(self.ruled.element) {
            self.more_than_id(object, place);
        }
    }

    /// Checks that an element without a value has more than its id.
    pub(super) fn more_than_id(&mut self, object: &Object<'_>, place: &Place<'_>) {
        if object.len() == 1 && object.contains("id") {
            let rule = "an element has a value or children beside its id";
            self.findings.broken("ele-1", place, rule);
        }
    }
}

/// Whether the property is `value[x]` or the sibling of one: no other element of an extension or
/// a parameter starts so.
fn is_value(key: &str) -> bool {
    key.strip_prefix('_').unwrap_or(key).starts_with("value")
}
