//! Grants: what a user, or the operator, let a client do; and the codes that lead to them.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::Store;
use super::super::connection::Transaction;
use super::super::failure;
use super::super::rows::{JsonText, Timestamptz};
use super::token::{self, NewToken};
use super::{Hash, get, json_or_none, query, time, time_or_none};

/// The columns of a grant `g`, as [`grant`] reads them.
macro_rules! grant_columns {
    () => {
        "g.id AS grant_id, g.client_id, g.account_id, g.scopes AS grant_scopes, g.patient, \
         g.encounter, g.context, g.fhir_user, g.offline, g.session_id, g.auth_time, g.nonce, \
         g.purpose, g.reason, g.created AS grant_created, g.ended_at"
    };
}
pub(super) use grant_columns;

const INSERT: &str = "INSERT INTO oauth_grant (id, client_id, account_id, scopes, patient, encounter, \
     context, fhir_user, offline, session_id, auth_time, nonce, purpose, created, used, reason) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, $15)";

const INSERT_CODE: &str = "INSERT INTO oauth_code (hash, grant_id, redirect_uri, challenge, aud, \
     expires) VALUES ($1, $2, $3, $4, $5, $6)";

const CODE: &str = concat!(
    "SELECT c.redirect_uri, c.challenge, c.aud, c.expires, c.used_at, ",
    grant_columns!(),
    " FROM oauth_code c JOIN oauth_grant g ON g.id = c.grant_id WHERE c.hash = $1 FOR UPDATE OF c"
);

const USE_CODE: &str = "UPDATE oauth_code SET used_at = $2 WHERE hash = $1";

/// Ends grants `WHERE` so, and tells all nodes of each.
macro_rules! end {
    ($where:literal) => {
        concat!(
            "WITH ended AS (UPDATE oauth_grant SET ended_at = $2, ended_why = $3 WHERE ",
            $where,
            " AND ended_at IS NULL RETURNING id) \
             SELECT pg_notify(kiln_channel(), id::text)::text FROM ended"
        )
    };
}

const END: &str = end!("id = $1");
const END_OF_ACCOUNT: &str = end!("account_id = $1");
const END_OF_CLIENT: &str = end!("client_id = $1");
const END_OF_CLIENT_AND_ACCOUNT: &str = end!("client_id = $1 AND account_id = $4");
const END_OF_SESSION: &str = end!("session_id = $1");

const OF_ACCOUNT: &str = concat!(
    "SELECT ",
    grant_columns!(),
    ", g.used FROM oauth_grant g WHERE g.account_id = $1 AND g.ended_at IS NULL ORDER BY g.created"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[
    INSERT,
    INSERT_CODE,
    CODE,
    USE_CODE,
    END,
    END_OF_ACCOUNT,
    END_OF_CLIENT,
    END_OF_CLIENT_AND_ACCOUNT,
    END_OF_SESSION,
    OF_ACCOUNT,
];

/// What is granted.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// Its id.
    pub id: Uuid,
    /// To whom.
    pub client: String,
    /// By whom; `None`: by the operator, to a backend service.
    pub account: Option<Uuid>,
    /// The scopes, as they are told to the client.
    pub scopes: String,
    /// The id of the patient in context.
    pub patient: Option<String>,
    /// The id of the encounter in context.
    pub encounter: Option<String>,
    /// What else the token response tells: a JSON object of its members.
    pub context: Option<String>,
    /// The user as a resource: `Practitioner/1`.
    pub fhir_user: Option<String>,
    /// Whether it outlives the user's session (`offline_access`).
    pub is_offline: bool,
    /// The session that it ends with (`online_access`).
    pub session: Option<Uuid>,
    /// When the user logged in.
    pub auth_time: Option<Instant>,
    /// `nonce` of the request.
    pub nonce: Option<String>,
    /// The purpose of use: of an emergency, or of a service. What people use data for their roles say.
    pub purpose: Option<String>,
    /// Why the user wants what is open to them: everything of everybody.
    pub reason: Option<String>,
    /// The present.
    pub created: Instant,
}

