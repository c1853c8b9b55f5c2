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

/// Has every reference to `from` lead to `to`; how many there were. Versions are named no longer:
/// those of another resource mean nothing.
pub fn repointed(value: &mut Value<'static>, from: &str, to: &str) -> usize {
    match value {
        Value::Array(items) => items.iter_mut().map(|item| repointed(item, from, to)).sum(),
        Value::Object(object) => {
            let mut count = 0;
            for (name, value) in object.iter_mut() {
                let leads = name == "reference"
                    && value.as_str().is_some_and(|text| {
                        text.strip_prefix(from)
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with("/_history/"))
                    });
                if leads {
                    *value = Value::from(to.to_owned());
                    count += 1;
                } else {
                    count += repointed(value, from, to);
                }
            }
            count
        }
        _ => 0,
    }
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
        assert_eq!(repointed(&mut value, "Patient/s", "Patient/t"), 2);
        let text = value.to_text();
        assert!(
            text.contains(r#""subject":{"reference":"Patient/t"}"#) && text.contains("Patient/sx"),
            "{text}"
        );
    }
}
