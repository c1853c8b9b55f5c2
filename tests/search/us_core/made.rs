//! Resources of our own making, for what Synthea's data lack.
//!
//! Sixteen of each type, by the bits of their number: the lowest chooses the patient, the next a
//! category or code, the next a status, the last a date. So each parameter of a search chooses.

use serde_json::{Value, json};

const COUNT: usize = 16;
const TERMS: &str = "http://terminology.hl7.org/CodeSystem";
const CORE: &str = "http://hl7.org/fhir/us/core";

/// Type, system and code of the categories that US Core's searches name (rest 9.19).
pub(super) const CATEGORIES: &[(&str, &str, &str)] = &[
    ("CarePlan", "http://hl7.org/fhir/us/core/CodeSystem/careplan-category", "assess-plan"),
    (
        "Condition",
        "http://terminology.hl7.org/CodeSystem/condition-category",
        "encounter-diagnosis",
    ),
    ("Condition", "http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item"),
    ("Condition", "http://hl7.org/fhir/us/core/CodeSystem/condition-category", "health-concern"),
    ("DiagnosticReport", "http://loinc.org", "LP29684-5"),
    ("DiagnosticReport", "http://loinc.org", "LP29708-2"),
    ("DiagnosticReport", "http://loinc.org", "LP7839-6"),
    ("DiagnosticReport", "http://terminology.hl7.org/CodeSystem/v2-0074", "LAB"),
    (
        "DocumentReference",
        "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
        "clinical-note",
    ),
    ("Observation", "http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "sdoh"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "exam"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "imaging"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "laboratory"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "procedure"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "social-history"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "survey"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs"),
];

/// Types whose resources a Provenance is the provenance of.
pub(super) const CLINICAL: &[&str] = &[
    "AllergyIntolerance",
    "CarePlan",
    "CareTeam",
    "Condition",
    "Coverage",
    "Device",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Goal",
    "Immunization",
    "MedicationDispense",
    "MedicationRequest",
    "Observation",
    "Patient",
    "Procedure",
    "QuestionnaireResponse",
    "RelatedPerson",
    "ServiceRequest",
];

/// All of them; two patients are there already.
pub(super) fn resources(patients: &[String]) -> Vec<Value> {
    let mut found = Vec::new();
    for number in 0..COUNT {
        let made = Made { number, patient: format!("Patient/{}", patients[number & 1]) };
        let (records, requests) = (made.records(), made.requests());
        found.extend(records.into_iter().chain(requests).chain(made.people()));
        found.push(made.provenance());
    }
    for (at, (of, system, code)) in CATEGORIES.iter().enumerate() {
        let mut resource = found.iter().rfind(|it| it["resourceType"] == *of).unwrap().clone();
        resource["id"] = json!(format!("category-{at}"));
        resource["category"] = json!([concept(system, code)]);
        found.push(resource);
    }
    found
}

fn concept(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": system, "code": code }] })
}

struct Made {
    number: usize,
    patient: String,
}

impl Made {
    fn id(&self, of: &str) -> String {
        format!("{}-{}", of.to_lowercase(), self.number)
    }

