//! A copy of a message as a document of its patient, where the sender's profile wants one. The message itself
//! is kept in any case; the copy goes where documents go, to who may see the patient's.
//!
//! Spec: v2 F4

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::find::Found;
use super::plan::Plan;
use super::{Applier, Case, Halt};
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, ResourceType};
use crate::hl7v2::queue::Task;
use crate::store::hl7v2::Keyed;

/// By what a copy is known: the id of its message.
const SYSTEM: &str = "urn:kiln:v2-message";
/// What makes copies. Something of this name is never left out.
const RULE: &str = "effect copy";

/// Whether something was made as a copy, and still would be.
pub(super) fn is_wanted(rule: &str, case: &Case<'_>) -> bool {
    rule == RULE && case.maps.site().wishes.copies == Some(true)
}

impl Applier {
    /// Has the copy written with what the message does: once, however often it is worked on.
    pub(super) async fn keep_copy(
        &self,
        case: &Case<'_>,
        task: &Task<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let mut drafts = case.draft.resources.iter().zip(found);
        let patient = drafts.find(|(draft, _)| draft.rule == "patient");
        let Some((_, patient)) = patient.filter(|_| case.maps.site().wishes.copies == Some(true))
        else {
            return Ok(());
        };
        let (resource_type, system) = ("DocumentReference".to_owned(), SYSTEM.to_owned());
        let key = Keyed { resource_type, system, value: task.id.to_string(), id: String::new() };
        let of: ResourceType =
            key.resource_type.parse().map_err(|_| Halt::Failed(super::internal("copy")))?;
        for known in self.store.message_keys(std::slice::from_ref(&key)).await? {
            let Ok(id) = known.id.parse() else { continue };
            if self.current(Identity { resource_type: of, id }, case).await?.is_some() {
                return Ok(());
            }
        }
        let copy = Found {
            identity: Identity { resource_type: of, id: self.ids.logical_id() },
            stored: None,
        };
        plan.put(&copy, &document(task, patient), "create", RULE);
        plan.keys.push(Keyed { id: copy.identity.id.to_string(), ..key });
        Ok(())
    }
}

fn document(task: &Task<'_>, patient: &Found) -> Object<'static> {
    let attachment = Object::new()
        .with("contentType", "x-application/hl7-v2+er7")
        .with("data", STANDARD.encode(task.raw))
        .with("title", task.heading.trigger())
        .with("creation", task.received_at.to_string());
    let content = Object::new().with("attachment", attachment);
    let identifier = Object::new().with("system", SYSTEM).with("value", task.id.to_string());
    let subject = Object::new().with("reference", patient.identity.to_string());
    Object::new()
        .with("masterIdentifier", identifier)
        .with("status", "current")
        .with("type", Object::new().with("text", "HL7 version 2 message"))
        .with("subject", subject)
        .with("date", task.received_at.to_string())
        .with("content", vec![Value::Object(content)])
}
