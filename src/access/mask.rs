//! What of a resource of several patients is shown to who sees some of them.
//!
//! References that may lead to somebody else, with their identifiers and displays, are taken out, and so
//! are the narrative and what is contained, for they may say the same in words; who wrote a note is not told
//! in words either, nor are names and addresses of people in extensions. What is left says so by
//! labels: `REDACTED`, and the tag `SUBSETTED`, with which nothing can be stored.
//!
//! Spec: <http://terminology.hl7.org/CodeSystem/v3-ObservationValue>, R4 data-absent-reason

use crate::fhir::json::{Object, Value};
use crate::fhir::reference::Target;
use crate::fhir::shape::SUBSETTED;
use crate::fhir::{LogicalId, ResourceType};

use super::membership;

/// Where the labels are defined.
const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
/// What stands in the place of what is not shown.
const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
/// What a Reference is made of, beside `reference`, which nothing else has.
const OF_REFERENCE: [&str; 5] = ["display", "extension", "id", "identifier", "type"];
/// Elements that say in words, or by an address, who somebody is.
const OF_SOMEBODY: [&str; 4] =
    ["authorString", "valueAddress", "valueContactPoint", "valueHumanName"];

/// Who is shown, and how references are read.
pub struct Mask<'m> {
    /// Hashes of the patients whose references stay.
    pub mine: &'m [i64],
    /// The hash of a patient.
    pub hash: &'m dyn Fn(&LogicalId) -> i64,
    /// The public base of this server.
    pub base: &'m str,
}

impl Mask<'_> {
    /// Takes out of a body what may tell of others.
    pub fn body(&self, body: &mut Object<'_>) {
        body.remove("text");
        if let Some(Value::Array(mut contained)) = body.remove("contained") {
            contained.retain(|resource| {
                let of = resource.str_at("resourceType").and_then(|of| of.parse().ok());
                of.is_some_and(membership::is_everyones)
            });
            contained.iter_mut().filter_map(Value::as_object_mut).for_each(|it| self.body(it));
            if !contained.is_empty() {
                body.set("contained", contained);
            }
        }
        let kept: Vec<String> = body
            .get("contained")
            .and_then(Value::as_array)
            .unwrap_or_default()
            .iter()
            .filter_map(|resource| resource.str_at("id").map(str::to_owned))
            .collect();
        for (_, value) in body.iter_mut() {
            self.element(value, &kept);
        }
    }

    fn element(&self, value: &mut Value<'_>, kept: &[String]) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.element(item, kept)),
            Value::Object(object) if is_reference(object) && !self.stays(object, kept) => {
                *value = absent();
            }
            // What stays may have references inside: in extensions, and who assigned an identifier.
            Value::Object(object) => {
                for name in OF_SOMEBODY {
                    take(object, name);
                }
                object.iter_mut().for_each(|(_, part)| self.element(part, kept));
            }
            _ => {}
        }
    }

    /// Whether a reference tells nothing of somebody else.
    fn stays(&self, reference: &Object<'_>, kept: &[String]) -> bool {
        let is_open = |of: Option<&str>| {
            of.and_then(|of| of.parse().ok()).is_some_and(membership::is_everyones)
        };
        let named = reference.get("type").and_then(Value::as_str);
        let Some(text) = reference.get("reference").and_then(Value::as_str) else {
            return is_open(named);
        };
        match Target::parse(text, self.base) {
            Target::Local { resource_type, id, .. } if resource_type == ResourceType::PATIENT => {
                self.mine.contains(&(self.hash)(&id))
            }
            Target::Local { resource_type, .. } => membership::is_everyones(resource_type),
            Target::Contained(id) => id.is_empty() || kept.iter().any(|known| known == id),
            _ => false,
        }
    }
}

