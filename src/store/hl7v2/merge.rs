//! Merges: what they moved, whether anything is left, and that one was taken back.
//!
//! Spec: v2 S5, B20, P5

use deadpool_postgres::Object as DbConnection;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::Keyed;
use crate::access::{CommitError, Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::Instant;

const KEEP: &str = "INSERT INTO v2_merge AS known (message_id, resource_type, source_id, target_id, at, \
       next_look) VALUES ($1, $2, $3, $4, $5, $5) \
     ON CONFLICT (message_id, source_id) DO UPDATE SET target_id = excluded.target_id, at = excluded.at, \
       next_look = excluded.next_look, undone_at = NULL, undone_by = NULL, reason = NULL";

/// Keys that go over to the target.
const MOVE_KEYS: &str = "WITH moved AS ( \
       UPDATE v2_key SET resource_id = $4 WHERE resource_type = $2 AND resource_id = $3 \
       RETURNING system, value) \
     INSERT INTO v2_merge_key (message_id, source_id, system, value) \
     SELECT $1, $3, system, value FROM moved ON CONFLICT DO NOTHING";

/// Keys that lead to the target from the first and would be the source's.
const KEEP_KEYS: &str = "INSERT INTO v2_merge_key (message_id, source_id, system, value) \
     SELECT $1, $2, system, value FROM unnest($3::text[], $4::text[]) AS k(system, value) \
     ON CONFLICT DO NOTHING";

const KEEP_MOVES: &str = "INSERT INTO v2_merge_log (message_id, source_id, resource_type, resource_id, \
       path, version) \
     SELECT $1, $2, type, id, path, version \
       FROM unnest($3::text[], $4::text[], $5::text[], $6::int[]) AS m(type, id, path, version) \
     ON CONFLICT DO NOTHING";

/// Who still moves something is waited for.
const HOLD: &str = "SELECT FROM v2_merge WHERE message_id = $1 AND source_id = $2 FOR UPDATE";

/// A merge that has moved more by now is not taken back by what was known of it: then the statement fails.
const IS_KNOWN: &str = "SELECT CASE WHEN (SELECT count(*) FROM v2_merge_log \
       WHERE message_id = $1 AND source_id = $2) = $3::bigint THEN NULL ELSE kiln_outrun() END";

/// Keys that are still the target's go back. A merge is taken back once: else the statement fails.
const UNDO: &str = "WITH undone AS ( \
       UPDATE v2_merge SET undone_at = $3, undone_by = $4, reason = $5, next_look = NULL \
       WHERE message_id = $1 AND source_id = $2 AND undone_at IS NULL \
       RETURNING message_id, source_id, resource_type, target_id), \
     keys AS ( \
       UPDATE v2_key k SET resource_id = u.source_id \
         FROM undone u JOIN v2_merge_key m ON (m.message_id, m.source_id) = (u.message_id, u.source_id) \
        WHERE (k.resource_type, k.system, k.value) = (u.resource_type, m.system, m.value) \
          AND k.resource_id = u.target_id), \
     log AS ( \
       DELETE FROM v2_merge_log l USING undone u \
        WHERE (l.message_id, l.source_id) = (u.message_id, u.source_id)), \
     known AS ( \
       DELETE FROM v2_merge_key m USING undone u \
        WHERE (m.message_id, m.source_id) = (u.message_id, u.source_id)) \
     SELECT CASE WHEN NOT EXISTS (SELECT FROM undone) THEN kiln_outrun() END";

/// A merge that was taken back meanwhile moves nothing more: then the statement fails.
const STANDS: &str = "SELECT CASE WHEN EXISTS ( \
       SELECT FROM v2_merge WHERE message_id = $1 AND source_id = $2 AND undone_at IS NULL FOR SHARE) \
     THEN NULL ELSE kiln_outrun() END";

const CLAIM: &str = "UPDATE v2_merge SET next_look = $2 \
     WHERE (message_id, source_id) IN ( \
       SELECT message_id, source_id FROM v2_merge WHERE next_look <= $1 \
        ORDER BY next_look LIMIT 4 FOR UPDATE SKIP LOCKED) \
     RETURNING message_id, resource_type, source_id, target_id, at, undone_at";

const LOOK_AGAIN: &str = "UPDATE v2_merge SET next_look = $3 \
     WHERE message_id = $1 AND source_id = $2 AND undone_at IS NULL";

const FIND: &str = "SELECT message_id, resource_type, source_id, target_id, at, undone_at \
     FROM v2_merge WHERE message_id = $1 ORDER BY source_id";

const FIND_MOVES: &str = "SELECT resource_type, resource_id, path, version FROM v2_merge_log \
     WHERE message_id = $1 AND source_id = $2 ORDER BY resource_type, resource_id, path";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[
    KEEP, MOVE_KEYS, KEEP_KEYS, KEEP_MOVES, HOLD, IS_KNOWN, UNDO, STANDS, CLAIM, LOOK_AGAIN, FIND,
    FIND_MOVES,
];

/// What a merge changed of one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Moved {
    /// Its type.
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// A reference that led to the source, or what else was changed.
    pub path: String,
    /// The version that was changed.
    pub version: i32,
}

/// A resource that another one replaces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Merge {
    /// The message that said so.
    pub message: Uuid,
    /// The type of both.
    pub resource_type: String,
    /// The one that ends.
    pub source: String,
    /// The one that stays.
    pub target: String,
    /// When.
    pub at: Instant,
    /// Whether it was taken back.
    pub is_undone: bool,
}

