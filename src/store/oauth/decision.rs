//! What persons decided about apps.

use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::{Store, failure};
use super::moments::moment;

const ADD: &str = concat!(
    "INSERT INTO consent_decision (id, account_id, client_id, patient, offered, granted, at) \
     VALUES ($1, $2, $3, $4, $5, $6, ",
    moment!("$7"),
    ")"
);
const LAST: &str = "SELECT offered, granted FROM consent_decision WHERE account_id = $1 \
     AND client_id = $2 AND patient IS NOT DISTINCT FROM $3 AND withdrawn_at IS NULL \
     ORDER BY at DESC, id DESC LIMIT 1";
const WITHDRAW: &str = concat!(
    "UPDATE consent_decision SET withdrawn_at = ",
    moment!("$3"),
    " WHERE account_id = $1 AND client_id = $2 AND withdrawn_at IS NULL"
);

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[ADD, LAST, WITHDRAW];

/// A decision: what was asked for and what was granted, as scopes.
pub struct Decision<'a> {
    /// Who decided.
    pub account: Uuid,
    /// About which app.
    pub client: &'a str,
    /// With whom in context.
    pub patient: Option<&'a str>,
    /// What it asked for.
    pub offered: &'a str,
    /// What it got; nothing: it was refused.
    pub granted: &'a str,
}

/// Keeps a decision.
///
/// # Errors
/// [`Error::Unavailable`] without a database; so in all functions of this module.
pub async fn add(store: &Store, id: Uuid, it: Decision<'_>, now: Instant) -> Result<(), Error> {
    let query = sqlx::query(ADD).bind(id).bind(it.account).bind(it.client).bind(it.patient);
    let query = query.bind(it.offered).bind(it.granted).bind(now.as_micros());
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// The decision in force: what was offered and what was granted.
pub async fn last(
    store: &Store,
    account: Uuid,
    client: &str,
    patient: Option<&str>,
) -> Result<Option<(String, String)>, Error> {
    let query = sqlx::query_as(LAST).bind(account).bind(client).bind(patient);
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Takes back what was decided about an app.
pub async fn withdraw(
    store: &Store,
    account: Uuid,
    client: &str,
    now: Instant,
) -> Result<(), Error> {
    let query = sqlx::query(WITHDRAW).bind(account).bind(client).bind(now.as_micros());
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}
