//! A message that is worked on again, by other maps: what it made before and makes no longer.
//!
//! It is told, and stays; whoever asks for it (`prune=true`) has it deleted, unless others have changed it
//! since. What many messages are about, such as patients, visits and persons, is never deleted by one.
//!
//! Spec: v2 P7

use std::collections::BTreeMap;

use super::copy;
use super::find::Found;
use super::plan::Plan;
use super::{Applier, Case, Halt};
use crate::fhir::Identity;
use crate::fhir::json::{Object, Value};
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::queue::Task;
use crate::store::hl7v2::MessageEffect;

/// Types of which a message does not have any for itself, and what records that it came.
const SHARED: &[&str] = &[
    "Account",
    "Device",
    "Encounter",
    "Location",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Provenance",
    "RelatedPerson",
];

/// What is deleted, beside what is written.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    /// The entries of the transaction.
    pub(super) entries: Vec<Value<'static>>,
    /// The same as what the message did.
    pub(super) effects: Vec<MessageEffect>,
}

impl Applier {
    /// Compares what the message made when it was worked on before with what it makes now.
    pub(super) async fn prune(
        &self,
        case: &Case<'_>,
        task: &Task<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<Pruned, Halt> {
        let mut gone = Pruned::default();
        let Some(prunes) = task.again else { return Ok(gone) };
        for (identity, effect) in made(&self.store.message_effects(task.id).await?) {
            let is_made = found.iter().any(|one| one.identity == identity)
                || plan.entries.iter().any(|entry| entry.identity == identity)
                || copy::is_wanted(&effect.rule, case);
            if is_made || SHARED.contains(&identity.resource_type.as_str()) {
                continue;
            }
            let Some(stored) = self.current(identity.clone(), case).await? else { continue };
            let Some((_, version)) = stored.stored else { continue };
            if !prunes || version.0 != effect.version {
                let issue = Issue::warning(Condition::ApplicationError).named("no-longer-made");
                plan.told.push(issue.detailed(identity.to_string()));
                continue;
            }
            let request = Object::new()
                .with("method", "DELETE")
                .with("url", identity.to_string())
                .with("ifMatch", format!("W/\"{version}\""));
            gone.entries.push(Value::Object(Object::new().with("request", request)));
            let (action, version) = ("delete".to_owned(), version.0 + 1);
            gone.effects.push(MessageEffect { action, version, ..effect });
        }
        Ok(gone)
    }
}

/// What a message created and has not deleted, each with the last version that it made of it.
fn made(effects: &[MessageEffect]) -> Vec<(Identity, MessageEffect)> {
    let mut made: BTreeMap<(&str, &str), MessageEffect> = BTreeMap::new();
    for effect in effects {
        let name = (effect.resource_type.as_str(), effect.id.as_str());
        match effect.action.as_str() {
            "create" => drop(made.insert(name, effect.clone())),
            "delete" => drop(made.remove(&name)),
            _ => {
                if let Some(known) = made.get_mut(&name) {
                    known.version = effect.version;
                }
            }
        }
    }
    let named = made.into_values().filter_map(|effect| {
        let (resource_type, id) = (effect.resource_type.parse().ok()?, effect.id.parse().ok()?);
        Some((Identity { resource_type, id }, effect))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_what_was_created_and_not_deleted() {
        let effects: Vec<_> = [
            ("create", "a", 1),
            ("update", "b", 4),
            ("create", "c", 1),
            ("update", "a", 2),
            ("delete", "c", 2),
            ("create", "d", 1),
        ]
        .into_iter()
        .map(|(action, id, version)| MessageEffect {
            action: action.to_owned(),
            resource_type: "Basic".to_owned(),
            id: id.to_owned(),
            version,
            rule: String::new(),
        })
        .collect();
        let found: Vec<_> =
            made(&effects).iter().map(|(it, effect)| format!("{it} {}", effect.version)).collect();
        assert_eq!(found, ["Basic/a 2", "Basic/d 1"]);
    }
}
