//! Second factors of accounts.

use sqlx::FromRow;
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::{Store, failure};
use super::moments::moment;

const OF_ACCOUNT: &str = "SELECT id, kind, label, secret, credential, counter, \
     confirmed_at IS NOT NULL AS is_confirmed FROM account_factor WHERE account_id = $1 \
     ORDER BY created, id";
const ADD: &str = concat!(
    "INSERT INTO account_factor (id, account_id, kind, label, secret, credential, counter, created, \
     confirmed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, ",
    moment!("$8"),
    ", CASE WHEN $9 THEN ",
    moment!("$8"),
    " END) ON CONFLICT DO NOTHING"
);
/// What was begun and not confirmed: one at a time.
const DROP_BEGUN: &str =
    "DELETE FROM account_factor WHERE account_id = $1 AND confirmed_at IS NULL";
const CONFIRM: &str = concat!(
    "UPDATE account_factor SET confirmed_at = ",
    moment!("$3"),
    " WHERE account_id = $1 AND id = $2 AND confirmed_at IS NULL"
);
/// Moves a counter forward; one that stands still was used before. Keys that do not count stay at 0.
const ADVANCE: &str = concat!(
    "UPDATE account_factor SET counter = $3, used_at = ",
    moment!("$4"),
    " WHERE account_id = $1 AND id = $2 AND (counter < $3 OR kind = 'webauthn' AND counter = 0 \
     AND $3 = 0)"
);
const TAKE_RECOVERY: &str =
    "DELETE FROM account_factor WHERE account_id = $1 AND kind = 'recovery' AND secret = $2";
const DROP_RECOVERY: &str =
    "DELETE FROM account_factor WHERE account_id = $1 AND kind = 'recovery'";
const REMOVE: &str = "DELETE FROM account_factor WHERE account_id = $1 AND id = $2";
const REMOVE_ALL: &str = "DELETE FROM account_factor WHERE account_id = $1";

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[
    OF_ACCOUNT,
    ADD,
    DROP_BEGUN,
    CONFIRM,
    ADVANCE,
    TAKE_RECOVERY,
    DROP_RECOVERY,
    REMOVE,
    REMOVE_ALL,
];

/// A second factor.
#[derive(Clone, FromRow)]
pub struct Factor {
    /// Its id.
    pub id: Uuid,
    /// `recovery`, `totp` or `webauthn`.
    pub kind: String,
    /// What the person calls it.
    pub label: String,
    /// The sealed secret of a TOTP, the public key of a WebAuthn credential, the hash of a code.
    pub secret: Vec<u8>,
    /// The id of a WebAuthn credential.
    pub credential: Option<Vec<u8>>,
    /// The last step or signature count that was used.
    pub counter: i64,
    /// Whether it was shown to work.
    pub is_confirmed: bool,
}

impl std::fmt::Debug for Factor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Factor").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A factor to be.
pub struct NewFactor<'a> {
    /// Its id.
    pub id: Uuid,
    /// `recovery`, `totp` or `webauthn`.
    pub kind: &'static str,
    /// What the person calls it.
    pub label: &'a str,
    /// As in [`Factor::secret`].
    pub secret: &'a [u8],
    /// As in [`Factor::credential`].
    pub credential: Option<&'a [u8]>,
    /// Where its counter begins.
    pub counter: i64,
    /// Whether it was shown to work.
    pub is_confirmed: bool,
}

/// All factors of an account.
///
/// # Errors
/// [`Error::Unavailable`] without a database; so in all functions of this module.
pub async fn of_account(store: &Store, account: Uuid) -> Result<Vec<Factor>, Error> {
    let query = sqlx::query_as(OF_ACCOUNT).bind(account);
    query.fetch_all(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Adds a factor in place of one that was begun; `false` when the credential is known already.
pub async fn add(
    store: &Store,
    account: Uuid,
    new: NewFactor<'_>,
    now: Instant,
) -> Result<bool, Error> {
    if new.kind != "recovery" {
        let begun = sqlx::query(DROP_BEGUN).bind(account).execute(&store.0.admin);
        begun.await.map_err(failure::sqlx_error)?;
    }
    let query = sqlx::query(ADD).bind(new.id).bind(account).bind(new.kind).bind(new.label);
    let query = query.bind(new.secret).bind(new.credential).bind(new.counter);
    let query = query.bind(now.as_micros()).bind(new.is_confirmed).execute(&store.0.admin);
    Ok(query.await.map_err(failure::sqlx_error)?.rows_affected() == 1)
}

/// Says that a factor was shown to work.
pub async fn confirm(store: &Store, account: Uuid, id: Uuid, now: Instant) -> Result<bool, Error> {
    let query = sqlx::query(CONFIRM).bind(account).bind(id).bind(now.as_micros());
    let done = query.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(done.rows_affected() == 1)
}

/// Uses a step or count of a factor; `false` when it was used before.
pub async fn advance(
    store: &Store,
    account: Uuid,
    id: Uuid,
    counter: i64,
    now: Instant,
) -> Result<bool, Error> {
    let query = sqlx::query(ADVANCE).bind(account).bind(id).bind(counter).bind(now.as_micros());
    let done = query.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(done.rows_affected() == 1)
}

/// Uses a recovery code up; `false` when there is none of this hash.
pub async fn take_recovery(store: &Store, account: Uuid, hash: &[u8]) -> Result<bool, Error> {
    let query = sqlx::query(TAKE_RECOVERY).bind(account).bind(hash);
    let done = query.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(done.rows_affected() > 0)
}

/// Voids the recovery codes of an account.
pub async fn drop_recovery(store: &Store, account: Uuid) -> Result<(), Error> {
    let query = sqlx::query(DROP_RECOVERY).bind(account).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}

/// Removes a factor; `false` when the account has no such.
pub async fn remove(store: &Store, account: Uuid, id: Uuid) -> Result<bool, Error> {
    let query = sqlx::query(REMOVE).bind(account).bind(id);
    let done = query.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(done.rows_affected() == 1)
}

/// Removes all factors: the person has lost them.
pub async fn remove_all(store: &Store, account: Uuid) -> Result<(), Error> {
    let query = sqlx::query(REMOVE_ALL).bind(account).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}
