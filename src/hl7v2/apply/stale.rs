//! News that come late: by how new what is stored of each thing is.
//!
//! | thing | of when |
//! |---|---|
//! | data of a person, a visit, an appointment, a document or a bed, movements | the event (EVN-6, EVN-2), else MSH-7 |
//! | a list of all there is | the same, for each list, sender and owner |
//! | that a person is a patient of now, or is deleted | the event, for these events alone |
//! | a result | when it was made or issued (OBX-19, OBR-22) where both tell, else MSH-7 |
//!
//! Spec: v2 S22

use super::find::Found;
use super::plan::Plan;
use super::snapshot::names;
use super::{Applier, Case, Halt};
use crate::fhir::datetime::{DateTime, Zone};
use crate::fhir::json::Value;
use crate::fhir::{Identity, Instant, ResourceType};
use crate::hl7v2::effect::visit;
use crate::hl7v2::effect::{Json, result};
use crate::hl7v2::map::DraftResource;
use crate::store::hl7v2::Mark;

/// The time by which something in a laboratory was made.
const ANALYSIS: &str = "http://hl7.org/fhir/StructureDefinition/observation-analysis-date-time";

/// Events by which a person comes in, or is added: who was deleted is there again.
const BRING_IN: &[&str] = &["A01", "A04", "A05", "A14", "A28"];

/// What of a stored resource is newer than the message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stale {
    pub(super) data: bool,
    /// Of a patient: an event after this one said whether the patient is one of now.
    pub(super) active: bool,
    /// When the latest movement was, where that was after this one.
    pub(super) movement: Option<Instant>,
    /// Of a result: a message that was sent later told of it.
    pub(super) sent: bool,
}

impl Stale {
    /// The aspects of a type that the message tells of, each with whether it is news no longer.
    pub(super) fn of(self, of: ResourceType, case: &Case<'_>) -> Vec<(&'static str, bool)> {
        let movement = self.movement.is_some();
        match of.to_string().as_str() {
            "Patient" if says_active(case).is_some() => {
                vec![("demographics", self.data), ("active", self.active)]
            }
            "Patient" => vec![("demographics", self.data)],
            "Encounter" if moves(case) => vec![("data", self.data), ("movement", movement)],
            // A bed as such: others tell of places in passing.
            "Location" if case.draft.event.1 != "A20" => Vec::new(),
            "Appointment" | "DocumentReference" | "Encounter" | "Location" | "Slot" => {
                vec![("data", self.data)]
            }
            "DiagnosticReport" | "Observation" if tells_results(case) => vec![("sent", self.sent)],
            _ => Vec::new(),
        }
    }
}

/// Whether the event of a message moves a visit on.
pub(super) fn moves(case: &Case<'_>) -> bool {
    case.draft.effect.as_deref() == Some("encounter-event")
        && visit::is_movement(&case.draft.event.1)
}

/// What the event of a message says of whether a person is a patient of now; `None`: nothing.
pub(super) fn says_active(case: &Case<'_>) -> Option<bool> {
    let (kind, event) = &case.draft.event;
    match event.as_str() {
        _ if kind != "ADT" => None,
        "A29" => Some(false),
        event => BRING_IN.contains(&event).then_some(true),
    }
}

/// Whether results of a message can be late.
pub(super) fn tells_results(case: &Case<'_>) -> bool {
    case.draft.effect.as_deref() == Some("results")
}

/// Whether what is stored of a result is newer than what the message says, which does not go beyond it.
pub(super) fn is_late(stored: &Json, now: &Json, stale: Stale) -> bool {
    let status = now.get("status").and_then(Value::as_str).unwrap_or_default();
    if result::rises(stored, status) {
        return false;
    }
    match (made(stored), made(now)) {
        (Some(before), Some(now)) if before != now => before > now,
        _ => stale.sent,
    }
}

