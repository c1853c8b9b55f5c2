//! Assertions that were used: none counts twice, on whichever node it comes in.

use crate::error::Error;
use crate::fhir::Instant;

use super::super::Store;
use super::super::rows::Timestamptz;
use super::{Hash, run};

const REMEMBER: &str = "INSERT INTO oauth_jti (client_id, jti, expires) VALUES ($1, $2, $3) \
     ON CONFLICT DO NOTHING";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[REMEMBER];

/// Remembers an assertion by the hash of its `jti` until it would have expired; whether it is new.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn remember(
    store: &Store,
    client: &str,
    jti: &Hash,
    expires: Instant,
) -> Result<bool, Error> {
    Ok(run(store, REMEMBER, &[&client, &&jti[..], &Timestamptz(expires)]).await? == 1)
}
