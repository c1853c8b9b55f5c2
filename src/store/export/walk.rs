//! What belongs to an export, in which order.
//!
//! Of the whole system that is each type by itself. Of patients it is what lies in their compartments;
//! devices that are theirs; then who and what those refer to (practitioners, organizations, places,
//! medications), and what these refer to in turn; then each Provenance of what was written. A resource
//! in the compartments of several members comes once: for the first of them.
//!
//! With `_since`, what did not change is not written, but what it refers to may have changed: where such
//! types are wanted it is walked all the same.
//!
//! Spec: <https://hl7.org/fhir/uv/bulkdata/export.html>, rest 6.62 to 6.68

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};

use crate::access::interaction::Kind;
use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Instant, ResourceType, Version};
use crate::search::request::Filter;
use crate::store::connection::Reader;
use crate::store::rows::{self, Timestamptz};
use crate::store::search::bulk::{self, BulkWalk, NEWEST, REFERRING, Since, Whose};
use crate::store::{Store, TENANT, Tripwire, failure};

use super::output::Output;
use super::references::{references, with_addresses};
use super::{ExportKind, ExportLevel, ExportPlan, ExportTry, Exported};

/// Rows that are read at a time: each may be as large as a request may be.
pub(super) const ROWS: i32 = 16;
/// Patients, identities or keys that one statement walks.
pub(super) const SOME: usize = 200;

/// Who and what records refer to without being in a compartment.
pub const SUPPORTING: [&str; 8] = [
    "Endpoint",
    "HealthcareService",
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Substance",
];

const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text";
const POINT: &str = "INSERT INTO export_point (at, seen) VALUES ($1, $2::text::pg_snapshot) \
     ON CONFLICT (at) DO NOTHING";
const SEEN: &str = "SELECT seen::text FROM export_point WHERE at = $1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[SNAPSHOT, POINT, SEEN];

impl Store {
    /// Writes the files of an export, as far as the permit reaches, and completes it: then they can be
    /// asked for.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it was cancelled or taken over; [`Error::NotFound`] for a Group that is
    /// not there or out of reach.
    pub async fn export(
        &self,
        own: ExportTry,
        plan: &ExportPlan,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Exported>, Error> {
        // What a try before this one has written.
        self.drop_export_files(own).await?;
        let mut connection = self.0.exports.connection().await?;
        let snapshot = connection
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(failure::error)?;
        let (transaction_time, since) = self.bounds(&snapshot, plan).await?;
        let walker = Walker {
            store: self,
            snapshot: &snapshot,
            plan,
            permit,
            since,
            time: transaction_time,
            members: None,
            wanted: Wanted::new(plan),
            tripwire: self.tripwire(Kind::SearchType, permit.caller())?,
            output: Output::new(self, own, plan.lines_of_file),
            notices: plan.notices.clone(),
        };
        let (files, lines) = Box::pin(walker.run()).await?;
        let exported = Exported { transaction_time, files, lines };
        let now = plan.clock.now();
        self.complete_export(own, exported, (now, now.plus_millis(plan.kept))).await?;
        let entities = vec![format!("export {}", own.job), format!("{files} files, {lines} lines")];
        Ok(Unaudited::new(exported, Disclosed { entities, ..Disclosed::default() }))
    }

    /// What the export sees: the time that no version of it is newer than, which stands for the snapshot
    /// from now on, and what it is to leave out.
    async fn bounds(
        &self,
        snapshot: &Transaction<'_>,
        plan: &ExportPlan,
    ) -> Result<(Instant, Option<Since>), Error> {
        let row = snapshot.query_one(SNAPSHOT, &[]).await.map_err(failure::error)?;
        let seen: String = row.try_get(0).map_err(failure::error)?;
        let newest = snapshot.query_opt(NEWEST, &[&TENANT]).await.map_err(failure::error)?;
        let mut time = plan.clock.now().floor_to_millis();
        if let Some(row) = newest {
            let newest: Timestamptz = row.try_get(0).map_err(failure::error)?;
            time = time.max(newest.0);
        }
        let pipeline = self.0.readers.pipeline().await?;
        let add = pipeline.prepare(POINT).await?;
        loop {
            let added = pipeline.client().execute(&add, &[&Timestamptz(time), &seen]).await;
            if added.map_err(failure::error)? > 0 {
                break;
            }
            // One time stands for one snapshot.
            time = time.plus_millis(1);
        }
        let Some(at) = plan.since else { return Ok((time, None)) };
        let known = Reader::Shared(&pipeline).query(SEEN, &[&Timestamptz(at)]).await?;
        let seen = known.first().map(|row| row.try_get(0).map_err(failure::error)).transpose()?;
        Ok((time, Some(Since { at, seen })))
    }
}

/// What of what is met on the way is wanted later.
struct Wanted {
    types: BTreeSet<ResourceType>,
    /// Identities of what was referred to, met or not.
    known: HashSet<i64>,
    /// Those that are still to be walked.
    pending: BTreeMap<ResourceType, Vec<i64>>,
    /// Whether each Provenance is.
    has_provenance: bool,
    /// By which hashes a Provenance refers to a type.
    targets: HashMap<ResourceType, Vec<i64>>,
    /// The keys of each Provenance.
    provenance: BTreeSet<i64>,
}

impl Wanted {
    fn new(plan: &ExportPlan) -> Self {
        let is_of_patients = plan.level != ExportLevel::System;
        let supporting = SUPPORTING.iter().filter_map(|name| name.parse().ok());
        let types = supporting.filter(|of| is_of_patients && plan.types.contains(of));
        let named = is_of_patients && plan.types.contains(&ResourceType::PROVENANCE);
        Self {
            types: types.collect(),
            known: HashSet::new(),
            pending: BTreeMap::new(),
            has_provenance: plan.has_provenance || named,
            targets: HashMap::new(),
            provenance: BTreeSet::new(),
        }
    }

