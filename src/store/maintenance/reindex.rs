//! Does the builds of the search index that clients asked for, some resources at a time.
//!
//! The row of a build is its position: nodes take turns, and one that was killed leaves it where its
//! last transaction ended.

use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType};

use super::super::{Store, TENANT, failure};
use super::index::{ONE, POSITION, commit, replace};
use super::search_parameters::step;

const NEXT_BUILD: &str = "SELECT rt, after_rid, total FROM reindex WHERE ended IS NULL \
     ORDER BY asked, rt LIMIT 1 FOR UPDATE";

const IS_ASKED: &str = "SELECT EXISTS (SELECT FROM reindex WHERE ended IS NULL)";

const STEP: &str = "UPDATE reindex SET after_rid = $2, done = done + $3, total = $4, \
     ended = CASE WHEN $5 THEN clock_timestamp() END, skipped = skipped + $6 WHERE rt = $1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[NEXT_BUILD, IS_ASKED, STEP];

/// Makes the rows of the next resources of a build that was asked for; whether there is one.
///
/// # Errors
/// [`Error::Unavailable`] without a database; [`Error::Conflict`] when search parameters changed
/// meanwhile. What is done stays done.
pub async fn reindex_some(store: &Store) -> Result<bool, Error> {
    let is_asked = sqlx::query_as(IS_ASKED).fetch_one(&store.0.admin).await;
    let (is_asked,): (bool,) = is_asked.map_err(failure::sqlx_error)?;
    if !is_asked {
        return Ok(false);
    }
    let transaction = store.0.writers.begin("BEGIN").await?;
    // One build at a time, of whatever kind: all of them replace rows of resources.
    transaction.all(POSITION, &[]).await?;
    let found = transaction.all(NEXT_BUILD, &[]).await?;
    let Some(row) = found.first() else {
        transaction.roll_back().await;
        return Ok(false);
    };
    let code: i16 = row.try_get(0).map_err(failure::error)?;
    let after: i64 = row.try_get(1).map_err(failure::error)?;
    let total: Option<i64> = row.try_get(2).map_err(failure::error)?;
    let types: Vec<ResourceType> = match code {
        0 => ResourceType::all().collect(),
        code => ResourceType::from_code(code).into_iter().collect(),
    };
    let parameters = store.parameters()?;
    let next = step(store, &transaction, &parameters, &types, after, total).await?;
    let (after, done, total, skipped) = (next.after, next.done, next.total, next.skipped);
    transaction.run(STEP, &[&code, &after, &done, &total, &next.is_last, &skipped]).await?;
    commit(transaction).await?;
    Ok(true)
}

/// Makes the rows of one resource anew, if it is live.
///
/// # Errors
/// As [`reindex_some`].
pub(in crate::store) async fn reindex_one(
    store: &Store,
    resource_type: ResourceType,
    id: &LogicalId,
) -> Result<(), Error> {
    let transaction = store.0.writers.begin("BEGIN").await?;
    let (code, id) = (resource_type.code(), id.as_str());
    let found = transaction.all(ONE, &[&TENANT, &code, &id]).await?;
    replace(store, &transaction, &*store.parameters()?, &found).await?;
    commit(transaction).await
}