/// What `meta` says of a resource that is shown in part.
pub fn label(meta: &mut Object<'_>) {
    for (list, code) in [("security", "REDACTED"), ("tag", SUBSETTED)] {
        if meta.get(list).and_then(Value::as_array).is_none() {
            meta.set(list, Vec::new());
        }
        if let Some(all) = meta.get_mut(list).and_then(Value::as_array_mut) {
            all.push(Object::new().with("system", OBSERVATION_VALUE).with("code", code).into());
        }
    }
}

/// Whether a token is the label that [`label`] puts; one that was there is asked of the whole.
pub(super) fn is_put(system: Option<&str>, code: &str) -> bool {
    system == Some(OBSERVATION_VALUE) && code.eq_ignore_ascii_case("REDACTED")
}

/// Whether a resource bears the tag of what is shown in part, with which nothing is stored.
pub(super) fn is_labelled(resource: &Value<'_>) -> bool {
    let is_tag = |tag: &Value<'_>| {
        tag.str_at("system") == Some(OBSERVATION_VALUE) && tag.str_at("code") == Some(SUBSETTED)
    };
    resource.get("meta").is_some_and(|meta| meta.items_at("tag").iter().any(is_tag))
}

/// Whether an element is a Reference, or looks like one: a Coding of a display alone does too.
fn is_reference(object: &Object<'_>) -> bool {
    let has =
        |part: &str| object.iter().any(|(name, _)| name.strip_prefix('_').unwrap_or(name) == part);
    let is_part = |name: &str| OF_REFERENCE.contains(&name.strip_prefix('_').unwrap_or(name));
    let is_logical = object.get("identifier").is_some_and(|it| it.as_object().is_some());
    let is_named = is_logical || has("display");
    has("reference") || is_named && object.iter().all(|(name, _)| is_part(name))
}

/// Takes out an element that says who somebody is, and puts in its place that it is not shown.
fn take(object: &mut Object<'_>, name: &str) {
    let sibling = format!("_{name}");
    let has_value = object.remove(name).is_some();
    let has_more = object.remove(&sibling).is_some();
    if has_value || has_more {
        // Of a complex type, the element itself bears the extension.
        let is_primitive = name.ends_with("String");
        let place = if is_primitive { sibling } else { name.to_owned() };
        object.set(place, absent());
    }
}

