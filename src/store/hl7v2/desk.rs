//! What people do with messages and profiles: all of one wish, and the row of the ledger that says so,
//! in one commit.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::queue::ids_of;
use super::site::{NewSite, UnmappedCode};
use super::{MessageState, queue, site};
use crate::access::{CommitError, Draft, LedgerRow, Permit, RowTaken, Unaudited};
use crate::error::Error;
use crate::fhir::Instant;
use crate::store::connection::Transaction;
use crate::store::rows::Timestamptz;
use crate::store::{Store, failure, ledger};

/// What may be worked on again, whatever became of it; of what was rejected, as the statement says.
const ENDED: &[MessageState] = &[
    MessageState::Failed,
    MessageState::Held,
    MessageState::Processed,
    MessageState::ProcessedWithIssues,
    MessageState::Discarded,
    MessageState::Rejected,
];

/// A wish that is carried out, and not committed.
pub struct Desk {
    transaction: Transaction,
    row: LedgerRow,
    parties: Vec<i64>,
    taken: RowTaken,
}

impl Store {
    /// Begins a wish, whose row `draft` is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn desk(&self, draft: Draft, _permit: &Permit<'_>) -> Result<Desk, Error> {
        let (row, taken) = draft.take_row();
        // What is new is added before a writer is taken, which would wait with it.
        self.0.parties.keys([&row]).await?;
        let transaction = self.0.feeds.begin("BEGIN").await?;
        let parties = self.0.parties.keys([&row]).await?;
        Ok(Desk { transaction, row, parties, taken })
    }
}

impl Desk {
    /// Puts messages in one of `states` back into their lines: those that were. `prunes`: what they made before
    /// and make no longer goes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn replay(
        &mut self,
        ids: &[Uuid],
        states: &[MessageState],
        prunes: bool,
    ) -> Result<Vec<Uuid>, Error> {
        let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
        let done = ids_of(&self.transaction.all(queue::REPLAY, &[&ids, &states, &prunes]).await?)?;
        self.row.disclosed.entities.extend(done.iter().map(|id| format!("v2/messages/{id}")));
        Ok(done)
    }

    /// Puts one message back into its lines, whatever became of it, unless it waits or is at work.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for one that waits already, or was never one;
    /// [`Error::Unavailable`] without a database.
    pub async fn replay_one(&mut self, id: Uuid, prunes: bool) -> Result<Vec<Uuid>, Error> {
        let done = self.replay(&[id], ENDED, prunes).await?;
        if done.is_empty() {
            return Err(self.why_not(id, "it waits already, or was never a message").await?);
        }
        Ok(done)
    }

    /// Sets a message aside for good.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for one that had its effect or is at work;
    /// [`Error::Unavailable`] without a database.
    pub async fn discard(&mut self, id: Uuid, reason: &str) -> Result<(), Error> {
        if self.transaction.all(queue::DISCARD, &[&id, &reason]).await?.is_empty() {
            return Err(self.why_not(id, "the message does not wait and has not failed").await?);
        }
        self.row.disclosed.entities.push(format!("v2/messages/{id}"));
        Ok(())
    }

    /// Why nothing can be done with a message: it is not there, or stands where `text` says.
    async fn why_not(&self, id: Uuid, text: &str) -> Result<Error, Error> {
        let found = self.transaction.all(queue::IS_THERE, &[&id]).await?;
        let missing = || Error::NotFound(format!("message {id}"));
        Ok(found.first().map_or_else(missing, |_| Error::Conflict(text.to_owned())))
    }

    /// The oldest messages that failed, of a sender and since a time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn failed(
        &self,
        site: Option<&str>,
        since: Option<Instant>,
        most: i64,
    ) -> Result<Vec<Uuid>, Error> {
        let since = since.map(Timestamptz);
        ids_of(&self.transaction.all(queue::FAILED, &[&site, &since, &most]).await?)
    }

    /// The oldest messages of a sender in which a code came that no map had another one for.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn unmapped(
        &self,
        site: &str,
        code: &UnmappedCode,
        most: i64,
    ) -> Result<Vec<Uuid>, Error> {
        let UnmappedCode { set, system, code, display: _ } = code;
        let parameters: [&(dyn ToSql + Sync); 5] = [&site, set, system, code, &most];
        ids_of(&self.transaction.all(site::UNMAPPED_MESSAGES, &parameters).await?)
    }

    /// Adds a version of a profile; its number.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another came between; [`Error::Unavailable`] without a database.
    pub async fn add_site(&mut self, new: &NewSite, at: Instant) -> Result<i32, Error> {
        let NewSite { id, toml, by, note, after } = new;
        let parameters: [&(dyn ToSql + Sync); 6] = [id, toml, &Timestamptz(at), by, note, after];
        let rows = self.transaction.all(site::ADD, &parameters).await?;
        let came = || Error::Conflict(format!("the profile {id} was changed at the same time"));
        let version: i32 = rows.first().ok_or_else(came)?.try_get(0).map_err(failure::error)?;
        self.row.disclosed.entities.push(format!("v2/sites/{id}/{version}"));
        Ok(version)
    }

    /// Commits the wish with its row.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Unconfirmed`]: without the row nothing was done.
    pub async fn commit<T>(self, value: T) -> Result<Unaudited<T>, Error> {
        let Self { transaction, row, parties, taken } = self;
        ledger::record_in(&transaction, &row, parties).await?;
        match transaction.commit().await.map_err(failure::last_error) {
            Ok(()) => Ok(taken.with(value)),
            Err(CommitError::Failed(error)) => Err(error),
            Err(CommitError::Raced) => {
                Err(Error::Conflict("others worked on the same messages".to_owned()))
            }
        }
    }
}
