//! One resource: its current version, an old version, and what a writer needs to know of it.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::access::{Disclosed, Draft, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Identity, Instant, LogicalId, Version, VersionId};
use crate::search::request::Filter;

use super::connection::Reader;
use super::frame::Frame;
use super::rows::RowState;
use super::search;
use super::write::WriteTx;
use super::{Store, TENANT, failure, rows};

mod writer;

use writer::for_writer;

/// The failure of a ledger row `l`. Who may not see a resource is told that it is not known; the record
/// says that it is out of reach.
macro_rules! failure_told {
    () => {
        "CASE WHEN l.failure LIKE '% is not known' AND EXISTS \
         (SELECT FROM ident i JOIN res r ON r.rid = i.rid AND r.dk = i.dk \
          WHERE i.tid = $1::int AND i.rt = l.rt \
            AND i.id = coalesce(l.logical_id, l.subject::text) \
            AND (l.vid IS NULL OR l.vid <= r.vid)) \
         THEN 'out of reach: ' || l.failure ELSE l.failure END"
    };
}
pub(super) use failure_told;

/// The keys `i` of rows `w` that name resources of the tenant $1 by `rt` and an id. `OFFSET 0` keeps it a look-up
/// for each row: a join may be planned as a walk over all of `ident`, which seems small as long as nobody
/// counted tenants, and PostgreSQL does not plan anew because somebody did.
macro_rules! keys_of {
    ($rows:literal, $id:literal) => {
        concat!(
            "CROSS JOIN LATERAL (SELECT rid, dk FROM ident WHERE tid = $1 AND rt = ",
            $rows,
            ".rt AND id = ",
            $rows,
            ".",
            $id,
            " OFFSET 0) i"
        )
    };
}

/// Narrows any statement to what a frame reaches ([`Frame::bind`]), in the parameter that is named; 103
/// is the number of Patient, who is in the compartments of others too.
macro_rules! reached {
    ($table:literal, $reach:literal) => {
        concat!(
            "(",
            $reach,
            "::bigint[] IS NULL OR CASE WHEN ",
            $table,
            ".rt = 103 \
             THEN EXISTS (SELECT FROM srow o WHERE o.rid = ",
            $table,
            ".rid AND o.idh = ANY(",
            $reach,
            "::bigint[])) ELSE ",
            $table,
            ".pats <@ ",
            $reach,
            "::bigint[] AND ",
            $table,
            ".pats <> '{}' END)"
        )
    };
}

/// The same for versions that may be superseded: they and what is current now are reached.
macro_rules! version_reached {
    ($table:literal, $reach:literal) => {
        concat!(
            "(",
            $reach,
            "::bigint[] IS NULL OR ",
            reached!($table, $reach),
            " AND EXISTS (\
             SELECT FROM res n WHERE n.rid = ",
            $table,
            ".rid AND ",
            reached!("n", $reach),
            "))"
        )
    };
}

pub(super) use keys_of;
pub(super) use reached;
pub(super) use version_reached;

const CURRENT: &str = concat!(
    "SELECT r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rid, r.xid \
     FROM ident i JOIN res r ON r.rid = i.rid AND r.dk = i.dk \
     WHERE i.tid = $1 AND i.rt = $2 AND i.id = $3 AND ",
    reached!("r", "$4")
);

const CURRENT_OF_MANY: &str = concat!(
    "SELECT r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rid, r.xid, w.place \
     FROM unnest($2::smallint[], $3::text[]) WITH ORDINALITY w(rt, id, place) ",
    keys_of!("w", "id"),
    " JOIN res r ON r.rid = i.rid AND r.dk = i.dk"
);

const VERSION: &str = concat!(
    "SELECT r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rid, r.xid \
     FROM ident i JOIN res r ON r.rid = i.rid AND r.dk = i.dk AND r.vid = $5 \
     WHERE i.tid = $1 AND i.rt = $2 AND i.id = $3 AND ",
    reached!("r", "$4"),
    " UNION ALL \
     SELECT h.vid, h.lu, h.op, h.meta, h.body, h.pats, h.rid, h.xid \
     FROM ident i JOIN hist h ON h.rid = i.rid AND h.dk = i.dk AND h.vid = $5 \
     WHERE i.tid = $1 AND i.rt = $2 AND i.id = $3 AND ",
    version_reached!("h", "$4")
);

/// A version that is no longer current.
const SUPERSEDED: &str = "SELECT h.vid, h.lu, h.op, h.meta, h.body, h.pats, h.rid, h.xid \
     FROM ident i JOIN hist h ON h.rid = i.rid AND h.dk = i.dk AND h.vid = $4 \
     WHERE i.tid = $1 AND i.rt = $2 AND i.id = $3";