fn absent() -> Value<'static> {
    let reason = Object::new().with("url", ABSENT).with("valueCode", "masked");
    Object::new().with("extension", vec![Value::from(reason)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;

    const GONE: &str = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}"#;

    #[test]
    fn what_may_tell_of_others_is_taken_out() {
        let hash = |id: &LogicalId| i64::from(id.as_str().as_bytes()[0]);
        let mask = Mask { mine: &[i64::from(b'a')], hash: &hash, base: "http://x/fhir" };
        for (before, after) in [
            (r#"{"r":{"reference":"Patient/a","display":"A"}}"#, "same"),
            (r#"{"r":{"reference":"http://x/fhir/Patient/a"}}"#, "same"),
            (r#"{"r":{"reference":"Practitioner/d","display":"D"}}"#, "same"),
            (r#"{"r":{"type":"Organization","display":"O"}}"#, "same"),
            (r#"{"r":{"coding":[{"code":"c","display":"C"}],"text":"T"}}"#, "same"),
            (r#"{"r":{"system":"s","value":"v"}}"#, "same"),
            (r#"{"r":{"reference":"Patient/b","display":"B"}}"#, "gone"),
            (r#"{"r":{"reference":"Patient/b/_history/2"}}"#, "gone"),
            (r#"{"r":{"reference":"http://other/fhir/Patient/a"}}"#, "gone"),
            (r#"{"r":{"reference":"RelatedPerson/a"}}"#, "gone"),
            (r#"{"r":{"reference":"Condition/a"}}"#, "gone"),
            (r#"{"r":{"reference":"urn:uuid:7"}}"#, "gone"),
            (r##"{"r":{"reference":"#p"}}"##, "gone"),
            (r#"{"r":{"display":"B"}}"#, "gone"),
            (r#"{"r":{"identifier":{"value":"b"}}}"#, "gone"),
            (r#"{"r":{"type":"Patient","identifier":{"value":"b"}}}"#, "gone"),
            (r#"{"r":{"_reference":{"extension":[]}}}"#, "gone"),
            (r#"{"r":{"reference":"Patient/b","display":"B","_id":{"extension":[]}}}"#, "gone"),
            (r#"{"r":{"display":"B","_identifier":{"extension":[]}}}"#, "gone"),
            (
                r#"{"r":{"reference":"Practitioner/d","extension":[{"url":"u","valueReference":{"reference":"Patient/b"}}]}}"#,
                concat!(
                    r#"{"r":{"reference":"Practitioner/d","extension":[{"url":"u","valueReference":"#,
                    r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}"#,
                    "}]}}"
                ),
            ),
            (r#"{"text":{"div":"B"},"s":1}"#, r#"{"s":1}"#),
            (
                r##"{"s":1,"contained":[{"resourceType":"Patient","id":"p"},{"resourceType":"Location","id":"l","text":{"div":"B"}}],"r":{"reference":"#l"}}"##,
                r##"{"s":1,"r":{"reference":"#l"},"contained":[{"resourceType":"Location","id":"l"}]}"##,
            ),
        ] {
            let Ok(Value::Object(mut body)) = json::parse(before.as_bytes()) else {
                panic!("{before}")
            };
            mask.body(&mut body);
            let expected = match after {
                "same" => before.to_owned(),
                "gone" => format!(r#"{{"r":{GONE}}}"#),
                after => after.to_owned(),
            };
            let (got, expected) = (Value::from(body), json::parse(expected.as_bytes()));
            assert_eq!(got, expected.expect("JSON"), "{before}");
        }
    }

    #[test]
    fn who_somebody_is_in_words_is_taken_out() {
        let hash = |_: &LogicalId| 0;
        let mask = Mask { mine: &[], hash: &hash, base: "http://x/fhir" };
        for (before, after) in [
            (
                r#"{"note":[{"authorString":"B","text":"t"}]}"#,
                format!(r#"{{"note":[{{"text":"t","_authorString":{GONE}}}]}}"#),
            ),
            (
                r#"{"note":[{"_authorString":{"extension":[{"url":"u","valueString":"B"}]},"text":"t"}]}"#,
                format!(r#"{{"note":[{{"text":"t","_authorString":{GONE}}}]}}"#),
            ),
            (
                r#"{"extension":[{"url":"u","valueHumanName":{"family":"B"}}]}"#,
                format!(r#"{{"extension":[{{"url":"u","valueHumanName":{GONE}}}]}}"#),
            ),
        ] {
            let Ok(Value::Object(mut body)) = json::parse(before.as_bytes()) else {
                panic!("{before}")
            };
            mask.body(&mut body);
            let expected = json::parse(after.as_bytes()).expect("JSON");
            assert_eq!(Value::from(body), expected, "{before}");
        }
    }

    #[test]
    fn the_labels_stand_beside_those_that_are_there() {
        let Ok(Value::Object(mut meta)) = json::parse(br#"{"security":[{"code":"N"}]}"#) else {
            panic!("JSON")
        };
        let resource = |meta| Value::from(Object::new().with("meta", meta));
        assert!(!is_labelled(&resource(meta.clone())));
        label(&mut meta);
        assert!(is_labelled(&resource(meta.clone())));
        let codes = |list: &str| {
            let all = meta.get(list).and_then(Value::as_array).unwrap_or_default();
            all.iter().filter_map(|it| it.str_at("code")).collect::<Vec<_>>()
        };
        assert_eq!((codes("security"), codes("tag")), (vec!["N", "REDACTED"], vec!["SUBSETTED"]));
    }
}
