//! By which rules, and codes that they name, all that is stored was labelled, and what is written is.

use crate::error::Error;
use crate::fhir::Instant;

use super::super::{Store, failure};

/// What was done since by others must be done anew, also where it comes down to the same as once before.
const IS_DONE: &str =
    "SELECT coalesce((SELECT digest = $1 FROM labelling ORDER BY ended DESC LIMIT 1), false)";

const DONE: &str = "INSERT INTO labelling (digest, version, ended, changed) \
     VALUES ($1, $2, clock_timestamp(), $3) ON CONFLICT (digest) DO UPDATE \
     SET ended = excluded.ended, changed = labelling.changed + excluded.changed";

/// Who was silent for longer than what is between two words begins anew.
const WRITES_BY: &str = "INSERT INTO labelled_by (digest, began, seen) \
     SELECT $1::bytea, clock_timestamp(), clock_timestamp() WHERE EXISTS (SELECT FROM labelling) \
     ON CONFLICT (digest) DO UPDATE SET seen = excluded.seen, began = CASE \
       WHEN labelled_by.seen < excluded.seen - make_interval(secs => $2) THEN excluded.began \
       ELSE labelled_by.began END";

/// What others wrote by counts from when they began, at the earliest from when all was labelled by this one.
const OTHERS: &str = "SELECT (extract(epoch FROM max(greatest(done.ended, other.first))) * 1000000)::bigint, \
     coalesce(bool_and(other.last < clock_timestamp() - make_interval(secs => $2)), false) \
     FROM (SELECT ended FROM labelling WHERE digest = $1) done, \
     LATERAL (SELECT min(b.began) AS first, max(b.seen) AS last FROM labelled_by b \
       WHERE b.digest <> $1 AND b.seen > done.ended - make_interval(secs => $2) HAVING count(*) > 0) other";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[IS_DONE, DONE, WRITES_BY, OTHERS];

/// What was written by something else than a digest since all was labelled by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OtherLabels {
    /// From when on.
    pub since: Instant,
    /// Whether nobody does so any more.
    pub are_over: bool,
}

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

/// Notes that what is written at this moment is labelled by what has this digest, where rules label anything
/// in this database; who says nothing for so many seconds has ended.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn labels_by(store: &Store, digest: &[u8], silence: u32) -> Result<(), Error> {
    let noted = sqlx::query(WRITES_BY).bind(digest).bind(f64::from(silence));
    noted.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(())
}

/// What others wrote by something else since all was labelled by what has this digest; `None`: nothing.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn labelled_by_others(
    store: &Store,
    digest: &[u8],
    silence: u32,
) -> Result<Option<OtherLabels>, Error> {
    let found = sqlx::query_as(OTHERS).bind(digest).bind(f64::from(silence));
    let found = found.fetch_one(&store.0.admin).await;
    let (since, are_over): (Option<i64>, bool) = found.map_err(failure::sqlx_error)?;
    Ok(since.map(|micros| OtherLabels { since: Instant::from_micros(micros), are_over }))
}
