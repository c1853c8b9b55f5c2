//! PostgreSQL: every SQL statement of the server.
//!
//! Reads take a [`Permit`](crate::access::Permit) and give [`Unaudited`](crate::access::Unaudited)
//! results; writes are collected in a [`WriteTx`] and become durable in one statement together with
//! their ledger rows. No other module names `sqlx` or `tokio_postgres`.
//!
//! Layer: 4. Imports `access`, `audit`, `clock`, `error`, `fhir`, `search`.
//!
//! Layout: `migrations/`, ARCHITECTURE.md section Storage.

pub mod backup;
mod closure;
mod connection;
pub mod cursor;
mod events;
mod everything;
mod export;
mod failure;
mod frame;
pub mod hash;
pub mod history;
pub mod hl7v2;
mod index;
mod integrity;
mod judge;
mod ledger;
pub mod maintenance;
mod mask;
mod meta;
mod migrate;
pub mod oauth;
mod parties;
mod policy;
mod reads;
mod reindex;
mod resource;
mod rows;
pub mod search;
mod seats;
mod subscription;
mod tenant;
mod tls;
mod together;
mod unflushed;
mod write;

use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::fhir::Identity;
use crate::search::extract::Extractor;

pub use closure::ClosureTable;
pub use connection::{Address, Flush};
pub use events::{Along, EventsPage, EventsRequest, InOrder};
pub use everything::{
    EverythingOf, EverythingPlan, Gathered, GatheredPart, SummaryAlong, SummaryOf, SummaryPart,
    SummaryPlan,
};
pub use export::{
    ExportFile, ExportJob, ExportKind, ExportLevel, ExportPlan, ExportState, ExportTry, Exported,
    FileReader, Line, NewExport, SUPPORTING as EXPORTED_WITH_PATIENTS, notice as export_notice,
};
pub use history::{HistoryPage, HistoryRequest, HistoryScope};
pub use index::{IndexRows, Parameters, Stored};
pub use integrity::{Integrity, Ties};
pub use judge::Tripwire;
#[cfg(feature = "bench-without-ledger")]
pub use ledger::keep_none;
pub use meta::{MetaList, MetaScope, MetaUse};
pub use migrate::{MigrateError, check as check_schema, migrate, migrate_copy};
pub use reindex::{Build, BuildScope};
pub use resource::Current;
pub use subscription::{
    AskedSubscription, FeedChange, HeldSubscription, ServedSubscription, Spot, SubscriptionChange,
    SubscriptionOwner, SubscriptionState, veil,
};
pub use tenant::{Directory, Listed, Realm, Tenant, is_name};
pub use tls::AddressError;
pub use write::{Staged, Wanted, WriteTx};

use connection::{Pipelines, Pool};
use hash::Hasher;
use index::{Indexed, Indexer, codes};
use ledger::LedgerWriter;
use meta::KnownUses;
use parties::Parties;
use reads::Reads;
use seats::{Searchers, Seats};
use unflushed::Unflushed;
use write::{Effects, Rids, SharedWrites};

/// The tenant of everything while tenancy is off.
const TENANT: i32 = 0;
/// The distribution key of everything while tenancy is off: one bucket.
const BUCKET: i32 = TENANT << 10;

/// Longest time of a statement of an export, in milliseconds: one reads a few hundred rows, but may have
/// to look at many.
const EXPORT_TIMEOUT_MS: u32 = 600_000;

/// Every static statement, so that a test can have the database prepare each.
pub fn statements() -> impl Iterator<Item = &'static str> {
    [
        backup::STATEMENTS,
        closure::STATEMENTS,
        codes::STATEMENTS,
        connection::STATEMENTS,
        history::STATEMENTS,
        ledger::STATEMENTS,
        meta::STATEMENTS,
        migrate::STATEMENTS,
        parties::STATEMENTS,
        reindex::STATEMENTS,
        resource::STATEMENTS,
        tenant::STATEMENTS,
        unflushed::STATEMENTS,
        write::STATEMENTS,
        write::INTEGRITY_STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
    .chain(events::statements())
    .chain(export::statements())
    .chain(hl7v2::statements())
    .chain(maintenance::statements())
    .chain(oauth::statements())
    .chain(policy::statements())
    .chain(search::statements())
    .chain(subscription::statements())
}

/// How many connections of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Connections that point reads are pipelined on.
    pub readers: usize,
    /// Connections for writes, one write at a time each.
    pub writers: usize,
    /// Connections for what only the queue of messages does.
    pub feeds: usize,
    /// Connections for searches, one search at a time each.
    pub searchers: usize,
    /// Connections for exports, one each while it runs.
    pub exports: usize,
    /// Longest time a statement may take, in milliseconds.
    pub statement_timeout_ms: u32,
    /// The same for a statement of a search.
    pub search_timeout_ms: u32,
    /// Whether reads wait until the disk has their ledger rows. All else always does.
    pub read_audit: Flush,
}

/// The database, as the engine and the gate see it. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    readers: Pipelines,
    reads: Reads,
    writers: Pool,
    /// For the queue of messages.
    feeds: Pool,
    /// For exports.
    exports: Pool,
    /// For units that look by criteria: others find writers too.
    criteria: Seats,
    searchers: Searchers,
    /// Longest time of a statement of a search.
    search_timeout_ms: u32,
    counts: search::Counts,
    ledger: LedgerWriter,
    /// For rows of reads alone, which may come to the disk later.
    ledger_of_reads: LedgerWriter,
    unflushed: Arc<Unflushed>,
    parties: Arc<Parties>,
    hasher: Hasher,
    indexer: Indexer,
    rids: Rids,
    shared: SharedWrites,
    effects: Effects,
    looks: hl7v2::Looks,
    receipts: hl7v2::Receipts,
    vault: hl7v2::Vault,
    known_uses: KnownUses,
    definitions: OnceLock<search::Definitions>,
    directives: policy::Directives,
    admin: sqlx::PgPool,
    labels: Vec<(&'static str, String)>,
}