/// What a transaction does to a merge.
#[derive(Clone, Debug)]
pub enum Merging {
    /// It is made, and moves these; by these keys the source was told of.
    Made(Merge, Vec<Moved>, Vec<Keyed>),
    /// It moves these too.
    GoesOn(Merge, Vec<Moved>),
    /// It is taken back.
    Undone {
        /// Which.
        merge: Merge,
        /// When.
        at: Instant,
        /// Who did it.
        by: String,
        /// Why.
        reason: String,
        /// How many changes were known when it was worked out.
        moves: usize,
    },
}

impl Merging {
    /// Writes it inside the transaction of its effect.
    pub(super) async fn write(&self, connection: &DbConnection) -> Result<(), CommitError> {
        let (merge, moves) = match self {
            Self::Undone { merge, at, by, reason, moves } => {
                let (at, moves) = (Timestamptz(*at), *moves as i64);
                run(connection, HOLD, &[&merge.message, &merge.source]).await?;
                run(connection, IS_KNOWN, &[&merge.message, &merge.source, &moves]).await?;
                return run(connection, UNDO, &[&merge.message, &merge.source, &at, by, reason])
                    .await;
            }
            Self::Made(merge, moves, keys) => {
                let Merge { message, resource_type, source, target, at, .. } = merge;
                run(connection, KEEP, &[message, resource_type, source, target, &Timestamptz(*at)])
                    .await?;
                run(connection, MOVE_KEYS, &[message, resource_type, source, target]).await?;
                let systems: Vec<_> = keys.iter().map(|key| &key.system).collect();
                let values: Vec<_> = keys.iter().map(|key| &key.value).collect();
                run(connection, KEEP_KEYS, &[message, source, &systems, &values]).await?;
                (merge, moves)
            }
            Self::GoesOn(merge, moves) => {
                run(connection, STANDS, &[&merge.message, &merge.source]).await?;
                (merge, moves)
            }
        };
        if moves.is_empty() {
            return Ok(());
        }
        let column = |value: fn(&Moved) -> &str| moves.iter().map(value).collect::<Vec<_>>();
        let types = column(|one| &one.resource_type);
        let ids = column(|one| &one.id);
        let paths = column(|one| &one.path);
        let versions: Vec<_> = moves.iter().map(|one| one.version).collect();
        run(
            connection,
            KEEP_MOVES,
            &[&merge.message, &merge.source, &types, &ids, &paths, &versions],
        )
        .await
    }
}

/// Runs a statement of a transaction.
async fn run(
    connection: &DbConnection,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<(), CommitError> {
    let statement = connection.prepare_cached(sql).await.map_err(failure::commit_error)?;
    let done = connection.execute(&statement, parameters).await;
    done.map(drop).map_err(failure::commit_error)
}

impl Store {
    /// Merges that are to be looked at, for this node until `lease`. Nothing is told by this.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn claim_merges(&self, now: Instant, lease: Instant) -> Result<Vec<Merge>, Error> {
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(CLAIM).await.map_err(failure::error)?;
        let rows = connection.query(&statement, &[&Timestamptz(now), &Timestamptz(lease)]).await;
        rows.map_err(failure::error)?.iter().map(merge).collect()
    }

    /// Has a merge looked at again; `None`: nothing is left to be moved, for good.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn look_at_merge(&self, merge: &Merge, next: Option<Instant>) -> Result<(), Error> {
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(LOOK_AGAIN).await.map_err(failure::error)?;
        let next = next.map(Timestamptz);
        let done = connection.execute(&statement, &[&merge.message, &merge.source, &next]).await;
        done.map(drop).map_err(failure::error)
    }

    /// The merges of a message, each with what it moved.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn merges(
        &self,
        message: Uuid,
        _permit: &Permit<'_>,
    ) -> Result<Unaudited<Vec<(Merge, Vec<Moved>)>>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(FIND).await?;
        let rows = pipeline.client().query(&statement, &[&message]).await;
        let statement = pipeline.prepare(FIND_MOVES).await?;
        let mut all = Vec::new();
        let disclosed =
            Disclosed { entities: vec![format!("v2/messages/{message}")], ..Disclosed::default() };
        for row in rows.map_err(failure::error)? {
            let merge = merge(&row)?;
            let rows = pipeline.client().query(&statement, &[&message, &merge.source]).await;
            let moves =
                rows.map_err(failure::error)?.iter().map(moved).collect::<Result<_, _>>()?;
            all.push((merge, moves));
        }
        if all.is_empty() {
            return Err(Error::NotFound(format!("a merge by message {message}")));
        }
        Ok(Unaudited::new(all, disclosed))
    }
}

fn merge(row: &tokio_postgres::Row) -> Result<Merge, Error> {
    let text = |at: usize| row.try_get::<_, String>(at).map_err(failure::error);
    let at: Timestamptz = row.try_get(4).map_err(failure::error)?;
    let undone: Option<Timestamptz> = row.try_get(5).map_err(failure::error)?;
    Ok(Merge {
        message: row.try_get(0).map_err(failure::error)?,
        resource_type: text(1)?,
        source: text(2)?,
        target: text(3)?,
        at: at.0,
        is_undone: undone.is_some(),
    })
}

fn moved(row: &tokio_postgres::Row) -> Result<Moved, Error> {
    let text = |at: usize| row.try_get::<_, String>(at).map_err(failure::error);
    Ok(Moved {
        resource_type: text(0)?,
        id: text(1)?,
        path: text(2)?,
        version: row.try_get(3).map_err(failure::error)?,
    })
}
