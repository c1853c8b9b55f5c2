//! What patients are told of accesses to their data: who, when, what, and what for.
//!
//! An event as it stands is for auditors: it has addresses, tokens and whole queries, which may name
//! other patients. What is told here has none of that.
//!
//! Spec: 45 CFR 164.528 (accounting of disclosures), security A14

use serde_json::Value;

use crate::access::interaction::Kind;
use crate::fhir::{LogicalId, ResourceType};

use super::balp::{Entry, Event};
use super::form::Form;
use super::query::Condition;

/// Purposes whose disclosures need not be accounted for: treatment, payment and operations.
pub const OF_CARE: &[&str] = &["TREAT", "ETREAT", "HPAYMT", "HOPERAT"];

/// What holds for accesses to the data of a patient by others that were granted. `accounting` leaves
/// out those for the purposes of [`OF_CARE`].
pub fn accesses(id: &LogicalId, hash: i64, accounting: bool) -> Condition {
    let kinds = Kind::ALL.iter().copied().filter(|kind| Form::of(*kind).is_access()).collect();
    let not = |condition| Condition::Not(Box::new(condition));
    let mut all = vec![
        Condition::Patients(vec![hash]),
        Condition::Outcomes(vec![0]),
        Condition::Kinds(kinds),
        not(Condition::Persons(vec![format!("Patient/{id}")])),
    ];
    if accounting {
        all.push(not(Condition::Purposes(OF_CARE.to_vec())));
    }
    Condition::All(all)
}

/// The event with a number of a row, as a patient is told it; `base` is the server's own address.
pub fn told(entry: &Entry, number: usize, base: &str) -> Event {
    let mut event = entry.event(number, base);
    event.profiles.clear();
    for agent in items(&mut event.body, "agent") {
        without(agent, &["altId", "network", "policy"]);
        // Somebody without a name is known by an address.
        if agent["who"].get("identifier").is_none() {
            agent["who"] = serde_json::json!({ "display": "unknown" });
        }
    }
    let own = entry.patients.get(number).and_then(|it| it.id.as_ref());
    if let Some(entities) = event.body["entity"].as_array_mut() {
        // What has no role is beside the matter: request ids, and what others' data it went along with.
        entities.retain(|entity| entity.get("role").is_some() && !is_of_another(entity, own));
        for entity in entities {
            without(entity, &["query"]);
            if entity.get("description").is_some() {
                entity["description"] = Value::String(asked(entry));
            }
        }
    }
    event
}

/// What was asked, as far as it names nobody: the method, and the type whose resources were meant. An id
/// in a path may be that of another patient.
fn asked(entry: &Entry) -> String {
    let path = entry.query.split('?').next().unwrap_or_default();
    let known = |part: &str| part.parse::<ResourceType>().ok();
    // Of a compartment, Patient/b/Observation, what is in it; of a Bundle, nothing.
    let of = path.rsplit('/').find_map(known).or(entry.resource_type);
    match of {
        Some(of) => format!("{} {of}", entry.method),
        None => entry.method.clone(),
    }
}

/// Whether an entity is a patient who is not `own`.
fn is_of_another(entity: &Value, own: Option<&LogicalId>) -> bool {
    let reference = entity["what"]["reference"].as_str().unwrap_or_default();
    let mut parts = reference.split('/');
    match (parts.next(), parts.next()) {
        (Some("Patient"), Some(id)) => own.is_none_or(|own| own.as_str() != id),
        _ => false,
    }
}

fn items<'v>(body: &'v mut Value, name: &str) -> impl Iterator<Item = &'v mut Value> {
    body[name].as_array_mut().into_iter().flatten()
}

