//! What a clinician would stumble over in the demo data.

use std::collections::{BTreeMap, BTreeSet};

use super::{Generator, Part};
use crate::fhir::json::Value;

const LAST_DAY: &str = "2025-06-30";

/// One patient's resources.
struct Record(Vec<Value<'static>>);

impl Record {
    fn all(&self, resource_type: &str) -> impl Iterator<Item = &Value<'static>> {
        self.0.iter().filter(move |it| it.str_at("resourceType") == Some(resource_type))
    }

    fn patient(&self) -> &Value<'static> {
        self.all("Patient").next().unwrap()
    }

    fn born(&self) -> &str {
        self.patient().str_at("birthDate").unwrap()
    }

    fn last_day(&self) -> &str {
        self.patient().str_at("deceasedDateTime").unwrap_or(LAST_DAY)
    }

    /// Age in whole years at a date.
    fn age_at(&self, date: &str) -> i32 {
        let year = |text: &str| text[..4].parse::<i32>().unwrap();
        year(date) - year(self.born()) - i32::from(date[5..10] < self.born()[5..10])
    }

    /// Values of an observation by its code, oldest first.
    fn values(&self, code: &str) -> Vec<(&str, f64)> {
        let found = self.all("Observation").filter(|it| text_of(it) == code);
        let found = found.filter(|it| it.get("dataAbsentReason").is_none());
        let value =
            |it: &Value<'_>| it.get("valueQuantity")?.get("value")?.as_number()?.parse().ok();
        found.map(|it| (it.str_at("effectiveDateTime").unwrap(), value(it).unwrap())).collect()
    }

    /// References of resources to visits by video.
    fn remote(&self) -> BTreeSet<String> {
        let is_remote = |it: &&Value<'_>| it.get("class").unwrap().str_at("code") == Some("VR");
        let visits = self.all("Encounter").filter(is_remote);
        visits.map(|it| format!("urn:uuid:{}", it.str_at("id").unwrap())).collect()
    }
}

fn records() -> Vec<Record> {
    let bundles = Generator::new(3).bundles(250);
    let patients = bundles.filter(|bundle| matches!(bundle.part, Part::Patient(_)));
    let resources = |entries: &[Value<'static>]| {
        entries.iter().map(|entry| entry.get("resource").unwrap().clone()).collect()
    };
    patients.map(|bundle| Record(resources(bundle.value.items_at("entry")))).collect()
}

fn text_of(of: &Value<'_>) -> String {
    let coded = ["code", "vaccineCode", "medicationCodeableConcept"];
    let coded = coded.iter().find_map(|name| of.get(name)?.str_at("text"));
    let by_name = || of.get("medicationReference")?.str_at("display");
    coded.or_else(by_name).unwrap().to_owned()
}

/// Every date within, with the name of its element.
fn dates<'v>(value: &'v Value<'_>, name: &'v str, found: &mut Vec<(&'v str, &'v str)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| dates(item, name, found)),
        Value::Object(object) => object.iter().for_each(|(name, it)| dates(it, name, found)),
        _ => {
            let text = value.as_str().filter(|it| it.len() >= 10 && it.as_bytes()[4] == b'-');
            let digits = |it: &&str| it[..4].bytes().all(|byte| byte.is_ascii_digit());
            found.extend(text.filter(digits).map(|text| (name, text)));
        }
    }
}

#[test]
fn nothing_happens_before_birth_or_after_the_end() {
    let records = records();
    assert!(records.iter().any(|record| record.last_day() < LAST_DAY), "nobody has died");
    for record in &records {
        for resource in &record.0 {
            let mut found = Vec::new();
            dates(resource, "", &mut found);
            // Devices and vaccines last, and goals are set, beyond the end.
            let ahead = ["dueDate", "expirationDate"];
            for (name, date) in found.into_iter().filter(|(name, _)| !ahead.contains(name)) {
                let day = &date[..10];
                let lived = record.born() <= day && day <= &record.last_day()[..10];
                assert!(lived, "{name} {date}: {}", resource.to_text());
            }
        }
        for condition in record.all("Condition") {
            let at = |name| condition.str_at(name).map(|text| &text[..10]);
            assert!(at("onsetDateTime") <= at("recordedDate"), "{}", condition.to_text());
            let is_over = at("abatementDateTime").is_some();
            let status =
                condition.get("clinicalStatus").unwrap().items_at("coding")[0].str_at("code");
            assert_eq!(status == Some("resolved"), is_over, "{}", condition.to_text());
        }
    }
}

#[test]
fn bodies_do_not_jump() {
    for record in &records() {
        let heights = record.values("Body height");
        for pair in heights.windows(2) {
            let ((_, before), (date, after)) = (pair[0], pair[1]);
            assert!(before <= after, "{date}: {before} to {after}");
            assert!(
                record.age_at(date) < 20 || after - before < 1.0,
                "{date}: {before} to {after}"
            );
        }
        for pair in record.values("Body weight").windows(2) {
            let ((_, before), (date, after)) = (pair[0], pair[1]);
            assert!((after - before).abs() < 16.0, "{date}: {before} to {after}");
        }
    }
}

#[test]
fn results_agree_with_each_other() {
    for record in &records() {
        let of = |code| record.values(code);
        let total = of("Cholesterol [Mass/volume] in Serum or Plasma");
        let high = of("Cholesterol in HDL [Mass/volume] in Serum or Plasma");
        let low = of("Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation");
        for ((total, high), low) in total.iter().zip(&high).zip(&low) {
            assert!(low.1 > 20.0 && high.1 + low.1 < total.1, "{total:?} {high:?} {low:?}");
        }
        let has_diabetes =
            record.all("Condition").any(|it| text_of(it) == "Diabetes mellitus type 2");
        assert!(has_diabetes || of("Hemoglobin A1c/Hemoglobin.total in Blood").is_empty());
    }
}

#[test]
fn treatment_fits_the_person_and_the_visit() {
    for record in &records() {
        let remote = record.remote();
        let is_child = record.age_at(record.last_day()) < 18;
        assert_eq!(record.patient().get("maritalStatus").is_none(), is_child);
        let mut active = BTreeMap::new();
        for order in record.all("MedicationRequest") {
            let age = record.age_at(order.str_at("authoredOn").unwrap());
            assert!(age >= 12 || text_of(order).contains("albuterol"), "{}", order.to_text());
            if order.str_at("status") == Some("active") {
                *active.entry(text_of(order)).or_insert(0) += 1;
            }
        }
        assert!(active.values().all(|count| *count == 1), "taken twice: {active:?}");
        // What is only talked about needs no hand.
        let is_talk = |it: &&Value<'_>| {
            let code = it.items_at("category")[0].items_at("coding")[0].str_at("code");
            matches!(code, Some("social-history" | "survey"))
                || code.is_some_and(|code| code.ends_with("-preference"))
        };
        for observation in record.all("Observation").filter(|it| !is_talk(it)) {
            let visit = observation.get("encounter").unwrap().str_at("reference").unwrap();
            assert!(!remote.contains(visit), "measured by video: {}", observation.to_text());
        }
        let mut given = BTreeMap::new();
        for shot in record.all("Immunization").filter(|it| !text_of(it).starts_with("Influenza")) {
            let age = record.age_at(shot.str_at("occurrenceDateTime").unwrap());
            *given.entry((text_of(shot), age)).or_insert(0) += 1;
        }
        for ((vaccine, age), count) in given {
            assert!(count <= if age == 0 { 3 } else { 1 }, "{vaccine} at {age}: {count} times");
        }
    }
}
