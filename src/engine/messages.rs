//! Messages of HL7 version 2 behind the gate: their receipt, and what people do with them.
//!
//! A message is not a resource and lies in no compartment: who may see one patient's data alone has no
//! way to messages.
//!
//! Spec: v2 P6, P8; shared semantics in `store::hl7v2`

use uuid::Uuid;

use super::Engine;
use crate::access::interaction::Kind;
use crate::access::{Caller, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::Instant;
use crate::store::hl7v2::{NewMessage, Received};

pub use crate::store::hl7v2::{
    MessageEffect, MessageFilter, MessageIssue, MessageRow, MessageState, MessageView,
};

/// Most messages that one wish puts back into line.
const MOST_REPLAYED: i64 = 10_000;

/// Which messages are worked on again.
#[derive(Clone, Debug)]
pub enum Replay {
    /// One, whatever became of it.
    One(Uuid),
    /// Those that failed: of a sender, since a time.
    Failed {
        /// The sender; `None`: all.
        site: Option<String>,
        /// Received at or after.
        since: Option<Instant>,
    },
}

impl Engine {
    /// Stores a message that came over a feed, once, with its row in the ledger.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; [`Error::Unavailable`]: then it is not stored, and nothing is answered.
    pub async fn receive_message(
        &self,
        message: &NewMessage<'_>,
        caller: &Caller,
    ) -> Result<Received, Error> {
        let interaction = Kind::ReceiveMessage.of_system();
        let store = &self.store;
        self.gate
            .show(interaction, caller, async |permit, draft| {
                unrestricted(permit)?;
                store.receive_message(message, draft, permit).await
            })
            .await
    }

    /// A list of messages.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn messages(
        &self,
        filter: &MessageFilter,
        caller: &Caller,
    ) -> Result<Vec<MessageRow>, Error> {
        let store = &self.store;
        let list = async |permit: &Permit<'_>| {
            unrestricted(permit)?;
            store.messages(filter, permit).await
        };
        self.gate.run(Kind::SearchMessages.of_system(), caller, list).await
    }

    /// One message with all that is known of it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn message(&self, id: Uuid, caller: &Caller) -> Result<MessageView, Error> {
        let store = &self.store;
        let read = async |permit: &Permit<'_>| {
            unrestricted(permit)?;
            store.message(id, permit).await
        };
        self.gate.run(Kind::ReadMessage.of_system(), caller, read).await
    }

    /// Has messages worked on again: those that are now in line.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is not there; [`Error::Conflict`] for one that waits already
    /// or was rejected as no message; [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn replay_messages(&self, of: &Replay, caller: &Caller) -> Result<Vec<Uuid>, Error> {
        let store = &self.store;
        let replay = async |permit: &Permit<'_>| -> Result<Unaudited<Vec<Uuid>>, Error> {
            unrestricted(permit)?;
            let failed = [MessageState::Failed, MessageState::Held];
            match of {
                Replay::One(id) => store.replay_message(*id, permit).await,
                Replay::Failed { site, since } => {
                    let ids = store.failed_messages(site.as_deref(), *since, MOST_REPLAYED, permit);
                    store.replay_messages(&ids.await?, &failed, permit).await
                }
            }
        };
        self.gate.run(Kind::ReplayMessage.of_system(), caller, replay).await
    }

    /// Sets a message aside that failed or waits.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for one that had its effect; [`Error::Forbidden`],
    /// [`Error::Unavailable`].
    pub async fn discard_message(
        &self,
        id: Uuid,
        reason: &str,
        caller: &Caller,
    ) -> Result<(), Error> {
        let store = &self.store;
        let discard = async |permit: &Permit<'_>| {
            unrestricted(permit)?;
            store.discard_message(id, reason, permit).await
        };
        self.gate.run(Kind::DiscardMessage.of_system(), caller, discard).await
    }
}

fn unrestricted(permit: &Permit<'_>) -> Result<(), Error> {
    if permit.is_restricted() { Err(Error::Forbidden) } else { Ok(()) }
}
