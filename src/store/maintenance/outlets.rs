//! Up to where those have the ledger's rows that get all of them: outside destinations, and rules.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::Error;

use super::super::{Store, failure};
use super::feed::horizon;
use super::seal::Place;

/// Nobody has rows of before the moment at which the destination is first known.
const ADD: &str =
    "INSERT INTO audit_feed (name, xid, id) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";

const REACHED: &str = "SELECT xid, id, part, taken FROM audit_feed WHERE name = $1";

/// The turn of node $2, for $7 seconds, where the destination has still as much as ($3, $4, $5, $6) says.
const TAKE: &str = "UPDATE audit_feed SET holder = $2, \
     held_until = clock_timestamp() + make_interval(secs => $7::float8) \
     WHERE name = $1 AND (xid, id) = ($3, $4) AND part IS NOT DISTINCT FROM $5::uuid AND taken = $6 \
     AND (holder = $2 OR held_until < clock_timestamp())";

/// Notes that the destination has more, as far as it is still the turn of node $2, which begins anew for $7
/// seconds.
const MOVE: &str = "UPDATE audit_feed SET xid = $3, id = $4, part = $5, taken = $6, \
     held_until = clock_timestamp() + make_interval(secs => $7::float8) \
     WHERE name = $1 AND holder = $2 AND ((xid, id) < ($3, $4) \
     OR (xid, id) = ($3, $4) AND (part IS DISTINCT FROM $5 OR taken < $6))";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[ADD, REACHED, TAKE, MOVE];

/// How much of the ledger a destination has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reached {
    /// All rows up to this place.
    pub place: Place,
    /// So many events of the next row, which is this one.
    pub part: Option<(Uuid, i32)>,
}

impl Reached {
    /// Nothing.
    pub const START: Self = Self::through(Place::START);

    /// All rows up to a place, and nothing of the next one.
    pub const fn through(place: Place) -> Self {
        Self { place, part: None }
    }

    /// The row that it has in part, and how much of it.
    fn columns(self) -> (Option<Uuid>, i32) {
        self.part.map_or((None, 0), |(row, taken)| (Some(row), taken))
    }
}

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

/// How much a destination has; `None` for one that is not known.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn outlet_reached(store: &Store, name: &str) -> Result<Option<Reached>, Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(REACHED).await.map_err(failure::error)?;
    let row = connection.query_opt(&statement, &[&name]).await.map_err(failure::error)?;
    let reached = |row: &tokio_postgres::Row| {
        let place = Place { xid: row.try_get(0)?, id: row.try_get(1)? };
        let (part, taken): (Option<Uuid>, i32) = (row.try_get(2)?, row.try_get(3)?);
        Ok(Reached { place, part: part.map(|row| (row, taken)) })
    };
    row.as_ref().map(reached).transpose().map_err(failure::error)
}

/// Takes the turn for `node`, where the destination has still as much as `at` says; whether it has it.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn take_outlet(
    store: &Store,
    name: &str,
    node: Uuid,
    at: Reached,
    seconds: f64,
) -> Result<bool, Error> {
    turn(store, TAKE, (name, node), at, seconds).await
}

/// Notes that a destination has as much as `to` says; whether that is more, and it was still the turn of
/// `node`, which then has it for so many `seconds` more.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn move_outlet(
    store: &Store,
    name: &str,
    node: Uuid,
    to: Reached,
    seconds: f64,
) -> Result<bool, Error> {
    turn(store, MOVE, (name, node), to, seconds).await
}

async fn turn(
    store: &Store,
    sql: &'static str,
    (name, node): (&str, Uuid),
    reached: Reached,
    seconds: f64,
) -> Result<bool, Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(sql).await.map_err(failure::error)?;
    let (Place { xid, id }, (part, taken)) = (reached.place, reached.columns());
    let values: [&(dyn ToSql + Sync); 7] = [&name, &node, &xid, &id, &part, &taken, &seconds];
    let done = connection.execute(&statement, &values).await;
    Ok(done.map_err(failure::error)? > 0)
}
