//! Demo data: linked, plausible, seeded patients of our own making, as transaction Bundles.
//!
//! The data is a function of the seed: the same seed gives the same bytes, on every machine and
//! on every day. A patient depends on the seed and its own number alone, so that any part of a
//! million patients can be made without the rest and in constant memory. Every entry is a PUT at
//! a fixed id: loading the same data again changes nothing.
//!
//! It never asks the clock, the network or a real person's record.
//!
//! Layer: 8. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#transaction>

mod body;
mod build;
mod chart;
mod claims;
mod clinical;
mod demographics;
mod drugs;
mod labs;
mod names;
mod observations;
mod orders;
mod panels;
mod patient;
#[cfg(test)]
mod plausible;
mod profiles;
pub(super) mod random;
mod records;
mod social;
mod tables;
mod vitals;
mod world;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::fhir::json::Value;

use build::{Doc, Val};
use world::Practice;

/// Patients who share one practice: its Bundle goes before theirs.
pub const PRACTICE_SIZE: u64 = 1_000;

/// `kiln demo`: what to generate and where it goes.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Number of patients.
    #[arg(long, default_value_t = 20)]
    pub patients: u64,
    /// Seed of the data: the same seed gives the same data.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write a narrative into every resource.
    #[arg(long)]
    pub narratives: bool,
    /// Write one Bundle per line to this file ("-" is standard output) instead of loading them.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What a [`Bundle`] is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// One patient and everything that belongs to the patient.
    Patient(u64),
    /// A practice, which must be loaded before the patients that follow it.
    Practice(u64),
}

/// One transaction Bundle of demo data.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What it is about.
    pub part: Part,
    /// The Bundle: `type` is `transaction`, every entry a PUT with a `urn:uuid:` fullUrl.
    pub value: Value<'static>,
}

impl Bundle {
    /// The Bundle as compact JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 * 1_024);
        self.value.write(&mut out);
        out
    }

    /// Number of resources within.
    pub fn len(&self) -> usize {
        self.value.items_at("entry").len()
    }

    /// Whether there is no resource within.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes demo data from a seed.
#[derive(Clone, Debug)]
pub struct Generator {
    seed: u64,
    with_narratives: bool,
}

impl Generator {
    /// A generator of the data that `seed` stands for, without narratives.
    pub fn new(seed: u64) -> Self {
        Self { seed, with_narratives: false }
    }

    /// The same data with a narrative in every resource.
    #[must_use]
    pub fn with_narratives(mut self, with_narratives: bool) -> Self {
        self.with_narratives = with_narratives;
        self
    }

    /// The Bundle of practice `number`: organizations, sites, clinicians, their roles, drugs.
    ///
    /// Patients `number * PRACTICE_SIZE ..` refer to it.
    pub fn practice(&self, number: u64) -> Bundle {
        let practice = Practice::new(self.seed, number);
        let entries = practice.entries(self.seed, self.with_narratives);
        Bundle { part: Part::Practice(number), value: transaction(entries) }
    }

    /// The Bundle of patient `index`, counted from 0.
    pub fn patient(&self, index: u64) -> Bundle {
        let practice = Practice::new(self.seed, index / PRACTICE_SIZE);
        self.patient_of(index, &practice)
    }

    fn patient_of(&self, index: u64, practice: &Practice) -> Bundle {
        let entries = patient::entries(self.seed, index, practice, self.with_narratives);
        Bundle { part: Part::Patient(index), value: transaction(entries) }
    }

    /// All Bundles of the first `patients` patients, each practice before its patients.
    ///
    /// Nothing is kept but the practice at hand.
    pub fn bundles(&self, patients: u64) -> impl Iterator<Item = Bundle> + use<> {
        let generator = self.clone();
        let mut practice: Option<(u64, Practice)> = None;
        let mut next = 0;
        std::iter::from_fn(move || {
            if next >= patients {
                return None;
            }
            let number = next / PRACTICE_SIZE;
            match &practice {
                Some((at, practice)) if *at == number => {
                    next += 1;
                    Some(generator.patient_of(next - 1, practice))
                }
                _ => {
                    practice = Some((number, Practice::new(generator.seed, number)));
                    Some(generator.practice(number))
                }
            }
        })
    }

    /// Writes the Bundles of `patients` patients to `out`, one per line.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn write(&self, patients: u64, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Vec::new();
        for bundle in self.bundles(patients) {
            line.clear();
            bundle.value.write(&mut line);
            line.push(b'\n');
            out.write_all(&line)?;
        }
        out.flush()
    }
}

