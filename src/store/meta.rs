//! Profiles, labels and tags: which are in use, and changing them in place.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;

use crate::access::restriction::Limits;
use crate::access::{CommitError, Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Instant, LogicalId, ResourceType, Version, VersionId};

use super::connection::Reader;
use super::frame::Frame;
use super::index::Indexed;
use super::resource::{Current, reached};
use super::rows::{JsonText, Timestamptz};
use super::write::{self, WriteTx};
use super::{BUCKET, Store, TENANT, failure};

/// A profile, label or tag that a resource carries.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct MetaUse {
    /// Which list of `Resource.meta` it stands in.
    pub list: MetaList,
    /// The system of a label or tag; empty for none and for profiles.
    pub system: String,
    /// The code of a label or tag, the canonical URL of a profile.
    pub code: String,
}

/// A list of `Resource.meta`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MetaList {
    /// `meta.profile`
    Profile,
    /// `meta.security`
    Security,
    /// `meta.tag`
    Tag,
}

impl MetaList {
    fn code(self) -> i8 {
        match self {
            Self::Profile => b'p'.cast_signed(),
            Self::Security => b's'.cast_signed(),
            Self::Tag => b't'.cast_signed(),
        }
    }

    fn from_code(code: i8) -> Option<Self> {
        [Self::Profile, Self::Security, Self::Tag].into_iter().find(|list| list.code() == code)
    }
}

/// Where `$meta` looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetaScope {
    /// All types.
    System,
    /// One type.
    Type(ResourceType),
}

/// Uses that the database is known to have, so that writers need not add them again.
#[derive(Debug, Default)]
pub(super) struct KnownUses(Mutex<HashSet<(ResourceType, MetaUse)>>);

/// Uses remembered at once; a deployment with more pays a statement for the others.
const REMEMBERED: usize = 10_000;

const NOTE: &str = "INSERT INTO meta_use (tid, rt, kind, system, code) \
    SELECT $1::int, u.* FROM unnest($2::smallint[], $3::\"char\"[], $4::text[], $5::text[]) u \
    ORDER BY 1, 2, 3, 4, 5 ON CONFLICT DO NOTHING";

