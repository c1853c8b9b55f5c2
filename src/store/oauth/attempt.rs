//! Failed logins, and how long the next one has to wait.

use crate::error::Error;
use crate::fhir::Instant;

use super::super::{Store, failure};
use super::moments::{micros, moment};

/// Counts an attempt as failed until it has succeeded, so that many at once count too. After `$3`
/// failures each one doubles the wait, up to `$4` seconds; who does not wait is not counted.
const BEGIN: &str = concat!(
    "INSERT INTO login_attempt AS a (key, failures, last) VALUES ($1, 1, ",
    moment!("$2"),
    ") ON CONFLICT (key) DO UPDATE SET failures = a.failures + 1, last = excluded.last \
     WHERE a.failures < $3 OR a.last + least($4, power(2, least(a.failures - $3, 20))) * \
     interval '1 second' <= excluded.last RETURNING failures"
);
/// A failure that is yet to come, because a clock went back or another one is ahead, is one of now: the wait
/// for it begins, and is no longer than any.
const WAIT: &str = concat!(
    "WITH back AS (UPDATE login_attempt SET last = ",
    moment!("$2"),
    " WHERE key = $1 AND last > ",
    moment!("$2"),
    ") SELECT failures, least(",
    micros!("last"),
    ", $2) FROM login_attempt WHERE key = $1"
);
const CLEAR: &str = "DELETE FROM login_attempt WHERE key = $1";
/// What is a day old has no effect any more.
const SWEEP: &str =
    concat!("DELETE FROM login_attempt WHERE last < ", moment!("$1"), " - interval '1 day'");

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[BEGIN, WAIT, CLEAR, SWEEP];

/// Failures that cost nothing.
pub const FREE: i32 = 5;
/// The longest wait, in seconds: nobody can lock another one out for good.
pub const LONGEST_S: i32 = 900;

/// Begins an attempt, which counts as a failure until [`clear`]: how many there are by now, or how
/// many seconds are left to wait.
///
/// # Errors
/// [`Error::Unavailable`] without a database; so in all functions of this module.
pub async fn begin(store: &Store, key: &[u8], now: Instant) -> Result<Result<i32, i64>, Error> {
    let sweep = sqlx::query(SWEEP).bind(now.as_micros()).execute(&store.0.admin);
    sweep.await.map_err(failure::sqlx_error)?;
    let query = sqlx::query_scalar(BEGIN).bind(key).bind(now.as_micros());
    let query = query.bind(FREE).bind(LONGEST_S).fetch_optional(&store.0.admin);
    if let Some(failures) = query.await.map_err(failure::sqlx_error)? {
        return Ok(Ok(failures));
    }
    let query = sqlx::query_as(WAIT).bind(key).bind(now.as_micros());
    let query = query.fetch_optional(&store.0.admin);
    let found: Option<(i32, i64)> = query.await.map_err(failure::sqlx_error)?;
    let (failures, last) = found.unwrap_or((FREE, now.as_micros()));
    let wait = 1_i64 << (failures - FREE).clamp(0, 20);
    let passed = (now.as_micros() - last) / 1_000_000;
    Ok(Err((wait.min(LONGEST_S.into()) - passed).max(1)))
}

/// Forgets the failures: the attempt succeeded.
pub async fn clear(store: &Store, key: &[u8]) -> Result<(), Error> {
    let query = sqlx::query(CLEAR).bind(key).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}
