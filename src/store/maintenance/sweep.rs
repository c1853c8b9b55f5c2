//! Taking rows out of the index that no live resource has: those of deleted ones, and values of which
//! the resource's own row of `srow` does not tell.
//!
//! Every write takes away what it replaces, so there should be none. An index that has some all the
//! same, after a restored backup or a mistake of a program, is made right by this, window by window
//! over the blocks of each table.

use tokio_postgres::types::ToSql;

use crate::error::Error;

use super::super::index::inside;
use super::super::{Store, failure};
use super::index::{commit, touch};

/// Blocks of a table that are looked at in one transaction.
const BLOCKS: i64 = 1_000;

/// Which rows `x` of a table are those of no resource.
const TABLES: [(&str, &str); 6] = [
    ("srow", "NOT EXISTS (SELECT FROM res r WHERE r.rid = {home} AND r.dk = x.dk AND r.op <> 'D')"),
    (
        "comp",
        "NOT EXISTS (SELECT FROM srow o JOIN res r ON r.rid = o.rid AND r.dk = o.dk \
         WHERE o.rid = x.rid AND o.dk = x.dk AND o.s = x.s AND o.rt = x.rt AND x.pat = ANY(r.pats))",
    ),
    (
        "tok",
        "NOT EXISTS (SELECT FROM srow o WHERE o.rid = x.rid AND o.dk = x.dk AND o.s = x.s \
         AND x.h = ANY(o.toks))",
    ),
    ("num", HAS_NO_SUMMARY),
    ("dat", HAS_NO_SUMMARY),
    ("str", HAS_NO_SUMMARY),
];

const HAS_NO_SUMMARY: &str = "NOT EXISTS (SELECT FROM srow o WHERE o.rid = x.rid AND o.dk = x.dk)";

const SIZE: &str =
    "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint";
const LOCK: &str = "SELECT FROM res WHERE rid = ANY($1) ORDER BY rid FOR UPDATE";

/// Every statement of this file with a text of its own, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[SIZE, LOCK];

/// Takes away the rows of no resource, in all tables; how many there were.
///
/// # Errors
/// [`Error::Unavailable`] without a database: what is done stays done.
pub(super) async fn sweep(store: &Store) -> Result<u64, Error> {
    let mut gone = 0;
    for (table, condition) in TABLES {
        let condition = condition.replace("{home}", &inside::home("x.rid"));
        gone += sweep_table(store, table, &condition).await?;
    }
    Ok(gone)
}

async fn sweep_table(store: &Store, table: &str, condition: &str) -> Result<u64, Error> {
    let blocks = sqlx::query_as(SIZE).bind(table).fetch_one(&store.0.admin).await;
    let (blocks,): (i64,) = blocks.map_err(failure::sqlx_error)?;
    let mut gone = 0;
    for first in (0..=blocks).step_by(usize::try_from(BLOCKS).unwrap_or(1)) {
        gone += sweep_window(store, table, condition, (first, first + BLOCKS)).await?;
    }
    Ok(gone)
}

/// First looks, which is nearly always all. What it finds it takes away once those who write the
/// resources have ended: their statements may count on the rows.
async fn sweep_window(
    store: &Store,
    table: &str,
    condition: &str,
    (first, end): (i64, i64),
) -> Result<u64, Error> {
    let window =
        format!("x.ctid >= '({first},0)'::tid AND x.ctid < '({end},0)'::tid AND {condition}");
    let home = inside::home("x.rid");
    let look = format!("SELECT DISTINCT {home} FROM {table} x WHERE {window}");
    let transaction = store.0.writers.begin("BEGIN").await?;
    let found = transaction.query(&look, &[]).await.map_err(failure::error)?;
    if found.is_empty() {
        transaction.roll_back().await;
        return Ok(0);
    }
    let keys: Result<Vec<i64>, _> = found.iter().map(|row| row.try_get(0)).collect();
    let keys = keys.map_err(failure::error)?;
    transaction.all(LOCK, &[&keys]).await?;
    touch(&transaction, &keys).await?;
    let delete = format!("DELETE FROM {table} x WHERE {window} AND {home} = ANY($1)");
    let parameters: [&(dyn ToSql + Sync); 1] = [&keys];
    let gone = transaction.execute(&delete, &parameters).await.map_err(failure::error)?;
    commit(transaction).await?;
    tracing::warn!(table, gone, "took rows out of the search index that belong to no resource");
    Ok(gone)
}
