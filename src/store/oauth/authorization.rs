//! Requests to authorize that wait for a login, a choice or a consent.

use sqlx::FromRow;
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::{Store, failure};
use super::moments::moment;

const ADD: &str = concat!(
    "INSERT INTO oauth_authorization (hash, request, session_id, step, expires) \
     VALUES ($1, $2::text::jsonb, $3, $4, ",
    moment!("$5"),
    ")"
);
const FIND: &str = concat!(
    "SELECT request::text AS request, session_id, step FROM oauth_authorization \
     WHERE hash = $1 AND expires > ",
    moment!("$2")
);
/// Gives a request that nobody has to a session; whoever has it keeps it.
const BIND: &str = "UPDATE oauth_authorization SET session_id = $2 \
     WHERE hash = $1 AND (session_id IS NULL OR session_id = $2)";
const ADVANCE: &str = "UPDATE oauth_authorization SET request = $2::text::jsonb, step = $3 \
     WHERE hash = $1";
const MOVE: &str = "UPDATE oauth_authorization SET session_id = $2 WHERE session_id = $1";
const TAKE: &str = "DELETE FROM oauth_authorization WHERE hash = $1";

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[ADD, FIND, BIND, ADVANCE, MOVE, TAKE];

/// A request that waits.
#[derive(Clone, FromRow)]
pub struct Waiting {
    /// The request, as JSON.
    pub request: String,
    /// The session that it belongs to.
    pub session_id: Option<Uuid>,
    /// What it waits for.
    pub step: String,
}

/// Keeps a request.
///
/// # Errors
/// [`Error::Unavailable`] without a database; so in all functions of this module.
pub async fn add(store: &Store, hash: &[u8], it: &Waiting, expires: Instant) -> Result<(), Error> {
    let query = sqlx::query(ADD).bind(hash).bind(&it.request).bind(it.session_id);
    let query = query.bind(&it.step).bind(expires.as_micros()).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}

/// The request that waits.
pub async fn find(store: &Store, hash: &[u8], now: Instant) -> Result<Option<Waiting>, Error> {
    let query = sqlx::query_as(FIND).bind(hash).bind(now.as_micros());
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Gives a request to a session; `false` when another one has it.
pub async fn bind(store: &Store, hash: &[u8], session: Uuid) -> Result<bool, Error> {
    let query = sqlx::query(BIND).bind(hash).bind(session).execute(&store.0.admin);
    Ok(query.await.map_err(failure::sqlx_error)?.rows_affected() == 1)
}

/// Keeps what a request has become.
pub async fn advance(store: &Store, hash: &[u8], request: &str, step: &str) -> Result<(), Error> {
    let query = sqlx::query(ADVANCE).bind(hash).bind(request).bind(step);
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// Gives the requests of a session to the one that takes its place.
pub async fn move_to(store: &Store, from: Uuid, to: Uuid) -> Result<(), Error> {
    let query = sqlx::query(MOVE).bind(from).bind(to).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}

/// Ends a request; `false` when it has ended before: it is answered once.
pub async fn take(store: &Store, hash: &[u8]) -> Result<bool, Error> {
    let query = sqlx::query(TAKE).bind(hash).execute(&store.0.admin);
    Ok(query.await.map_err(failure::sqlx_error)?.rows_affected() == 1)
}
