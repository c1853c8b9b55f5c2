//! Which profiles of US Core a resource of the demo data says that it keeps to.
//!
//! The canonicals name no version: the data keeps to 6.1.0, and to 3.1.1 and 7.0.0 where these have
//! the profile too.
//!
//! Spec: <https://hl7.org/fhir/us/core/STU6.1/profiles-and-extensions.html>

use super::build::{Doc, Val, list};
use crate::fhir::json::Value;

const CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/";

/// Observations that one code tells, with the profile of that code.
const OBSERVATIONS: &[(&str, &str)] = &[
    ("8289-1", "head-occipital-frontal-circumference-percentile"),
    ("59576-9", "pediatric-bmi-for-age"),
    ("77606-2", "pediatric-weight-for-height"),
    ("96607-7", "us-core-average-blood-pressure"),
    ("85354-9", "us-core-blood-pressure"),
    ("39156-5", "us-core-bmi"),
    ("8302-2", "us-core-body-height"),
    ("8310-5", "us-core-body-temperature"),
    ("29463-7", "us-core-body-weight"),
    ("9843-4", "us-core-head-circumference"),
    ("8867-4", "us-core-heart-rate"),
    ("59408-5", "us-core-pulse-oximetry"),
    ("9279-1", "us-core-respiratory-rate"),
    ("11341-5", "us-core-observation-occupation"),
    ("86645-9", "us-core-observation-pregnancyintent"),
    ("82810-3", "us-core-observation-pregnancystatus"),
    ("76690-7", "us-core-observation-sexual-orientation"),
    ("72166-2", "us-core-smokingstatus"),
    ("95541-9", "us-core-care-experience-preference"),
    ("75773-2", "us-core-treatment-intervention-preference"),
];

/// Types with one profile.
const TYPES: &[(&str, &str)] = &[
    ("AllergyIntolerance", "us-core-allergyintolerance"),
    ("CarePlan", "us-core-careplan"),
    ("CareTeam", "us-core-careteam"),
    ("Coverage", "us-core-coverage"),
    ("Device", "us-core-implantable-device"),
    ("DocumentReference", "us-core-documentreference"),
    ("Encounter", "us-core-encounter"),
    ("Goal", "us-core-goal"),
    ("Immunization", "us-core-immunization"),
    ("Location", "us-core-location"),
    ("Medication", "us-core-medication"),
    ("MedicationDispense", "us-core-medicationdispense"),
    ("MedicationRequest", "us-core-medicationrequest"),
    ("Organization", "us-core-organization"),
    ("Patient", "us-core-patient"),
    ("Practitioner", "us-core-practitioner"),
    ("PractitionerRole", "us-core-practitionerrole"),
    ("Procedure", "us-core-procedure"),
    ("Provenance", "us-core-provenance"),
    ("QuestionnaireResponse", "us-core-questionnaireresponse"),
    ("RelatedPerson", "us-core-relatedperson"),
    ("ServiceRequest", "us-core-servicerequest"),
    ("Specimen", "us-core-specimen"),
];

/// Writes the profile of `doc` into its `meta`; a resource of another kind stays as it is.
pub(super) fn claim(doc: &mut Doc) {
    if let Some(name) = profile(doc) {
        doc.set("meta", Doc::new().with("profile", list(format!("{CORE}{name}"))));
    }
}

fn profile(doc: &Doc) -> Option<&'static str> {
    let of = doc.get("resourceType").and_then(Value::as_str)?;
    match of {
        "Condition" if has(doc, "category", "encounter-diagnosis") => {
            Some("us-core-condition-encounter-diagnosis")
        }
        "Condition" => Some("us-core-condition-problems-health-concerns"),
        "DiagnosticReport" if has(doc, "category", "LAB") => Some("us-core-diagnosticreport-lab"),
        "DiagnosticReport" => Some("us-core-diagnosticreport-note"),
        "Observation" => Some(observation(doc)),
        _ => TYPES.iter().find(|(known, _)| *known == of).map(|(_, name)| *name),
    }
}

fn observation(doc: &Doc) -> &'static str {
    let coded = OBSERVATIONS.iter().find(|(code, _)| has(doc, "code", code));
    match coded {
        Some((_, name)) => name,
        None if has(doc, "category", "laboratory") => "us-core-observation-lab",
        None if has(doc, "category", "survey") => "us-core-observation-screening-assessment",
        None if ["exam", "imaging", "procedure"].iter().any(|kind| has(doc, "category", kind)) => {
            "us-core-observation-clinical-result"
        }
        None => "us-core-simple-observation",
    }
}

/// Whether the CodeableConcept, or one of those, at `name` has `code`.
fn has(doc: &Doc, name: &str, code: &str) -> bool {
    let has_code = |concept: &Val| {
        concept.items_at("coding").iter().any(|coding| coding.str_at("code") == Some(code))
    };
    match doc.get(name) {
        Some(Value::Array(items)) => items.iter().any(has_code),
        Some(concept) => has_code(concept),
        None => false,
    }
}