fn without(value: &mut Value, names: &[&str]) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| !names.contains(&name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::balp::PatientOf;
    use super::*;

    fn entry(kind: Kind) -> Entry {
        Entry {
            id: "01990000-0000-7000-8000-00000000000a".parse().unwrap(),
            kind,
            outcome: 0,
            resource_type: Some("Observation".parse().unwrap()),
            subject: (kind == Kind::Read).then(|| ("o".to_owned(), Some(2))),
            actor: "user:ada".to_owned(),
            client: Some("app".to_owned()),
            token: Some("01990000-0000-4000-8000-00000000000b".to_owned()),
            person: Some("Practitioner/ada".to_owned()),
            purpose: Some("TREAT".to_owned()),
            source: Some("192.0.2.7".to_owned()),
            request_id: "r-1".to_owned(),
            method: "GET".to_owned(),
            query: "/fhir/Observation?patient=b,a".to_owned(),
            failure: None,
            patients: vec![PatientOf { hash: 1, id: Some("a".parse().unwrap()) }],
            entities: vec!["Observation/of-b/_history/2".to_owned()],
        }
    }

    #[test]
    fn a_patient_is_told_who_when_what_and_why_and_nothing_of_others() {
        for (kind, what) in
            [(Kind::Read, "Observation/o"), (Kind::SearchType, "\"GET Observation\"")]
        {
            let event = told(&entry(kind), 0, "http://h/fhir");
            let text = event.body.to_string();
            for part in [what, "Practitioner/ada", "Patient/a", "TREAT", "\"app\"", "recorded"] {
                assert!(text.contains(part), "{kind:?}: {part} of {text}");
            }
            for part in ["192.0.2.7", "of-b", "r-1", "patient=b", "00000000000b", "\"query\""] {
                assert!(!text.contains(part), "{kind:?}: {part} of {text}");
            }
            assert!(event.profiles.is_empty());
        }
    }

    #[test]
    fn neither_a_path_nor_an_entity_names_another_patient() {
        let history = |id: &str| Entry {
            resource_type: Some(ResourceType::PATIENT),
            subject: Some((id.to_owned(), None)),
            query: format!("/fhir/Patient/{id}/_history"),
            ..entry(Kind::HistoryInstance)
        };
        let search = |path: &str| Entry { query: path.to_owned(), ..entry(Kind::SearchType) };
        for (entry, expected) in [
            // A link that was merged: the row is of both.
            (history("other"), "\"GET Patient\""),
            (search("/fhir/Patient/other/Observation?code=x"), "\"GET Observation\""),
            (search("/fhir/Patient/other/*"), "\"GET Patient\""),
            (search("Patient/other/Observation"), "\"GET Observation\""),
        ] {
            let text = told(&entry, 0, "http://h/fhir").body.to_string();
            assert!(!text.contains("other"), "{text}");
            assert!(text.contains(expected) && text.contains("Patient/a"), "{expected}: {text}");
        }
        // The patient's own resource is told.
        let own = told(&history("a"), 0, "http://h/fhir").body.to_string();
        assert!(own.contains("\"Patient/a\""), "{own}");
    }

    #[test]
    fn who_is_known_by_an_address_alone_is_unknown() {
        let stranger = Entry { client: None, actor: "anonymous".to_owned(), ..entry(Kind::Read) };
        let text = told(&stranger, 0, "http://h/fhir").body.to_string();
        assert!(text.contains("unknown") && !text.contains("192.0.2.7"), "{text}");
    }

    #[test]
    fn an_accounting_leaves_out_care_failures_others_and_oneself() {
        let id: LogicalId = "a".parse().unwrap();
        let (all, accounting) = (accesses(&id, 1, false), accesses(&id, 1, true));
        let read = entry(Kind::Read);
        assert!(all.holds(&read, 0) && !accounting.holds(&read, 0));
        for purpose in [None, Some("HRESCH".to_owned()), Some("BTG".to_owned())] {
            let other = Entry { purpose, ..read.clone() };
            assert!(all.holds(&other, 0) && accounting.holds(&other, 0), "{:?}", other.purpose);
        }
        for not in [
            Entry { outcome: 4, ..read.clone() },
            Entry { person: Some("Patient/a".to_owned()), ..read.clone() },
            Entry { patients: Vec::new(), ..read.clone() },
            Entry { kind: Kind::Token, ..read.clone() },
        ] {
            assert!(!all.holds(&not, 0), "{not:?}");
        }
    }
}
