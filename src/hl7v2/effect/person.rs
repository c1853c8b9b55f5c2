//! Two patients that are one (A40 and its kin), or that belong together (A24, A37).
//!
//! Spec: v2 merge family, B18, B19

use super::amend::is_same;
use super::{Json, list, set_list};
use crate::fhir::json::Value;

/// A link to another patient.
fn link(other: &str, kind: &'static str) -> Value<'static> {
    let reference = Json::new().with("reference", format!("Patient/{other}"));
    Value::Object(Json::new().with("other", reference).with("type", kind))
}

fn leads_to(link: &Value<'static>, other: &str) -> bool {
    let reference = link.get("other").and_then(|other| other.str_at("reference"));
    reference == Some(&format!("Patient/{other}"))
}

/// Adds a link, once.
pub fn linked(patient: &Json, other: &str, kind: &'static str) -> Json {
    let mut now = patient.clone();
    let mut links = list(&now, "link");
    let is_there = |one: &Value<'static>| leads_to(one, other) && one.str_at("type") == Some(kind);
    if !links.iter().any(is_there) {
        links.push(link(other, kind));
    }
    set_list(&mut now, "link", links);
    now
}

/// Takes the links of a kind to another patient out.
pub fn unlinked(patient: &Json, other: &str, kind: &str) -> Json {
    let mut now = patient.clone();
    let mut links = list(&now, "link");
    links.retain(|one| !(leads_to(one, other) && one.str_at("type") == Some(kind)));
    set_list(&mut now, "link", links);
    now
}

/// Who a patient was replaced by.
pub fn replaced_by(patient: &Json) -> Option<String> {
    let links = list(patient, "link");
    let link = links.iter().find(|one| one.str_at("type") == Some("replaced-by"))?;
    let reference = link.get("other")?.str_at("reference")?;
    reference.strip_prefix("Patient/").map(str::to_owned)
}

/// The two after they became one: the source, which is no longer active, and the target, which has its
/// identifiers as old ones.
pub fn merged(source: &Json, target: &Json, (source_id, target_id): (&str, &str)) -> (Json, Json) {
    let mut gone = linked(source, target_id, "replaced-by");
    gone.set("active", false);
    (gone, with_old_identifiers(source, &linked(target, source_id, "replaces")))
}

/// `target` with the identifiers of `source` that it lacks, as old ones.
pub fn with_old_identifiers(source: &Json, target: &Json) -> Json {
    let mut kept = target.clone();
    let mut identifiers = list(&kept, "identifier");
    for identifier in list(source, "identifier") {
        if identifiers.iter().any(|known| is_same(known, &identifier)) {
            continue;
        }
        if let Value::Object(mut identifier) = identifier {
            identifier.set("use", "old");
            identifiers.push(Value::Object(identifier));
        }
    }
    set_list(&mut kept, "identifier", identifiers);
    kept
}

/// Has every reference to `from` lead to `to`; the paths of those that did: `subject`,
/// `participant[1].individual`. Versions are named no longer: those of another resource mean nothing.
pub fn repointed(value: &mut Value<'static>, from: &str, to: &str) -> Vec<String> {
    let mut paths = Vec::new();
    repoint(value, (from, to), "", &mut paths);
    paths
}

fn repoint(value: &mut Value<'static>, ends: (&str, &str), path: &str, paths: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                repoint(item, ends, &format!("{path}[{at}]"), paths);
            }
        }
        // That one patient was replaced by another stays true, whatever becomes of either.
        Value::Object(object)
            if object.contains("other")
                && matches!(
                    object.get("type").and_then(Value::as_str),
                    Some("replaced-by" | "replaces")
                ) => {}
        Value::Object(object) => {
            for (name, value) in object.iter_mut() {
                if name == "reference" && value.as_str().is_some_and(|text| leads(text, ends.0)) {
                    *value = Value::from(ends.1.to_owned());
                    paths.push(path.to_owned());
                } else {
                    let dot = if path.is_empty() { "" } else { "." };
                    repoint(value, ends, &format!("{path}{dot}{name}"), paths);
                }
            }
        }
        _ => {}
    }
}