/// The results of a stored report, and those of a message that it lacks.
pub(super) fn results_of(stored: &Json, now: &Json) -> Vec<Value<'static>> {
    let results = |of: &Json| of.get("result").and_then(Value::as_array).map(<[_]>::to_vec);
    let mut all = results(stored).unwrap_or_default();
    for one in results(now).unwrap_or_default() {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

/// A report with these results.
pub(super) fn with_results(mut report: Json, results: Vec<Value<'static>>) -> Json {
    if !results.is_empty() {
        report.set("result", results);
    }
    report
}

/// When a result was made, or else issued.
fn made(result: &Json) -> Option<Instant> {
    let extensions = result.get("extension").and_then(Value::as_array).unwrap_or_default();
    let analysed = extensions.iter().find(|one| one.str_at("url") == Some(ANALYSIS));
    let analysed = analysed.and_then(|one| one.str_at("valueDateTime"));
    let text = analysed.or_else(|| result.get("issued").and_then(Value::as_str))?;
    DateTime::parse_search(text).map(|moment| moment.lower(Zone::UTC))
}

impl Applier {
    /// What of a stored resource is newer than the message.
    pub(super) async fn stale(&self, found: &Found, case: &Case<'_>) -> Result<Stale, Halt> {
        let of = found.identity.resource_type;
        if found.stored.is_none() || Stale::default().of(of, case).is_empty() {
            return Ok(Stale::default());
        }
        let marks = self.marks_of(&found.identity, case).await?;
        let later = |names: &[&str]| {
            let mut all = marks.iter().filter(|(aspect, _)| names.contains(&aspect.as_str()));
            all.find(|(_, at)| *at > case.at).map(|(_, at)| *at)
        };
        Ok(Stale {
            data: later(&["demographics", "data"]).is_some(),
            active: later(&["active"]).is_some(),
            movement: later(&["movement"]),
            sent: later(&["sent"]).is_some(),
        })
    }

    /// How new what is stored of a resource is, by aspect.
    async fn marks_of(
        &self,
        identity: &Identity,
        case: &Case<'_>,
    ) -> Result<Vec<(String, Instant)>, Halt> {
        let (of, id) = (identity.resource_type, identity.id.to_string());
        let looked = case.looked();
        if !looked.has(identity) {
            return Ok(self.store.message_marks(of.as_str(), &id).await?);
        }
        let own = looked.marks.iter();
        let own = own.filter(|(kind, whose, ..)| *kind == *of.as_str() && *whose == id);
        Ok(own.map(|(.., aspect, at)| (aspect.clone(), *at)).collect())
    }

    /// The lists of the message of which a newer one is stored; the others are noted.
    pub(super) async fn late_lists(
        &self,
        case: &Case<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<LateLists, Halt> {
        let mut late = Vec::new();
        let told = case.draft.snapshots.iter().filter(|(_, is_there)| *is_there);
        let lists: Vec<_> = told.flat_map(|(segment, _)| lists_of(segment, case, found)).collect();
        for (list, owner) in lists {
            let aspect = format!("list {} {}", list.segment, case.sender());
            let is_late = owner.stored.is_some()
                && self
                    .marks_of(&owner.identity, case)
                    .await?
                    .iter()
                    .any(|(name, at)| *name == aspect && *at > case.at);
            if is_late {
                late.push(list);
                continue;
            }
            let Identity { resource_type, id } = &owner.identity;
            let (resource_type, id) = (resource_type.to_string(), id.to_string());
            plan.marks.push(Mark { resource_type, id, aspect, at: case.at });
        }
        Ok(LateLists(late))
    }
}

/// Lists of which newer ones are stored.
pub(super) struct LateLists(Vec<List>);

/// A list that a message tells.
struct List {
    /// The segment of its entries.
    segment: String,
    /// Of several patients the one whose it is, by the url of the draft.
    of: Option<String>,
}

impl LateLists {
    /// Whether a draft is an entry of one.
    pub(super) fn have(&self, draft: &DraftResource) -> bool {
        self.0.iter().any(|list| {
            list.segment == draft.segment && list.of.as_ref().is_none_or(|url| names(draft, url))
        })
    }
}

/// Whether a list is one of the visit: that of diagnoses, and that of procedures. Others are of the patient.
pub(super) fn is_of_visit(segment: &str) -> bool {
    matches!(segment, "DG1" | "PR1")
}

/// The lists of a segment, each with whose it is: one, or of several patients that of each who has entries.
fn lists_of<'f>(segment: &str, case: &Case<'_>, found: &'f [Found]) -> Vec<(List, &'f Found)> {
    let all: Vec<_> = case.draft.resources.iter().zip(found).collect();
    let patients: Vec<_> = all.iter().filter(|(draft, _)| draft.rule == "patient").collect();
    let visit_of = |url: Option<&str>| {
        let mut visits = all.iter().filter(|(draft, _)| draft.rule == "encounter");
        let visit = visits.find(|(draft, _)| url.is_none_or(|url| names(draft, url)));
        visit.map(|(_, found)| *found).filter(|_| is_of_visit(segment))
    };
    let mut lists = Vec::new();
    if patients.len() < 2 {
        let owner = visit_of(None).or_else(|| patients.first().map(|(_, found)| *found));
        let list = List { segment: segment.to_owned(), of: None };
        lists.extend(owner.map(|owner| (list, owner)));
        return lists;
    }
    for &(patient, own) in patients {
        let is_told =
            all.iter().any(|(draft, _)| draft.segment == segment && names(draft, &patient.url));
        if is_told {
            let list = List { segment: segment.to_owned(), of: Some(patient.url.clone()) };
            lists.push((list, visit_of(Some(&patient.url)).unwrap_or(own)));
        }
    }
    lists
}