/// A code for a grant, which a client exchanges once.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// Its hash.
    pub hash: Hash,
    /// Where it is sent.
    pub redirect_uri: String,
    /// `code_challenge` (S256).
    pub challenge: String,
    /// The FHIR base that was asked for.
    pub aud: String,
    /// Until when it can be exchanged.
    pub expires: Instant,
}

/// A grant as it is stored.
#[derive(Clone, Debug)]
pub struct Granted {
    /// What is granted.
    pub grant: NewGrant,
    /// Since when it counts no more.
    pub ended_at: Option<Instant>,
}

/// A code as it is stored.
#[derive(Clone, Debug)]
pub struct Code {
    /// Where it was sent.
    pub redirect_uri: String,
    /// `code_challenge` (S256).
    pub challenge: String,
    /// The FHIR base that was asked for.
    pub aud: String,
    /// Until when it can be exchanged.
    pub expires: Instant,
    /// What it leads to.
    pub granted: Granted,
}

/// What came of an exchange.
#[derive(Debug)]
pub enum Exchanged<T, E> {
    /// Tokens were made.
    Done(T),
    /// The code does not fit the request; nothing happened.
    Refused(E),
    /// The code was used before: its grant has ended now.
    Reused(Box<Granted>),
    /// There is no such code.
    Unknown,
}

/// Makes a grant, and the code for it.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn issue_code(store: &Store, grant: &NewGrant, code: &NewCode) -> Result<(), Error> {
    let transaction = store.0.writers.begin("BEGIN").await?;
    insert(&transaction, grant).await?;
    let (hash, expires) = (&code.hash[..], Timestamptz(code.expires));
    let parameters: [&(dyn ToSql + Sync); 6] =
        [&hash, &grant.id, &code.redirect_uri, &code.challenge, &code.aud, &expires];
    transaction.run(INSERT_CODE, &parameters).await?;
    transaction.commit().await.map_err(failure::error)
}

/// Makes a grant without a code, and tokens of it: that of a backend service.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn issue_tokens(
    store: &Store,
    grant: &NewGrant,
    tokens: &[NewToken],
) -> Result<(), Error> {
    let transaction = store.0.writers.begin("BEGIN").await?;
    insert(&transaction, grant).await?;
    token::insert(&transaction, grant.id, tokens, grant.created).await?;
    transaction.commit().await.map_err(failure::error)
}

/// Exchanges a code for the tokens that `decide` makes when the code fits. A code that was used
/// before ends its grant.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn exchange<T, E>(
    store: &Store,
    hash: &Hash,
    now: Instant,
    decide: impl FnOnce(&Code) -> Result<(T, Vec<NewToken>), E>,
) -> Result<Exchanged<T, E>, Error> {
    let transaction = store.0.writers.begin("BEGIN").await?;
    let hash = &hash[..];
    let rows = transaction.all(CODE, &[&hash]).await?;
    let Some(row) = rows.first() else {
        transaction.roll_back().await;
        return Ok(Exchanged::Unknown);
    };
    let code = Code {
        redirect_uri: get(row, "redirect_uri")?,
        challenge: get(row, "challenge")?,
        aud: get(row, "aud")?,
        expires: time(row, "expires")?,
        granted: granted(row)?,
    };
    let grant = code.granted.grant.id;
    if time_or_none(row, "used_at")?.is_some() {
        let why = "a code was used twice";
        transaction.all(END, &[&grant, &Timestamptz(now), &why]).await?;
        transaction.commit().await.map_err(failure::error)?;
        return Ok(Exchanged::Reused(Box::new(code.granted)));
    }
    match decide(&code) {
        Ok((done, tokens)) => {
            transaction.run(USE_CODE, &[&hash, &Timestamptz(now)]).await?;
            token::insert(&transaction, grant, &tokens, now).await?;
            transaction.commit().await.map_err(failure::error)?;
            Ok(Exchanged::Done(done))
        }
        Err(refused) => {
            transaction.roll_back().await;
            Ok(Exchanged::Refused(refused))
        }
    }
}