/// Current versions, and a ledger row for each that is live: one statement for all reads that wait.
/// A row of `w` carries its own reach, as `reached!` has it for one, and of whom something is withheld: then
/// only what cannot be withheld is found (see [`Frame::sure`]).
macro_rules! find_recorded {
    ($from:literal) => {
        concat!(
            "WITH found AS MATERIALIZED \
             (SELECT w.*, r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rid, r.xid FROM ",
            $from,
            " ",
            keys_of!("w", "logical_id"),
            " JOIN res r ON r.rid = i.rid AND r.dk = i.dk \
             WHERE (w.reach IS NULL OR r.pats <@ w.reach::bigint[] AND r.pats <> '{}') \
             AND (w.denied IS NULL OR r.op <> 'D' AND NOT r.pats && w.denied::bigint[] \
             AND NOT coalesce(r.meta ? 'security', false))), \
             led AS (INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, rt, vid, subject, logical_id, \
             party, token_id, token, request, request_id, query, pat, pats) \
             SELECT ledger_id, at, grp, $1, interaction, 0, rt, vid, subject, \
             CASE WHEN subject IS NULL THEN logical_id END, party, token_id, token, request, request_id, query, \
             CASE WHEN cardinality(pats) = 1 THEN pats[1] END, CASE WHEN cardinality(pats) > 1 THEN pats END \
             FROM found WHERE op <> 'D'",
            $crate::store::ledger::if_kept!(" AND"),
            ") SELECT vid, lu, op, meta, body, pats, rid, xid, place FROM found"
        )
    };
}

/// For many reads.
pub(super) const FIND_RECORDED: &str = find_recorded!(
    "unnest($2::smallint[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[], $7::uuid[], \
     $8::smallint[], $9::uuid[], $10::bigint[], $11::uuid[], $12::uuid[], $13::text[], $14::text[], \
     $15::text[], $16::text[]) WITH ORDINALITY AS w(rt, logical_id, reach, ledger_id, at, grp, interaction, \
     subject, party, token_id, request, request_id, query, denied, token, place)"
);

/// For one, with the same parameters.
pub(super) const FIND_ONE_RECORDED: &str = find_recorded!(
    "(SELECT ($2::smallint[])[1] AS rt, ($3::text[])[1] AS logical_id, ($4::text[])[1] AS reach, \
     ($5::uuid[])[1] AS ledger_id, ($6::timestamptz[])[1] AS at, ($7::uuid[])[1] AS grp, \
     ($8::smallint[])[1] AS interaction, ($9::uuid[])[1] AS subject, ($10::bigint[])[1] AS party, \
     ($11::uuid[])[1] AS token_id, ($12::uuid[])[1] AS request, ($13::text[])[1] AS request_id, \
     ($14::text[])[1] AS query, ($15::text[])[1] AS denied, ($16::text[])[1] AS token, \
     1::bigint AS place) AS w"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[CURRENT, CURRENT_OF_MANY, FIND_RECORDED, FIND_ONE_RECORDED, SUPERSEDED, VERSION];

/// The current version as a writer sees it: a deletion counts.
#[derive(Clone, Debug)]
pub struct Current {
    /// The version.
    pub version: Version,
    /// Hashes of its patients.
    pub patients: Vec<i64>,
    pub(super) rid: i64,
    pub(super) state: RowState,
}

impl Current {
    /// When the next version may say it was made: at least a millisecond later.
    pub fn next_updated(&self, now: Instant) -> Instant {
        now.floor_to_millis().max(self.version.last_updated.plus_millis(1))
    }
}

impl Store {
    /// The current version of the permitted type, as far as `permit` reaches.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it does not exist or lies out of reach; [`Error::Deleted`].
    pub async fn current(
        &self,
        id: &LogicalId,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Version>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let found = find_current(self, Reader::Shared(&pipeline), id, permit).await?;
        live(found.ok_or_else(|| unknown(id, permit))?)
    }

    /// The same within the store, with what it tells.
    pub(super) async fn shown(
        &self,
        id: &LogicalId,
        permit: &Permit<'_>,
    ) -> Result<(Version, Disclosed), Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let found = find_current(self, Reader::Shared(&pipeline), id, permit).await?;
        disclose(found.ok_or_else(|| unknown(id, permit))?)
    }

    /// The same for a read and nothing else: where there is a live version, the row of `draft` is on
    /// record when it comes back, unless its patients and labels do not tell whether it is reached.
    ///
    /// # Errors
    /// As [`Store::current`]; then nothing is on record yet.
    pub async fn read(
        &self,
        id: &LogicalId,
        permit: &Permit<'_>,
        draft: Draft,
    ) -> Result<Unaudited<Version>, Error> {
        let identity = Identity { resource_type: permit.resource_type()?, id: id.clone() };
        let frame = Frame::at(&identity, permit, self.hasher());
        let Some(sure) = frame.sure() else { return self.current(id, permit).await };
        let (row, taken) = draft.take_row();
        let found = self.0.reads.current(identity, &sure, row).await?;
        match found {
            Some(found) => Ok(taken.with(disclose(found)?.0)),
            None if frame.is_exact() => Err(unknown(id, permit)),
            None => self.current(id, permit).await,
        }
    }

    /// One version, the current one or an old one.
    ///
    /// # Errors
    /// As [`Store::current`].
    pub async fn version(
        &self,
        id: &LogicalId,
        version: VersionId,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Version>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        live(find_version(self, Reader::Shared(&pipeline), id, version, permit).await?)
    }

    /// Whether filters hold for a version that the permit reaches; `None` where its document alone does not
    /// tell. One out of reach is as if they did not.
    pub(crate) async fn version_fulfils(
        &self,
        id: &LogicalId,
        version: VersionId,
        filters: &[Filter],
        permit: &Permit<'_>,
    ) -> Result<Option<bool>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        match find_version(self, Reader::Shared(&pipeline), id, version, permit).await {
            Ok(found) => self.fulfils(&found.version, filters),
            Err(Error::NotFound(_)) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }
}

