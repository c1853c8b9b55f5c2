//! Months of the ledger whose time to be kept is over.

use tokio_postgres::types::ToSql;

use crate::error::Error;

use super::super::connection::{Flush, Pipelines};
use super::super::{Realm, Store, failure};
use super::seal::Place;

/// Whole months before $1 (six digits), by the names of their partitions.
const MONTHS: &str = "SELECT substr(c.relname::text, 8) FROM pg_inherits i \
     JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'ledger_row'::regclass \
     AND c.relname::text ~ '^ledger_[0-9]{6}$' AND substr(c.relname::text, 8) < $1 ORDER BY 1";

/// Rows of a month ($1) that are not sealed: they come after ($2, $3).
const UNSEALED: &str = "SELECT count(*) FROM ledger WHERE (xid, id) > ($2, $3) \
     AND at >= to_timestamp($1 || '01+00', 'YYYYMMDDTZH') \
     AND at < to_timestamp($1 || '01+00', 'YYYYMMDDTZH') + interval '1 month'";

/// At most $4 rows of a month ($1) after ($2, $3), as JSON.
const ROWS: &str = "SELECT l.xid, l.id, row_to_json(l)::text FROM (SELECT id, at, grp, tid, interaction, outcome, \
     rt, vid, logical_id, actor, client, token, source, request_id, method, query, failure, pats, entities, \
     person, purpose, xid FROM ledger) l \
     WHERE (l.xid, l.id) > ($2, $3) \
     AND l.at >= to_timestamp($1 || '01+00', 'YYYYMMDDTZH') \
     AND l.at < to_timestamp($1 || '01+00', 'YYYYMMDDTZH') + interval '1 month' \
     ORDER BY l.xid, l.id LIMIT $4";

/// What sealed rows ($1: their kind) say of months that were dropped.
const RETIRED: &str = "SELECT e FROM ledger l, unnest(l.entities) e \
     WHERE l.interaction = $1 AND l.outcome = 0 AND (l.xid, l.id) <= ($2, $3)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[MONTHS, UNSEALED, ROWS, RETIRED];

async fn query(
    store: &Store,
    sql: &'static str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<tokio_postgres::Row>, Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(sql).await.map_err(failure::error)?;
    connection.query(&statement, values).await.map_err(failure::error)
}

/// The months of the ledger before one, each as six digits.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn months_before(store: &Store, month: &str) -> Result<Vec<String>, Error> {
    let rows = query(store, MONTHS, &[&month]).await?;
    rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
}

/// How many rows of a month come after `last`, up to where the ledger is sealed.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn unsealed_of(store: &Store, month: &str, last: Place) -> Result<i64, Error> {
    let rows = query(store, UNSEALED, &[&month, &last.xid, &last.id]).await?;
    rows.first().map_or(Ok(0), |row| row.try_get(0).map_err(failure::error))
}

/// At most `limit` rows of a month after a place, as JSON, with their places.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn rows_of(
    store: &Store,
    month: &str,
    after: Place,
    limit: i64,
) -> Result<Vec<(Place, String)>, Error> {
    let rows = query(store, ROWS, &[&month, &after.xid, &after.id, &limit]).await?;
    let read = |row: &tokio_postgres::Row| {
        let place = Place { xid: row.try_get(0)?, id: row.try_get(1)? };
        Ok((place, row.try_get(2)?))
    };
    rows.iter().map(|row| read(row).map_err(failure::error)).collect()
}

/// What the record says of months that were dropped, as far as it is sealed: up to `last`.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn retired(store: &Store, kind: i16, last: Place) -> Result<Vec<String>, Error> {
    let rows = query(store, RETIRED, &[&kind, &last.xid, &last.id]).await?;
    rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
}

/// Drops the rows of a month and what is sealed of each, as the owner of the tables.
///
/// # Errors
/// [`Error::Internal`] for what is no month, or as the database says.
pub async fn drop_month(owner: &Realm, month: &str) -> Result<(), Error> {
    if month.len() != 6 || !month.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::internal("a month has six digits"));
    }
    let connections = Pipelines::new(owner, 1, 0, Flush::Wait)?;
    let pipeline = connections.pipeline().await?;
    let sql = format!("DROP TABLE IF EXISTS ledger_{month}, seal_rows_{month}");
    pipeline.client().batch_execute(&sql).await.map_err(failure::error)?;
    Ok(())
}
