//! Vital signs: what is measured at a visit, what children are measured for beside it, and what was
//! not taken.
//!
//! Spec: <https://hl7.org/fhir/us/core/STU6.1/StructureDefinition-us-core-vital-signs.html>

use super::build::{
    Code, Doc, LOINC, Val, absent, coding, concept, days_between, period, quantity,
};
use super::chart::{Chart, Encounter};
use super::observations::{add_smoking_status, observation};
use super::panels::VITALS;
use super::tables::{ASTHMA, CHRONIC_LUNG, HYPERTENSION};

/// One in so many measurements is not taken; it has no factor in common with the numbers of signs
/// at a visit, so that each of them is missed at times.
const MISSED: u64 = 43;

const PULSE_OXIMETRY: Code =
    Code(LOINC, "59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry");
const SATURATION: Code = Code(LOINC, "2708-6", "Oxygen saturation in Arterial blood");

/// A sign, its value (scaled), the digits after the point, and the unit.
type Sign = (Code, i64, u32, &'static str);

/// Height, weight, body mass index, blood pressure and the other vital signs; smoking where it is
/// asked for.
pub(super) fn add_vitals(chart: &mut Chart<'_>, encounter: &Encounter, is_check_up: bool) {
    let on = encounter.start.date();
    let age = chart.age_at(on);
    let has_hypertension = chart.has(HYPERTENSION);
    let days = days_between(chart.born, on);
    let found = chart.body.measure(&mut chart.random, days, has_hypertension);
    let mut signs: Vec<Sign> = vec![
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
    for sign in signs {
        let is_missed = is_missed(chart);
        add_sign(chart, encounter, sign, is_missed.then_some("unknown"));
    }
    add_growth(chart, encounter, days);
    add_blood_pressure(chart, encounter, found.systolic, found.diastolic);
    if is_check_up && age >= 13 {
        add_smoking_status(chart, encounter, age);
    }
    chart.measured_visits += 1;
}

/// Whether the next measurement is one that was not taken.
fn is_missed(chart: &mut Chart<'_>) -> bool {
    chart.measurements += 1;
    chart.measurements.is_multiple_of(MISSED)
}

/// One sign; `reason` tells why there is no value.
fn add_sign(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    (code, value, places, unit): Sign,
    reason: Option<&'static str>,
) {
    let mut doc = observation(chart, encounter, code, "vital-signs");
    match reason {
        Some(reason) => doc.set("dataAbsentReason", absent(reason)),
        None => doc.set("valueQuantity", quantity(value, places, unit)),
    }
    if code.1 == SATURATION.1 {
        let both = vec![coding(PULSE_OXIMETRY), coding(SATURATION)];
        doc.set("code", Doc::new().with("coding", both).with("text", PULSE_OXIMETRY.2));
        add_oxygen(chart, encounter, &mut doc);
    }
    chart.add(doc, code.2);
}

/// The oxygen that was given meanwhile, to those who have trouble to breathe and in emergencies;
/// nobody noted how much at each third time.
fn add_oxygen(chart: &mut Chart<'_>, encounter: &Encounter, doc: &mut Doc) {
    let is_short = chart.has(CHRONIC_LUNG) || chart.has(ASTHMA);
    if !encounter.is_emergency && !is_short {
        return;
    }
    chart.oxygen_given += 1;
    let is_noted = !chart.oxygen_given.is_multiple_of(3);
    let litres = chart.random.between(1, 6);
    let part = |code, display, value, unit| -> Val {
        let part = Doc::new().with("code", concept(Code(LOINC, code, display)));
        let part = if is_noted {
            part.with("valueQuantity", quantity(value, 0, unit))
        } else {
            part.with("dataAbsentReason", absent("unknown"))
        };
        part.into()
    };
    let parts = vec![
        part("3151-8", "Inhaled oxygen flow rate", litres, "L/min"),
        part("3150-0", "Inhaled oxygen concentration", 20 + 4 * litres, "%"),
    ];
    doc.set("component", parts);
}

/// Head circumference and percentiles of children; at the first visit they will not hold still.
fn add_growth(chart: &mut Chart<'_>, encounter: &Encounter, days: i64) {
    let found = chart.body.growth(days);
    let mut signs: Vec<Sign> = Vec::new();
    if days < 3 * 365 {
        let head = Code(LOINC, "9843-4", "Head Occipital-frontal circumference");
        let of_head = Code(LOINC, "8289-1", "Head Occipital-frontal circumference Percentile");
        let of_weight = Code(LOINC, "77606-2", "Weight-for-length Per age and sex");
        signs.push((head, found.head, 1, "cm"));
        signs.push((of_head, found.head_percentile, 0, "%"));
        signs.push((of_weight, found.weight_percentile, 0, "%"));
    }
    if (2 * 366..20 * 365).contains(&days) {
        let of_index = Code(LOINC, "59576-9", "Body mass index (BMI) [Percentile] Per age and sex");
        signs.push((of_index, found.weight_percentile, 0, "%"));
    }
    let reason = (chart.measured_visits == 0).then_some("not-performed");
    for sign in signs {
        add_sign(chart, encounter, sign, reason);
    }
}

fn add_blood_pressure(chart: &mut Chart<'_>, encounter: &Encounter, systolic: i64, diastolic: i64) {
    let is_missed = is_missed(chart);
    let part = |code, display, value| -> Val {
        let part = Doc::new().with("code", concept(Code(LOINC, code, display)));
        let part = if is_missed {
            part.with("dataAbsentReason", absent("unknown"))
        } else {
            part.with("valueQuantity", quantity(value, 0, "mm[Hg]"))
        };
        part.into()
    };
    let components = vec![
        part("8480-6", "Systolic blood pressure", systolic),
        part("8462-4", "Diastolic blood pressure", diastolic),
    ];
    let panel = Code(LOINC, "85354-9", "Blood pressure panel with all children optional");
    let doc = observation(chart, encounter, panel, "vital-signs")
        .with_some("dataAbsentReason", is_missed.then(|| absent("unknown")))
        .with("component", components);
    chart.add(doc, &format!("Blood pressure {systolic}/{diastolic} mmHg"));
    if !is_missed {
        chart.pressures.push((systolic, diastolic));
    }
}

/// The mean of the last blood pressures, for those past forty.
pub(super) fn add_average(chart: &mut Chart<'_>, encounter: &Encounter) {
    let last: Vec<_> = chart.pressures.iter().rev().take(3).copied().collect();
    let age = chart.age_at(encounter.start.date());
    if encounter.is_remote || age < 40 || last.len() < 2 {
        return;
    }
    let count = last.len() as i64;
    let mean = |sum: i64| sum / count;
    let part = |code, display, value| -> Val {
        Doc::new()
            .with("code", concept(Code(LOINC, code, display)))
            .with("valueQuantity", quantity(value, 0, "mm[Hg]"))
            .into()
    };
    let systolic = mean(last.iter().map(|(systolic, _)| systolic).sum());
    let diastolic = mean(last.iter().map(|(_, diastolic)| diastolic).sum());
    let components = vec![
        part("96608-5", "Systolic blood pressure mean", systolic),
        part("96609-3", "Diastolic blood pressure mean", diastolic),
    ];
    let code = Code(LOINC, "96607-7", "Blood pressure panel mean systolic and mean diastolic");
    let mut doc = observation(chart, encounter, code, "vital-signs").with("component", components);
    // Half of the means say how long they were made for.
    if let (Some(first), false) = (chart.first_visit, chart.turn.is_multiple_of(2)) {
        doc.remove("effectiveDateTime");
        doc.set("effectivePeriod", period(first, encounter.start));
    }
    chart.add(doc, code.2);
}
