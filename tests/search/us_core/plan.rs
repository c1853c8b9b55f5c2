//! The searches that US Core's CapabilityStatements ask for, and what each of their parameters means.
//!
//! The places of values are written down here by hand, from US Core's pages: nothing is shared with
//! the server's own extraction.

use std::collections::BTreeSet;

use serde_json::Value;

use super::data::Doc;

const EXPECTATION: &str = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-expectation";
const COMBINATION: &str =
    "http://hl7.org/fhir/StructureDefinition/capabilitystatement-search-parameter-combination";
const ASSERTED: &str = "http://hl7.org/fhir/StructureDefinition/condition-assertedDate";
const RACE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race";
const ETHNICITY: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity";

/// A type, and the parameters that are given together.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Search {
    pub(super) of: String,
    pub(super) codes: BTreeSet<String>,
}

impl Search {
    pub(super) fn new(of: &str, codes: &[&str]) -> Self {
        Self { of: of.to_owned(), codes: codes.iter().map(|code| (*code).to_owned()).collect() }
    }
}

/// What a server SHALL or SHOULD support.
pub(super) fn searches(statement: &Value) -> BTreeSet<Search> {
    let mut found = BTreeSet::new();
    for resource in items(&statement["rest"][0]["resource"]) {
        let of = resource["type"].as_str().unwrap();
        for parameter in items(&resource["searchParam"]).filter(|it| is_wanted(it)) {
            found.insert(Search::new(of, &[parameter["name"].as_str().unwrap()]));
        }
        let combinations = items(&resource["extension"]).filter(|it| it["url"] == COMBINATION);
        for combination in combinations.filter(|it| is_wanted(it)) {
            let parts = items(&combination["extension"]).filter(|it| it["url"] == "required");
            let codes: Vec<_> = parts.filter_map(|it| it["valueString"].as_str()).collect();
            found.insert(Search::new(of, &codes));
        }
    }
    found
}

fn is_wanted(element: &Value) -> bool {
    let mut told = items(&element["extension"]).filter(|it| it["url"] == EXPECTATION);
    told.any(|it| ["SHALL", "SHOULD"].iter().any(|code| it["valueCode"] == *code))
}

fn items(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter()
}

/// How the values of a parameter compare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Canonical,
    Date,
    Id,
    Link,
    Text,
    Token,
}

pub(super) fn kind(code: &str) -> Kind {
    match code {
        "_id" => Kind::Id,
        "abatement-date" | "asserted-date" | "authored" | "authoredon" | "birthdate" | "date"
        | "death-date" | "onset-date" | "period" | "recorded-date" | "target-date" => Kind::Date,
        "encounter" | "location" | "patient" | "practitioner" => Kind::Link,
        "address" | "address-city" | "address-postalcode" | "address-state" | "family"
        | "given" | "name" => Kind::Text,
        "questionnaire" => Kind::Canonical,
        _ => Kind::Token,
    }
}

/// Code, types (none: every other), and the ways to the values; a URL is that of an extension.
type Place = (&'static str, &'static [&'static str], &'static [&'static [&'static str]]);

const PLACES: &[Place] = &[
    ("_id", &[], &[&["id"]]),
    ("abatement-date", &[], &[&["abatementDateTime"], &["abatementPeriod"]]),
    ("address-city", &[], &[&["address", "city"]]),
    ("address-postalcode", &[], &[&["address", "postalCode"]]),
    ("address-state", &[], &[&["address", "state"]]),
    ("asserted-date", &[], &[&["extension", ASSERTED, "valueDateTime"]]),
    ("authored", &["ServiceRequest"], &[&["authoredOn"]]),
    ("authoredon", &[], &[&["authoredOn"]]),
    ("birthdate", &[], &[&["birthDate"]]),
    ("clinical-status", &[], &[&["clinicalStatus"]]),
    ("date", &["CarePlan", "Encounter"], &[&["period"]]),
    ("date", &["DiagnosticReport", "Observation"], &[&["effectiveDateTime"], &["effectivePeriod"]]),
    ("date", &["Immunization"], &[&["occurrenceDateTime"]]),
    ("date", &["Procedure"], &[&["performedDateTime"], &["performedPeriod"]]),
    ("death-date", &[], &[&["deceasedDateTime"]]),
    ("discharge-disposition", &[], &[&["hospitalization", "dischargeDisposition"]]),
    ("ethnicity", &[], &[&["extension", ETHNICITY, "extension", "valueCoding", "code"]]),
    ("family", &[], &[&["name", "family"]]),
    ("given", &[], &[&["name", "given"]]),
    ("lifecycle-status", &[], &[&["lifecycleStatus"]]),
    ("location", &[], &[&["location", "location"]]),
    ("name", &["Location", "Organization"], &[&["name"], &["alias"]]),
    ("onset-date", &[], &[&["onsetDateTime"], &["onsetPeriod"]]),
    (
        "patient",
        &["AllergyIntolerance", "Device", "Immunization", "RelatedPerson"],
        &[&["patient"]],
    ),
    ("patient", &["Coverage"], &[&["beneficiary"]]),
    ("patient", &[], &[&["subject"]]),
    ("period", &[], &[&["context", "period"]]),
    ("race", &[], &[&["extension", RACE, "extension", "valueCoding", "code"]]),
    ("recorded-date", &[], &[&["recordedDate"]]),
    ("role", &[], &[&["participant", "role"]]),
    ("target-date", &[], &[&["target", "dueDate"]]),
];

/// The elements that a parameter finds.
pub(super) fn elements<'a>(doc: &'a Doc, code: &str) -> Vec<&'a Value> {
    let row = PLACES
        .iter()
        .find(|(name, of, _)| *name == code && (of.is_empty() || of.contains(&doc.of.as_str())));
    let Some((_, _, ways)) = row else { return step(vec![&doc.value], code) };
    let mut found = Vec::new();
    for way in *ways {
        found.extend(way.iter().fold(vec![&doc.value], |here, name| step(here, name)));
    }
    found
}

fn step<'a>(from: Vec<&'a Value>, name: &str) -> Vec<&'a Value> {
    if name.starts_with("http") {
        return from.into_iter().filter(|extension| extension["url"] == name).collect();
    }
    let inner = from.into_iter().filter_map(|value| value.get(name));
    inner
        .flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice))
        .collect()
}