fn transaction(entries: Vec<Val>) -> Value<'static> {
    Doc::new()
        .with("resourceType", "Bundle")
        .with("type", "transaction")
        .with("entry", entries)
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::fhir::LogicalId;
    use crate::spec::Spec;
    use crate::validate::form;

    fn references<'v>(value: &'v Value<'_>, found: &mut Vec<&'v str>) {
        if let Some(text) = value.str_at("reference") {
            found.push(text);
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(object) => object.iter().for_each(|(_, item)| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        let text = |seed| {
            let mut out = Vec::new();
            Generator::new(seed).write(3, &mut out).unwrap();
            out
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn a_patient_is_the_same_whether_made_alone_or_in_a_row() {
        let generator = Generator::new(5);
        let row: Vec<Bundle> = generator.bundles(4).collect();
        assert_eq!(row.len(), 5);
        assert_eq!(row[0].part, Part::Practice(0));
        assert_eq!(row[4].part, Part::Patient(3));
        assert_eq!(row[4].value, generator.patient(3).value);
    }

    #[test]
    fn every_reference_leads_to_an_entry_of_the_bundle_or_of_the_practice() {
        let generator = Generator::new(7);
        let mut known = BTreeSet::new();
        for bundle in generator.bundles(10) {
            for entry in bundle.value.items_at("entry") {
                let resource = entry.get("resource").unwrap();
                let path = format!(
                    "{}/{}",
                    resource.str_at("resourceType").unwrap(),
                    resource.str_at("id").unwrap()
                );
                assert_eq!(entry.get("request").unwrap().str_at("url"), Some(path.as_str()));
                assert!(resource.str_at("id").unwrap().parse::<LogicalId>().is_ok());
                assert!(known.insert(path.clone()), "{path} twice");
                assert!(known.insert(entry.str_at("fullUrl").unwrap().to_owned()));
            }
            let mut found = Vec::new();
            references(&bundle.value, &mut found);
            for target in found.into_iter().filter(|target| *target != "#referral") {
                assert!(known.contains(target), "{target} leads nowhere");
            }
        }
    }

    #[test]
    fn twenty_patients_have_every_type_of_resource() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for bundle in Generator::new(1).bundles(20) {
            for entry in bundle.value.items_at("entry") {
                let resource = entry.get("resource").unwrap();
                *counts.entry(resource.str_at("resourceType").unwrap().to_owned()).or_default() +=
                    1;
            }
        }
        for expected in [
            "AllergyIntolerance",
            "Binary",
            "CarePlan",
            "CareTeam",
            "Claim",
            "Condition",
            "Coverage",
            "Device",
            "DiagnosticReport",
            "DocumentReference",
            "Encounter",
            "Endpoint",
            "ExplanationOfBenefit",
            "Goal",
            "Immunization",
            "Location",
            "Media",
            "Medication",
            "MedicationDispense",
            "MedicationRequest",
            "Observation",
            "Organization",
            "Patient",
            "Practitioner",
            "PractitionerRole",
            "Procedure",
            "Provenance",
            "QuestionnaireResponse",
            "RelatedPerson",
            "ServiceRequest",
            "Specimen",
        ] {
            assert!(counts.get(expected).is_some_and(|count| *count > 0), "{expected}: {counts:?}");
        }
        assert_eq!(counts["Patient"], 20);
    }

    #[test]
    fn a_second_practice_comes_before_its_own_patients() {
        let parts: Vec<Part> =
            Generator::new(1).bundles(PRACTICE_SIZE + 1).map(|bundle| bundle.part).collect();
        assert_eq!(parts.len() as u64, PRACTICE_SIZE + 3);
        assert_eq!(parts[parts.len() - 2], Part::Practice(1));
        assert_eq!(parts[parts.len() - 1], Part::Patient(PRACTICE_SIZE));
    }

    #[test]
    fn every_bundle_is_of_sound_form_with_and_without_narratives() {
        let spec = Spec::r4().unwrap();
        let schema = &spec.schema;
        for with_narratives in [false, true] {
            let generator = Generator::new(11).with_narratives(with_narratives);
            for bundle in generator.bundles(60) {
                let verdict = form::check(&bundle.value, schema);
                assert!(verdict.is_sound(), "{:?}: {:#?}", bundle.part, verdict.issues());
            }
        }
    }
}
