//! Writes: versions collected by one interaction, made durable in one statement with their ledger rows.
//!
//! A writer reads without locks, stages the version it wants to follow, and the statement ends in
//! `kiln_conflict()` when the row was touched between: by another version, a change of `meta` or a build
//! of the index. Rows are locked in the order of their keys: writers wait for each other, no deadlock.

use std::collections::HashMap;

use deadpool_postgres::Object;

use crate::access::interaction::Kind;
use crate::access::{
    CommitError, Disclosed, Interaction, LedgerRow, Outcome, Permit, UnitOfWork, Units,
};
use crate::error::Error;
use crate::fhir::{Identity, Instant, Operation, ResourceType, VersionId};

use super::connection::Transaction;
use super::hl7v2::Companion;
use super::index::{IndexRows, Indexed, Parameters};
use super::integrity::Ties;
use super::meta::{MetaChange, MetaUse};
use super::resource::Current;
use super::seats::Seat;
use super::subscription::SubscriptionChange;
use super::{Store, failure};

mod chunk;
mod collected;
mod effects;
mod integrity;
mod kept;
mod locks;
mod named;
mod queue;
mod rid;
mod statements;

pub(super) use chunk::reindex;
pub(super) use effects::Effects;
pub use integrity::Wanted;
pub(super) use integrity::{Locks, STATEMENTS as INTEGRITY_STATEMENTS};
pub(super) use queue::SharedWrites;
pub(super) use rid::Rids;
pub(super) use statements::STATEMENTS;

use chunk::write_chunk;
use collected::Collected;
use integrity::Guarded;
use named::Named;
use queue::Unit;

/// Most versions in one statement.
const CHUNK: usize = 500;

/// A version that waits for its commit.
#[derive(Debug)]
pub struct Staged {
    /// What it is a version of.
    pub identity: Identity,
    /// The version it follows; `None` for the first.
    pub prior: Option<Current>,
    /// Its number.
    pub version: VersionId,
    /// What makes it.
    pub operation: Operation,
    /// Its time.
    pub last_updated: Instant,
    /// `meta` without versionId and lastUpdated, as JSON.
    pub meta: Option<bytes::Bytes>,
    /// The rest of the resource, as JSON; `None` for a deletion.
    pub body: Option<bytes::Bytes>,
    /// Hashes of its patients.
    pub patients: Vec<i64>,
    /// Profiles, labels and tags it uses.
    pub uses: Vec<MetaUse>,
    /// Its rows in the index; none for a deletion.
    pub index: IndexRows,
    /// What rules between resources have a say in; nothing for a deletion.
    pub ties: Ties,
}

/// The writes of one interaction, not yet durable.
pub struct WriteTx {
    store: Store,
    staged: Vec<Staged>,
    changes: Vec<MetaChange>,
    entries: Vec<(Interaction, Disclosed)>,
    connection: Option<Transaction>,
    /// Where it looks by criteria: its share of the connections, given back after its connection.
    seat: Option<Seat>,
    raced: bool,
    prefetched: HashMap<Identity, Option<Current>>,
    guarded: Vec<Guarded>,
    /// Which entry of a Bundle is at work.
    at_entry: Option<usize>,
    wanted: Wanted,
    /// What is named by what a caller with limits writes.
    named: Named,
    /// What patients may deny that it is collected.
    collected: Option<Box<Collected>>,
    /// What is kept of the message whose effect this is.
    companion: Option<Companion>,
    /// What its versions of Subscriptions mean for the work on them.
    subscribed: Vec<SubscriptionChange>,
    /// Whether there is nothing that the caller may not see: then others may be named to it.
    sees_all: bool,
}

impl WriteTx {
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The connection inside a transaction, once [`WriteTx::flush`] has opened one.
    pub(super) fn connection(&self) -> Option<&Transaction> {
        self.connection.as_ref()
    }

    /// Adds a version under the permit for its type.
    ///
    /// # Errors
    /// [`Error::Internal`] when the permit is for another type, [`Error::Deleted`] where it would follow an erasure.
    pub fn stage(&mut self, staged: Staged, permit: &Permit<'_>) -> Result<(), Error> {
        if permit.resource_type()? != staged.identity.resource_type {
            return Err(Error::internal("a version was staged under a permit for another type"));
        }
        // The id of what was erased is nobody's any more.
        if let Some(erased) = staged.prior.as_ref().filter(|prior| prior.version.is_erased()) {
            return Err(Error::gone(&erased.version));
        }
        self.note_named(&staged)?;
        self.note_collected(&staged, permit)?;
        self.guarded.extend(Guarded::of(&staged, self.at_entry, &self.store));
        self.staged.push(staged);
        Ok(())
    }

    /// Has the work on a Subscription follow a version that is staged, in the same transaction.
    pub fn subscribe(&mut self, change: SubscriptionChange) {
        self.subscribed.push(change);
    }

