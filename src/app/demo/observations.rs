//! Laboratory reports, and what all observations have.

use super::body::Smoking;
use super::build::{
    Code, Doc, LOINC, SNOMED, Val, absent, concept, list, moment, plain_concept, quantity,
    reference,
};
use super::chart::{Chart, Encounter};
use super::labs;
use super::orders;
use super::panels::{PANELS, Panel, Test};
use super::patient::category;

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const INTERPRETATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";

/// What is said about smoking at a check-up.
pub(super) fn add_smoking_status(chart: &mut Chart<'_>, encounter: &Encounter, age: i64) {
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

/// How the patient looks, in words.
pub(super) fn add_appearance(chart: &mut Chart<'_>, encounter: &Encounter) {
    const WORDS: &[&str] = &["Well, in no distress", "Tired, in no distress", "Alert and cheerful"];
    let words = *chart.random.pick(WORDS);
    let code = Code(LOINC, "10210-3", "Physical findings of General status Narrative");
    let doc = observation(chart, encounter, code, "exam").with("valueString", words);
    chart.add(doc, words);
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
    let specimen = orders::add_specimen(chart, encounter, &orders::BLOOD);
    for test in panel.tests {
        let value = labs::value(chart, test, age, &values);
        values.push((test.code.1, value));
        results.push(reference(add_result(chart, encounter, &specimen, test, (value, age))));
    }
    file_report(chart, encounter, panel.code, &specimen, results);
}

/// The report of results that are in the chart.
fn file_report(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    code: Code,
    specimen: &str,
    results: Vec<Val>,
) {
    let service = Code("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB", "Laboratory");
    let doc = chart
        .resource("DiagnosticReport")
        .with("status", "final")
        .with("category", list(concept(service)))
        .with("code", concept(code))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("effectiveDateTime", moment(encounter.start))
        .with("issued", moment(encounter.end))
        .with(
            "performer",
            vec![encounter.organization.reference(), encounter.practitioner.reference()],
        )
        .with("resultsInterpreter", list(encounter.practitioner.reference()))
        .with("specimen", list(reference(specimen.to_owned())))
        .with("result", results);
    chart.add(doc, code.2);
}

/// What a test strip in urine shows: a colour in words, nitrite as a code, protein as a number.
pub(super) fn add_urinalysis(chart: &mut Chart<'_>, encounter: &Encounter) {
    let specimen = orders::add_specimen(chart, encounter, &orders::URINE);
    let colour = *chart.random.pick(&["Yellow", "Pale yellow", "Amber"]);
    let nitrite = if chart.random.chance(10) {
        Code(SNOMED, "10828004", "Positive")
    } else {
        Code(SNOMED, "260385009", "Negative")
    };
    let protein = chart.random.between(0, 3) * 10;
    let of = |chart: &mut Chart<'_>, code, display| {
        observation(chart, encounter, Code(LOINC, code, display), "laboratory")
            .with("specimen", reference(specimen.clone()))
    };
    let first = of(chart, "5778-6", "Color of Urine").with("valueString", colour);
    let second = of(chart, "5802-4", "Nitrite [Presence] in Urine by Test strip");
    chart.strips += 1;
    // A strip that was read too late tells nothing about nitrite.
    let second = if chart.strips.is_multiple_of(4) {
        second.with("dataAbsentReason", absent("error"))
    } else {
        second.with("valueCodeableConcept", concept(nitrite))
    };
    let third = of(chart, "5804-0", "Protein [Mass/volume] in Urine by Test strip")
        .with("valueQuantity", quantity(protein, 0, "mg/dL"));
    let mut results = Vec::with_capacity(3);
    for (doc, summary) in [(first, "Colour"), (second, "Nitrite"), (third, "Protein")] {
        results.push(reference(chart.add(doc, &format!("{summary} of urine"))));
    }
    let panel = Code(LOINC, "24356-8", "Urinalysis complete panel - Urine");
    file_report(chart, encounter, panel, &specimen, results);
}

fn add_result(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    specimen: &str,
    test: &Test,
    (value, age): (i64, i64),
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
        .with("referenceRange", list(range))
        .with("specimen", reference(specimen.to_owned()));
    let target = chart.add(doc, test.code.2);
    chart.last_result = Some(target.clone());
    target
}

/// An Observation of a visit, without its value.
pub(super) fn observation(
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