impl WriteTx {
    /// The current version for a writer: `None` when there never was one within reach.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn current(
        &mut self,
        id: &LogicalId,
        permit: &Permit<'_>,
    ) -> Result<Option<Current>, Error> {
        let identity = Identity { resource_type: permit.resource_type()?, id: id.clone() };
        if self.is_kept(&identity) {
            let kept = self.take_kept(&identity);
            // What was read without limits is read again under them.
            if !permit.is_restricted() {
                return Ok(kept);
            }
        }
        if let Some(connection) = self.connection() {
            return for_writer(self.store(), Reader::Transaction(connection), id, permit).await;
        }
        let pipeline = self.store().0.readers.pipeline().await?;
        for_writer(self.store(), Reader::Shared(&pipeline), id, permit).await
    }

    /// Reads the current versions of many resources at once, for [`WriteTx::current`] to give.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn prefetch(
        &mut self,
        identities: &[&Identity],
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        // What this permit does not reach, that of an entry may.
        if permit.is_restricted() {
            return Ok(());
        }
        let types: Vec<i16> =
            identities.iter().map(|identity| identity.resource_type.code()).collect();
        let ids: Vec<&str> = identities.iter().map(|identity| identity.id.as_str()).collect();
        let pipeline = self.store().0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        let rows = reader.query(CURRENT_OF_MANY, &[&TENANT, &types, &ids]).await?;
        for identity in identities {
            self.keep((*identity).clone(), None);
        }
        for row in &rows {
            let place: i64 = row.try_get(8).map_err(failure::error)?;
            let identity = usize::try_from(place - 1).ok().and_then(|at| identities.get(at));
            let identity = identity.ok_or_else(|| Error::internal("a row that was not asked"))?;
            let found = current(row, (*identity).clone())?;
            self.keep((*identity).clone(), Some(found));
        }
        Ok(())
    }

    /// The current version as this unit's own writes left it, for an entry that reads.
    ///
    /// # Errors
    /// As [`Store::current`].
    pub async fn read(
        &mut self,
        id: &LogicalId,
        permit: &Permit<'_>,
    ) -> Result<(Version, Disclosed), Error> {
        let found = self.current(id, permit).await?;
        disclose(found.ok_or_else(|| unknown(id, permit))?)
    }

    /// One version, seen like [`WriteTx::read`].
    ///
    /// # Errors
    /// As [`Store::version`].
    pub async fn vread(
        &mut self,
        id: &LogicalId,
        version: VersionId,
        permit: &Permit<'_>,
    ) -> Result<(Version, Disclosed), Error> {
        disclose(self.stored_version(id, version, permit).await?)
    }

    pub(super) async fn stored_version(
        &mut self,
        id: &LogicalId,
        version: VersionId,
        permit: &Permit<'_>,
    ) -> Result<Current, Error> {
        if let Some(connection) = self.connection() {
            let reader = Reader::Transaction(connection);
            return find_version(self.store(), reader, id, version, permit).await;
        }
        let pipeline = self.store().0.readers.pipeline().await?;
        find_version(self.store(), Reader::Shared(&pipeline), id, version, permit).await
    }
}

