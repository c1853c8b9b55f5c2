//! Messages of HL7 version 2 behind the gate: their receipt, and what people do with them.
//!
//! A message is not a resource and lies in no compartment: who may see one patient's data alone has no
//! way to messages.
//!
//! Spec: v2 P6, P8; shared semantics in `store::hl7v2`

use uuid::Uuid;

use super::Engine;
use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Draft, Outcome, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Instant, LogicalId};
use crate::store::hl7v2::{
    Keyed, Looked, Merge, Moved, NewMessage, NewSite, Received, SiteVersion, UnmappedCode,
    UnmappedCount,
};

pub use crate::store::hl7v2::{
    Counted, MessageEffect, MessageFilter, MessageIssue, MessageRow, MessageState, MessageView,
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

/// Messages in which a code came that no map had another one for.
#[derive(Clone, Debug)]
pub struct Lacking {
    /// Their sender.
    pub site: String,
    /// The code.
    pub code: UnmappedCode,
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

    /// Puts on record that something came over a feed in which there is no message.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn receive_nothing(&self, caller: &Caller) -> Result<(), Error> {
        let interaction = Kind::ReceiveMessage.of_system();
        let nothing = async |permit: &Permit<'_>| {
            unrestricted(permit)?;
            Ok(Unaudited::nothing())
        };
        self.gate.run(interaction, caller, nothing).await
    }

    /// Takes away a month of messages (six digits), and what is known of them, with a row in the ledger.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Internal`].
    pub async fn drop_messages(&self, month: &str, caller: &Caller) -> Result<(), Error> {
        let text = format!("v2/messages of {month}");
        self.gate.note_by(Kind::DiscardMessage, caller, Outcome::Success, &text).await?;
        let dropped = self.store.drop_messages(month).await;
        if dropped.is_err() {
            self.gate.note_by(Kind::DiscardMessage, caller, Outcome::Failure, &text).await?;
        }
        dropped
    }

    /// Puts on record that work on a message had no effect: why, and whose data it was about.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn message_failed(
        &self,
        message: Uuid,
        patients: &[String],
        reason: &str,
        caller: &Caller,
    ) -> Result<(), Error> {
        let ids = patients.iter().filter_map(|id| id.parse::<LogicalId>().ok());
        let disclosed = Disclosed {
            patients: ids.map(|id| self.store.hasher().patient(&id)).collect(),
            entities: vec![format!("v2/messages/{message}")],
            ..Disclosed::default()
        };
        self.gate.note_refused(Kind::ApplyMessage, caller, disclosed, reason).await
    }

    /// What is known of what a message is about, by its keys, and which results wait for those at `places`.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn look_for_message(
        &self,
        keys: &[Keyed],
        places: &[String],
        caller: &Caller,
    ) -> Result<Looked, Error> {
        let store = &self.store;
        let look = async |permit: &Permit<'_>, draft: Draft| {
            unrestricted(permit)?;
            store.look_for_message(keys, places, draft, permit).await
        };
        self.gate.show(Kind::LookForMessage.of_system(), caller, look).await
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

    /// The same with how many wait or have failed, by state and sender.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn message_queues(
        &self,
        filter: &MessageFilter,
        caller: &Caller,
    ) -> Result<(Vec<MessageRow>, Vec<Counted>), Error> {
        let store = &self.store;
        let list = async |permit: &Permit<'_>| {
            unrestricted(permit)?;
            let counts = store.message_counts().await?;
            Ok(store.messages(filter, permit).await?.with(counts))
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

    /// Has messages worked on again: those that are now in line. `prunes`: what they made before and make no
    /// longer goes, unless others have changed it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is not there; [`Error::Conflict`] for one that waits already
    /// or was rejected as no message; [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn replay_messages(
        &self,
        of: &Replay,
        prunes: bool,
        caller: &Caller,
    ) -> Result<Vec<Uuid>, Error> {
        let store = &self.store;
        let replay = async |permit: &Permit<'_>, draft: Draft| {
            unrestricted(permit)?;
            let mut desk = store.desk(draft, permit).await?;
            let done = match of {
                Replay::One(id) => desk.replay_one(*id, prunes).await?,
                Replay::Failed { site, since } => {
                    let ids = desk.failed(site.as_deref(), *since, MOST_REPLAYED).await?;
                    desk.replay(&ids, &[MessageState::Failed, MessageState::Held], prunes).await?
                }
            };
            desk.commit(done).await
        };
        self.gate.show(Kind::ReplayMessage.of_system(), caller, replay).await
    }

    /// The merges of a message, each with what it moved: for who is about to take them back.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a message that merged nothing; [`Error::Forbidden`],
    /// [`Error::Unavailable`].
    pub async fn merges(
        &self,
        message: Uuid,
        caller: &Caller,
    ) -> Result<Vec<(Merge, Vec<Moved>)>, Error> {
        let store = &self.store;
        let find = async |permit: &Permit<'_>| {
            unrestricted(permit)?;
            store.merges(message, permit).await
        };
        self.gate.run(Kind::UnmergeMessage.of_system(), caller, find).await
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
        let discard = async |permit: &Permit<'_>, draft: Draft| {
            unrestricted(permit)?;
            let mut desk = store.desk(draft, permit).await?;
            desk.discard(id, reason).await?;
            desk.commit(()).await
        };
        self.gate.show(Kind::DiscardMessage.of_system(), caller, discard).await
    }
}

