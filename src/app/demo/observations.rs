//! Vital signs and laboratory reports.

use super::build::{
    Code, Doc, LOINC, SNOMED, Val, concept, list, moment, plain_concept, quantity, reference,
};
use super::chart::{Chart, Encounter};
use super::patient::category;
use super::tables::{PANELS, Test, VITALS};

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const INTERPRETATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";

/// Height, weight, body mass index, blood pressure, the other vital signs, and smoking status.
pub(super) fn add_vitals(chart: &mut Chart<'_>, encounter: &Encounter) {
    let age = chart.age_at(encounter.start.date());
    let (height, weight) = body(chart, age);
    let index = weight * 1_000_000 / (height * height).max(1);
    for (code, display, scaled, unit) in [
        ("8302-2", "Body height", height, "cm"),
        ("29463-7", "Body weight", weight, "kg"),
        ("39156-5", "Body mass index (BMI) [Ratio]", index, "kg/m2"),
    ] {
        let doc = observation(chart, encounter, Code(LOINC, code, display), "vital-signs")
            .with("valueQuantity", quantity(scaled, 1, unit));
        chart.add(doc, display);
    }
    add_blood_pressure(chart, encounter, age);
    for vital in VITALS {
        let value = chart.random.around(vital.drawn.0, vital.drawn.1);
        let doc = observation(chart, encounter, vital.code, "vital-signs")
            .with("valueQuantity", quantity(value, vital.places, vital.unit));
        chart.add(doc, vital.code.2);
    }
    if age >= 12 {
        add_smoking_status(chart, encounter);
    }
}

/// Height in millimetres and weight in tenths of a kilogram at `age`, so that both print one digit.
fn body(chart: &mut Chart<'_>, age: i64) -> (i64, i64) {
    let random = &mut chart.random;
    let height = match age {
        0..=17 => 550 + age * 65 + random.around(-60, 60),
        _ if chart.is_female => random.around(1_520, 1_760),
        _ => random.around(1_640, 1_910),
    };
    let index = if age < 18 { random.around(150, 230) } else { random.around(190, 360) };
    (height, index * height * height / 1_000_000)
}

fn add_blood_pressure(chart: &mut Chart<'_>, encounter: &Encounter, age: i64) {
    let systolic = chart.random.around(90, 140) + age / 5;
    let diastolic = systolic * 6 / 10 + chart.random.around(-6, 8);
    let part = |code, display, value| -> Val {
        Doc::new()
            .with("code", concept(Code(LOINC, code, display)))
            .with("valueQuantity", quantity(value, 0, "mm[Hg]"))
            .into()
    };
    let components = vec![
        part("8480-6", "Systolic blood pressure", systolic),
        part("8462-4", "Diastolic blood pressure", diastolic),
    ];
    let panel = Code(LOINC, "85354-9", "Blood pressure panel with all children optional");
    let doc = observation(chart, encounter, panel, "vital-signs").with("component", components);
    chart.add(doc, &format!("Blood pressure {systolic}/{diastolic} mmHg"));
}

fn add_smoking_status(chart: &mut Chart<'_>, encounter: &Encounter) {
    const ANSWERS: [Code; 4] = [
        Code(SNOMED, "266919005", "Never smoked tobacco"),
        Code(SNOMED, "266919005", "Never smoked tobacco"),
        Code(SNOMED, "8517006", "Ex-smoker"),
        Code(SNOMED, "449868002", "Smokes tobacco daily"),
    ];
    let answer = *chart.random.pick(&ANSWERS);
    let code = Code(LOINC, "72166-2", "Tobacco smoking status");
    let doc = observation(chart, encounter, code, "social-history")
        .with("valueCodeableConcept", concept(answer));
    chart.add(doc, answer.2);
}

/// A laboratory report of one panel, its results as Observations of their own.
pub(super) fn add_report(chart: &mut Chart<'_>, encounter: &Encounter) {
    let panel = chart.random.pick(PANELS);
    let mut results: Vec<Val> = Vec::with_capacity(panel.tests.len());
    for test in panel.tests {
        results.push(reference(add_result(chart, encounter, test)));
    }
    let service = Code("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB", "Laboratory");
    let doc = chart
        .resource("DiagnosticReport")
        .with("status", "final")
        .with("category", list(concept(service)))
        .with("code", concept(panel.code))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("effectiveDateTime", moment(encounter.start))
        .with("issued", moment(encounter.end))
        .with("performer", list(encounter.organization.reference()))
        .with("resultsInterpreter", list(encounter.practitioner.reference()))
        .with("result", results);
    chart.add(doc, panel.code.2);
}

fn add_result(chart: &mut Chart<'_>, encounter: &Encounter, test: &Test) -> String {
    let value = chart.random.around(test.drawn.0, test.drawn.1);
    let (low, high) = test.normal;
    let flag = match value {
        _ if value < low => "L",
        _ if value > high => "H",
        _ => "N",
    };
    let range = Doc::new()
        .with("low", quantity(low, test.places, test.unit))
        .with("high", quantity(high, test.places, test.unit));
    let doc = observation(chart, encounter, test.code, "laboratory")
        .with("valueQuantity", quantity(value, test.places, test.unit))
        .with("interpretation", list(plain_concept(INTERPRETATION, flag)))
        .with("referenceRange", list(range));
    chart.add(doc, test.code.2)
}

fn observation(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    code: Code,
    kind: &'static str,
) -> Doc {
    chart
        .resource("Observation")
        .with("status", "final")
        .with("category", category(CATEGORY, kind))
        .with("code", concept(code))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("effectiveDateTime", moment(encounter.start))
        .with("issued", moment(encounter.end))
        .with("performer", list(encounter.practitioner.reference()))
}
