//! A stored resource as a message amends it.
//!
//! What the message says nothing of stays. What it says replaces what was there, element by element.
//! Identifiers of other authorities are never taken away; those of an authority that the message names
//! are as it says. What it says is to go (`""`) goes.
//!
//! Spec: v2 S3, S4, S10

use super::part::{Part, Removal, has, is_coded};
use super::{Json, list, set_list};
use crate::fhir::json::Value;

/// Elements that only the server writes.
const OWN: &[&str] = &["resourceType", "id", "meta", "text"];

/// The resource of now: `stored` as the message with `said` amends it; `removed` are elements that it
/// says are to go, `parts` are lists of which it does not tell all.
pub fn amended(stored: &Json, said: &Json, removed: &[Removal], parts: &[Part]) -> Json {
    let mut now = stored.clone();
    for name in OWN {
        now.remove(name);
    }
    for removal in removed {
        if parts.iter().any(|part| removal.slot.is_none() && part.element == removal.path) {
            // Entries that go by codes of their own are not of the field that is told to go.
            let mut left = list(&now, &removal.path);
            left.retain(is_coded);
            set_list(&mut now, &removal.path, left);
        } else {
            take_out(&mut now, removal);
        }
    }
    revive(&mut now, said);
    for part in parts.iter().filter(|part| !said.contains(&part.element)) {
        let left = part.merged(list(&now, &part.element), Vec::new());
        set_list(&mut now, &part.element, left);
    }
    for (name, value) in said.iter().filter(|(name, _)| !OWN.contains(name)) {
        match name {
            // A result without its value tells of its status: the value stays.
            "dataAbsentReason"
                if has_code(value, "unknown") && has_element(&now, "valueString") => {}
            "identifier" => {
                let both = identifiers(list(&now, name), list(said, name));
                set_list(&mut now, "identifier", both);
            }
            "extension" => {
                let both = extensions(list(&now, name), list(said, name));
                set_list(&mut now, "extension", both);
            }
            _ => {
                if let Some(part) = parts.iter().find(|part| part.element == name) {
                    let all = part.merged(list(&now, name), list(said, name));
                    set_list(&mut now, name, all);
                } else {
                    drop_other_types(&mut now, name);
                    now.set(name.to_owned(), value.clone());
                }
            }
        }
    }
    now
}

/// Elements of which there is one type at a time.
const CHOICES: &[&str] =
    &["value", "effective", "deceased", "multipleBirth", "onset", "performed", "occurrence"];