    /// Whether what is not written must be looked at all the same.
    fn is_any(&self) -> bool {
        !self.types.is_empty() || self.has_provenance
    }
}

/// One export at work.
pub(super) struct Walker<'w, 'gate> {
    pub(super) store: &'w Store,
    pub(super) snapshot: &'w Transaction<'w>,
    pub(super) plan: &'w ExportPlan,
    pub(super) permit: &'w Permit<'gate>,
    pub(super) since: Option<Since>,
    pub(super) time: Instant,
    /// The patients, where they are not all; in order.
    pub(super) members: Option<Vec<i64>>,
    wanted: Wanted,
    tripwire: Tripwire<'w>,
    pub(super) output: Output<'w>,
    /// OperationOutcomes for the file of errors.
    pub(super) notices: Vec<String>,
}

impl Walker<'_, '_> {
    /// Writes everything; how many files and lines.
    async fn run(mut self) -> Result<(u32, u64), Error> {
        self.find_members().await?;
        if self.plan.level == ExportLevel::System {
            for of in self.plan.types.clone() {
                self.walk(of, Whose::Anybodys).await?;
            }
        } else {
            self.walk_patients().await?;
        }
        self.follow().await?;
        self.provenance().await?;
        self.deleted().await?;
        for text in std::mem::take(&mut self.notices) {
            let kind = (ExportKind::Error, ResourceType::OPERATION_OUTCOME);
            self.output.line(kind, text.as_bytes(), &[]).await?;
        }
        self.output.finish().await
    }

    /// The rows of a walk that has few.
    pub(super) async fn rows(&self, walk: &BulkWalk<'_>) -> Result<Vec<Row>, Error> {
        let (sql, values) = bulk::statement(self.store, self.permit, walk)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|it| &**it as _).collect();
        self.snapshot.query(&sql, &values).await.map_err(failure::costly)
    }

    /// What lies in compartments, and devices.
    async fn walk_patients(&mut self) -> Result<(), Error> {
        let mut types: Vec<ResourceType> = self.plan.looked_at.clone();
        if !self.wanted.is_any() {
            types.retain(|of| self.plan.types.contains(of));
        }
        let members = self.members.clone();
        for of in types {
            match &members {
                None => self.walk(of, Whose::Patients).await?,
                Some(members) => {
                    for some in members.chunks(SOME) {
                        self.walk(of, Whose::Members(some)).await?;
                    }
                }
            }
        }
        if let ExportLevel::Group(id) = &self.plan.level
            && self.plan.types.contains(&ResourceType::GROUP)
        {
            let own = [self.store.hasher().identity(ResourceType::GROUP, id)];
            self.walk(ResourceType::GROUP, Whose::Identities(&own)).await?;
        }
        if self.plan.types.contains(&ResourceType::DEVICE) {
            self.walk(ResourceType::DEVICE, Whose::Owned(members.as_deref())).await?;
        }
        Ok(())
    }

    /// What was referred to, and what that refers to, until there is nothing more.
    async fn follow(&mut self) -> Result<(), Error> {
        while let Some((of, identities)) = self.wanted.pending.pop_first() {
            for some in identities.chunks(SOME) {
                self.walk(of, Whose::Identities(some)).await?;
            }
        }
        Ok(())
    }

    async fn provenance(&mut self) -> Result<(), Error> {
        // Of the system it is a type like others where it is wanted as such.
        let is_written = self.plan.level == ExportLevel::System
            && self.plan.types.contains(&ResourceType::PROVENANCE);
        self.wanted.has_provenance = false;
        let keys: Vec<i64> = std::mem::take(&mut self.wanted.provenance).into_iter().collect();
        for some in keys.chunks(SOME).filter(|_| !is_written) {
            self.walk(ResourceType::PROVENANCE, Whose::Keys(some)).await?;
        }
        // Who signed it, where.
        self.follow().await
    }

