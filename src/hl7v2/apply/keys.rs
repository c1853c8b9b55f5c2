//! By what resources are known to messages, and whether what is stored by it is what a draft is of.
//!
//! | key | of what |
//! |---|---|
//! | a number | an identifier that the sender has for it |
//! | a number and a word | one of several things that a filler has given one number: the code or name of a panel |
//! | a digest | what has no number, by what its map says |
//!
//! Spec: v2 S2, S11, S30

use crate::fhir::json::{Object, Value};
use crate::hl7v2::map::site::Mode;
use crate::hl7v2::map::{DraftResource, Key};
use crate::hl7v2::types::{code, id};
use crate::store::hl7v2::Keyed;

/// Longest system and value of a key as they are, in bytes: an index takes no more than 2,700 of all of it.
const LONGEST: usize = 1_000;
/// Stands between a number and what tells apart those that have it, and before the digest of what is too long.
const BETWEEN: char = '\u{1F}';

/// A key of a type; of what is too long a digest.
pub(super) fn keyed(resource_type: &str, system: String, value: String) -> Keyed {
    let (resource_type, id) = (resource_type.to_owned(), String::new());
    Keyed { resource_type, system: bounded(system), value: bounded(value), id }
}

/// A text as it is kept in a key: as it is, or a digest that stands for it and no other.
pub(super) fn bounded(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let digits = id::digits(&id::digest(&[&text]));
    format!("{BETWEEN}{digits}")
}

/// The keys of a draft, as they are kept. Those of an empty value are none.
pub(super) fn keys_of(draft: &DraftResource) -> impl Iterator<Item = Keyed> {
    kept(draft, &draft.keys)
}

/// The keys that a draft had before, where they are others.
pub(super) fn former_of(draft: &DraftResource) -> impl Iterator<Item = Keyed> {
    kept(draft, &draft.former)
}

fn kept(draft: &DraftResource, keys: &[Key]) -> impl Iterator<Item = Keyed> {
    let keys = keys.iter().filter(|key| !key.value.is_empty());
    keys.map(|key| {
        let value = match key.part.as_str() {
            "" => key.value.clone(),
            part => format!("{}{BETWEEN}{part}", key.value),
        };
        keyed(&draft.resource_type, key.system.clone(), value)
    })
}

/// The numbers of a draft that others may have too, as they are kept: the first that has one has it.
pub(super) fn numbers_of(draft: &DraftResource) -> impl Iterator<Item = Keyed> {
    let keys = draft.keys.iter().filter(|key| !key.value.is_empty() && !key.part.is_empty());
    keys.map(|key| keyed(&draft.resource_type, key.system.clone(), key.value.clone()))
}

pub(super) fn is_same(one: &Keyed, other: &Keyed) -> bool {
    one.resource_type == other.resource_type
        && one.system == other.system
        && one.value == other.value
}

/// Whether what is stored under the number of a draft is what that is of: it has its code, or none and no other
/// name. What a draft changes or takes back it names by its number alone.
pub(super) fn is_of_code(stored: &Object<'static>, draft: &DraftResource) -> bool {
    let changes = matches!(draft.action.as_deref(), Some("D" | "U"));
    if draft.mode == Mode::ActionCode && changes {
        return true;
    }
    let element = element_of(draft);
    let (known, said) = (codes(stored, element), codes(&draft.body, element));
    let parts = || draft.keys.iter().map(|key| key.part.as_str()).filter(|part| !part.is_empty());
    let is_named = parts().any(|part| part.starts_with(code::TEXT));
    let (names, own) = (names(stored, element), names(&draft.body, element));
    if known.is_empty() {
        return are_alike(&names, &own);
    }
    if is_named {
        return own.iter().any(|name| names.contains(name));
    }
    let mut said = said.iter().map(|(_, code)| *code).chain(parts());
    said.any(|said| known.iter().any(|(_, code)| *code == said))
}