fn unknown(id: &LogicalId, permit: &Permit<'_>) -> Error {
    match permit.resource_type() {
        Ok(resource_type) => Error::NotFound(format!("{resource_type}/{id}")),
        Err(error) => error,
    }
}

pub(super) async fn find_current(
    store: &Store,
    reader: Reader<'_>,
    id: &LogicalId,
    permit: &Permit<'_>,
) -> Result<Option<Current>, Error> {
    let identity = Identity { resource_type: permit.resource_type()?, id: id.clone() };
    let frame = Frame::at(&identity, permit, store.hasher());
    let code = identity.resource_type.code();
    let rows = reader.query(CURRENT, &[&TENANT, &code, &id.as_str(), &frame.bind()]).await?;
    let found = rows.first().map(|row| current(row, identity)).transpose()?;
    let found = match found {
        Some(found) if !frame.is_exact() && found.version.is_deleted() => {
            let was_reached = was_reached(store, reader, &found, permit).await?;
            was_reached.then_some(found)
        }
        Some(found) if !frame.is_sure(&found.version, &found.patients) => {
            let reached = search::reached(store, reader, &[found.rid], permit).await?;
            reached.contains(&found.rid).then_some(found)
        }
        None if !frame.is_exact() => {
            search::looked_in_vain(store, reader, permit).await?;
            None
        }
        found => found,
    };
    found.map(|found| cut(store, found, permit)).transpose()
}

/// A version as the permit shows it.
fn cut(store: &Store, found: Current, permit: &Permit<'_>) -> Result<Current, Error> {
    let Current { version, patients, rid, state } = found;
    let (version, patients) = store.cut((version, patients), permit.restriction())?;
    Ok(Current { version, patients, rid, state })
}

/// Whether what a deletion ended lay within reach, as far as its last document tells.
async fn was_reached(
    store: &Store,
    reader: Reader<'_>,
    deletion: &Current,
    permit: &Permit<'_>,
) -> Result<bool, Error> {
    let identity = &deletion.version.identity;
    let (code, before) = (identity.resource_type.code(), deletion.version.version.0 - 1);
    let parameters: [&(dyn ToSql + Sync); 4] = [&TENANT, &code, &identity.id.as_str(), &before];
    let rows = reader.query(SUPERSEDED, &parameters).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    store.admitted(reader, &current(row, identity.clone())?.version, permit).await
}

async fn find_version(
    store: &Store,
    reader: Reader<'_>,
    id: &LogicalId,
    version: VersionId,
    permit: &Permit<'_>,
) -> Result<Current, Error> {
    let identity = Identity { resource_type: permit.resource_type()?, id: id.clone() };
    let missing = || Error::NotFound(format!("{identity}/_history/{version}"));
    let frame = Frame::at(&identity, permit, store.hasher());
    let code = identity.resource_type.code();
    let rows =
        reader.query(VERSION, &[&TENANT, &code, &id.as_str(), &frame.bind(), &version.0]).await?;
    let Some(row) = rows.first() else {
        if !frame.is_exact() {
            search::looked_in_vain(store, reader, permit).await?;
            return Err(missing());
        }
        // Of what was erased no version is left, and it is told so.
        let current = find_current(store, reader, id, permit).await?.map(|found| found.version);
        let erased = current.filter(|it| it.is_erased() && version.0 < it.version.0);
        return Err(erased.map_or_else(missing, |it| Error::gone(&it)));
    };
    let found = cut(store, current(row, identity.clone())?, permit)?;
    if !frame.is_exact() {
        let reached = search::reached(store, reader, &[found.rid], permit).await?;
        if !reached.contains(&found.rid) || !store.admits(reader, &found.version, permit).await? {
            return Err(missing());
        }
    }
    Ok(found)
}

pub(super) fn current(row: &Row, identity: Identity) -> Result<Current, Error> {
    Ok(Current {
        version: rows::version(row, 0, identity)?,
        patients: row.try_get(5).map_err(failure::error)?,
        rid: row.try_get(6).map_err(failure::error)?,
        state: row.try_get(7).map_err(failure::error)?,
    })
}

/// The version for a reader, to whom a deletion is an answer of its own.
pub(super) fn live(found: Current) -> Result<Unaudited<Version>, Error> {
    disclose(found).map(|(version, disclosed)| Unaudited::new(version, disclosed))
}

fn disclose(found: Current) -> Result<(Version, Disclosed), Error> {
    let Current { version, patients, .. } = found;
    if version.is_deleted() {
        return Err(Error::gone(&version));
    }
    let Identity { resource_type, id } = version.identity.clone();
    let subject = Some((resource_type, id, Some(version.version)));
    Ok((version, Disclosed { subject, patients, ..Disclosed::default() }))
}
