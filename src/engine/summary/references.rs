//! References of what a document shows: those to what it shows stand as they resolve there, others to this server
//! are cut.
//!
//! What a cut reference says beside the address stays: whom it means in words, or by an identifier. Where nothing
//! stays and the element may be left out it is, else it says that it is not known. Nobody learns from that whether what
//! was meant is there.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html#references>

use std::collections::BTreeSet;

use crate::fhir::json::{Object, Value};
use crate::fhir::reference::Target;
use crate::fhir::schema::{Schema, TypeDef, TypeKind};
use crate::fhir::{Identity, ResourceType};

/// What stands in the place of what must be there and is not told.
pub(super) const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// What a document shows, and how it is addressed.
pub(super) struct References<'d> {
    pub(super) shown: &'d BTreeSet<Identity>,
    /// The base that stored references are under.
    pub(super) own: &'d str,
    /// The base that the document is for.
    pub(super) base: &'d str,
    pub(super) schema: &'d Schema,
}

impl References<'_> {
    /// Has the references of a resource lead to what is shown, or to nowhere.
    pub(super) fn settle(&self, resource: &mut Value<'_>) {
        let def = resource.str_at("resourceType").and_then(|name| self.schema.type_named(name));
        if let (Some(def), Some(object)) = (def, resource.as_object_mut()) {
            self.object(object, def);
        }
    }

    /// Settles the elements of an object. Of an extension nothing is left out: it is a value, or nothing.
    fn object(&self, object: &mut Object<'_>, def: &TypeDef) {
        let mut gone = Vec::new();
        for (key, value) in object.iter_mut() {
            // What stands beside a primitive has extensions too.
            let (def_of_value, is_required) = match key.strip_prefix('_') {
                Some(_) => (self.schema.type_named("Element"), true),
                None => match def.key(key) {
                    Some((field, choice)) => {
                        let is_required = field.min > 0 || &*def.name == "Extension";
                        (Some(self.schema.get(choice.type_id)), is_required)
                    }
                    None => (None, true),
                },
            };
            if let Some(def) = def_of_value
                && !self.element(value, def, is_required)
            {
                gone.push(key.to_owned());
            }
        }
        object.retain(|key, _| !gone.iter().any(|it| it == key));
        if &*def.name == "Attachment" {
            self.attachment(object);
        }
    }

    /// Settles an element; whether it stays.
    fn element(&self, value: &mut Value<'_>, def: &TypeDef, is_required: bool) -> bool {
        match value {
            Value::Array(items) => {
                let is_extension = &*def.name == "Extension" || &*def.name == "Element";
                items.retain_mut(|item| self.element(item, def, is_extension));
                if items.is_empty() && is_required {
                    items.push(unknown());
                }
                !items.is_empty()
            }
            Value::Object(_) if def.kind == TypeKind::Resource => {
                self.settle(value);
                true
            }
            Value::Object(object) => {
                if &*def.name == "Reference" {
                    self.reference(object);
                }
                self.object(object, def);
                if is_left(object, def) {
                    return true;
                }
                if is_required {
                    *value = unknown();
                }
                is_required
            }
            _ => true,
        }
    }

    fn reference(&self, reference: &mut Object<'_>) {
        let Some(text) = reference.get("reference").and_then(Value::as_str) else { return };
        let settled = match Target::parse(text, self.own) {
            Target::Local { resource_type, id, fragment, .. } => {
                let identity = Identity { resource_type, id };
                let fragment = fragment.map(|it| format!("#{it}")).unwrap_or_default();
                self.shown.contains(&identity).then(|| format!("{identity}{fragment}"))
            }
            Target::Conditional { .. } | Target::Malformed => None,
            Target::Absolute(_) | Target::Contained(_) | Target::Urn(_) => return,
        };
        if let Some(text) = settled {
            reference.set("reference", text);
        } else {
            reference.remove("reference");
            reference.remove("_reference");
        }
    }

    /// What is attached and kept here has an address that leads here from elsewhere.
    fn attachment(&self, attachment: &mut Object<'_>) {
        let Some(text) = attachment.get("url").and_then(Value::as_str) else { return };
        let url = match Target::parse(text, self.own) {
            Target::Local { resource_type: ResourceType::BINARY, id, .. } => {
                format!("{}/{}/{id}", self.base, ResourceType::BINARY)
            }
            _ => return,
        };
        attachment.set("url", url);
    }
}

