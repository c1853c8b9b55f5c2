//! The chart that a patient's resources are written into, in the order of time.

use jiff::civil::{Date, DateTime};

use super::body::Body;
use super::build::{
    Code, Doc, TODAY, Val, days_after, days_between, labelled, narrative, put_entry, reference,
    resource,
};
use super::profiles;
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
    pub(super) died: Option<Date>,
    pub(super) is_female: bool,
    pub(super) body: Body,
    /// SNOMED CT codes of the chronic problems that are known.
    pub(super) problems: Vec<&'static str>,
    /// The clinician and organization that the patient usually goes to.
    pub(super) home: usize,
    /// Reference to the Coverage.
    pub(super) coverage: String,
    pub(super) payer: &'static str,
    /// Place among all patients: what few have goes round by it.
    pub(super) turn: u64,
    /// Vital signs measured, oxygen given, test strips read so far, from a start of the patient's own.
    pub(super) measurements: u64,
    pub(super) oxygen_given: u64,
    pub(super) strips: u64,
    /// Visits at which vital signs were measured.
    pub(super) measured_visits: u64,
    /// Systolic and diastolic blood pressures, oldest first.
    pub(super) pressures: Vec<(i64, i64)>,
    /// When the record begins.
    pub(super) first_visit: Option<DateTime>,
    /// The last result of the laboratory.
    pub(super) last_result: Option<String>,
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
    pub(super) is_emergency: bool,
    pub(super) is_remote: bool,
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
        let body = Body::new(&mut random, is_female);
        let age = days_between(born, TODAY) / 365;
        let is_dead = age >= 60 && random.chance((age - 55).min(25));
        let died = is_dead.then(|| days_after(TODAY, -random.between(1, 900)));
        Self {
            random,
            practice,
            with_narratives: false,
            patient: Party { target: urn(id), display: name },
            born,
            died,
            is_female,
            body,
            problems: Vec::new(),
            home,
            coverage: String::new(),
            payer: "",
            turn: 0,
            measurements: 0,
            measured_visits: 0,
            oxygen_given: 0,
            strips: 0,
            pressures: Vec::new(),
            first_visit: None,
            last_result: None,
            entries: Vec::with_capacity(64),
        }
    }

    /// The patient's place among all. What happens each so many times begins elsewhere with each patient.
    pub(super) fn set_turn(&mut self, turn: u64) {
        self.turn = turn;
        (self.measurements, self.oxygen_given, self.strips) = (turn.wrapping_mul(7), turn, turn);
    }

    /// Starts a resource with an id of its own.
    pub(super) fn resource(&mut self, resource_type: &'static str) -> Doc {
        resource(resource_type, self.random.uuid())
    }

    /// Adds `doc` as an entry and returns its `urn:uuid:` for others to refer to.
    pub(super) fn add(&mut self, mut doc: Doc, summary: &str) -> String {
        // US Core wants the narrative of a plan in any case; a Binary cannot have one.
        let has_narrative = match doc.get("resourceType").and_then(Val::as_str) {
            Some("CarePlan") => true,
            Some("Binary") => false,
            _ => self.with_narratives,
        };
        if has_narrative {
            doc.set("text", narrative(summary));
        }
        profiles::claim(&mut doc);
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

    /// The last day of the record: death, or today.
    pub(super) fn end(&self) -> Date {
        self.died.unwrap_or(TODAY)
    }

    /// Whether a chronic problem is known, by its SNOMED CT code.
    pub(super) fn has(&self, problem: &str) -> bool {
        self.problems.contains(&problem)
    }

    /// Sets the status of a resource that was added.
    pub(super) fn set_status(&mut self, target: &str, status: &'static str) {
        self.set(target, "status", status);
    }

    /// Sets an element of a resource that was added.
    pub(super) fn set(&mut self, target: &str, name: &'static str, value: impl Into<Val>) {
        let mut entries = self.entries.iter_mut().rev().filter_map(Val::as_object_mut);
        let entry = entries.find(|it| it.get("fullUrl").and_then(Val::as_str) == Some(target));
        let resource = entry.and_then(|entry| entry.get_mut("resource")?.as_object_mut());
        if let Some(resource) = resource {
            resource.set(name, value);
        }
    }

    /// What has been added so far, for others to refer to.
    pub(super) fn targets(&self) -> Vec<Val> {
        let full_urls = self.entries.iter().filter_map(|entry| entry.str_at("fullUrl"));
        full_urls.map(|target| reference(target.to_owned())).collect()
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
