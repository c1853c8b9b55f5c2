//! Up to where those have the ledger's rows that get all of them: outside destinations, and rules.

use uuid::Uuid;

use crate::error::Error;

use super::super::{Store, failure};
use super::feed::horizon;
use super::seal::Place;

/// Nobody has rows of before the moment at which the destination is first known.
const ADD: &str =
    "INSERT INTO audit_feed (name, xid, id) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";

const PLACE: &str = "SELECT xid, id FROM audit_feed WHERE name = $1";

/// The turn of node $2, for $5 seconds, where the place is still ($3, $4).
const TAKE: &str = "UPDATE audit_feed SET holder = $2, \
     held_until = clock_timestamp() + make_interval(secs => $5::float8) \
     WHERE name = $1 AND (xid, id) = ($3, $4) AND (holder = $2 OR held_until < clock_timestamp())";

/// Notes the place ($3, $4), as far as it is still the turn of node $2, which begins anew for $5 seconds.
const MOVE: &str = "UPDATE audit_feed SET xid = $3, id = $4, \
     held_until = clock_timestamp() + make_interval(secs => $5::float8) \
     WHERE name = $1 AND holder = $2 AND (xid, id) < ($3, $4)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[ADD, PLACE, TAKE, MOVE];

/// Makes a destination known, which gets the rows from now on.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn add_outlet(store: &Store, name: &str) -> Result<(), Error> {
    // What is not ended comes later in the order.
    let xid = horizon(store).await?.ended.cast_signed();
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(ADD).await.map_err(failure::error)?;
    let added = connection.execute(&statement, &[&name, &xid, &Uuid::nil()]).await;
    added.map(drop).map_err(failure::error)
}

/// Up to where a destination has the rows; `None` for one that is not known.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn outlet_place(store: &Store, name: &str) -> Result<Option<Place>, Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(PLACE).await.map_err(failure::error)?;
    let row = connection.query_opt(&statement, &[&name]).await.map_err(failure::error)?;
    let place = |row: &tokio_postgres::Row| Ok(Place { xid: row.try_get(0)?, id: row.try_get(1)? });
    row.as_ref().map(place).transpose().map_err(failure::error)
}

/// Takes the turn for `node`, where the place is still `at`; whether it has it.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn take_outlet(
    store: &Store,
    name: &str,
    node: Uuid,
    at: Place,
    seconds: f64,
) -> Result<bool, Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(TAKE).await.map_err(failure::error)?;
    let taken = connection.execute(&statement, &[&name, &node, &at.xid, &at.id, &seconds]).await;
    Ok(taken.map_err(failure::error)? > 0)
}

/// Notes that a destination has the rows up to `place`; whether it was still the turn of `node`, which then
/// has it for so many `seconds` more.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn move_outlet(
    store: &Store,
    name: &str,
    node: Uuid,
    place: Place,
    seconds: f64,
) -> Result<bool, Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(MOVE).await.map_err(failure::error)?;
    let moved =
        connection.execute(&statement, &[&name, &node, &place.xid, &place.id, &seconds]).await;
    Ok(moved.map_err(failure::error)? > 0)
}