/// Whether an object says something yet. The type of what is meant does not tell who it is.
fn is_left(object: &Object<'_>, def: &TypeDef) -> bool {
    let says = |name: &str| &*def.name != "Reference" || !matches!(name, "id" | "type" | "_type");
    object.iter().any(|(name, _)| says(name))
}

/// What stands for an element of which nothing is told.
pub(super) fn unknown() -> Value<'static> {
    let reason = Object::new().with("url", ABSENT).with("valueCode", "unknown");
    Object::new().with("extension", vec![Value::from(reason)]).into()
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;
    use crate::spec::Spec;

    use super::*;

    const UNKNOWN: &str = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;

    /// Type, elements, and what becomes of them; `?` stands for what is not known.
    const CASES: &[(&str, &str, &str)] = &[
        ("Observation", r#""subject":{"reference":"Patient/a"}"#, "same"),
        (
            "Observation",
            r#""subject":{"reference":"http://own/fhir/Patient/a/_history/3"}"#,
            r#""subject":{"reference":"Patient/a"}"#,
        ),
        ("Observation", r#""subject":{"reference":"http://other/fhir/Patient/b"}"#, "same"),
        ("Observation", r##""subject":{"reference":"#p"}"##, "same"),
        (
            "Observation",
            r#""encounter":{"reference":"Encounter/e"},"status":"final""#,
            r#""status":"final""#,
        ),
        (
            "Observation",
            r#""encounter":{"reference":"Encounter/e","display":"a visit"}"#,
            r#""encounter":{"display":"a visit"}"#,
        ),
        (
            "Observation",
            r#""encounter":{"reference":"Encounter/e","type":"Encounter"},"status":"final""#,
            r#""status":"final""#,
        ),
        (
            "Observation",
            r#""hasMember":[{"reference":"Observation/o"},{"reference":"Observation/x"}]"#,
            r#""hasMember":[{"reference":"Observation/o"}]"#,
        ),
        (
            "Observation",
            r#""hasMember":[{"reference":"Observation/x"}],"status":"final""#,
            r#""status":"final""#,
        ),
        // What must be there says that it is not known.
        ("DeviceUseStatement", r#""device":{"reference":"Device/x"}"#, r#""device":?"#),
        (
            "Procedure",
            r#""performer":[{"actor":{"reference":"Practitioner/x"}}]"#,
            r#""performer":[{"actor":?}]"#,
        ),
        (
            "Patient",
            r#""contact":[{"organization":{"reference":"Organization/x"}}],"active":true"#,
            r#""active":true"#,
        ),
        (
            "Observation",
            r#""extension":[{"url":"u","valueReference":{"reference":"Encounter/x"}}]"#,
            r#""extension":[{"url":"u","valueReference":?}]"#,
        ),
        (
            "Observation",
            r#""status":"final","_status":{"extension":[{"url":"u","valueReference":{"reference":"Encounter/x"}}]}"#,
            r#""status":"final","_status":{"extension":[{"url":"u","valueReference":?}]}"#,
        ),
        (
            "Observation",
            r#""contained":[{"resourceType":"Specimen","id":"s","subject":{"reference":"Patient/x"}}]"#,
            r#""contained":[{"resourceType":"Specimen","id":"s"}]"#,
        ),
        (
            "DiagnosticReport",
            r#""presentedForm":[{"url":"Binary/b"},{"url":"http://other/Binary/b"}]"#,
            r#""presentedForm":[{"url":"http://seen/fhir/Binary/b"},{"url":"http://other/Binary/b"}]"#,
        ),
    ];

    #[test]
    fn references_lead_to_what_is_shown_or_to_nowhere() {
        let spec = Spec::r4().expect("definitions");
        let identity =
            |resource_type, id: &str| Identity { resource_type, id: id.parse().expect("an id") };
        let shown = BTreeSet::from([
            identity(ResourceType::PATIENT, "a"),
            identity(ResourceType::OBSERVATION, "o"),
        ]);
        let (own, base) = ("http://own/fhir", "http://seen/fhir");
        let references = References { shown: &shown, own, base, schema: &spec.schema };
        for &(of, before, after) in CASES {
            let text = |rest: &str| format!(r#"{{"resourceType":"{of}",{rest}}}"#);
            let sent = text(before);
            let mut value = parse(sent.as_bytes()).expect(before);
            references.settle(&mut value);
            let expected = if after == "same" { before } else { after };
            let expected = text(&expected.replace('?', UNKNOWN));
            assert_eq!(value.to_text(), expected, "{before}");
        }
    }
}