/// Ends a grant; how many that were (0 or 1).
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn end_grant(store: &Store, id: Uuid, why: &str, now: Instant) -> Result<u64, Error> {
    Ok(query(store, END, &[&id, &Timestamptz(now), &why]).await?.len() as u64)
}

/// Ends all grants by a user; how many.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn end_grants_of_account(
    store: &Store,
    account: Uuid,
    why: &str,
    now: Instant,
) -> Result<u64, Error> {
    Ok(query(store, END_OF_ACCOUNT, &[&account, &Timestamptz(now), &why]).await?.len() as u64)
}

/// Ends all grants to a client; how many.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn end_grants_of_client(
    store: &Store,
    client: &str,
    why: &str,
    now: Instant,
) -> Result<u64, Error> {
    Ok(query(store, END_OF_CLIENT, &[&client, &Timestamptz(now), &why]).await?.len() as u64)
}

/// Ends all grants by a user to a client; how many.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn end_grants_of_client_and_account(
    store: &Store,
    client: &str,
    account: Uuid,
    why: &str,
    now: Instant,
) -> Result<u64, Error> {
    let parameters: [&(dyn ToSql + Sync); 4] = [&client, &Timestamptz(now), &why, &account];
    Ok(query(store, END_OF_CLIENT_AND_ACCOUNT, &parameters).await?.len() as u64)
}

/// Ends all grants that end with a session; how many.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn end_grants_of_session(
    store: &Store,
    session: Uuid,
    why: &str,
    now: Instant,
) -> Result<u64, Error> {
    Ok(query(store, END_OF_SESSION, &[&session, &Timestamptz(now), &why]).await?.len() as u64)
}

/// The grants by a user that count, each with the moment when it was used last.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn of_account(store: &Store, account: Uuid) -> Result<Vec<(Granted, Instant)>, Error> {
    let rows = query(store, OF_ACCOUNT, &[&account]).await?;
    rows.iter().map(|row| Ok((granted(row)?, time(row, "used")?))).collect()
}

pub(super) async fn insert(transaction: &Transaction, grant: &NewGrant) -> Result<(), Error> {
    let context = grant.context.as_ref().map(|text| JsonText(text.as_bytes()));
    let auth_time = grant.auth_time.map(Timestamptz);
    let created = Timestamptz(grant.created);
    let values: [&(dyn ToSql + Sync); 15] = [
        &grant.id,
        &grant.client,
        &grant.account,
        &grant.scopes,
        &grant.patient,
        &grant.encounter,
        &context,
        &grant.fhir_user,
        &grant.is_offline,
        &grant.session,
        &auth_time,
        &grant.nonce,
        &grant.purpose,
        &created,
        &grant.reason,
    ];
    transaction.run(INSERT, &values).await.map(drop)
}

/// The columns of `grant_columns!`.
pub(super) fn granted(row: &Row) -> Result<Granted, Error> {
    let grant = NewGrant {
        id: get(row, "grant_id")?,
        client: get(row, "client_id")?,
        account: get(row, "account_id")?,
        scopes: get(row, "grant_scopes")?,
        patient: get(row, "patient")?,
        encounter: get(row, "encounter")?,
        context: json_or_none(row, "context")?,
        fhir_user: get(row, "fhir_user")?,
        is_offline: get(row, "offline")?,
        session: get(row, "session_id")?,
        auth_time: time_or_none(row, "auth_time")?,
        nonce: get(row, "nonce")?,
        purpose: get(row, "purpose")?,
        reason: get(row, "reason")?,
        created: time(row, "grant_created")?,
    };
    Ok(Granted { grant, ended_at: time_or_none(row, "ended_at")? })
}
