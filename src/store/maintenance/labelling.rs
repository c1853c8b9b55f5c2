//! By which rules, and codes that they name, all that is stored was labelled.

use crate::error::Error;

use super::super::{Store, failure};

/// What was done since by others must be done anew, also where it comes down to the same as once before.
const IS_DONE: &str =
    "SELECT coalesce((SELECT digest = $1 FROM labelling ORDER BY ended DESC LIMIT 1), false)";

const DONE: &str = "INSERT INTO labelling (digest, version, ended, changed) \
     VALUES ($1, $2, clock_timestamp(), $3) ON CONFLICT (digest) DO UPDATE \
     SET ended = excluded.ended, changed = labelling.changed + excluded.changed";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[IS_DONE, DONE];

/// Whether all that was stored was labelled last by what has this digest.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn is_labelled(store: &Store, digest: &[u8]) -> Result<bool, Error> {
    let is_done = sqlx::query_as(IS_DONE).bind(digest).fetch_one(&store.0.admin).await;
    let (is_done,): (bool,) = is_done.map_err(failure::sqlx_error)?;
    Ok(is_done)
}

/// Notes that it was, and how many resources that changed.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn labelled(
    store: &Store,
    digest: &[u8],
    version: &str,
    changed: u64,
) -> Result<(), Error> {
    let changed = i64::try_from(changed).unwrap_or(i64::MAX);
    let noted = sqlx::query(DONE).bind(digest).bind(version).bind(changed);
    noted.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(())
}
