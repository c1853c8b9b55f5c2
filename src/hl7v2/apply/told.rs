//! Which sender told of which number of a patient: a sender takes back only what it alone has told of.
//!
//! The first sender of a number is kept by it, and that there are others too. What no message told of is
//! taken away by none. Only messages about persons (ADT) tell all numbers that somebody has: one about a result may
//! name whom it is of by one of them.
//!
//! Spec: v2 S4

use super::find::Found;
use super::keys::{is_same, keyed};
use super::plan::Plan;
use super::{Applier, Case, Halt};
use crate::fhir::json::Value;
use crate::hl7v2::effect::{Json, amend, person};
use crate::hl7v2::map::DraftResource;
use crate::store::hl7v2::Keyed;

/// Keys of no resource: they have the type of what says who gives numbers.
const OF: &str = "NamingSystem";
/// Before the system of a number, which leads to who told of it first.
const FIRST: &str = "urn:kiln:v2-told|";
/// The same where others told of it too.
const OTHERS: &str = "urn:kiln:v2-told-too|";

fn key(kind: &str, identifier: &Value<'_>, id: &str) -> Option<Keyed> {
    let system = format!("{kind}{}", identifier.str_at("system")?);
    let key = keyed(OF, system, identifier.str_at("value")?.to_owned());
    Some(Keyed { id: id.to_owned(), ..key })
}

/// The numbers that a message tells of its patients.
fn numbers<'d>(case: &'d Case<'_>) -> impl Iterator<Item = &'d Value<'static>> {
    let patients = case.draft.resources.iter().filter(|draft| draft.resource_type == "Patient");
    patients.flat_map(|draft| {
        draft.body.get("identifier").and_then(Value::as_array).unwrap_or_default()
    })
}

/// What is asked for to know who told of them before.
pub(super) fn wanted(case: &Case<'_>) -> Vec<Keyed> {
    let both = |one| [key(FIRST, one, ""), key(OTHERS, one, "")];
    numbers(case).flat_map(both).flatten().collect()
}

impl Plan {
    /// Notes that the sender has told of the numbers of its patients.
    pub(super) fn tell_numbers(&mut self, case: &Case<'_>, found: &[Found]) {
        if found.is_empty() {
            return;
        }
        let (looked, sender) = (case.looked(), case.sender());
        for one in numbers(case) {
            let Some(first) = key(FIRST, one, &sender) else { continue };
            match looked.known.iter().find(|known| is_same(known, &first)) {
                None => self.keys.push(first),
                Some(known) if known.id == sender => {}
                Some(_) => self.keys.extend(key(OTHERS, one, "")),
            }
        }
    }
}

impl Applier {
    /// The stored numbers of a patient that the message does not name, and that are not the sender's to
    /// take back.
    pub(super) async fn numbers_of_others(
        &self,
        draft: &DraftResource,
        found: &Found,
        said: &Json,
        case: &Case<'_>,
    ) -> Result<Vec<Value<'static>>, Halt> {
        let Some((stored, _)) = found.stored.as_ref().filter(|_| draft.resource_type == "Patient")
        else {
            return Ok(Vec::new());
        };
        let gone = person::lacking(stored, &amend::amended(stored, said, &[], &[]));
        if gone.is_empty() || case.draft.event.0 != "ADT" {
            return Ok(gone);
        }
        let wanted: Vec<_> = gone
            .iter()
            .flat_map(|one| [key(FIRST, one, ""), key(OTHERS, one, "")])
            .flatten()
            .collect();
        let known = self.store.message_keys(&wanted).await?;
        let sender = case.sender();
        let is_own = |one: &Value<'static>| {
            let find = |kind| {
                let key = key(kind, one, "")?;
                known.iter().find(|known| is_same(known, &key))
            };
            find(FIRST).is_some_and(|first| first.id == sender) && find(OTHERS).is_none()
        };
        Ok(gone.into_iter().filter(|one| !is_own(one)).collect())
    }
}