    fn chosen<'a>(&self, bit: usize, pair: [&'a str; 2]) -> &'a str {
        pair[(self.number >> bit) & 1]
    }

    fn code(&self) -> Value {
        concept("http://example.org/codes", self.chosen(1, ["one", "two"]))
    }

    fn status<'a>(&self, first: &'a str, second: &'a str) -> &'a str {
        self.chosen(2, [first, second])
    }

    fn date(&self) -> &str {
        self.chosen(3, ["2021-03-04T10:00:00-05:00", "2022-11-20T23:30:00+01:00"])
    }

    fn day(&self) -> &str {
        self.chosen(3, ["2021-03-04", "2022-11-20"])
    }

    /// Two of the later ones have no end.
    fn period(&self) -> Value {
        let start = self.date();
        let end = self.chosen(3, ["2021-03-05T10:00:00-05:00", "2022-11-21"]);
        if [9, 12].contains(&self.number) {
            json!({ "start": start })
        } else {
            json!({ "start": start, "end": end })
        }
    }

    /// The resource with its type, its id and who it is about.
    fn of(&self, of: &str, subject: &str, mut rest: Value) -> Value {
        rest["resourceType"] = json!(of);
        rest["id"] = json!(self.id(of));
        if !subject.is_empty() {
            rest[subject] = json!({ "reference": self.patient });
        }
        rest
    }

    /// One for both patients, so that a search by encounter needs the patient too.
    fn encounter(&self) -> Value {
        json!({ "reference": format!("Encounter/encounter-{}", self.number & 0b1000) })
    }

    fn records(&self) -> Vec<Value> {
        vec![
            self.of("AllergyIntolerance", "patient", json!({
                "clinicalStatus": concept(&format!("{TERMS}/allergyintolerance-clinical"), self.status("active", "resolved")),
                "code": self.code(),
            })),
            self.of("Condition", "subject", json!({
                "extension": [{
                    "url": "http://hl7.org/fhir/StructureDefinition/condition-assertedDate",
                    "valueDateTime": self.date(),
                }],
                "category": [concept(&format!("{TERMS}/condition-category"), self.chosen(1, ["encounter-diagnosis", "problem-list-item"]))],
                "clinicalStatus": concept(&format!("{TERMS}/condition-clinical"), self.status("active", "resolved")),
                "code": self.code(),
                "encounter": self.encounter(),
                "onsetPeriod": self.period(),
                "abatementDateTime": self.day(),
                "recordedDate": self.date(),
            })),
            self.of("Coverage", "beneficiary", json!({
                "status": "active", "payor": [{ "display": "payor" }],
            })),
            self.of("Device", "patient", json!({
                "type": self.code(), "status": self.status("active", "inactive"),
            })),
            self.of("DiagnosticReport", "subject", json!({
                "category": [concept(&format!("{TERMS}/v2-0074"), self.chosen(1, ["RAD", "CUS"]))],
                "code": self.code(), "status": self.status("final", "amended"),
                "effectivePeriod": self.period(),
            })),
            self.of("DocumentReference", "subject", json!({
                "category": [self.code()], "type": self.code(), "date": self.date(),
                "status": self.status("current", "superseded"),
                "content": [{ "attachment": { "url": "http://example.org/note" } }],
                "context": { "period": self.period() },
            })),
            self.of("Encounter", "subject", json!({
                "identifier": [{ "system": "http://example.org/visits", "value": self.id("visit") }],
                "class": { "system": format!("{TERMS}/v3-ActCode"), "code": self.chosen(1, ["HH", "VR"]) },
                "type": [self.code()], "status": self.status("planned", "triaged"),
                "period": self.period(),
                "location": [{ "location": { "reference": format!("Location/location-{}", self.number & 2) } }],
                "hospitalization": {
                    "dischargeDisposition": concept(&format!("{TERMS}/discharge-disposition"), self.chosen(1, ["home", "hosp"])),
                },
            })),
            self.of("Immunization", "patient", json!({
                "status": self.status("completed", "not-done"), "vaccineCode": self.code(),
                "occurrenceDateTime": self.day(),
            })),
            self.of("Observation", "subject", json!({
                "category": [concept(&format!("{TERMS}/observation-category"), self.chosen(1, ["therapy", "activity"]))],
                "code": self.code(), "status": self.status("final", "amended"),
                "effectivePeriod": self.period(),
            })),
        ]
    }

    fn requests(&self) -> Vec<Value> {
        let medication = json!({ "reference": format!("Medication/medication-{}", self.number) });
        vec![
            self.of("CarePlan", "subject", json!({
                "category": [concept(&format!("{CORE}/CodeSystem/careplan-category"), self.chosen(1, ["assess-plan", "other"]))],
                "intent": "plan", "status": self.status("active", "revoked"), "period": self.period(),
            })),
            self.of("CareTeam", "subject", json!({
                "participant": [{ "role": [self.code()] }], "status": self.status("active", "inactive"),
            })),
            self.of("Goal", "subject", json!({
                "lifecycleStatus": self.status("active", "completed"), "description": self.code(),
                "target": [{ "dueDate": self.day() }],
            })),
            self.of("Medication", "", json!({ "code": self.code() })),
            self.of("MedicationDispense", "subject", json!({
                "status": self.status("completed", "on-hold"), "type": self.code(),
                "medicationReference": medication,
            })),
            self.of("MedicationRequest", "subject", json!({
                "intent": self.chosen(1, ["plan", "proposal"]), "status": self.status("active", "stopped"),
                "medicationReference": medication, "encounter": self.encounter(), "authoredOn": self.date(),
            })),
            self.of("ServiceRequest", "subject", json!({
                "category": [self.code()], "code": self.code(), "intent": "order",
                "status": self.status("active", "revoked"), "authoredOn": self.date(),
            })),
            self.of("Procedure", "subject", json!({
                "status": self.status("completed", "stopped"), "code": self.code(),
                "performedDateTime": self.day(),
            })),
            self.of("QuestionnaireResponse", "subject", json!({
                "status": self.status("completed", "amended"), "authored": self.date(),
                "questionnaire": self.chosen(1, ["http://example.org/q1", "http://example.org/q2|1.0"]),
            })),
            self.of("Specimen", "subject", json!({ "type": self.code() })),
        ]
    }

    fn people(&self) -> Vec<Value> {
        let name = |first, second| json!([{ "family": self.chosen(1, [first, second]), "given": ["Test"] }]);
        let address = json!([{
            "line": ["1 Main Road, West"], "city": self.chosen(1, ["Oldtown", "Newtown"]),
            "state": self.chosen(1, ["ZA", "ZB"]), "postalCode": self.chosen(1, ["00001", "00002"]),
        }]);
        let race = |url: &str, code: &str| {
            json!({
                "url": format!("{CORE}/StructureDefinition/us-core-{url}"),
                "extension": [
                    { "url": "ombCategory", "valueCoding": { "system": "urn:oid:2.16.840.1.113883.6.238", "code": code } },
                    { "url": "text", "valueString": "text" },
                ],
            })
        };
        let practitioner = format!("Practitioner/practitioner-{}", self.number & 1);
        vec![
            self.of("Location", "", json!({
                "name": self.chosen(1, ["North, wing", "South wing"]), "address": address[0],
            })),
            self.of("Organization", "", json!({
                "name": self.chosen(1, ["Oak practice", "Elm practice"]), "address": address,
            })),
            self.of("Patient", "", json!({
                "extension": [race("race", self.chosen(1, ["2106-3", "1002-5"])), race("ethnicity", self.chosen(2, ["2135-2", "2186-5"]))],
                "identifier": [{ "system": "http://example.org/patients", "value": self.id("mrn") }],
                "name": name("Oakley", "Elmore"), "gender": self.status("female", "male"),
                "birthDate": self.chosen(3, ["1950-02-03", "1960-12-13"]), "deceasedDateTime": self.date(),
            })),
            self.of("Practitioner", "", json!({
                "identifier": [{ "system": "http://example.org/npi", "value": self.id("npi") }],
                "name": name("Ashford", "Birchall"),
            })),
            self.of("PractitionerRole", "", json!({
                "practitioner": { "reference": practitioner }, "specialty": [self.code()],
            })),
            self.of("RelatedPerson", "patient", json!({ "name": name("Rowan", "Hazel") })),
        ]
    }

    fn provenance(&self) -> Value {
        let targets: Vec<Value> = CLINICAL
            .iter()
            .map(|of| json!({ "reference": format!("{of}/{}", self.id(of)) }))
            .collect();
        self.of("Provenance", "", json!({
            "target": targets, "recorded": "2023-01-01T00:00:00Z", "agent": [{ "who": { "display": "agent" } }],
        }))
    }
}
