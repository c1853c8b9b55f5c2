//! Effects of messages: those that come at the same moment share their statements, their commit and its wait
//! for the disk, as receipts do.
//!
//! They have a queue of their own: a write of a client does not wait until the ends of messages are written.

use crate::access::{CommitError, LedgerRow};
use crate::store::hl7v2::{Companion, EndColumns};
use crate::store::together::{Queue, Together};
use crate::store::{Store, failure};

use super::chunk::{write_chunk, write_last_chunk};
use super::queue::Unit;
use super::{BEGIN, CHUNK, Staged, lock_order};

/// Transactions in flight at once: while one waits for the disk, the other runs.
const LANES: usize = 2;

/// What waits to be committed.
pub(in crate::store) struct Effects {
    queue: Queue<Lanes>,
}

/// The writers, for effects.
struct Lanes(Store);

struct Effect {
    unit: Unit,
    companion: Companion,
}

impl Default for Effects {
    fn default() -> Self {
        Self { queue: Queue::new(LANES, CHUNK).gathering().even() }
    }
}

impl Effects {
    /// Has an effect committed with the end of its message, alone or together with others.
    pub(super) async fn submit(
        &self,
        store: &Store,
        unit: Unit,
        companion: Companion,
    ) -> Result<(), CommitError> {
        self.queue.submit(&Lanes(store.clone()), Effect { unit, companion }).await
    }
}

impl Together for Lanes {
    type Work = Effect;
    type Answer = ();
    type Fault = CommitError;

    fn weight(effect: &Effect) -> usize {
        effect.unit.staged.len().max(1)
    }

    async fn run(&self, batch: &[Effect]) -> Result<Vec<()>, CommitError> {
        let store = &self.0;
        let mut staged: Vec<&Staged> = batch.iter().flat_map(|one| &one.unit.staged).collect();
        staged.sort_by_key(|staged| lock_order(staged));
        let rows: Vec<&LedgerRow> = batch.iter().flat_map(|one| &one.unit.rows).collect();
        let companions: Vec<&Companion> = batch.iter().map(|one| &one.companion).collect();
        let transaction = store.0.writers.begin(BEGIN).await.map_err(CommitError::Failed)?;
        let done = if companions.iter().all(|one| one.is_one_statement()) {
            let end = EndColumns::of(&companions);
            write_last_chunk(store, &transaction, &staged, &rows, &end).await
        } else {
            let error = failure::commit_error;
            let written = write_chunk(store, &transaction, &staged, &rows, error).await;
            Companion::follow(&companions, written, &transaction).await
        };
        match done {
            Ok(()) => transaction.commit().await.map_err(failure::last_error)?,
            Err(error) => {
                transaction.roll_back().await;
                return Err(error);
            }
        }
        Ok(vec![(); batch.len()])
    }
}