/// Whether a reference leads to a resource, or to a version of it.
fn leads(text: &str, to: &str) -> bool {
    let rest = text.strip_prefix(to);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("/_history/"))
}

/// Has the reference at `path`, if it leads to `from`, lead to `to`. `None`: it leads elsewhere by now.
/// Whether it was changed: what leads to `to` already is left as it is.
pub fn put_back(value: &mut Value<'static>, path: &str, from: &str, to: &str) -> Option<bool> {
    let mut place = value;
    for step in path.split('.') {
        let (name, rest) = step.split_once('[').unwrap_or((step, ""));
        place = place.as_object_mut()?.get_mut(name)?;
        for number in rest.split('[').filter(|number| !number.is_empty()) {
            let at: usize = number.trim_end_matches(']').parse().ok()?;
            let Value::Array(items) = place else { return None };
            place = items.get_mut(at)?;
        }
    }
    let reference = place.as_object_mut()?.get_mut("reference")?;
    let text = reference.as_str()?;
    if leads(text, to) {
        return Some(false);
    }
    if !leads(text, from) {
        return None;
    }
    *reference = Value::from(to.to_owned());
    Some(true)
}

/// The numbers that a merge gave the target as old ones: `system|value` of each.
pub fn given(before: &Json, after: &Json) -> Vec<String> {
    let known = list(before, "identifier");
    let new = list(after, "identifier").into_iter();
    let new = new.filter(|one| !known.iter().any(|other| is_same(other, one)));
    new.map(|one| number_of(&one)).collect()
}

/// The numbers of `before` that `after` lacks.
pub fn lacking(before: &Json, after: &Json) -> Vec<Value<'static>> {
    let known = list(after, "identifier");
    let mut all = list(before, "identifier");
    all.retain(|one| !known.iter().any(|other| is_same(other, one)));
    all
}

/// Puts numbers back that are to stay.
pub fn keep_numbers(patient: &mut Json, numbers: Vec<Value<'static>>) {
    if !numbers.is_empty() {
        let all = list(patient, "identifier").into_iter().chain(numbers);
        set_list(patient, "identifier", all.collect());
    }
}

/// Adds the numbers of `said` that are of authorities of which there is none.
pub fn add_numbers(patient: &mut Json, said: &Json) {
    let known = list(patient, "identifier");
    let system = |one: &Value<'static>| one.str_at("system").map(str::to_owned);
    let mut new = list(said, "identifier");
    new.retain(|one| !known.iter().any(|other| system(other) == system(one)));
    keep_numbers(patient, new);
}

fn number_of(identifier: &Value<'_>) -> String {
    let text = |name| identifier.str_at(name).unwrap_or_default();
    format!("{}|{}", text("system"), text("value"))
}

