//! Rows of answered reads that the disk may not have yet.
//!
//! Where reads do not wait for the disk (`audit.reads`), a row is committed before its read is answered and
//! reaches the disk a moment later. Until then it is kept here as well: what a crash of the database takes
//! is written again when it is back. So such a row is lost only where this process ends in the same moment,
//! as when the machine stops.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_postgres::types::ToSql;

use crate::access::LedgerRow;
use crate::error::{Error, root_cause};

use super::connection::{Flush, Pipeline, Pipelines};
use super::ledger::{Columns, insert_ledger};
use super::parties::Parties;
use super::tenant::{Opened, Realm};
use super::{Store, TENANT, failure};

/// Most rows that are kept: with so many, reads wait until the disk has some of them.
const MOST: usize = 100_000;
/// Most rows in one statement.
const BATCH: usize = 256;
/// Between two looks at what the disk has.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(not(feature = "bench-without-ledger"))]
macro_rules! behind {
    () => {
        " WHERE "
    };
}
#[cfg(feature = "bench-without-ledger")]
macro_rules! behind {
    () => {
        " AND "
    };
}

/// Adds the rows that are not there. An id has its time within it, which an index finds: what is there of
/// these times is looked at once.
const AGAIN: &str = concat!(
    insert_ledger!(many),
    behind!(),
    "l.id <> ALL (ARRAY(SELECT o.id FROM ledger_row o WHERE kiln_time(o.id) = ANY (ARRAY(SELECT DISTINCT \
     kiln_time(i) FROM unnest($2::uuid[]) AS i)) AND o.id = ANY ($2::uuid[])))"
);
/// How far the database has come in its log.
const NOW: &str = "SELECT pg_current_wal_insert_lsn()::text";
/// Whether the disk has its log so far.
const IS_FLUSHED: &str = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[AGAIN, NOW, IS_FLUSHED];

/// Rows of reads, from their commit until the disk has them.
pub(super) struct Unflushed {
    pipelines: Pipelines,
    parties: Arc<Parties>,
    /// The connections by which rows are committed.
    opened: Opened,
    kept: Mutex<VecDeque<Kept>>,
    room: Semaphore,
    came: Notify,
    /// Whether rows are committed without the disk.
    is_later: bool,
    /// Whether somebody sees to what is kept.
    is_attended: AtomicBool,
}

struct Kept {
    /// How many connections had been opened before it was committed.
    opened: u64,
    row: LedgerRow,
}

/// Taken before rows are committed: which connections may have done it.
#[derive(Clone, Copy)]
pub(super) struct Before(u64);

impl Unflushed {
    pub(super) fn new(
        realm: &Realm,
        parties: Arc<Parties>,
        timeout_ms: u32,
        flush: Flush,
    ) -> Result<Self, Error> {
        Ok(Self {
            pipelines: Pipelines::new(realm, 1, timeout_ms, Flush::Wait)?,
            parties,
            opened: realm.opened().clone(),
            kept: Mutex::default(),
            room: Semaphore::new(MOST),
            came: Notify::new(),
            is_later: flush == Flush::Soon,
            is_attended: AtomicBool::new(false),
        })
    }

    /// Whether a commit of rows of reads waits for the disk.
    pub(super) fn flush(&self) -> Flush {
        if self.is_later { Flush::Soon } else { Flush::Wait }
    }

    /// To be asked for before the statement that commits rows.
    pub(super) fn before(&self) -> Before {
        Before(self.opened.number())
    }

    /// Keeps rows that were committed, before they are answered for.
    pub(super) async fn keep(&self, before: Before, rows: impl Iterator<Item = LedgerRow>) {
        if !self.is_later || !self.is_attended.load(Ordering::Acquire) {
            return;
        }
        let rows: Vec<Kept> = rows.map(|row| Kept { opened: before.0, row }).collect();
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        // Never closed, and no statement has as many rows as there is room for.
        if let Ok(room) = self.room.acquire_many(count).await {
            room.forget();
        }
        self.kept().extend(rows);
        self.came.notify_one();
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets rows go that the disk has, and writes again those that a crash may have taken, for ever.
    async fn attend(&self) {
        self.is_attended.store(true, Ordering::Release);
        loop {
            if self.kept().is_empty() {
                self.came.notified().await;
            }
            // Whoever asks the database for more is told that it is away: here it is asked again.
            if let Err(error) = self.settle().await {
                let cause = root_cause(&error);
                tracing::warn!(cause, "rows of reads are kept until the database has them");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Lets go of the rows that are kept by now, once the disk has them.
    async fn settle(&self) -> Result<(), Error> {
        let pipeline = self.pipelines.pipeline().await?;
        let opened = self.opened.number();
        let (count, older) = self.older(opened);
        // The database that answers this connection may be another than the one that committed them.
        for rows in older.chunks(BATCH) {
            self.write_again(&pipeline, rows).await?;
        }
        // Of those that were there nothing was written just now.
        if count > 0 {
            is_on_disk(&pipeline).await?;
        }
        // What was committed by this database is on its disk, unless it is another by now.
        if self.opened.number() == opened {
            self.kept().drain(..count);
            self.room.add_permits(count);
        }
        Ok(())
    }

    /// How many rows are kept, and those of them that came before the last connection was opened.
    fn older(&self, opened: u64) -> (usize, Vec<LedgerRow>) {
        let kept = self.kept();
        let older = kept.iter().filter(|kept| kept.opened != opened);
        (kept.len(), older.map(|kept| kept.row.clone()).collect())
    }

    async fn write_again(&self, pipeline: &Pipeline, rows: &[LedgerRow]) -> Result<(), Error> {
        let all: Vec<&LedgerRow> = rows.iter().collect();
        let columns = Columns::with_parties(&all, &self.parties).await?;
        let statement = pipeline.prepare(AGAIN).await?;
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(columns.parameters());
        let added = pipeline.client().execute(&statement, &parameters).await;
        let added = added.map_err(failure::error)?;
        if added > 0 {
            metrics::counter!("kiln_ledger_rewritten_rows_total").increment(added);
            tracing::warn!(rows = added, "rows of reads that the database had lost are on record");
        }
        Ok(())
    }
}

/// Waits until the disk has what is committed by now.
async fn is_on_disk(pipeline: &Pipeline) -> Result<(), Error> {
    let statement = pipeline.prepare(NOW).await?;
    let row = pipeline.client().query_one(&statement, &[]).await.map_err(failure::error)?;
    let now: String = row.try_get(0).map_err(failure::error)?;
    let statement = pipeline.prepare(IS_FLUSHED).await?;
    loop {
        let row = pipeline.client().query_one(&statement, &[&now]).await.map_err(failure::error)?;
        if row.try_get(0).map_err(failure::error)? {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Store {
    /// Sees to it, as long as it runs, that rows of answered reads outlive a crash of the database.
    pub async fn attend_reads(self) {
        self.0.unflushed.attend().await;
    }
}
