//! Seals the ledger: puts its rows into batches, signs a checkpoint after each, and puts the checkpoints
//! outside the database.
//!
//! It reads below the snapshot's horizon and adds to tables of its own, so no writer ever waits for it.
//! Several nodes may seal one ledger: a batch's number is taken by whoever is first.

use std::time::{Duration, Instant};

use crate::audit::merkle::Growing;
use crate::audit::{BATCH, Checkpoint, SigningKey, batch_leaf, merkle};
use crate::clock::Clock;
use crate::error::Error;
use crate::store::Store;
use crate::store::maintenance::{self, OrderedRow, Place, Seal, UpTo};

use super::folder::{Folder, FolderError};

/// How often the ledger is looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after a batch less than a whole one is sealed: with a pause and the work, within ten seconds.
const SEAL_AFTER: Duration = Duration::from_secs(7);
/// How long after a failure the next try is.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How many seals are read at once.
const PAGE: i64 = 10_000;
/// How many rows are read at once: their order within a transaction has no index, so one that added a
/// million is looked through for each of these, not for each batch.
const ROWS: usize = 64 * BATCH;

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
    /// The size of the last checkpoint in the folder; `None` before it is known.
    exported: Option<u64>,
    sealed_at: Instant,
}

/// The name of the ledger's log in checkpoints.
pub fn log_name(store: &Store) -> String {
    format!("{:016x}", store.hasher().seal(b"audit log"))
}

/// The month of a row, six digits.
fn month(row: &OrderedRow) -> String {
    let at = row.at.to_string();
    format!("{}{}", &at[..4], &at[5..7])
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
            exported: None,
            sealed_at: Instant::now(),
        })
    }

    /// Seals as long as the server runs.
    pub async fn run(mut self) {
        loop {
            let pause = match self.pass(false).await {
                Ok(true) => continue,
                Ok(false) => PAUSE,
                Err(error) => {
                    tracing::warn!(%error, "the ledger cannot be sealed; trying again");
                    AFTER_FAILURE
                }
            };
            tokio::time::sleep(pause).await;
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

    /// Seals the rows that are there in batches, the last of which is a whole one unless the one before
    /// is some time ago (or `at_once`); whether there may be more.
    async fn pass(&mut self, at_once: bool) -> Result<bool, SealError> {
        self.catch_up().await?;
        let horizon = maintenance::horizon(&self.store).await?.ended.cast_signed();
        let rows =
            maintenance::ordered_rows(&self.store, self.last, UpTo::Below(horizon), ROWS as i64);
        let rows = rows.await?;
        let is_more = rows.len() == ROWS;
        // A batch is of one month, so that it goes with the partition of its rows.
        let mut batches: Vec<&[OrderedRow]> = rows
            .chunk_by(|one, next| month(one) == month(next))
            .flat_map(|of_month| of_month.chunks(BATCH))
            .collect();
        let is_short = batches.last().is_some_and(|last| last.len() < BATCH);
        if is_short && (is_more || !(at_once || self.sealed_at.elapsed() >= SEAL_AFTER)) {
            batches.pop();
        }
        let Some(last) = batches.last().and_then(|batch| batch.last()) else { return Ok(false) };
        // Before the seals: what is sealed has its names.
        maintenance::keep_patient_names(&self.store, self.last, last.place).await?;
        for batch in batches {
            self.seal(batch).await?;
            self.catch_up().await?;
            let is_ours = batch.last().is_some_and(|last| last.place == self.last);
            if !is_ours {
                // Another node made its batches otherwise.
                return Ok(true);
            }
        }
        Ok(is_more)
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

    /// Takes over what is sealed by now, by whomever, and puts its checkpoints into the folder.
    async fn catch_up(&mut self) -> Result<(), SealError> {
        let mut exported = match self.exported {
            Some(size) => size,
            None => self.exported_before().await?,
        };
        loop {
            let from = self.growing.size();
            let seals = maintenance::seals(&self.store, &self.log, from, PAGE).await?;
            if seals.is_empty() {
                self.exported = Some(exported);
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
            let signed = seals.into_iter().map(|seal| seal.signed);
            let new: Vec<_> = signed.filter(|it| it.checkpoint.size > exported).collect();
            if let Some(newest) = new.last() {
                exported = newest.checkpoint.size;
                self.folder.add(&new)?;
            }
            self.sealed_at = Instant::now();
        }
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
