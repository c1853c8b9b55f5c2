//! Access in an emergency, and whether somebody has looked at it since.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::grant::{self, NewGrant};
use super::token::{self, NewToken};
use super::{get, query, run, time, time_or_none};

const ADD: &str = "INSERT INTO oauth_emergency (grant_id, account, client_id, patient, purpose, reason, at, \
     until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const LIST: &str = "SELECT grant_id, account, client_id, patient, purpose, reason, at, until, reviewed_at, \
     reviewed_by, finding FROM oauth_emergency WHERE ($1 OR reviewed_at IS NULL) \
     AND ($2::uuid IS NULL OR (at, grant_id) < (SELECT at, grant_id FROM oauth_emergency WHERE grant_id = $2)) \
     ORDER BY at DESC, grant_id DESC LIMIT $3";

const REVIEW: &str = "UPDATE oauth_emergency SET reviewed_at = $2, reviewed_by = $3, finding = $4 \
     WHERE grant_id = $1 AND reviewed_at IS NULL";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[ADD, LIST, REVIEW];

/// Who broke the glass, for whom and why.
#[derive(Clone, Debug)]
pub struct Emergency {
    /// The grant that came of it.
    pub grant: Uuid,
    /// The name of the account.
    pub account: String,
    /// Through which client.
    pub client: String,
    /// The id of the patient.
    pub patient: String,
    /// The purpose of use.
    pub purpose: String,
    /// Why, in the user's words.
    pub reason: String,
    /// When.
    pub at: Instant,
    /// Until when.
    pub until: Instant,
    /// What came of the review, where there was one.
    pub review: Option<Review>,
}

/// What somebody who looked at it found.
#[derive(Clone, Debug)]
pub struct Review {
    /// When.
    pub at: Instant,
    /// Who.
    pub by: String,
    /// What was found.
    pub finding: String,
}

/// Makes the grant with its token, and puts the emergency where it is reviewed.
///
/// # Errors
/// [`Error::Unavailable`] without a database; so in all functions of this module.
pub async fn issue(
    store: &Store,
    grant: &NewGrant,
    token: NewToken,
    it: &Emergency,
) -> Result<(), Error> {
    let transaction = store.0.writers.begin("BEGIN").await?;
    grant::insert(&transaction, grant).await?;
    token::insert(&transaction, grant.id, &[token], grant.created).await?;
    let (at, until) = (Timestamptz(it.at), Timestamptz(it.until));
    let parameters: [&(dyn ToSql + Sync); 8] =
        [&it.grant, &it.account, &it.client, &it.patient, &it.purpose, &it.reason, &at, &until];
    transaction.run(ADD, &parameters).await?;
    transaction.commit().await.map_err(failure::error)
}

/// Those that nobody has looked at, or all: at most `most` of them, the newest first, and only those
/// older than `before` where a grant is named.
pub async fn list(
    store: &Store,
    is_of_all: bool,
    (before, most): (Option<Uuid>, i64),
) -> Result<Vec<Emergency>, Error> {
    query(store, LIST, &[&is_of_all, &before, &most]).await?.iter().map(emergency).collect()
}

/// Keeps what was found; whether there was something left to review.
pub async fn review(store: &Store, grant: Uuid, it: &Review) -> Result<bool, Error> {
    let parameters: [&(dyn ToSql + Sync); 4] = [&grant, &Timestamptz(it.at), &it.by, &it.finding];
    Ok(run(store, REVIEW, &parameters).await? > 0)
}

fn emergency(row: &Row) -> Result<Emergency, Error> {
    let review = match time_or_none(row, "reviewed_at")? {
        Some(at) => {
            Some(Review { at, by: get(row, "reviewed_by")?, finding: get(row, "finding")? })
        }
        None => None,
    };
    Ok(Emergency {
        grant: get(row, "grant_id")?,
        account: get(row, "account")?,
        client: get(row, "client_id")?,
        patient: get(row, "patient")?,
        purpose: get(row, "purpose")?,
        reason: get(row, "reason")?,
        at: time(row, "at")?,
        until: time(row, "until")?,
        review,
    })
}
