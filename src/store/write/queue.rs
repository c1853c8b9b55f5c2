//! Writes that share a statement, a commit and a wait for the disk with those of other callers.
//!
//! A create under a new id cannot collide with another writer, and the writers of one resource take
//! turns, so what one caller writes goes well with what others write at the same moment.

use crate::access::{CommitError, LedgerRow};
use crate::store::Store;
use crate::store::together::{Queue, Together};

use super::{CHUNK, Staged, write};

/// Statements in flight at once: while one waits for the disk, the next gathers and runs. Measured: 4 and 8
/// make smaller statements and 10 to 25 % fewer creates at 30 clients.
const LANES: usize = 2;

/// What waits for the next statement.
pub(in crate::store) type SharedWrites = Queue<Store>;

impl Default for SharedWrites {
    fn default() -> Self {
        Self::new(LANES, CHUNK).gathering()
    }
}

/// The versions of one caller and their ledger rows.
pub(in crate::store) struct Unit {
    pub(super) staged: Vec<Staged>,
    pub(super) rows: Vec<LedgerRow>,
}

impl Together for Store {
    type Work = Unit;
    type Answer = ();
    type Fault = CommitError;

    fn weight(unit: &Unit) -> usize {
        unit.staged.len().max(1)
    }

    async fn run(&self, batch: &[Unit]) -> Result<Vec<()>, CommitError> {
        let connection = self.0.writers.connection().await.map_err(CommitError::Failed)?;
        let staged: Vec<&Staged> = batch.iter().flat_map(|unit| &unit.staged).collect();
        let rows: Vec<&LedgerRow> = batch.iter().flat_map(|unit| &unit.rows).collect();
        write(self, &connection, &staged, &rows).await?;
        Ok(vec![(); batch.len()])
    }
}