impl Store {
    /// Connects to the data of one tenant, which are migrated and in which these rules hold.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached; [`Error::Internal`] when it has no schema.
    pub async fn connect(realm: &Realm, sizes: Sizes, integrity: Integrity) -> Result<Self, Error> {
        let readers =
            Pipelines::new(realm, sizes.readers, sizes.statement_timeout_ms, Flush::Wait)?;
        let parties = Arc::new(Parties::new(realm, sizes.statement_timeout_ms)?);
        let (limit, flush) = (sizes.statement_timeout_ms, sizes.read_audit);
        let unflushed = Arc::new(Unflushed::new(realm, parties.clone(), limit, flush)?);
        let reads = Reads::new(realm, (parties.clone(), unflushed.clone()), sizes)?;
        let writers = Pool::by_index(realm, sizes.writers, sizes.statement_timeout_ms)?;
        let feeds = Pool::by_index(realm, sizes.feeds, sizes.statement_timeout_ms)?;
        // A snapshot waits while what was read is written, whatever it weighs.
        let patient = " -c idle_in_transaction_session_timeout=600s";
        let exports = (sizes.exports, EXPORT_TIMEOUT_MS);
        let exports = Pool::with(realm, exports, Flush::Wait, patient)?;
        let limit = sizes.search_timeout_ms;
        let searchers = Searchers::new(realm, sizes.searchers, limit, sizes.read_audit)?;
        // In turn, but for one caller too: half of the writers is little.
        let half = sizes.writers / 2;
        let criteria = Seats::new("conditional interactions", half, half);
        let limit = sizes.statement_timeout_ms;
        let ledger = LedgerWriter::new(realm, (parties.clone(), None), limit)?;
        let soon = (parties.clone(), Some(unflushed.clone()));
        let ledger_of_reads = LedgerWriter::new(realm, soon, limit)?;
        let looks = hl7v2::Looks::new(realm, (parties.clone(), unflushed.clone()), limit)?;
        let admin = connection::whole::pool(realm, 6).map_err(Error::internal)?;
        let hasher = Hasher::load(&readers).await?;
        let inner = Inner {
            readers,
            reads,
            writers,
            feeds,
            exports,
            criteria,
            searchers,
            search_timeout_ms: sizes.search_timeout_ms,
            counts: search::Counts::default(),
            ledger,
            ledger_of_reads,
            unflushed,
            parties,
            hasher,
            indexer: Indexer::new(integrity),
            rids: Rids::default(),
            shared: SharedWrites::default(),
            effects: Effects::default(),
            looks,
            receipts: hl7v2::Receipts::default(),
            vault: hl7v2::Vault::default(),
            known_uses: KnownUses::default(),
            definitions: OnceLock::new(),
            directives: policy::Directives::default(),
            admin,
            labels: realm.labels(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.0.readers.ping().await
    }

    /// The keyed hashes of this deployment.
    pub fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    /// From now on these search parameters make the index rows of what is written: those of an
    /// epoch of the database (0: FHIR's own).
    pub fn use_extractor(&self, extractor: Arc<Extractor>, epoch: i64) {
        self.0.indexer.set(extractor, epoch, &self.0.hasher);
    }

    /// From now on these definitions say what permits reach; said once.
    pub fn use_definitions(&self, definitions: search::Definitions) {
        let _ = self.0.definitions.set(definitions);
    }

    fn definitions(&self) -> Result<&search::Definitions, Error> {
        let missing = || Error::internal("the definitions are not loaded");
        self.0.definitions.get().ok_or_else(missing)
    }

    /// Which rules between resources hold.
    pub fn integrity(&self) -> &Integrity {
        self.0.indexer.integrity()
    }

    /// Waits until a write was refused because other search parameters are in force by now.
    pub async fn has_old_parameters(&self) {
        self.0.indexer.refused().await;
    }

    /// The search parameters in force.
    ///
    /// # Errors
    /// [`Error::Internal`] before [`Store::use_extractor`].
    pub fn parameters(&self) -> Result<Arc<Parameters>, Error> {
        self.0.indexer.parameters()
    }

    /// Has the table of codes have those of what is about to be written.
    async fn note_codes(&self, all: &[Indexed<'_>]) -> Result<(), Error> {
        self.0.indexer.codes().note(all, &self.0.readers).await
    }

    fn identity(&self, identity: &Identity) -> i64 {
        self.0.hasher.identity(identity.resource_type, &identity.id)
    }

    /// What parts numbers about it from those about others in the same process: the name of its tenant.
    pub fn labels(&self) -> Vec<(&'static str, String)> {
        self.0.labels.clone()
    }

    /// Counts of connections: open, busy and waiting, for metrics.
    pub fn pool_status(&self) -> PoolStatus {
        self.0.writers.status()
    }
}

/// How busy the write connections are.
#[derive(Clone, Copy, Debug)]
pub struct PoolStatus {
    /// Open connections.
    pub open: usize,
    /// Connections that are free.
    pub idle: usize,
    /// Writes that wait for a connection.
    pub waiting: usize,
}
