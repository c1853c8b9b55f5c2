//! Launches: what an EHR session hands to an app, once.

use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::{Store, failure};
use super::moments::moment;

const ADD: &str = concat!(
    "WITH old AS (DELETE FROM auth_launch WHERE expires <= ",
    moment!("$5"),
    ") INSERT INTO auth_launch (hash, account_id, client_id, context, expires) \
     VALUES ($1, $2, $3, $4, ",
    moment!("$6"),
    ")"
);
const TAKE: &str = concat!(
    "UPDATE auth_launch SET used_at = ",
    moment!("$4"),
    " WHERE hash = $1 AND account_id = $2 AND client_id = $3 AND used_at IS NULL AND expires > ",
    moment!("$4"),
    " RETURNING context"
);

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[ADD, TAKE];

/// A launch to be.
pub struct NewLaunch<'a> {
    /// Of the handle that the app gets.
    pub hash: &'a [u8],
    /// Who may use it.
    pub account: Uuid,
    /// By which app.
    pub client: &'a str,
    /// What it hands over, as JSON.
    pub context: &'a str,
    /// Until when.
    pub expires: Instant,
}

/// Keeps a launch.
///
/// # Errors
/// [`Error::Unavailable`] without a database; so in all functions of this module.
pub async fn add(store: &Store, new: NewLaunch<'_>, now: Instant) -> Result<(), Error> {
    let query = sqlx::query(ADD).bind(new.hash).bind(new.account).bind(new.client);
    let query = query.bind(new.context).bind(now.as_micros()).bind(new.expires.as_micros());
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// Takes what a launch hands over; none when it is used, too old, or another's.
pub async fn take(
    store: &Store,
    hash: &[u8],
    account: Uuid,
    client: &str,
    now: Instant,
) -> Result<Option<String>, Error> {
    let query = sqlx::query_scalar(TAKE).bind(hash).bind(account).bind(client);
    let query = query.bind(now.as_micros()).fetch_optional(&store.0.admin);
    query.await.map_err(failure::sqlx_error)
}