    pub(super) fn change(&mut self, change: MetaChange) {
        self.changes.push(change);
    }

    /// Adds what the ledger must know of one entry of a Bundle, beside the Bundle's own row.
    pub fn entry(&mut self, interaction: Interaction, disclosed: Disclosed) {
        self.entries.push((interaction, disclosed));
    }

    /// Writes what is staged so far inside an open transaction, so that reads through this unit see it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a resource changed meanwhile: the gate then runs the work anew.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let written = self.write_staged().await;
        written.map_err(|error| self.lost(error))
    }

    /// What is told of a statement that failed; where another writer was faster, the work is run anew.
    pub(super) fn lost(&mut self, error: CommitError) -> Error {
        match error {
            CommitError::Failed(error) => error,
            CommitError::Raced => {
                self.raced = true;
                Error::Conflict("a resource changed meanwhile".to_owned())
            }
        }
    }

    async fn write_staged(&mut self) -> Result<(), CommitError> {
        self.note_uses().await?;
        // From here on, what was read before may be changed by our own writes.
        self.prefetched.clear();
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.begin_wanted().await?,
        };
        let staged = std::mem::take(&mut self.staged);
        let changes = std::mem::take(&mut self.changes);
        let result = write_all(&self.store, &connection, &staged, &changes, &[]).await;
        self.connection = Some(connection);
        result
    }

    async fn begin(&self, sql: &str) -> Result<Transaction, CommitError> {
        self.store.0.writers.begin(sql).await.map_err(CommitError::Failed)
    }

    /// Remembers which profiles, labels and tags are in use, before the versions that use them.
    async fn note_uses(&self) -> Result<(), CommitError> {
        let mut uses = Vec::new();
        for staged in &self.staged {
            for used in &staged.uses {
                uses.push((staged.identity.resource_type, used));
            }
        }
        for change in &self.changes {
            uses.extend(change.uses.iter().map(|used| (change.resource_type(), used)));
        }
        match &self.connection {
            // To wait for another connection while holding one could be to wait for ever.
            Some(connection) => self.store.note_uses_on(&uses, connection).await,
            None => self.store.note_uses(&uses).await.map_err(CommitError::Failed),
        }
    }

    /// Whether one statement does it all, which then is its own transaction.
    fn is_single_statement(&self) -> bool {
        self.connection.is_none()
            && self.changes.is_empty()
            && self.subscribed.is_empty()
            && self.staged.len() <= CHUNK
    }

    async fn commit_all(mut self, rows: Vec<LedgerRow>) -> Result<(), CommitError> {
        self.note_uses().await?;
        if !self.guarded.is_empty() {
            return self.commit_guarded(rows).await;
        }
        if self.is_single_statement() {
            let companion = self.companion.take();
            if self.staged.is_empty() && companion.is_none() {
                return self.store.0.ledger.record(rows).await.map_err(CommitError::Failed);
            }
            let staged = std::mem::take(&mut self.staged);
            if let Some(companion) = companion {
                let unit = Unit { staged, rows };
                // Most writes have none, and do not carry what these need.
                let effects = &self.store.0.effects;
                return Box::pin(effects.submit(&self.store, unit, companion)).await;
            }
            // One version, or what cannot collide, shares its statement with others.
            let is_new = |staged: &Staged| staged.operation == Operation::Created;
            if staged.len() == 1 || staged.iter().all(is_new) {
                return self.store.0.shared.submit(&self.store, Unit { staged, rows }).await;
            }
            let connection =
                self.store.0.writers.connection().await.map_err(CommitError::Failed)?;
            let staged: Vec<&Staged> = staged.iter().collect();
            let rows: Vec<&LedgerRow> = rows.iter().collect();
            return write(&self.store, &connection, &staged, &rows).await;
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.begin(BEGIN).await?,
        };
        let written = write_all(&self.store, &connection, &self.staged, &self.changes, &rows).await;
        let companions: Vec<&Companion> = self.companion.iter().collect();
        let written = Companion::follow(&companions, written, &connection).await;
        let written = SubscriptionChange::follow(&self.subscribed, written, &connection).await;
        if let Err(error) = written {
            connection.roll_back().await;
            return Err(error);
        }
        connection.commit().await.map_err(failure::last_error)
    }
}

impl UnitOfWork for WriteTx {
    async fn commit(self, rows: Vec<LedgerRow>) -> Result<(), CommitError> {
        let began = std::time::Instant::now();
        let done = self.commit_all(rows).await;
        metrics::histogram!("kiln_database_commit_duration_seconds").record(began.elapsed());
        done
    }

    async fn settle(&mut self, permit: &Permit<'_>) -> Result<(), Error> {
        self.check_named(permit).await?;
        match self.collected.take() {
            Some(collected) => Box::pin(self.check_collected(*collected)).await,
            None => Ok(()),
        }
    }

