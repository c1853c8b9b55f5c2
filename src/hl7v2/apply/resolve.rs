//! Which stored resources a message is about, for who only asks.
//!
//! Spec: v2 P7, F5

use std::collections::BTreeSet;

use super::keys::keyed;
use super::{Applier, Case, Halt, happened, sender};
use crate::access::Caller;
use crate::error::Error;
use crate::fhir::Instant;
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::er7::Message;
use crate::hl7v2::map::Maps;
use crate::hl7v2::queue::Resolved;
use crate::hl7v2::types::{Args, Context, Rep, id};

impl Applier {
    /// The patients by whose numbers a message can be told to be about them, whether it is applied or not.
    pub(super) async fn patients_of(
        &self,
        message: &Message<'_>,
        maps: &Maps,
    ) -> Result<Vec<String>, Error> {
        let sender = sender(message);
        let context = Context::new(maps.site(), maps.tables(), &sender, "");
        let args = Args::default();
        let numbers = message.named("PID").flat_map(|segment| segment.field(3).repetitions());
        let keys: Vec<_> = numbers
            .filter_map(|number| id::cx(&Rep::of_part(number), &args, &context))
            .filter_map(|identifier| {
                let text = |name| identifier.str_at(name).map(str::to_owned);
                Some(keyed("Patient", text("system")?, text("value")?))
            })
            .collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.store.message_keys(&keys).await?.into_iter().map(|known| known.id);
        let known: BTreeSet<String> = known.collect();
        Ok(known.into_iter().collect())
    }

    pub(super) async fn identities(
        &self,
        message: &Message<'_>,
        maps: &Maps,
        caller: &Caller,
    ) -> Result<Result<Vec<Resolved>, Issue>, Error> {
        let Some(draft) = maps.draft(message).filter(|draft| !draft.is_refused()) else {
            return Ok(Ok(Vec::new()));
        };
        let at = happened(message, maps, Instant::from_micros(0));
        let case = Case::new((message, maps), &draft, caller, at);
        match self.find(&case).await {
            Ok(found) => {
                let all = draft.resources.iter().zip(found).map(|(draft, found)| Resolved {
                    url: draft.url.clone(),
                    known: found.stored.is_some().then(|| found.identity.to_string()),
                });
                Ok(Ok(all.collect()))
            }
            Err(Halt::Failed(issue) | Halt::Invalid(_, issue)) => Ok(Err(issue)),
            Err(Halt::Again(text)) => {
                Ok(Err(Issue::error(Condition::Locked).named("retry").detailed(text)))
            }
            Err(Halt::Later(text)) => Err(Error::Busy(text)),
        }
    }
}
