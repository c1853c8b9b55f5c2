//! The chart that a patient's resources are written into, in the order of time.

use jiff::civil::{Date, DateTime};

use super::build::{
    Code, Doc, Val, days_between, labelled, narrative, put_entry, reference, resource,
};
use super::random::Random;
use super::world::{Party, Practice};

/// What each step of a patient's life may use and add to.
pub(super) struct Chart<'p> {
    pub(super) random: Random,
    pub(super) practice: &'p Practice,
    pub(super) with_narratives: bool,
    /// Reference to the patient, with the name.
    pub(super) patient: Party,
    pub(super) born: Date,
    pub(super) is_female: bool,
    /// The clinician and organization that the patient usually goes to.
    pub(super) home: usize,
    /// Reference to the Coverage.
    pub(super) coverage: String,
    pub(super) payer: &'static str,
    entries: Vec<Val>,
}

/// An encounter that other resources belong to.
pub(super) struct Encounter {
    /// `urn:uuid:..` of its entry.
    pub(super) target: String,
    pub(super) start: DateTime,
    pub(super) end: DateTime,
    pub(super) code: Code,
    pub(super) practitioner: Party,
    pub(super) organization: Party,
    pub(super) location: Party,
    pub(super) cents: i64,
}

impl<'p> Chart<'p> {
    /// An empty chart for the patient `id`, called `name`.
    pub(super) fn new(
        random: Random,
        practice: &'p Practice,
        id: &str,
        name: String,
        born: Date,
        is_female: bool,
    ) -> Self {
        let mut random = random;
        let home = random.between(0, 11) as usize;
        Self {
            random,
            practice,
            with_narratives: false,
            patient: Party { target: urn(id), display: name },
            born,
            is_female,
            home,
            coverage: String::new(),
            payer: "",
            entries: Vec::with_capacity(64),
        }
    }

    /// Starts a resource with an id of its own.
    pub(super) fn resource(&mut self, resource_type: &'static str) -> Doc {
        resource(resource_type, self.random.uuid())
    }

    /// Adds `doc` as an entry and returns its `urn:uuid:` for others to refer to.
    pub(super) fn add(&mut self, mut doc: Doc, summary: &str) -> String {
        if self.with_narratives {
            doc.set("text", narrative(summary));
        }
        let target = urn(doc.get("id").and_then(Val::as_str).unwrap_or_default());
        self.entries.push(put_entry(target.clone(), doc));
        target
    }

    /// Reference to the patient, as `subject` or `patient`.
    pub(super) fn subject(&self) -> Val {
        labelled(self.patient.target.clone(), self.patient.display.clone())
    }

    /// Age in whole years at `on`.
    pub(super) fn age_at(&self, on: Date) -> i64 {
        days_between(self.born, on) * 100 / 36_525
    }

    /// All entries.
    pub(super) fn into_entries(self) -> Vec<Val> {
        self.entries
    }
}

impl Encounter {
    /// Reference to it.
    pub(super) fn reference(&self) -> Val {
        reference(self.target.clone())
    }
}

fn urn(id: &str) -> String {
    format!("urn:uuid:{id}")
}