/// Uses of a type (or all, NULL) that a current resource within reach really has.
const IN_USE: &str = concat!(
    "SELECT DISTINCT u.kind, u.system, u.code FROM meta_use u \
    WHERE u.tid = $1 AND ($2::smallint IS NULL OR u.rt = $2) AND EXISTS ( \
      SELECT FROM res r WHERE r.tid = $1 AND r.rt = u.rt AND r.op <> 'D' \
        AND ",
    reached!("r", "$3"),
    " \
        AND r.meta @> CASE u.kind \
          WHEN 'p' THEN jsonb_build_object('profile', jsonb_build_array(u.code)) \
          ELSE jsonb_build_object(CASE u.kind WHEN 's' THEN 'security' ELSE 'tag' END, \
            jsonb_build_array(CASE u.system WHEN '' THEN jsonb_build_object('code', u.code) \
              ELSE jsonb_build_object('system', u.system, 'code', u.code) END)) END) \
    ORDER BY 1, 2, 3"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[NOTE, IN_USE, CHANGE_CURRENT, CHANGE_OLD];

impl Store {
    /// Adds uses the database may not have yet. One that is never used does no harm.
    pub(super) async fn note_uses(&self, uses: &[(ResourceType, &MetaUse)]) -> Result<(), Error> {
        let unknown = self.0.known_uses.unknown(uses);
        if unknown.is_empty() {
            return Ok(());
        }
        let connection = self.0.writers.connection().await?;
        note(&unknown, &connection).await.map_err(failure::error)?;
        self.0.known_uses.add(unknown);
        Ok(())
    }

    /// The same inside a transaction that is open already; whether it commits is not known here.
    pub(super) async fn note_uses_on(
        &self,
        uses: &[(ResourceType, &MetaUse)],
        connection: &Object,
    ) -> Result<(), CommitError> {
        let unknown = self.0.known_uses.unknown(uses);
        if unknown.is_empty() {
            return Ok(());
        }
        note(&unknown, connection).await.map_err(failure::commit_error)
    }

    /// The profiles, labels and tags in use within reach.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn meta_in_use(
        &self,
        scope: MetaScope,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Vec<MetaUse>>, Error> {
        let searcher = self.0.searchers.connection(permit).await?;
        let uses = find_uses(Reader::Alone(&searcher), scope, permit).await?;
        Ok(Unaudited::new(uses, Disclosed::default()))
    }
}

async fn note(
    uses: &[(ResourceType, MetaUse)],
    connection: &Object,
) -> Result<(), tokio_postgres::Error> {
    let types: Vec<i16> = uses.iter().map(|(resource_type, _)| resource_type.code()).collect();
    let kinds: Vec<i8> = uses.iter().map(|(_, used)| used.list.code()).collect();
    let systems: Vec<&str> = uses.iter().map(|(_, used)| used.system.as_str()).collect();
    let codes: Vec<&str> = uses.iter().map(|(_, used)| used.code.as_str()).collect();
    let statement = connection.prepare_cached(NOTE).await?;
    connection.execute(&statement, &[&TENANT, &types, &kinds, &systems, &codes]).await?;
    Ok(())
}

async fn find_uses(
    reader: Reader<'_>,
    scope: MetaScope,
    permit: &Permit<'_>,
) -> Result<Vec<MetaUse>, Error> {
    let narrowed_to = match scope {
        MetaScope::System => None,
        MetaScope::Type(resource_type) => Some(resource_type.code()),
    };
    let frame = Frame::of(permit);
    // Of what is shown in part, what is of these patients alone tells: all of it is theirs to see.
    let limits = permit.limits().filter(|limits| limits.withheld.is_empty());
    let reach = match limits.and_then(Limits::in_part) {
        Some(mine) => Some(&**mine),
        None => frame.narrow(),
    };
    let found = reader.query(IN_USE, &[&TENANT, &narrowed_to, &reach]).await?;
    let mut uses = Vec::with_capacity(found.len());
    for row in &found {
        let kind: i8 = row.try_get(0).map_err(failure::error)?;
        let list = MetaList::from_code(kind);
        let list = list.ok_or_else(|| Error::internal("a stored kind of use is unknown"))?;
        let system = row.try_get(1).map_err(failure::error)?;
        let code = row.try_get(2).map_err(failure::error)?;
        uses.push(MetaUse { list, system, code });
    }
    Ok(uses)
}

impl KnownUses {
    fn unknown(&self, uses: &[(ResourceType, &MetaUse)]) -> Vec<(ResourceType, MetaUse)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unknown = HashSet::new();
        for (resource_type, item) in uses {
            let item = (*resource_type, (*item).clone());
            if !known.contains(&item) {
                unknown.insert(item);
            }
        }
        unknown.into_iter().collect()
    }

    fn add(&self, uses: Vec<(ResourceType, MetaUse)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for used in uses {
            if known.len() < REMEMBERED {
                known.insert(used);
            }
        }
    }
}

/// A change of `meta` in place: no new version.
#[derive(Debug)]
pub(super) struct MetaChange {
    found: Current,
    meta: Option<Bytes>,
    /// The profiles, labels and tags in it.
    pub(super) uses: Vec<MetaUse>,
    at: Instant,
    /// Whether it is about this version, be it current or not; else about the resource.
    is_of_version: bool,
}

/// `op` becomes a small letter: the mark of a version whose `meta` is not as it was made.
const CHANGE_CURRENT: &str = "WITH changed AS (UPDATE res SET meta = $4, op = lower(op::text)::\"char\", \
    xid = pg_current_xact_id() \
    WHERE rid = $1 AND dk = $2 AND vid = $3 AND xid = $5 RETURNING rid, dk, vid, rt) \
    INSERT INTO feed (at, rid, dk, vid, rt, op) SELECT $6::timestamptz, rid, dk, vid, rt, 'M' FROM changed";

const CHANGE_OLD: &str = "WITH changed AS (UPDATE hist SET meta = $4, op = lower(op::text)::\"char\" \
    WHERE rid = $1 AND dk = $2 AND vid = $3 AND meta IS NOT DISTINCT FROM $5::jsonb RETURNING rid, dk, vid, rt) \
    INSERT INTO feed (at, rid, dk, vid, rt, op) SELECT $6::timestamptz, rid, dk, vid, rt, 'M' FROM changed";

