//! Sessions of browsers, and logins that an outside provider is asked about.

use sqlx::FromRow;
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::{Store, failure};
use super::moments::{micros, moment};

const ADD: &str = concat!(
    "INSERT INTO auth_session (hash, id, account_id, started, seen, auth_at, factors, is_complete) \
     VALUES ($1, $2, $3, ",
    moment!("$4"),
    ", ",
    moment!("$4"),
    ", ",
    moment!("$5"),
    ", $6, $7)"
);
/// Finds a session that is alive and says that it was seen: not more than every ten seconds.
const FIND: &str = concat!(
    "WITH touched AS (UPDATE auth_session SET seen = ",
    moment!("$2"),
    " WHERE hash = $1 AND seen < ",
    moment!("$2"),
    " - interval '10 seconds' AND seen > ",
    moment!("$3"),
    " AND started > ",
    moment!("$4"),
    ") SELECT s.id, s.account_id, ",
    micros!("s.auth_at"),
    " AS auth_at, s.factors, s.is_complete, s.challenge FROM auth_session s \
     LEFT JOIN account a ON a.id = s.account_id \
     WHERE s.hash = $1 AND s.seen > ",
    moment!("$3"),
    " AND s.started > ",
    moment!("$4"),
    " AND a.disabled_at IS NULL"
);
const IS_ALIVE: &str = concat!(
    "SELECT EXISTS (SELECT FROM auth_session s JOIN account a ON a.id = s.account_id WHERE s.id = $1 \
     AND s.is_complete AND s.started > ",
    moment!("$2"),
    " AND a.disabled_at IS NULL)"
);
const CHALLENGE: &str = "UPDATE auth_session SET challenge = $2 WHERE hash = $1";
const END: &str = "DELETE FROM auth_session WHERE hash = $1";
const END_OF_ACCOUNT: &str = "DELETE FROM auth_session WHERE account_id = $1 RETURNING id";
const SWEEP: &str = concat!(
    "DELETE FROM auth_session WHERE started <= ",
    moment!("$1"),
    " OR account_id IS NULL AND seen <= ",
    moment!("$2")
);

const ADD_UPSTREAM: &str = concat!(
    "INSERT INTO auth_upstream (hash, session_id, issuer, nonce, verifier, request, expires) \
     VALUES ($1, $2, $3, $4, $5, $6, ",
    moment!("$7"),
    ")"
);
const TAKE_UPSTREAM: &str = concat!(
    "WITH old AS (DELETE FROM auth_upstream WHERE expires <= ",
    moment!("$3"),
    ") DELETE FROM auth_upstream WHERE hash = $1 AND session_id = $2 AND expires > ",
    moment!("$3"),
    " RETURNING issuer, nonce, verifier, request"
);

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] =
    &[ADD, FIND, IS_ALIVE, CHALLENGE, END, END_OF_ACCOUNT, SWEEP, ADD_UPSTREAM, TAKE_UPSTREAM];

/// A session to be.
pub struct NewSession<'a> {
    /// Of what the browser holds.
    pub hash: &'a [u8],
    /// What grants name it by.
    pub id: Uuid,
    /// Who logged in, if anybody did.
    pub account: Option<Uuid>,
    /// When.
    pub auth_at: Option<Instant>,
    /// What was proved.
    pub factors: &'a [String],
    /// Whether that is all that is needed.
    pub is_complete: bool,
}

/// A session.
#[derive(Clone, Debug, FromRow)]
pub struct Session {
    /// What grants name it by.
    pub id: Uuid,
    /// Who logged in.
    pub account_id: Option<Uuid>,
    /// When, in microseconds.
    pub auth_at: Option<i64>,
    /// What was proved.
    pub factors: Vec<String>,
    /// Whether that is all that is needed.
    pub is_complete: bool,
    /// What a WebAuthn key has to sign next.
    pub challenge: Option<Vec<u8>>,
}

/// How long sessions last: the moments after which they must have been seen and begun.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    /// Now.
    pub now: Instant,
    /// Those not seen since then are over.
    pub seen: Instant,
    /// Those begun before are over.
    pub started: Instant,
}

/// A login that an outside provider is asked about.
#[derive(Clone, Debug, FromRow)]
pub struct Upstream {
    /// The provider.
    pub issuer: String,
    /// What its token must repeat.
    pub nonce: String,
    /// What proves to it that the code is ours.
    pub verifier: String,
    /// The request for authorization that goes on afterwards.
    pub request: Option<String>,
}

/// Begins a session; those that are over are removed.
///
/// # Errors
/// [`Error::Unavailable`] without a database; so in all functions of this module.
pub async fn add(store: &Store, new: NewSession<'_>, since: Since) -> Result<(), Error> {
    let sweep = sqlx::query(SWEEP).bind(since.started.as_micros()).bind(since.seen.as_micros());
    sweep.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    let query = sqlx::query(ADD).bind(new.hash).bind(new.id).bind(new.account);
    let query = query.bind(since.now.as_micros()).bind(new.auth_at.map(Instant::as_micros));
    let query = query.bind(new.factors).bind(new.is_complete).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}

/// The session that is alive; it counts as seen now.
pub async fn find(store: &Store, hash: &[u8], since: Since) -> Result<Option<Session>, Error> {
    let query = sqlx::query_as(FIND).bind(hash).bind(since.now.as_micros());
    let query = query.bind(since.seen.as_micros()).bind(since.started.as_micros());
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Whether a session that somebody logged in by has neither ended nor grown too old: as long as an
/// app asks by it, it is not idle.
pub async fn is_alive(store: &Store, id: Uuid, since: Since) -> Result<bool, Error> {
    let query = sqlx::query_scalar(IS_ALIVE).bind(id).bind(since.started.as_micros());
    query.fetch_one(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Sets what a WebAuthn key has to sign next.
pub async fn set_challenge(
    store: &Store,
    hash: &[u8],
    challenge: Option<&[u8]>,
) -> Result<(), Error> {
    let query = sqlx::query(CHALLENGE).bind(hash).bind(challenge).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}

/// Ends a session.
pub async fn end(store: &Store, hash: &[u8]) -> Result<(), Error> {
    let query = sqlx::query(END).bind(hash).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}

/// Ends all sessions of an account; their ids.
pub async fn end_of_account(store: &Store, account: Uuid) -> Result<Vec<Uuid>, Error> {
    let query = sqlx::query_scalar(END_OF_ACCOUNT).bind(account);
    query.fetch_all(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Keeps a login that an outside provider is asked about.
pub async fn add_upstream(
    store: &Store,
    hash: &[u8],
    session: Uuid,
    it: &Upstream,
    expires: Instant,
) -> Result<(), Error> {
    let query = sqlx::query(ADD_UPSTREAM).bind(hash).bind(session).bind(&it.issuer);
    let query = query.bind(&it.nonce).bind(&it.verifier).bind(&it.request);
    let query = query.bind(expires.as_micros()).execute(&store.0.admin);
    query.await.map(drop).map_err(failure::sqlx_error)
}

/// Takes such a login, once, for the session that began it.
pub async fn take_upstream(
    store: &Store,
    hash: &[u8],
    session: Uuid,
    now: Instant,
) -> Result<Option<Upstream>, Error> {
    let query = sqlx::query_as(TAKE_UPSTREAM).bind(hash).bind(session).bind(now.as_micros());
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}