    async fn roll_back(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.roll_back().await;
        }
    }

    fn is_raced(&self) -> bool {
        self.raced
    }

    fn note(&mut self, interaction: Interaction, disclosed: Disclosed) {
        self.entry(interaction, disclosed);
    }

    fn disclosed(&mut self) -> Vec<(Interaction, Disclosed)> {
        std::mem::take(&mut self.entries)
    }
}

impl Units for Store {
    type Unit = WriteTx;
    type Memory = Wanted;

    fn begin(&self, permit: &Permit<'_>, memory: &Wanted) -> WriteTx {
        WriteTx {
            store: self.clone(),
            staged: Vec::new(),
            changes: Vec::new(),
            entries: Vec::new(),
            connection: None,
            seat: None,
            raced: false,
            prefetched: HashMap::new(),
            guarded: Vec::new(),
            at_entry: None,
            wanted: memory.clone(),
            named: Named::default(),
            collected: None,
            companion: None,
            subscribed: Vec::new(),
            sees_all: permit.derive_system(Kind::Explain).is_ok_and(|all| !all.is_restricted()),
        }
    }

    async fn record(&self, mut rows: Vec<LedgerRow>) -> Result<(), Error> {
        for row in &mut rows {
            self.name_patient(row);
        }
        let is_read = rows.iter().all(LedgerRow::is_of_read);
        let writer = if is_read { &self.0.ledger_of_reads } else { &self.0.ledger };
        writer.record(rows).await
    }
}

impl Store {
    /// An attempt at a patient that came to nothing is about the patient all the same: by that the index finds it.
    fn name_patient(&self, row: &mut LedgerRow) {
        let Disclosed { subject, patients, .. } = &mut row.disclosed;
        if let Some((ResourceType::PATIENT, id, _)) = subject
            && row.outcome != Outcome::Success
        {
            let hash = self.hasher().patient(id);
            if !patients.contains(&hash) {
                patients.push(hash);
            }
        }
    }
}

const BEGIN: &str = "BEGIN";
/// For units that read what they wrote: all reads see one state of the database.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

/// Writes everything in chunks of one statement each, inside an open transaction.
async fn write_all(
    store: &Store,
    connection: &Object,
    staged: &[Staged],
    changes: &[MetaChange],
    rows: &[LedgerRow],
) -> Result<(), CommitError> {
    for change in changes {
        change.write(store, connection).await?;
    }
    // In the order of their keys across chunks too, so that writers cannot deadlock.
    let mut order: Vec<&Staged> = staged.iter().collect();
    order.sort_by_key(|staged| lock_order(staged));
    let rows: Vec<&LedgerRow> = rows.iter().collect();
    let mut rows = rows.as_slice();
    for chunk in order.chunks(CHUNK) {
        let (now, later) = rows.split_at(rows.len().min(CHUNK));
        rows = later;
        write_chunk(store, connection, chunk, now, failure::commit_error).await?;
    }
    for rows in rows.chunks(CHUNK) {
        write_chunk(store, connection, &[], rows, failure::commit_error).await?;
    }
    Ok(())
}

/// The order in which rows are locked: known resources by key, then new ones by name.
fn lock_order(staged: &Staged) -> (i64, i16, &str) {
    let rid = staged.prior.as_ref().map_or(i64::MAX, |prior| prior.rid);
    (rid, staged.identity.resource_type.code(), staged.identity.id.as_str())
}

async fn write(
    store: &Store,
    connection: &Object,
    staged: &[&Staged],
    rows: &[&LedgerRow],
) -> Result<(), CommitError> {
    let mut order: Vec<&Staged> = staged.to_vec();
    order.sort_by_key(|staged| lock_order(staged));
    write_chunk(store, connection, &order, rows, failure::last_error).await
}

impl Staged {
    /// What the index holds of the version before.
    fn rows_before(&self, known: &Parameters) -> Result<Option<IndexRows>, Error> {
        let live = self.prior.as_ref().filter(|prior| !prior.version.is_deleted());
        live.map(|prior| known.rows_of(&prior.version)).transpose()
    }

    /// Its rows by the search parameters of now, where those it was prepared by are others.
    fn renewed_rows(&self, known: &Parameters) -> Result<Option<IndexRows>, Error> {
        let old = self.body.as_ref().filter(|_| self.index.epoch != known.epoch);
        let rows =
            |body: &bytes::Bytes| known.rows_of_parts(&self.identity, self.meta.as_deref(), body);
        old.map(rows).transpose()
    }

    fn indexed<'a>(
        &'a self,
        rid: i64,
        identity: i64,
        before: Option<&'a IndexRows>,
        now: &'a IndexRows,
    ) -> Indexed<'a> {
        let patients_before = self.prior.as_ref().map_or(&[][..], |prior| &prior.patients);
        Indexed {
            rid,
            identity,
            resource_type: self.identity.resource_type,
            before: before.map(|rows| (rows, patients_before)),
            now: self.body.is_some().then_some((now, &self.patients)),
            patients: &self.patients,
        }
    }
}
