//! Locks by name: who looks for what is not there yet keeps others from making it meanwhile.
//!
//! Spec: checklist rest 2.49

use crate::access::{CommitError, Permit};
use crate::error::Error;
use crate::store::connection::Transaction;
use crate::store::hash::Hasher;

use super::{BEGIN_SNAPSHOT, WriteTx};

impl Hasher {
    /// The lock of these criteria, the same on every node.
    pub fn lock(&self, criteria: &str) -> i64 {
        let text = format!("lock {criteria}");
        self.seal(text.as_bytes()).cast_signed()
    }
}

impl WriteTx {
    /// Opens a transaction in which no other unit holds one of `keys`, until this one has ended.
    /// From here on all reads see one state of the database, with what the last holder committed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database, or when a lock is not to be had in time;
    /// [`Error::Busy`] and [`Error::Throttled`] when too many do the same.
    pub async fn lock(&mut self, keys: &[i64], permit: &Permit<'_>) -> Result<(), Error> {
        if self.connection.is_some() {
            return Err(Error::internal("locks come before all reads and writes"));
        }
        let locks = self.wanted(keys);
        // Before the connection: who waits here holds none.
        self.seat = Some(self.store.0.criteria.seat(permit).await?);
        self.connection = Some(self.store.0.writers.begin_locked(&locks, BEGIN_SNAPSHOT).await?);
        Ok(())
    }

    /// A transaction for what is read after what was written, with the locks that are known to be wanted.
    pub(super) async fn begin_wanted(&self) -> Result<Transaction, CommitError> {
        let locks = self.wanted(&[]);
        let begun = self.store.0.writers.begin_locked(&locks, BEGIN_SNAPSHOT).await;
        begun.map_err(CommitError::Failed)
    }
}