/// The resource that stayed, without what the merge with `source` gave it: the link, and `numbers`
/// that are still old ones.
pub fn separated(target: &Json, source: &str, numbers: &[&str]) -> Json {
    let mut now = unlinked(target, source, "replaces");
    let mut identifiers = list(&now, "identifier");
    identifiers.retain(|one| {
        one.str_at("use") != Some("old") || !numbers.contains(&number_of(one).as_str())
    });
    set_list(&mut now, "identifier", identifiers);
    now
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
    fn of_two_patients_one_stays_with_the_numbers_of_both() {
        let source = object(
            r#"{"active":true,"identifier":[{"system":"a","value":"1"},{"system":"b","value":"2"}]}"#,
        );
        let target = object(
            r#"{"active":true,"identifier":[{"system":"a","value":"9"},{"system":"b","value":"2"}]}"#,
        );
        let (gone, kept) = merged(&source, &target, ("s", "t"));
        assert_eq!(replaced_by(&gone).as_deref(), Some("t"));
        assert_eq!(gone.get("active"), Some(&Value::Bool(false)));
        let expected = r#"{"active":true,"identifier":[{"system":"a","value":"9"},{"system":"b","value":"2"},
            {"system":"a","value":"1","use":"old"}],"link":[{"other":{"reference":"Patient/s"},"type":"replaces"}]}"#;
        assert_eq!(kept, object(expected));
        // Once more changes nothing.
        assert_eq!(merged(&gone, &kept, ("s", "t")), (gone, kept));
        assert_eq!(replaced_by(&target), None);
    }

    #[test]
    fn links_come_and_go() {
        let one = linked(&Json::new(), "b", "seealso");
        assert_eq!(linked(&one, "b", "seealso"), one);
        assert_eq!(unlinked(&one, "b", "seealso"), Json::new());
        assert_eq!(unlinked(&one, "c", "seealso"), one);
        assert_eq!(unlinked(&one, "b", "replaces"), one);
    }

    #[test]
    fn references_lead_to_the_one_that_stays() {
        let mut value = parse(
            br#"{"subject":{"reference":"Patient/s"},"a":[{"reference":"Patient/s/_history/2"},{"reference":"Patient/sx"}],
            "text":"Patient/s"}"#,
        )
        .unwrap()
        .into_owned();
        assert_eq!(repointed(&mut value, "Patient/s", "Patient/t"), ["subject", "a[0]"]);
        let text = value.to_text();
        assert!(
            text.contains(r#""subject":{"reference":"Patient/t"}"#) && text.contains("Patient/sx"),
            "{text}"
        );
        // And back, where they still lead there.
        for (path, expected) in [
            ("subject", Some(true)),
            ("subject", Some(false)),
            ("a[0]", Some(true)),
            ("a[1]", None),
            ("b.c", None),
        ] {
            assert_eq!(put_back(&mut value, path, "Patient/t", "Patient/s"), expected, "{path}");
        }
        assert_eq!(value.to_text(), text.replace("Patient/t", "Patient/s"));
    }

    #[test]
    fn who_was_replaced_by_whom_stays() {
        let mut value = parse(
            br#"{"link":[{"other":{"reference":"Patient/s"},"type":"replaces"},
            {"other":{"reference":"Patient/s"},"type":"seealso"}]}"#,
        )
        .unwrap()
        .into_owned();
        assert_eq!(repointed(&mut value, "Patient/s", "Patient/t"), ["link[1].other"]);
    }

    /// Covers: v2 S4.
    #[test]
    fn news_that_come_late_add_numbers_of_authorities_that_nobody_has_told_of_since() {
        let mut patient = object(r#"{"identifier":[{"system":"a","value":"2"}]}"#);
        let said = object(
            r#"{"identifier":[{"system":"a","value":"1"},{"system":"b","value":"3"},{"system":"b","value":"4"}]}"#,
        );
        add_numbers(&mut patient, &said);
        let expected = object(
            r#"{"identifier":[{"system":"a","value":"2"},{"system":"b","value":"3"},{"system":"b","value":"4"}]}"#,
        );
        assert_eq!(patient, expected);
        let mut nobody = Json::new();
        add_numbers(&mut nobody, &Json::new());
        assert_eq!(nobody, Json::new());
    }

    #[test]
    fn what_a_merge_gave_is_taken_away_again() {
        let source = object(r#"{"identifier":[{"system":"a","value":"1"}]}"#);
        let target = object(
            r#"{"identifier":[{"system":"a","value":"9"},{"system":"a","value":"8","use":"old"}]}"#,
        );
        let (_, kept) = merged(&source, &target, ("s", "t"));
        let numbers = given(&target, &kept);
        assert_eq!(numbers, ["a|1"]);
        assert_eq!(separated(&kept, "s", &["a|1"]), target);
    }
}