/// Whether `name` is a type of the element `stem`: `valueString` of `value`.
fn is_of(stem: &str, name: &str) -> bool {
    let rest = name.trim_start_matches('_').strip_prefix(stem);
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// An element has one type at a time: `valueString` goes when `valueQuantity` comes. A value and the
/// reason why there is none exclude each other.
fn drop_other_types(now: &mut Json, name: &str) {
    if name == "dataAbsentReason" {
        now.retain(|other, _| !is_of("value", other));
    }
    let Some(stem) = CHOICES.iter().find(|stem| is_of(stem, name)) else { return };
    now.retain(|other, _| other == name || !is_of(stem, other));
    if *stem == "value" {
        now.remove("dataAbsentReason");
    }
}

/// Whether a resource has the element in this or another type.
pub fn has_element(resource: &Json, name: &str) -> bool {
    let stem = CHOICES.iter().find(|stem| is_of(stem, name));
    let has_other = |stem: &&str| resource.iter().any(|(other, _)| is_of(stem, other));
    resource.contains(name) || stem.is_some_and(has_other)
}

/// Whether a CodeableConcept has a code.
fn has_code(concept: &Value<'static>, code: &str) -> bool {
    concept.items_at("coding").iter().any(|coding| coding.str_at("code") == Some(code))
}

/// What was ended as an error and is told of again is none.
fn revive(now: &mut Json, said: &Json) {
    let is_ended =
        now.get("verificationStatus").is_some_and(|status| has_code(status, "entered-in-error"));
    if is_ended && said.contains("clinicalStatus") && !said.contains("verificationStatus") {
        now.remove("verificationStatus");
    }
}

/// What is said of something new: entries with ids come last, as they do from then on.
pub fn begun(said: &Json, parts: &[Part]) -> Json {
    let mut now = said.clone();
    for part in parts {
        let all = part.merged(Vec::new(), list(&now, &part.element));
        set_list(&mut now, &part.element, all);
    }
    now
}

/// Takes out an element, in all entries of a list or in those of a slot. An entry that has nothing but what
/// all of its slot have goes as a whole.
fn take_out(now: &mut Json, removal: &Removal) {
    let Some(slot) = &removal.slot else { return remove(now, &removal.path) };
    let (first, rest) = removal
        .path
        .split_once("].")
        .map_or((removal.path.as_str(), None), |(first, rest)| (first, Some(rest)));
    let name = first.split('[').next().unwrap_or(first);
    let mut all = list(now, name);
    all.retain_mut(|one| {
        let Some(entry) = one.as_object_mut().filter(|entry| has(entry, slot)) else { return true };
        if let Some(rest) = rest {
            remove(entry, rest);
        }
        rest.is_some() && *entry != *slot
    });
    set_list(now, name, all);
}

/// Takes out the element that a path such as `name` or `contact[0].telecom` leads to.
/// An extension is named by its url, and goes as a whole: `extension[http://..]`.
fn remove(now: &mut Json, path: &str) {
    if let Some(url) = path.strip_prefix("extension[").and_then(|rest| rest.strip_suffix(']')) {
        drop_extension(now, url);
        return;
    }
    let (first, rest) =
        path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let name = first.split('[').next().unwrap_or(first);
    let Some(rest) = rest else {
        now.remove(name);
        now.remove(&format!("_{name}"));
        return;
    };
    let is_empty = match now.get_mut(name) {
        Some(Value::Object(inner)) => {
            remove(inner, rest);
            inner.is_empty()
        }
        Some(Value::Array(items)) => {
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                remove(item, rest);
            }
            items.retain(|item| item.as_object().is_none_or(|item| !item.is_empty()));
            items.is_empty()
        }
        _ => false,
    };
    if is_empty {
        now.remove(name);
    }
}

/// Takes out the extension that has this url.
pub fn drop_extension(now: &mut Json, url: &str) {
    let mut all = list(now, "extension");
    all.retain(|one| one.str_at("url") != Some(url));
    set_list(now, "extension", all);
}

/// Those of authorities that the message does not name, and its own; each stays in its place.
fn identifiers(stored: Vec<Value<'static>>, said: Vec<Value<'static>>) -> Vec<Value<'static>> {
    let system = |value: &Value<'static>| value.str_at("system").map(str::to_owned);
    let is_old = |one: &Value<'static>| one.str_at("use") == Some("old");
    let mut said = said;
    // A message by an old number says nothing of the number of now.
    said.retain(|one| !stored.iter().any(|known| is_old(known) && is_same(known, one)));
    let named: Vec<_> = said.iter().map(system).collect();
    let mut all = Vec::new();
    for one in stored {
        if let Some(at) = said.iter().position(|other| is_same(&one, other)) {
            all.push(said.remove(at));
        } else if is_old(&one) || !named.contains(&system(&one)) {
            all.push(one);
        }
    }
    all.extend(said);
    all
}

/// Whether two identifiers are the same number of the same authority.
pub fn is_same(one: &Value<'_>, other: &Value<'_>) -> bool {
    one.str_at("system") == other.str_at("system") && one.str_at("value") == other.str_at("value")
}

/// Those of other urls, and those of the message; each stays in its place.
fn extensions(stored: Vec<Value<'static>>, said: Vec<Value<'static>>) -> Vec<Value<'static>> {
    let named: Vec<_> = said.iter().map(|one| one.str_at("url").map(str::to_owned)).collect();
    let mut said = said;
    let mut all = Vec::new();
    for one in stored {
        let url = one.str_at("url").map(str::to_owned);
        if let Some(at) = said.iter().position(|other| other.str_at("url") == url.as_deref()) {
            all.push(said.remove(at));
        } else if !named.contains(&url) {
            all.push(one);
        }
    }
    all.extend(said);
    all
}