impl Engine {
    /// All versions of a profile of senders, or of all of them, the newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn site_versions(
        &self,
        id: Option<&str>,
        caller: &Caller,
    ) -> Result<Vec<SiteVersion>, Error> {
        let store = &self.store;
        let list = async |permit: &Permit<'_>| {
            unrestricted(permit)?;
            store.site_versions(id, permit).await
        };
        self.gate.run(Kind::SearchMessages.of_system(), caller, list).await
    }

    /// Stores a version of a profile of senders, which counts from then on; its number. That the
    /// profile can be used is for the caller to prove.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another came between; [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn add_site(&self, new: &NewSite, caller: &Caller) -> Result<i32, Error> {
        let (store, now) = (&self.store, self.clock.now());
        let add = async |permit: &Permit<'_>, draft: Draft| {
            unrestricted(permit)?;
            let mut desk = store.desk(draft, permit).await?;
            let version = desk.add_site(new, now).await?;
            desk.commit(version).await
        };
        self.gate.show(Kind::Admin.of_system(), caller, add).await
    }

    /// The same for a profile with a code more: the messages in which it came are worked on again.
    /// Gives the number of the version, and those messages.
    ///
    /// # Errors
    /// As [`Engine::add_site`].
    pub async fn add_code(
        &self,
        new: &NewSite,
        lacking: &Lacking,
        caller: &Caller,
    ) -> Result<(i32, Vec<Uuid>), Error> {
        let (store, now) = (&self.store, self.clock.now());
        let Lacking { site, code } = lacking;
        let add = async |permit: &Permit<'_>, draft: Draft| {
            unrestricted(permit)?;
            let mut desk = store.desk(draft, permit).await?;
            let version = desk.add_site(new, now).await?;
            let ids = desk.unmapped(site, code, MOST_REPLAYED).await?;
            let states = [
                MessageState::Failed,
                MessageState::Held,
                MessageState::Processed,
                MessageState::ProcessedWithIssues,
            ];
            let replayed = desk.replay(&ids, &states, false).await?;
            desk.commit((version, replayed)).await
        };
        self.gate.show(Kind::ReplayMessage.of_system(), caller, add).await
    }

    /// The codes that no map had another one for, by sender, those that came most first.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn unmapped_codes(
        &self,
        site: Option<&str>,
        most: i64,
        caller: &Caller,
    ) -> Result<Vec<UnmappedCount>, Error> {
        let store = &self.store;
        let count = async |permit: &Permit<'_>| {
            unrestricted(permit)?;
            store.unmapped_codes(site, most, permit).await
        };
        self.gate.run(Kind::SearchMessages.of_system(), caller, count).await
    }
}

fn unrestricted(permit: &Permit<'_>) -> Result<(), Error> {
    if permit.is_restricted() { Err(Error::Forbidden) } else { Ok(()) }
}
