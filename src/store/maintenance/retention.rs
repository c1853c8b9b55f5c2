//! Months of the ledger whose time to be kept is over.

use std::sync::Arc;

use tokio_postgres::types::ToSql;

use crate::audit::{PublicKey, SignedRetirement};
use crate::error::Error;

use super::super::connection::{Flush, Pipeline, Pipelines};
use super::super::{Realm, Store, failure};
use super::seal::Place;

/// Whole months before $1 (six digits), by the names of their partitions and by the rows of none.
const MONTHS: &str = "SELECT substr(c.relname::text, 8) FROM pg_inherits i \
     JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'ledger_row'::regclass \
     AND c.relname::text ~ '^ledger_[0-9]{6}$' AND substr(c.relname::text, 8) < $1 \
     UNION SELECT to_char(at AT TIME ZONE 'UTC', 'YYYYMM') FROM ledger_default \
     WHERE at >= 'epoch' AND at < to_timestamp($1 || '01+00', 'YYYYMMDDTZH') ORDER BY 1";

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

/// What sealed rows ($1: their kind) say of months that were dropped. They may have been bent.
const RETIRED: &str = "SELECT e FROM ledger l, unnest(l.entities) e \
     WHERE e IS NOT NULL AND l.interaction = $1 AND l.outcome = 0 AND (l.xid, l.id) <= ($2, $3)";

/// The batches of a month ($1) whose rows are there.
const BATCHES: &str = "SELECT n FROM seal_rows \
     WHERE at >= to_timestamp($1 || '01+00', 'YYYYMMDDTZH') \
     AND at < to_timestamp($1 || '01+00', 'YYYYMMDDTZH') + interval '1 month' ORDER BY n";

/// What [`drop_month`] ends with where a month has not the rows that it was archived with.
const OTHER_ROWS: &str = "KC010";

const RETIRE: &str = "INSERT INTO seal_retired (statement, key, signature) VALUES ($1, $2, $3)";

const RETIREMENTS: &str = "SELECT statement, key, signature FROM seal_retired ORDER BY number";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[MONTHS, UNSEALED, ROWS, RETIRED, BATCHES, RETIRE, RETIREMENTS];

async fn query(
    store: &Store,
    sql: &'static str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<tokio_postgres::Row>, Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(sql).await.map_err(failure::error)?;
    connection.query(&statement, values).await.map_err(failure::error)
}

/// A connection of the owner of the tables.
async fn connect(owner: &Realm) -> Result<Arc<Pipeline>, Error> {
    Pipelines::new(owner, 1, 0, Flush::Wait)?.pipeline().await
}

/// The months of the ledger before one, each as six digits: also those whose rows found no partition, which
/// only the owner of the tables sees by itself.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn months_before(owner: &Realm, month: &str) -> Result<Vec<String>, Error> {
    let pipeline = connect(owner).await?;
    let rows = pipeline.client().query(MONTHS, &[&month]).await.map_err(failure::error)?;
    rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
}

/// The numbers of a month's batches whose rows are there, in order.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn batches_of(store: &Store, month: &str) -> Result<Vec<u64>, Error> {
    let rows = query(store, BATCHES, &[&month]).await?;
    let number = |row: &tokio_postgres::Row| row.try_get(0).map(i64::cast_unsigned);
    rows.iter().map(|row| number(row).map_err(failure::error)).collect()
}

/// What says that batches were dropped, in the order in which it was added. Nothing of it is checked.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn retirements(store: &Store) -> Result<Vec<SignedRetirement>, Error> {
    let rows = query(store, RETIREMENTS, &[]).await?;
    let read = |row: &tokio_postgres::Row| {
        // What has not the length of a key becomes one that nobody has.
        let key = row.try_get::<_, &[u8]>(1)?.try_into().unwrap_or([0; 32]);
        let (text, signature) = (row.try_get(0)?, row.try_get(2)?);
        Ok(SignedRetirement { text, key: PublicKey(key), signature })
    };
    rows.iter().map(|row| read(row).map_err(failure::error)).collect()
}

/// Keeps what says that batches are dropped, as the owner of the tables.
///
/// # Errors
/// [`Error::Unavailable`] without a database, [`Error::Internal`] for whoever is not the owner.
pub async fn retire(owner: &Realm, signed: &SignedRetirement) -> Result<(), Error> {
    let pipeline = connect(owner).await?;
    let SignedRetirement { text, key, signature } = signed;
    let added = pipeline.client().execute(RETIRE, &[text, &&key.0[..], signature]).await;
    added.map(drop).map_err(failure::error)
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

/// Drops the rows of a month and what is sealed of each, as the owner of the tables: the partitions, and what
/// found none when it was added. False, and nothing is dropped, where there are not as many `rows`.
///
/// # Errors
/// [`Error::Internal`] for what is no month, [`Error::Busy`] where a long transaction has the ledger in use, or as
/// the database says.
pub async fn drop_month(owner: &Realm, month: &str, rows: u64) -> Result<bool, Error> {
    if month.len() != 6 || !month.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::internal("a month has six digits"));
    }
    let pipeline = connect(owner).await?;
    let first = format!("to_timestamp('{month}01+00', 'YYYYMMDDTZH')");
    let of_month = format!("at >= {first} AND at < {first} + interval '1 month'");
    // Several statements of one text are one transaction. The rows of a month that is over are counted while nobody
    // adds to it: in its partition before all writers wait, and in the one of those without, which is small, after
    // that: who holds a lock on a partition that others write to must not wait for the table of them all. While this
    // waits for who reads the ledger, all who write to it wait too, so it gives up soon. Who makes partitions locks the
    // same in another order.
    let sql = format!(
        "DO $$ DECLARE kept bigint := 0; BEGIN \
         PERFORM pg_advisory_xact_lock(kiln_lock('kiln_make_partitions')); \
         PERFORM set_config('lock_timeout', '5s', true); \
         IF to_regclass('ledger_{month}') IS NOT NULL THEN \
         LOCK TABLE ledger_{month} IN SHARE MODE; kept := (SELECT count(*) FROM ledger_{month}); END IF; \
         LOCK TABLE ONLY ledger_row IN ACCESS EXCLUSIVE MODE; \
         kept := kept + (SELECT count(*) FROM ledger_default WHERE {of_month}); \
         IF kept <> {rows} THEN \
         RAISE EXCEPTION 'there are other rows' USING ERRCODE = '{OTHER_ROWS}'; END IF; END $$; \
         DROP TABLE IF EXISTS ledger_{month}, seal_rows_{month}; \
         DELETE FROM ledger_default WHERE {of_month}; DELETE FROM seal_rows_default WHERE {of_month}"
    );
    match pipeline.client().batch_execute(&sql).await {
        Ok(()) => Ok(true),
        Err(error) if error.code().is_some_and(|code| code.code() == OTHER_ROWS) => Ok(false),
        Err(error) => Err(told(failure::error(error))),
    }
}

/// The same, where somebody else was in the way.
fn told(error: Error) -> Error {
    if failure::is_lock_timeout(&error) {
        return Error::Busy("somebody reads the whole ledger: try again later".to_owned());
    }
    error
}
