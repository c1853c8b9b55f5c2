//! Public halves of the keys that nodes sign with: whoever checks a signature needs those of all nodes.

use crate::error::Error;
use crate::fhir::Instant;

use super::super::Store;
use super::super::rows::{JsonText, Timestamptz};
use super::{get, json_or_none, query, run, time, time_or_none};

const PUBLISH: &str = "INSERT INTO oauth_key (kid, jwk, created, seen) VALUES ($1, $2, $3, $3) \
     ON CONFLICT (kid) DO UPDATE SET seen = excluded.seen";
const RETIRE: &str = "UPDATE oauth_key SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL";
const LISTED: &str = "SELECT kid, created, retired_at FROM oauth_key \
     WHERE coalesce(retired_at, seen) > $1 ORDER BY created DESC, kid";
const PUBLISHED: &str = "SELECT kid, jwk FROM oauth_key WHERE coalesce(retired_at, seen) > $1 \
     ORDER BY created DESC, kid";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[LISTED, PUBLISH, RETIRE, PUBLISHED];

/// Publishes a key (a JWK as JSON), or says that it is in use still.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn publish(store: &Store, kid: &str, jwk: &str, now: Instant) -> Result<(), Error> {
    run(store, PUBLISH, &[&kid, &JsonText(jwk.as_bytes()), &Timestamptz(now)]).await.map(drop)
}

/// Says that nothing is signed with a key from now on.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn retire(store: &Store, kid: &str, now: Instant) -> Result<(), Error> {
    run(store, RETIRE, &[&kid, &Timestamptz(now)]).await.map(drop)
}

/// The keys that were in use after `since`: id and JWK of each.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn published(store: &Store, since: Instant) -> Result<Vec<(String, String)>, Error> {
    let rows = query(store, PUBLISHED, &[&Timestamptz(since)]).await?;
    let key = |row| Ok((get(row, "kid")?, json_or_none(row, "jwk")?.unwrap_or_default()));
    rows.iter().map(key).collect()
}

/// A key as administrators see it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// When it was published first.
    pub created: Instant,
    /// Since when nothing is signed with it.
    pub retired_at: Option<Instant>,
}

/// The same keys, without what they are.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn listed(store: &Store, since: Instant) -> Result<Vec<Listed>, Error> {
    let rows = query(store, LISTED, &[&Timestamptz(since)]).await?;
    let listed = |row| {
        let (created, retired_at) = (time(row, "created")?, time_or_none(row, "retired_at")?);
        Ok(Listed { id: get(row, "kid")?, created, retired_at })
    };
    rows.iter().map(listed).collect()
}
