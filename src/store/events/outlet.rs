//! Rows of the ledger as they go out: all of them, in the order in which they are sealed.

use crate::audit::balp::Entry;
use crate::error::Error;

use super::super::maintenance::Place;
use super::super::{Store, failure};
use super::{entry, name};

/// A row may have thousands of patients, so that a number of rows alone would be no bound: the rows end with the
/// one that brings the patients to $5.
const ROWS: &str = "SELECT id, interaction, outcome, rt, logical_id, vid, actor, client, token, \
     person, purpose, source, request_id, method, query, failure, pats, entities, xid \
     FROM (SELECT l.*, sum(cardinality(l.pats)) OVER (ORDER BY l.xid, l.id ROWS UNBOUNDED PRECEDING) \
     - cardinality(l.pats) AS patients_before FROM (SELECT * FROM ledger \
     WHERE (xid, id) > ($1, $2) AND xid < $3 ORDER BY xid, id LIMIT $4) l) r \
     WHERE patients_before < $5 ORDER BY xid, id";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[ROWS];

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Rows.
    pub rows: i64,
    /// Patients of all of them; the last row may bring more.
    pub patients: i64,
}

/// The next rows after a place, of transactions before `below`, each with its own place, and the place behind
/// them all: kinds of another version of this program are passed over. Patients are hashes.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn rows_after(
    store: &Store,
    after: Place,
    below: u64,
    most: Most,
) -> Result<(Vec<(Place, Entry)>, Place), Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(ROWS).await.map_err(failure::error)?;
    let Most { rows, patients } = most;
    let rows = connection
        .query(&statement, &[&after.xid, &after.id, &below.cast_signed(), &rows, &patients])
        .await
        .map_err(failure::error)?;
    let (mut found, mut last) = (Vec::with_capacity(rows.len()), after);
    for row in &rows {
        let xid = row.try_get(18).map_err(failure::error)?;
        last = Place { xid, id: row.try_get(0).map_err(failure::error)? };
        found.extend(entry(row)?.map(|entry| (last, entry)));
    }
    Ok((found, last))
}

/// Says whose the hashes of rows are.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn name_patients(store: &Store, rows: &mut [(Place, Entry)]) -> Result<(), Error> {
    if rows.iter().all(|(_, entry)| entry.patients.is_empty()) {
        return Ok(());
    }
    let connection = store.0.writers.connection().await?;
    let mut entries: Vec<&mut Entry> = rows.iter_mut().map(|(_, entry)| entry).collect();
    name(store, &connection, &mut entries).await
}
