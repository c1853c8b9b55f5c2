//! Vital signs and laboratory reports.

use super::body::Smoking;
use super::build::{
    Code, Doc, LOINC, SNOMED, Val, concept, days_between, list, moment, plain_concept, quantity,
    reference,
};
use super::chart::{Chart, Encounter};
use super::labs;
use super::panels::{PANELS, Panel, Test, VITALS};
use super::patient::category;
use super::tables::HYPERTENSION;

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const INTERPRETATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";

/// Height, weight, body mass index, blood pressure and the other vital signs; smoking where it is
/// asked for.
pub(super) fn add_vitals(chart: &mut Chart<'_>, encounter: &Encounter, is_check_up: bool) {
    let on = encounter.start.date();
    let age = chart.age_at(on);
    let has_hypertension = chart.has(HYPERTENSION);
    let days = days_between(chart.born, on);
    let found = chart.body.measure(&mut chart.random, days, has_hypertension);
    let mut signs = vec![
        (Code(LOINC, "8302-2", "Body height"), found.height, 1, "cm"),
        (Code(LOINC, "29463-7", "Body weight"), found.weight, 1, "kg"),
    ];
    if age >= 2 {
        let code = Code(LOINC, "39156-5", "Body mass index (BMI) [Ratio]");
        signs.push((code, found.index, 1, "kg/m2"));
    }
    signs.push((Code(LOINC, "8867-4", "Heart rate"), found.pulse, 0, "/min"));
    signs.push((Code(LOINC, "9279-1", "Respiratory rate"), found.breaths, 0, "/min"));
    for vital in VITALS {
        let value = chart.random.around(vital.drawn.0, vital.drawn.1);
        signs.push((vital.code, value, vital.places, vital.unit));
    }
    for (code, value, places, unit) in signs {
        let doc = observation(chart, encounter, code, "vital-signs")
            .with("valueQuantity", quantity(value, places, unit));
        chart.add(doc, code.2);
    }
    add_blood_pressure(chart, encounter, found.systolic, found.diastolic);
    if is_check_up && age >= 13 {
        add_smoking_status(chart, encounter, age);
    }
}

fn add_blood_pressure(chart: &mut Chart<'_>, encounter: &Encounter, systolic: i64, diastolic: i64) {
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

fn add_smoking_status(chart: &mut Chart<'_>, encounter: &Encounter, age: i64) {
    let answer = match chart.body.smoking(age) {
        Smoking::Daily => Code(SNOMED, "449868002", "Smokes tobacco daily"),
        Smoking::Former => Code(SNOMED, "8517006", "Ex-smoker"),
        Smoking::Never => Code(SNOMED, "266919005", "Never smoked tobacco"),
    };
    let code = Code(LOINC, "72166-2", "Tobacco smoking status");
    let doc = observation(chart, encounter, code, "social-history")
        .with("valueCodeableConcept", concept(answer));
    chart.add(doc, answer.2);
}

/// A laboratory report of one panel, its results as Observations of their own.
pub(super) fn add_report(chart: &mut Chart<'_>, encounter: &Encounter) {
    let age = chart.age_at(encounter.start.date());
    let fits = |panel: &&Panel| {
        age >= panel.from_age && panel.problem.is_none_or(|problem| chart.has(problem))
    };
    let panels: Vec<&Panel> = PANELS.iter().filter(fits).collect();
    if panels.is_empty() {
        return;
    }
    let panel = *chart.random.pick(&panels);
    let mut values: Vec<(&str, i64)> = Vec::with_capacity(panel.tests.len());
    let mut results: Vec<Val> = Vec::with_capacity(panel.tests.len());
    for test in panel.tests {
        let value = labs::value(chart, test, age, &values);
        values.push((test.code.1, value));
        results.push(reference(add_result(chart, encounter, test, value, age)));
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

fn add_result(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    test: &Test,
    value: i64,
    age: i64,
) -> String {
    let (low, high) = labs::normal(test, age, chart.is_female);
    let flag = match value {
        _ if low.is_some_and(|low| value < low) => "L",
        _ if high.is_some_and(|high| value > high) => "H",
        _ => "N",
    };
    let bound = |value: i64| quantity(value, test.places, test.unit);
    let range = Doc::new().with_some("low", low.map(bound)).with_some("high", high.map(bound));
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