/// The resource as a list of all there is says it has ended: by its type, it is entered in error,
/// inactive or cancelled.
pub fn ended(stored: &Json, resource_type: &str) -> Option<Json> {
    let mut now = stored.clone();
    for name in OWN {
        now.remove(name);
    }
    let coded = |system: &'static str, code: &'static str| {
        let coding = Json::new().with("system", system).with("code", code);
        Json::new().with("coding", vec![Value::Object(coding)])
    };
    match resource_type {
        "AllergyIntolerance" => {
            let system = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification";
            now.set("verificationStatus", coded(system, "entered-in-error"));
            // An allergy that never was has no clinical status (invariant ait-2).
            now.remove("clinicalStatus");
        }
        "Condition" => {
            let system = "http://terminology.hl7.org/CodeSystem/condition-ver-status";
            now.set("verificationStatus", coded(system, "entered-in-error"));
            // Neither clinical status nor end has a problem that never was (invariants con-5 and con-4).
            now.remove("clinicalStatus");
            now.retain(|name, _| !is_of("abatement", name));
        }
        "Coverage" => now.set("status", "cancelled"),
        "Procedure" | "Observation" | "Immunization" | "MedicationAdministration" => {
            now.set("status", "entered-in-error");
        }
        "Goal" => now.set("lifecycleStatus", "entered-in-error"),
        "RelatedPerson" => now.set("active", false),
        _ => return None,
    }
    Some(now)
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    fn object(text: &str) -> Json {
        match parse(text.as_bytes()).unwrap().into_owned() {
            Value::Object(object) => object,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_said_replaces_what_was_there_and_the_rest_stays() {
        let stored = object(
            r#"{"resourceType":"Patient","id":"p","active":true,"gender":"male","telecom":[{"value":"1"}],
            "identifier":[{"system":"a","value":"1"},{"system":"b","value":"2"},{"system":"a","value":"0","use":"old"}],
            "extension":[{"url":"x","valueString":"1"},{"url":"y","valueString":"2"}],"deceasedBoolean":false}"#,
        );
        let said = object(
            r#"{"gender":"female","identifier":[{"system":"a","value":"9"}],
            "extension":[{"url":"x","valueString":"3"}],"deceasedDateTime":"2026-01-01"}"#,
        );
        let now = amended(&stored, &said, &[], &[]);
        let expected = object(
            r#"{"active":true,"gender":"female","telecom":[{"value":"1"}],
            "identifier":[{"system":"b","value":"2"},{"system":"a","value":"0","use":"old"},{"system":"a","value":"9"}],
            "extension":[{"url":"x","valueString":"3"},{"url":"y","valueString":"2"}],"deceasedDateTime":"2026-01-01"}"#,
        );
        assert_eq!(now, expected);
        // Twice the same is the same.
        assert_eq!(amended(&now, &said, &[], &[]), now);
    }

    #[test]
    fn a_value_and_the_reason_for_none_exclude_each_other() {
        let reason = |code: &str| {
            object(&format!(r#"{{"dataAbsentReason":{{"coding":[{{"code":"{code}"}}]}}}}"#))
        };
        let value = object(r#"{"valueString":"1"}"#);
        let other = object(r#"{"valueInteger":2}"#);
        assert_eq!(amended(&reason("unknown"), &value, &[], &[]), value);
        assert_eq!(amended(&value, &reason("unknown"), &[], &[]), value, "only its status is told");
        assert_eq!(amended(&value, &reason("not-asked"), &[], &[]), reason("not-asked"));
        assert_eq!(amended(&value, &other, &[], &[]), other);
        assert!(has_element(&value, "valueInteger") && !has_element(&value, "onsetDateTime"));
    }

    #[test]
    fn what_was_ended_and_is_told_of_again_is_none() {
        let ended = object(r#"{"verificationStatus":{"coding":[{"code":"entered-in-error"}]}}"#);
        let said = object(r#"{"clinicalStatus":{"coding":[{"code":"active"}]}}"#);
        assert_eq!(amended(&ended, &said, &[], &[]), said);
        let known = object(r#"{"verificationStatus":{"coding":[{"code":"confirmed"}]}}"#);
        assert!(amended(&known, &said, &[], &[]).contains("verificationStatus"));
    }

    #[test]
    fn a_message_by_an_old_number_takes_none_away() {
        let stored = object(
            r#"{"identifier":[{"system":"a","value":"1"},{"system":"a","value":"0","use":"old"}]}"#,
        );
        let said = object(r#"{"identifier":[{"system":"a","value":"0"}]}"#);
        assert_eq!(amended(&stored, &said, &[], &[]), stored);
    }

    /// Covers: v2 S12.
    #[test]
    fn what_is_deleted_ends_by_its_type() {
        for (of, element, expected) in [
            ("Immunization", "status", "entered-in-error"),
            ("MedicationAdministration", "status", "entered-in-error"),
            ("Procedure", "status", "entered-in-error"),
            ("Coverage", "status", "cancelled"),
            ("Goal", "lifecycleStatus", "entered-in-error"),
        ] {
            let gone = ended(&object(r#"{"status":"completed"}"#), of).unwrap();
            assert_eq!(gone.get(element).and_then(Value::as_str), Some(expected), "{of}");
        }
        assert_eq!(ended(&Json::new(), "Patient"), None);
        let resolved = object(r#"{"clinicalStatus":{},"abatementDateTime":"2026-07-03"}"#);
        let gone = ended(&resolved, "Condition").unwrap();
        assert!(gone.get("verificationStatus").is_some_and(|it| has_code(it, "entered-in-error")));
        assert!(
            !gone.contains("clinicalStatus") && !gone.contains("abatementDateTime"),
            "{gone:?}"
        );
    }

    #[test]
    fn an_extension_goes_alone() {
        let stored = object(
            r#"{"extension":[{"url":"http://a.b/x","valueString":"1"},{"url":"y","valueString":"2"}]}"#,
        );
        let gone = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| Removal::from(*path)).collect();
            amended(&stored, &Json::new(), &paths, &[])
        };
        let expected = object(r#"{"extension":[{"url":"y","valueString":"2"}]}"#);
        assert_eq!(gone(&["extension[http://a.b/x]"]), expected);
        assert_eq!(gone(&["extension[http://a.b/x]", "extension[y]"]), Json::new());
    }

    /// Covers: v2 S10.
    #[test]
    fn of_a_slot_only_its_own_goes() {
        let stored = object(
            r#"{"participant":[{"type":[{"code":"REF"}],"individual":1},{"type":[{"code":"ATND"}],"individual":2},
            {"type":[{"code":"REF"}],"individual":3,"period":{}}]}"#,
        );
        let slot = Some(object(r#"{"type":[{"code":"REF"}]}"#));
        let gone = |path: &str| {
            let removal = Removal { path: path.to_owned(), slot: slot.clone() };
            amended(&stored, &Json::new(), &[removal], &[])
        };
        let expected = object(
            r#"{"participant":[{"type":[{"code":"ATND"}],"individual":2},{"type":[{"code":"REF"}],"period":{}}]}"#,
        );
        assert_eq!(gone("participant[REF].individual"), expected);
        let expected = object(r#"{"participant":[{"type":[{"code":"ATND"}],"individual":2}]}"#);
        assert_eq!(gone("participant[REF]"), expected);
    }

    #[test]
    fn what_is_to_go_goes() {
        let stored = object(
            r#"{"telecom":[{"value":"1"}],"name":[{"family":"A","given":["B"]}],"a":{"b":1}}"#,
        );
        let gone = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| Removal::from(*path)).collect();
            amended(&stored, &Json::new(), &paths, &[])
        };
        assert_eq!(
            gone(&["telecom"]),
            object(r#"{"name":[{"family":"A","given":["B"]}],"a":{"b":1}}"#)
        );
        assert_eq!(
            gone(&["name[0].given", "a.b", "x.y"]),
            object(r#"{"telecom":[{"value":"1"}],"name":[{"family":"A"}]}"#)
        );
    }
}
