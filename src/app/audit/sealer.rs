//! Seals the ledger: puts its rows into batches, signs a checkpoint after each, and puts the checkpoints
//! outside the database.
//!
//! It reads below the snapshot's horizon and adds to tables of its own, so no writer ever waits for it.
//! Several nodes may seal one ledger: a batch's number is taken by whoever is first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::merkle::Growing;
use crate::audit::{BATCH, Checkpoint, Signed, SigningKey, batch_leaf, merkle};
use crate::clock::Clock;
use crate::error::Error;
use crate::store::Store;
use crate::store::maintenance::{self, KnownParties, KnownPatients, OrderedRow, Place, Seal};

use super::folder::{Folder, FolderError};

/// How often the ledger is looked at, also after a failure: what fails once is still in time.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after a batch less than a whole one is sealed: with a pause and the work, within ten seconds.
const SEAL_AFTER: Duration = Duration::from_secs(7);
/// How many seals are read at once.
const PAGE: i64 = 10_000;
/// Most rows that are read at once. Rows of one transaction are sorted for each read, so that many of them
/// must not take a read a batch.
const MOST_READ: usize = 128 * BATCH;

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
    /// The files.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// Seals the ledger from one node.
pub struct Sealer<C> {
    store: Store,
    clock: C,
    folder: Folder,
    key: SigningKey,
    log: String,
    growing: Growing,
    rows: u64,
    last: Place,
    /// Rows behind the last place that were read ahead: nothing comes between them any more.
    ahead: VecDeque<OrderedRow>,
    parties: KnownParties,
    patients: KnownPatients,
    /// How many are read next.
    wanted: usize,
    /// The size of the last checkpoint in the folder as it was at the start; `None` before it is known.
    exported: Option<u64>,
    /// Checkpoints that are not in the folder yet.
    waiting: Vec<Signed>,
    sealed_at: Instant,
}

/// The name of the ledger's log in checkpoints.
pub fn log_name(store: &Store) -> String {
    format!("{:016x}", store.hasher().seal(b"audit log"))
}

/// The month of a row, six digits.
pub(super) fn month(row: &OrderedRow) -> String {
    let at = row.at.to_string();
    format!("{}{}", &at[..4], &at[5..7])
}

/// Whether so many rows are to be sealed so long after the last batch.
fn is_due(rows: usize, since: Duration, at_once: bool) -> bool {
    rows >= BATCH || (rows > 0 && (at_once || since >= SEAL_AFTER))
}

impl<C: Clock> Sealer<C> {
    /// A sealer with the key in `folder`.
    ///
    /// # Errors
    /// [`FolderError`]
    pub fn new(store: Store, clock: C, folder: Folder) -> Result<Self, FolderError> {
        let key = folder.signing_key()?;
        let log = log_name(&store);
        Ok(Self {
            store,
            clock,
            folder,
            key,
            log,
            growing: Growing::default(),
            rows: 0,
            last: Place::START,
            ahead: VecDeque::new(),
            parties: KnownParties::default(),
            patients: KnownPatients::default(),
            wanted: BATCH,
            exported: None,
            waiting: Vec::new(),
            sealed_at: Instant::now(),
        })
    }

