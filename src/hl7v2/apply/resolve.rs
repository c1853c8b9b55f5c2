//! Which stored resources a message is about, for who only asks.
//!
//! Spec: v2 P7

use super::{Applier, Case, Halt, happened};
use crate::access::Caller;
use crate::error::Error;
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::er7::Message;
use crate::hl7v2::map::Maps;
use crate::hl7v2::queue::Resolved;

impl Applier {
    pub(super) async fn identities(
        &self,
        message: &Message<'_>,
        maps: &Maps,
        caller: &Caller,
    ) -> Result<Result<Vec<Resolved>, Issue>, Error> {
        let Some(draft) = maps.draft(message).filter(|draft| !draft.is_refused()) else {
            return Ok(Ok(Vec::new()));
        };
        let case = Case::new((message, maps), &draft, caller, happened(message, maps));
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