    async fn walk(&mut self, of: ResourceType, whose: Whose<'_>) -> Result<(), Error> {
        let nothing: &[Filter] = &[];
        let plan = self.plan;
        let filters = plan.filters.get(&of).map_or(nothing, Vec::as_slice);
        let is_written = plan.types.contains(&of) || of == ResourceType::PROVENANCE;
        let since = self.since.clone();
        let has_old = self.wanted.is_any();
        let walk = BulkWalk { of, whose, filters, since: since.as_ref(), has_old };
        let (sql, values) = bulk::statement(self.store, self.permit, &walk)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|it| &**it as _).collect();
        let snapshot = self.snapshot;
        let statement = snapshot.prepare(&sql).await.map_err(failure::error)?;
        let portal = snapshot.bind(&statement, &values).await.map_err(failure::costly)?;
        loop {
            let rows = snapshot.query_portal(&portal, ROWS).await.map_err(failure::costly)?;
            let mut targets = Vec::new();
            for row in &rows {
                self.row(row, is_written, &mut targets).await?;
            }
            self.add_provenance(&targets).await?;
            if rows.len() < ROWS as usize {
                return Ok(());
            }
        }
    }

    /// Writes a row, where it is one to be written, and notes what it refers to and is referred to by.
    async fn row(
        &mut self,
        row: &Row,
        is_written: bool,
        targets: &mut Vec<i64>,
    ) -> Result<(), Error> {
        let patients: Vec<i64> = row.try_get(7).map_err(failure::error)?;
        let walked: Option<i64> = row.try_get(0).map_err(failure::error)?;
        if let (Some(walked), Some(members)) = (walked, &self.members) {
            let is_member = |it: &&i64| members.binary_search(it).is_ok();
            let first = patients.iter().filter(is_member).min();
            if first.is_some_and(|first| *first != walked) {
                return Ok(());
            }
        }
        let version = rows::version(row, 2, rows::identity(row, 8)?)?;
        let found = (version, patients);
        let (mut version, patients) = self.store.cut_by(found, Kind::SearchType, self.permit)?;
        // What the store decided, once more by the document.
        if !self.tripwire.lets_by(&version)? {
            tracing::error!("a resource out of reach was about to be exported, and was left out");
            return Ok(());
        }
        self.note(&version, is_written, targets)?;
        let is_new: bool = row.try_get(1).map_err(failure::error)?;
        if !is_written || !is_new {
            return Ok(());
        }
        let known = self.store.parameters()?;
        version.body =
            version.body.map(|body| with_addresses(body.to_vec(), known.extractor.base()).into());
        let of = version.identity.resource_type;
        let text = (self.plan.line)(&version)?;
        self.output.line((ExportKind::Output, of), &text, &patients).await
    }

    fn note(
        &mut self,
        version: &Version,
        is_written: bool,
        targets: &mut Vec<i64>,
    ) -> Result<(), Error> {
        let hasher = self.store.hasher();
        let own = &version.identity;
        // Asked for as a type, it is that of whatever lies in compartments.
        let is_theirs = is_written || self.plan.types.contains(&ResourceType::PROVENANCE);
        if self.wanted.has_provenance && is_theirs && own.resource_type != ResourceType::PROVENANCE
        {
            let of = own.resource_type;
            if !self.wanted.targets.contains_key(&of) {
                let by = bulk::targets_of(self.store, self.permit, of)?;
                self.wanted.targets.insert(of, by);
            }
            let identity = hasher.identity(of, &own.id);
            let by = self.wanted.targets.get(&of).into_iter().flatten();
            targets.extend(by.map(|parameter| identity ^ parameter));
        }
        if self.wanted.types.is_empty() {
            return Ok(());
        }
        let known = self.store.parameters()?;
        let Some(body) = &version.body else { return Ok(()) };
        for (of, id) in references(body, known.extractor.base()) {
            if self.wanted.types.contains(&of) {
                let identity = hasher.identity(of, &id);
                if self.wanted.known.insert(identity) {
                    self.wanted.pending.entry(of).or_default().push(identity);
                }
            }
        }
        Ok(())
    }

    async fn add_provenance(&mut self, targets: &[i64]) -> Result<(), Error> {
        if targets.is_empty() {
            return Ok(());
        }
        let referring = self.snapshot.prepare_cached(REFERRING).await.map_err(failure::error)?;
        let found = self.snapshot.query(&referring, &[&targets]).await;
        let found = found.map_err(failure::costly)?;
        for row in &found {
            self.wanted.provenance.insert(row.try_get(0).map_err(failure::error)?);
        }
        Ok(())
    }
}