    /// Seals as long as the server runs.
    pub async fn run(mut self) {
        loop {
            match self.pass(false).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the ledger cannot be sealed; trying again");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Seals all that can be sealed by now; how many rows are sealed.
    ///
    /// # Errors
    /// [`SealError`]
    pub async fn finish(&mut self) -> Result<u64, SealError> {
        while self.pass(true).await? {}
        Ok(self.rows)
    }

    /// Seals what is due, and puts its checkpoint into the folder; whether there may be more. What cannot be put
    /// there waits, and sealing goes on.
    async fn pass(&mut self, at_once: bool) -> Result<bool, SealError> {
        self.catch_up().await?;
        let is_more = self.seal_due(at_once).await?;
        match self.export().await {
            // Whole batches that wait are sealed one after the other all the same.
            Err(error) if is_more => tracing::warn!(%error, "a checkpoint waits for its file"),
            exported => exported?,
        }
        Ok(is_more)
    }

    /// Seals a batch, when there is a whole one or the last one is some time ago (or `at_once`);
    /// whether there may be another one.
    async fn seal_due(&mut self, at_once: bool) -> Result<bool, SealError> {
        self.read_ahead().await?;
        let mut rows: Vec<_> = self.ahead.iter().take(BATCH).copied().collect();
        let is_whole = rows.len() == BATCH;
        if !is_due(rows.len(), self.sealed_at.elapsed(), at_once) {
            return Ok(false);
        }
        // A batch is of one month, so that it goes with the partition of its rows.
        let first = month(&rows[0]);
        let of_month = rows.iter().take_while(|row| month(row) == first).count();
        let is_cut = of_month < rows.len();
        rows.truncate(of_month);
        self.seal(&rows).await?;
        self.catch_up().await?;
        Ok(is_whole || is_cut)
    }

    /// Reads on where less than a batch is at hand: more each time, as long as there is as much.
    async fn read_ahead(&mut self) -> Result<(), SealError> {
        while self.ahead.front().is_some_and(|row| row.place <= self.last) {
            self.ahead.pop_front();
        }
        if self.ahead.len() >= BATCH {
            return Ok(());
        }
        let after = self.ahead.back().map_or(self.last, |row| row.place);
        let below = maintenance::horizon(&self.store).await?.ended.cast_signed();
        // After a failure it begins small again.
        let wanted = std::mem::replace(&mut self.wanted, BATCH);
        let known = (&self.parties, &mut self.patients);
        let rows =
            maintenance::rows_to_seal(&self.store, known, after, below, wanted as i64).await?;
        let is_more = rows.len() == wanted;
        self.ahead.extend(rows);
        if is_more {
            self.wanted = (wanted * 2).min(MOST_READ);
        }
        Ok(())
    }

    async fn seal(&mut self, rows: &[OrderedRow]) -> Result<(), SealError> {
        let Some(last) = rows.last() else { return Ok(()) };
        let leaves: Vec<_> = rows.iter().map(|row| row.leaf).collect();
        let (root, size) = (merkle::root(&leaves), rows.len() as u32);
        let mut growing = self.growing.clone();
        growing.push(batch_leaf(&root, size));
        let checkpoint = Checkpoint {
            log: self.log.clone(),
            size: growing.size(),
            rows: self.rows + u64::from(size),
            at: self.clock.now().floor_to_millis(),
            root: growing.root(),
        };
        let n = self.growing.size();
        let month = month(last);
        let signed = self.key.sign(checkpoint);
        let seal = Seal { n, month, size, last: last.place, root, signed };
        if maintenance::add_seal(&self.store, &seal, rows).await? {
            metrics::counter!("kiln_ledger_sealed_rows_total").increment(u64::from(size));
        }
        Ok(())
    }

    /// Takes over what is sealed by now, by whomever.
    async fn catch_up(&mut self) -> Result<(), SealError> {
        let exported = match self.exported {
            Some(size) => size,
            None => self.exported_before().await?,
        };
        self.exported = Some(exported);
        loop {
            let from = self.growing.size();
            let seals = maintenance::seals(&self.store, &self.log, from, PAGE).await?;
            if seals.is_empty() {
                return Ok(());
            }
            for seal in &seals {
                self.growing.push(batch_leaf(&seal.root, seal.size));
                if self.growing.root() != seal.signed.checkpoint.root {
                    tracing::error!(
                        batch = seal.n,
                        "the seal of the ledger was altered: run `kiln audit verify`"
                    );
                }
                self.rows = seal.signed.checkpoint.rows;
                self.last = seal.last;
            }
            self.sealed_at = Instant::now();
            let signed = seals.into_iter().map(|seal| seal.signed);
            self.waiting.extend(signed.filter(|it| it.checkpoint.size > exported));
            if self.waiting.len() as i64 >= PAGE {
                self.export().await?;
            }
        }
    }

    /// Puts the checkpoints that wait into the folder.
    async fn export(&mut self) -> Result<(), FolderError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let all: Arc<[Signed]> = self.waiting.as_slice().into();
        self.folder.beside(move |folder| folder.add(&all)).await?;
        self.waiting.clear();
        Ok(())
    }

    /// The size of the last checkpoint in the folder, as it is at the start.
    async fn exported_before(&self) -> Result<u64, SealError> {
        let checkpoints = self.folder.checkpoints()?;
        let last = checkpoints.last().map_or(0, |signed| signed.checkpoint.size);
        let in_database = maintenance::last_seal(&self.store, &self.log).await?;
        let size = in_database.map_or(0, |seal| seal.n + 1);
        if last > size {
            tracing::error!(
                exported = last,
                size,
                "the end of the ledger's seal is missing in the database: run `kiln audit verify`"
            );
        }
        Ok(last.min(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that comes in just after a look at the ledger is seen by the next one, and the time is looked at
    /// then only: two seconds are left for the work.
    ///
    /// Covers: security A11.
    #[test]
    fn rows_are_sealed_by_the_thousand_and_within_ten_seconds() {
        let (bound, work) = (Duration::from_secs(10), Duration::from_secs(2));
        let longest = SEAL_AFTER + PAUSE + work;
        assert!(longest <= bound, "{longest:?}");
        assert_eq!(BATCH, 1_000);
        let just_before = SEAL_AFTER.saturating_sub(Duration::from_millis(1));
        for (rows, since, at_once, expected) in [
            (0, bound, false, false),
            (0, bound, true, false),
            (1, Duration::ZERO, false, false),
            (1, just_before, false, false),
            (1, SEAL_AFTER, false, true),
            (1, Duration::ZERO, true, true),
            (999, just_before, false, false),
            (1_000, Duration::ZERO, false, true),
        ] {
            assert_eq!(is_due(rows, since, at_once), expected, "{rows} {since:?} {at_once}");
        }
    }
}