impl MetaChange {
    /// The resource whose version it changes.
    pub(super) fn resource_type(&self) -> ResourceType {
        self.found.version.identity.resource_type
    }

    /// Changes the version where it is: current or, when it was named, superseded.
    pub(super) async fn write(
        &self,
        store: &Store,
        connection: &Object,
    ) -> Result<(), CommitError> {
        if self.set(CHANGE_CURRENT, &self.found.state, connection).await? {
            return self.reindex(store, connection).await;
        }
        let before = self.found.version.meta.as_deref().map(JsonText);
        if self.is_of_version && self.set(CHANGE_OLD, &before, connection).await? {
            return Ok(());
        }
        Err(CommitError::Raced)
    }

    /// Sets `meta` where the row is still as `before` says; whether it was.
    async fn set(
        &self,
        sql: &str,
        before: &(dyn ToSql + Sync),
        connection: &Object,
    ) -> Result<bool, CommitError> {
        let statement = connection.prepare_cached(sql).await.map_err(failure::commit_error)?;
        let after = self.meta.as_deref().map(JsonText);
        let (rid, version) = (self.found.rid, self.found.version.version.0);
        let changed = connection
            .execute(&statement, &[&rid, &BUCKET, &version, &after, before, &Timestamptz(self.at)])
            .await
            .map_err(failure::commit_error)?;
        Ok(changed == 1)
    }

    async fn reindex(&self, store: &Store, connection: &Object) -> Result<(), CommitError> {
        let known = store.parameters().map_err(CommitError::Failed)?;
        let (version, patients) = (&self.found.version, &self.found.patients);
        let before = known.rows_of(version).map_err(CommitError::Failed)?;
        let changed = Version { meta: self.meta.clone(), ..version.clone() };
        let now = known.rows_of(&changed).map_err(CommitError::Failed)?;
        let indexed = Indexed {
            rid: self.found.rid,
            identity: store.identity(&version.identity),
            resource_type: version.identity.resource_type,
            before: Some((&before, patients)),
            now: Some((&now, patients)),
            patients,
        };
        write::reindex(store, connection, &[indexed], known.epoch).await
    }
}

impl WriteTx {
    /// The version whose `meta` is to change: the given one, else the current one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`].
    pub async fn meta_target(
        &mut self,
        id: &LogicalId,
        version: Option<VersionId>,
        permit: &Permit<'_>,
    ) -> Result<Current, Error> {
        let found = if let Some(version) = version {
            self.stored_version(id, version, permit).await?
        } else {
            let resource_type = permit.resource_type()?;
            let missing = || Error::NotFound(format!("{resource_type}/{id}"));
            self.current(id, permit).await?.ok_or_else(missing)?
        };
        if found.version.is_deleted() {
            return Err(Error::gone(&found.version));
        }
        Ok(found)
    }

    /// The profiles, labels and tags in use within reach, as this unit's own writes left them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn meta_in_use(
        &mut self,
        scope: MetaScope,
        permit: &Permit<'_>,
    ) -> Result<(Vec<MetaUse>, Disclosed), Error> {
        let uses = if let Some(connection) = self.connection() {
            find_uses(Reader::Transaction(connection), scope, permit).await?
        } else {
            let searcher = self.store().0.searchers.connection(permit).await?;
            find_uses(Reader::Alone(&searcher), scope, permit).await?
        };
        Ok((uses, Disclosed::default()))
    }

    /// Sets `meta` of the version `found` in place; `uses` are the profiles, labels and tags in it. With
    /// `is_of_version`, also when another version has followed it.
    ///
    /// # Errors
    /// [`Error::Internal`] when the permit is for another type.
    pub fn set_meta(
        &mut self,
        (found, is_of_version): (Current, bool),
        meta: Option<Bytes>,
        uses: Vec<MetaUse>,
        at: Instant,
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        let resource_type = permit.resource_type()?;
        if resource_type != found.version.identity.resource_type {
            return Err(Error::internal("a meta was set under a permit for another type"));
        }
        self.change(MetaChange { found, meta, uses, at, is_of_version });
        Ok(())
    }
}