/// Whether what is stored by a key that drafts had before is what a draft is of. It has that key still, so no other
/// draft has taken it over, it is of the same patient and of the same order, and it has the same codes. `name` says
/// of the url of a draft which resource that is of.
pub(super) fn is_former(
    stored: &Object<'static>,
    key: &Keyed,
    draft: &DraftResource,
    name: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let identifiers = stored.get("identifier").and_then(Value::as_array).unwrap_or_default();
    let has_key = identifiers.iter().any(|it| {
        it.str_at("system") == Some(key.system.as_str())
            && it.str_at("value") == Some(key.value.as_str())
    });
    let element = element_of(draft);
    let (known, said) = (codes(stored, element), codes(&draft.body, element));
    // The site may have codes for it by now that it had not, or have none any more.
    let has_codes =
        known.iter().all(|own| said.contains(own)) || said.iter().all(|own| known.contains(own));
    let has_name = || are_alike(&names(stored, element), &names(&draft.body, element));
    let is_coded = !known.is_empty() && !said.is_empty();
    let leads_as = |of: for<'a> fn(&'a Object<'static>) -> Option<&'a str>| match (
        of(stored),
        of(&draft.body),
    ) {
        (Some(known), Some(said)) => name(said).is_some_and(|said| said == known),
        _ => true,
    };
    has_key && has_codes && (is_coded || has_name()) && leads_as(patient) && leads_as(order)
}

/// The patient that a resource is of.
fn patient<'a>(resource: &'a Object<'static>) -> Option<&'a str> {
    let of = |name| resource.get(name).and_then(|of| of.str_at("reference"));
    of("subject").or_else(|| of("patient"))
}

/// The order that a resource is based on.
fn order<'a>(resource: &'a Object<'static>) -> Option<&'a str> {
    resource.get("basedOn").and_then(Value::as_array)?.first()?.str_at("reference")
}

/// The element that says what a resource is of.
fn element_of(draft: &DraftResource) -> &'static str {
    match draft.resource_type.as_str() {
        "Immunization" => "vaccineCode",
        "MedicationRequest" => "medicationCodeableConcept",
        _ => "code",
    }
}

/// The codes of an element, each with its system.
fn codes<'r>(resource: &'r Object<'static>, element: &str) -> Vec<(Option<&'r str>, &'r str)> {
    let all = resource.get(element).map(|concept| concept.items_at("coding")).unwrap_or_default();
    all.iter().filter_map(|one| Some((one.str_at("system"), one.str_at("code")?))).collect()
}

/// What an element is called, as names are compared.
fn names(resource: &Object<'static>, element: &str) -> Vec<String> {
    let Some(concept) = resource.get(element) else { return Vec::new() };
    let displays = concept.items_at("coding").iter().filter_map(|one| one.str_at("display"));
    concept.str_at("text").into_iter().chain(displays).map(code::alike).collect()
}

