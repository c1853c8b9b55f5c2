//! Rows of the ledger as they go out: all of them, in the order in which they are sealed.

use crate::audit::balp::Entry;
use crate::error::Error;

use super::super::maintenance::Place;
use super::super::{Store, failure};
use super::{entry, name};

const ROWS: &str = "SELECT id, interaction, outcome, rt, logical_id, vid, actor, client, token, \
     person, purpose, source, request_id, method, query, failure, pats, entities, xid FROM ledger \
     WHERE (xid, id) > ($1, $2) AND xid < $3 ORDER BY xid, id LIMIT $4";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[ROWS];

/// At most `limit` rows after a place, of transactions before `below`, each with its own place, and the
/// place behind them all: kinds of another version of this program are passed over.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn rows_after(
    store: &Store,
    after: Place,
    below: u64,
    limit: i64,
) -> Result<(Vec<(Place, Entry)>, Place), Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(ROWS).await.map_err(failure::error)?;
    let rows = connection
        .query(&statement, &[&after.xid, &after.id, &below.cast_signed(), &limit])
        .await
        .map_err(failure::error)?;
    let (mut places, mut entries, mut last) = (Vec::with_capacity(rows.len()), Vec::new(), after);
    for row in &rows {
        let xid = row.try_get(18).map_err(failure::error)?;
        last = Place { xid, id: row.try_get(0).map_err(failure::error)? };
        if let Some(entry) = entry(row)? {
            places.push(last);
            entries.push(entry);
        }
    }
    name(store, &connection, &mut entries).await?;
    Ok((places.into_iter().zip(entries).collect(), last))
}
