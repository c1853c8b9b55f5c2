//! Removal of what counts no more.

use crate::error::Error;
use crate::fhir::Instant;

use super::super::Store;
use super::super::rows::Timestamptz;
use super::run;

const ASSERTIONS: &str = "DELETE FROM oauth_jti WHERE expires < $1";
const AUTHORIZATIONS: &str = "DELETE FROM oauth_authorization WHERE expires < $1";
/// A used code stays as long as its grant, so that a second use of it is seen.
const CODES: &str = "DELETE FROM oauth_code WHERE expires < $1 AND used_at IS NULL";
/// So does a refresh token that was exchanged, until it would have expired.
const TOKENS: &str = "DELETE FROM oauth_token WHERE expires < $1";
const SUCCESSORS: &str =
    "UPDATE oauth_token SET successor = NULL WHERE successor IS NOT NULL AND replaced_at < $1";
const GRANTS: &str = "DELETE FROM oauth_grant g WHERE used < $1 \
     AND NOT EXISTS (SELECT FROM oauth_token t WHERE t.grant_id = g.id) \
     AND NOT EXISTS (SELECT FROM oauth_code c WHERE c.grant_id = g.id AND c.used_at IS NULL)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[ASSERTIONS, AUTHORIZATIONS, CODES, TOKENS, SUCCESSORS, GRANTS];

/// Removes what counts no more since before `limit`; how many rows.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn sweep(store: &Store, limit: Instant) -> Result<u64, Error> {
    let mut count = 0;
    for sql in STATEMENTS {
        count += run(store, sql, &[&Timestamptz(limit)]).await?;
    }
    Ok(count)
}