/// Whether two things can be the same by their names: they have one in common, or one of them has none.
fn are_alike(one: &[String], other: &[String]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|name| other.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::{Message, Reading};
    use crate::hl7v2::map::Maps;
    use crate::spec::Spec;

    /// The reports that a message makes of panels with these names, all of one number.
    fn reports(panels: &[&str]) -> Vec<DraftResource> {
        let spec = Spec::r4().unwrap();
        let maps = Maps::base(&spec.schema).unwrap();
        let head = "MSH|^~\\&|LAB|STM|K|H|20260704||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||1^^^STM^MR\r";
        let order = |panel: &&str| format!("OBR|1||F1^LAB|{panel}|||||||||||||||||||||F\r");
        let text = head.to_owned() + &panels.iter().map(order).collect::<Vec<_>>().concat();
        let message = Message::parse(&text, Charset::UTF_8, Reading::Lenient).unwrap();
        let made = maps.draft(&message).unwrap().resources.into_iter();
        made.filter(|draft| draft.rule == "report").collect()
    }

    #[test]
    fn long_keys_that_differ_at_their_end_are_two() {
        let long = "0123456789".repeat(300);
        let panels =
            [format!("{long}A^Panel^L"), format!("{long}B^Panel^L"), "C^Panel^L".to_owned()];
        let panels: Vec<_> = panels.iter().map(String::as_str).collect();
        let keys: Vec<_> = reports(&panels).iter().flat_map(keys_of).collect();
        assert_eq!(keys.len(), 3);
        assert!(!is_same(&keys[0], &keys[1]));
        assert!(keys.iter().all(|key| key.value.len() <= LONGEST), "{keys:?}");
        assert_eq!(keys[2].value, "F1\u{1F}C");
        let again: Vec<_> = reports(&panels).iter().flat_map(keys_of).collect();
        assert_eq!(keys, again);
        // What fits is kept as it was, and systems are bounded as values are.
        for (length, is_kept) in [(LONGEST, true), (LONGEST + 1, false)] {
            let text = "x".repeat(length);
            let key = keyed("Patient", text.clone(), text.clone());
            assert_eq!((key.system == text, key.value == text), (is_kept, is_kept), "{length}");
            assert!(key.system.len() <= LONGEST && key.value.len() <= LONGEST, "{length}");
        }
    }

    #[test]
    fn panels_are_known_by_code_or_name() {
        for (one, other, are_same) in [
            ("^Blood count", "^Differential", false),
            ("^Blood count", "^BLOOD  Count ", true),
            ("A^Blood count^L", "^Blood count", false),
            ("A^Blood count^L", "B^Blood count^L", false),
            ("^^^A^Other^L", "A^Blood count^L", true),
            ("^^^^^^^^Blood count", "^Blood count", true),
        ] {
            let keys = [one, other].map(|panel| {
                let all = reports(&[panel]);
                all.iter().flat_map(keys_of).collect::<Vec<_>>()
            });
            assert_eq!(keys[0] == keys[1], are_same, "{one} {other}");
        }
    }

    #[test]
    fn what_is_taken_over_is_of_the_same_patient_and_order() {
        let draft = reports(&["A^One^L"]).remove(0);
        let key = keyed(&draft.resource_type, "urn:s".to_owned(), "before".to_owned());
        let of = patient(&draft.body).unwrap().to_owned();
        let request = order(&draft.body).unwrap().to_owned();
        let name = |url: &str| match url {
            url if url == of => Some("Patient/p".to_owned()),
            url if url == request => Some("ServiceRequest/r".to_owned()),
            _ => None,
        };
        let reference = |to: &str| Object::new().with("reference", to.to_owned()).into_owned();
        for (value, whose, based_on, expected) in [
            ("before", "Patient/p", "ServiceRequest/r", true),
            ("now", "Patient/p", "ServiceRequest/r", false),
            ("before", "Patient/q", "ServiceRequest/r", false),
            ("before", "Patient/p", "ServiceRequest/s", false),
        ] {
            let identifier = Object::new().with("system", "urn:s").with("value", value);
            let mut stored = draft.body.clone();
            stored.set("identifier", vec![Value::from(identifier.into_owned())]);
            stored.set("subject", reference(whose));
            stored.set("basedOn", vec![Value::from(reference(based_on))]);
            let is_it = is_former(&stored, &key, &draft, &name);
            assert_eq!(is_it, expected, "{value} {whose} {based_on}");
        }
    }

    #[test]
    fn what_has_the_number_of_a_panel_is_it_by_code_or_name() {
        let stored = |panel: &str| reports(&[panel]).remove(0).body;
        for (known, said, is_it) in [
            ("A^One^L", "A^Other^L", true),
            ("A^One^L", "B^One^L", false),
            ("^One", "^Two", false),
            ("^One", "^ONE", true),
            ("A^One^L", "^one", true),
            ("A^One^L", "^Two", false),
            ("A^^L", "^Two", false),
            ("^One", "A^one^L", true),
            ("^One", "A^Two^L", false),
            ("^One", "A^^L", true),
        ] {
            let draft = reports(&[said]).remove(0);
            assert_eq!(is_of_code(&stored(known), &draft), is_it, "{known} {said}");
        }
    }
}
