//! What a resource has although the message says nothing of it: what is new by its kind, and what is stored as it was.
//!
//! | resource | what |
//! |---|---|
//! | Appointment | without a status of its own (SCH-25) an event that is not about that leaves the stored one; one about its resources alone leaves its time |
//! | DocumentReference | a message that has no content says nothing of the stored one |
//! | Encounter | its types; its planned end, unless that is called off (A25) |
//! | Patient | a gender; whether the patient is one of now, of which only few events say something |
//! | ServiceRequest | a referral whose change does not say how it stands has the stored status, as the request of an appointment has |
//!
//! Spec: v2 S10, S40, E-A03

use super::Case;
use super::stale::{Stale, says_active};
use crate::fhir::json::Value;
use crate::hl7v2::effect::{Json, amend};
use crate::hl7v2::er7::Path;
use crate::hl7v2::map::DraftResource;

/// When a stay is to end, by the plan.
const PLANNED_END: &str =
    "http://hl7.org/fhir/5.0/StructureDefinition/extension-Encounter.plannedEndDate";

impl Case<'_> {
    /// Whether the message has a value there.
    fn is_told(&self, path: &str) -> bool {
        path.parse::<Path>().is_ok_and(|path| self.message.get(&path).is_valued())
    }
}

/// Adds what `now` has by its kind, or as it is `stored`.
pub(super) fn supply(
    now: &mut Json,
    stored: Option<&Json>,
    stale: Stale,
    draft: &DraftResource,
    case: &Case<'_>,
) {
    match (draft.resource_type.as_str(), stored) {
        ("Patient", _) => {
            if stored.is_none() && !now.contains("gender") {
                now.set("gender", "unknown");
            }
            active(now, stored, stale, draft, case);
        }
        ("Encounter", Some(stored)) => {
            if !case.is_told("PV1-4") && !case.is_told("PV1-18") {
                keep(now, stored, &["type"]);
            }
            // A pending discharge that is called off leaves no day to wait for.
            let is_called_off = case.draft.event.1 == "A25" && !case.is_told("PV2-9");
            if is_called_off && draft.rule == "encounter" && !stale.data {
                amend::drop_extension(now, PLANNED_END);
            }
        }
        ("Appointment", Some(stored)) if draft.rule == "appointment" => {
            appointment(now, stored, case);
        }
        ("DocumentReference", Some(stored)) if draft.rule == "document" => {
            let mut results = case.message.named("OBX");
            if !results.any(|result| result.field(5).is_valued()) {
                keep(now, stored, &["content"]);
            }
        }
        // A change of a referral (I13), or a question about it (I15), that does not say how it stands.
        ("ServiceRequest", Some(stored)) if draft.rule == "referral" => {
            let is_about_it = matches!(case.draft.event.1.as_str(), "I13" | "I15");
            if is_about_it && !case.is_told("RF1-1") {
                keep(now, stored, &["status"]);
            }
        }
        // What asked for an appointment: no event is about it.
        ("ServiceRequest", Some(stored))
            if draft.rule == "appointmentrequest" && !case.is_told("SCH-25") =>
        {
            keep(now, stored, &["status"]);
        }
        _ => {}
    }
}

/// Whether a patient is one of now: as the event of the message says (A29 deletes a person), unless a later one has
/// said it otherwise; else as it is stored, whoever said so.
fn active(
    now: &mut Json,
    stored: Option<&Json>,
    stale: Stale,
    draft: &DraftResource,
    case: &Case<'_>,
) {
    let said = match says_active(case).filter(|_| !stale.active) {
        Some(true) => draft.body.get("active").cloned(),
        Some(false) => Some(Value::Bool(false)),
        None => None,
    };
    let is = said.or_else(|| stored.and_then(|stored| stored.get("active")).cloned());
    if let Some(is) = is {
        now.set("active", is);
    }
}

/// An appointment that a message says nothing of but what its event is about.
fn appointment(now: &mut Json, stored: &Json, case: &Case<'_>) {
    let event = case.draft.event.1.as_str();
    let is_over = matches!(
        stored.get("status").and_then(Value::as_str),
        Some("cancelled" | "entered-in-error" | "fulfilled" | "noshow")
    );
    let says_status = match event {
        "S12" | "S15" | "S16" | "S17" | "S26" => true,
        // At another time it is to be again.
        "S13" => is_over,
        _ => false,
    };
    if !says_status && !case.is_told("SCH-25") {
        keep(now, stored, &["status"]);
    }
    let is_of_parts = matches!(event, "S18" | "S19" | "S20" | "S21" | "S22");
    if is_of_parts && !case.is_told("SCH-11.4") && !case.is_told("TQ1-7") {
        keep(now, stored, &["start", "end"]);
    }
}

/// Has elements be as they are stored.
fn keep(now: &mut Json, stored: &Json, names: &[&'static str]) {
    for name in names {
        if let Some(kept) = stored.get(name) {
            now.set(*name, kept.clone());
        }
    }
}
