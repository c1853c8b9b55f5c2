//! Accounts of persons and the one-time links by which they choose a password.

use sqlx::FromRow;
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::{Store, failure};
use super::moments::moment;

macro_rules! columns {
    ($($rest:literal)*) => {
        concat!(
            "SELECT a.id, a.name, a.password, a.fhir_user, a.roles, \
             a.disabled_at IS NOT NULL AS is_disabled, EXISTS (SELECT FROM account_factor f \
             WHERE f.account_id = a.id AND f.kind <> 'recovery' AND f.confirmed_at IS NOT NULL) \
             AS has_factor FROM account a ",
            $($rest)*
        )
    };
}

const BY_ID: &str = columns!("WHERE a.id = $1");
const BY_NAME: &str = columns!("WHERE a.folded = $1");
const BY_IDENTITY: &str = columns!(
    "JOIN account_identity i ON i.account_id = a.id WHERE i.issuer = $1 AND i.subject = $2"
);
const ALL: &str = columns!("ORDER BY a.folded");
const ANY: &str = "SELECT EXISTS (SELECT FROM account)";

const ADD: &str = concat!(
    "INSERT INTO account (id, name, folded, password, fhir_user, roles, created) \
     VALUES ($1, $2, $3, $4, $5, $6, ",
    moment!("$7"),
    ") ON CONFLICT (folded) DO NOTHING"
);
/// The first account, by a link that is for none: as long as there is no account at all.
const ADD_FIRST: &str = concat!(
    "WITH taken AS (UPDATE account_link SET used_at = ",
    moment!("$7"),
    " WHERE hash = $8 AND account_id IS NULL AND used_at IS NULL AND expires > ",
    moment!("$7"),
    " AND NOT EXISTS (SELECT FROM account) RETURNING hash) \
     INSERT INTO account (id, name, folded, password, fhir_user, roles, created) \
     SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text[], ",
    moment!("$7"),
    " FROM taken ON CONFLICT (folded) DO NOTHING"
);
const IDENTIFY: &str = "INSERT INTO account_identity (issuer, subject, account_id) \
     VALUES ($1, $2, $3) ON CONFLICT (issuer, subject) DO UPDATE SET account_id = \
     excluded.account_id";
const SET_PASSWORD: &str = "UPDATE account SET password = $2 WHERE id = $1";
const SET_ROLES: &str = "UPDATE account SET roles = $2 WHERE id = $1";
const ENABLE: &str = "UPDATE account SET disabled_at = NULL WHERE id = $1";
const DISABLE: &str = concat!("UPDATE account SET disabled_at = ", moment!("$2"), " WHERE id = $1");

const ADD_LINK: &str = concat!(
    "INSERT INTO account_link (hash, account_id, expires) VALUES ($1, $2, ",
    moment!("$3"),
    ")"
);
const DROP_LINKS: &str =
    "DELETE FROM account_link WHERE account_id IS NOT DISTINCT FROM $1 AND used_at IS NULL";
const FIND_LINK: &str = concat!(
    "SELECT l.account_id, a.name FROM account_link l LEFT JOIN account a ON a.id = l.account_id \
     WHERE l.hash = $1 AND l.used_at IS NULL AND l.expires > ",
    moment!("$2"),
    " AND a.disabled_at IS NULL AND (l.account_id IS NOT NULL OR NOT EXISTS (SELECT FROM account))"
);
const TAKE_LINK: &str = concat!(
    "WITH taken AS (UPDATE account_link SET used_at = ",
    moment!("$2"),
    " WHERE hash = $1 AND used_at IS NULL AND expires > ",
    moment!("$2"),
    " RETURNING account_id) UPDATE account a SET password = $3 FROM taken \
     WHERE a.id = taken.account_id AND a.disabled_at IS NULL RETURNING a.id"
);
/// Uses up what an account holds that is no link: nothing is set by it.
const USE_LINK: &str = concat!(
    "UPDATE account_link SET used_at = ",
    moment!("$3"),
    " WHERE hash = $1 AND account_id = $2 AND used_at IS NULL AND expires > ",
    moment!("$3")
);

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[
    BY_ID,
    BY_NAME,
    BY_IDENTITY,
    ALL,
    ANY,
    ADD,
    ADD_FIRST,
    IDENTIFY,
    SET_PASSWORD,
    SET_ROLES,
    ENABLE,
    DISABLE,
    ADD_LINK,
    DROP_LINKS,
    FIND_LINK,
    TAKE_LINK,
    USE_LINK,
];

/// An account.
#[derive(Clone, FromRow)]
pub struct Account {
    /// What everything else names it by.
    pub id: Uuid,
    /// What the person types to log in.
    pub name: String,
    /// The hash of the password; none before one was chosen.
    pub password: Option<String>,
    /// The resource that stands for the person.
    pub fhir_user: Option<String>,
    /// What the person may do, by name.
    pub roles: Vec<String>,
    /// Whether it may not log in.
    pub is_disabled: bool,
    /// Whether a second factor is set up.
    pub has_factor: bool,
}

// Not even the hash of a password may reach a log.
impl std::fmt::Debug for Account {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An account to be.
#[derive(Clone, Copy)]
pub struct NewAccount<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its name as the person writes it.
    pub name: &'a str,
    /// The name as it is compared.
    pub folded: &'a str,
    /// The hash of a password.
    pub password: Option<&'a str>,
    /// The resource that stands for the person.
    pub fhir_user: Option<&'a str>,
    /// What the person may do.
    pub roles: &'a [String],
}

/// What a one-time link is for.
#[derive(Clone, Debug, FromRow)]
pub struct Link {
    /// Whose password it sets; none: it makes the first account.
    pub account_id: Option<Uuid>,
    /// The name of that account.
    pub name: Option<String>,
}

/// The account with this id.
///
/// # Errors
/// [`Error::Unavailable`] without a database; so in all functions of this module.
pub async fn by_id(store: &Store, id: Uuid) -> Result<Option<Account>, Error> {
    let query = sqlx::query_as(BY_ID).bind(id);
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// The account whose folded name this is.
pub async fn by_name(store: &Store, folded: &str) -> Result<Option<Account>, Error> {
    let query = sqlx::query_as(BY_NAME).bind(folded);
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// The account that an identity at an outside provider is linked with.
pub async fn by_identity(
    store: &Store,
    issuer: &str,
    subject: &str,
) -> Result<Option<Account>, Error> {
    // No text of the database has NUL.
    if subject.contains('\0') {
        return Ok(None);
    }
    let query = sqlx::query_as(BY_IDENTITY).bind(issuer).bind(subject);
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// All accounts by name.
pub async fn all(store: &Store) -> Result<Vec<Account>, Error> {
    sqlx::query_as(ALL).fetch_all(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Whether there is any account.
pub async fn any(store: &Store) -> Result<bool, Error> {
    let found = sqlx::query_scalar(ANY).fetch_one(&store.0.admin);
    found.await.map_err(failure::sqlx_error)
}

/// Makes an account; `false` when the name is taken.
pub async fn add(store: &Store, new: NewAccount<'_>, now: Instant) -> Result<bool, Error> {
    let query = of_new(ADD, &new, now).execute(&store.0.admin);
    Ok(query.await.map_err(failure::sqlx_error)?.rows_affected() == 1)
}

/// Makes the first account by its link; `false` when the link is used, too old, or too late.
pub async fn add_first(
    store: &Store,
    new: NewAccount<'_>,
    link: &[u8],
    now: Instant,
) -> Result<bool, Error> {
    let query = of_new(ADD_FIRST, &new, now).bind(link).execute(&store.0.admin);
    Ok(query.await.map_err(failure::sqlx_error)?.rows_affected() == 1)
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn of_new<'q>(sql: &'static str, new: &'q NewAccount<'_>, now: Instant) -> Statement<'q> {
    let query = sqlx::query(sql).bind(new.id).bind(new.name).bind(new.folded);
    let query = query.bind(new.password).bind(new.fhir_user).bind(new.roles);
    query.bind(now.as_micros())
}

/// Links an identity at an outside provider with an account.
pub async fn identify(
    store: &Store,
    issuer: &str,
    subject: &str,
    account: Uuid,
) -> Result<(), Error> {
    let query = sqlx::query(IDENTIFY).bind(issuer).bind(subject).bind(account);
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// Sets the hash of a password; none: nobody can log in by one.
pub async fn set_password(store: &Store, id: Uuid, hash: Option<&str>) -> Result<(), Error> {
    let query = sqlx::query(SET_PASSWORD).bind(id).bind(hash);
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// Sets what the person may do.
pub async fn set_roles(store: &Store, id: Uuid, roles: &[String]) -> Result<(), Error> {
    let query = sqlx::query(SET_ROLES).bind(id).bind(roles);
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// Lets an account log in again.
pub async fn enable(store: &Store, id: Uuid) -> Result<(), Error> {
    let query = sqlx::query(ENABLE).bind(id);
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// Keeps an account from logging in.
pub async fn disable(store: &Store, id: Uuid, now: Instant) -> Result<(), Error> {
    let query = sqlx::query(DISABLE).bind(id).bind(now.as_micros());
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// Keeps a link until `expires`; those for the same account that were not used are void.
pub async fn add_link(
    store: &Store,
    hash: &[u8],
    account: Option<Uuid>,
    expires: Instant,
) -> Result<(), Error> {
    let before = sqlx::query(DROP_LINKS).bind(account).execute(&store.0.admin);
    before.await.map_err(failure::sqlx_error)?;
    let query = sqlx::query(ADD_LINK).bind(hash).bind(account).bind(expires.as_micros());
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// Keeps a code of an account until `expires`. Links for its password stay as they are.
pub async fn add_code(
    store: &Store,
    hash: &[u8],
    account: Uuid,
    expires: Instant,
) -> Result<(), Error> {
    let query = sqlx::query(ADD_LINK).bind(hash).bind(account).bind(expires.as_micros());
    query.execute(&store.0.admin).await.map(drop).map_err(failure::sqlx_error)
}

/// What a link is for, as long as it can be used.
pub async fn find_link(store: &Store, hash: &[u8], now: Instant) -> Result<Option<Link>, Error> {
    let query = sqlx::query_as(FIND_LINK).bind(hash).bind(now.as_micros());
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Uses a link to set a password; the account, or none when the link cannot be used.
pub async fn take_link(
    store: &Store,
    hash: &[u8],
    password: &str,
    now: Instant,
) -> Result<Option<Uuid>, Error> {
    let query = sqlx::query_scalar(TAKE_LINK).bind(hash).bind(now.as_micros()).bind(password);
    query.fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Uses up a code that was kept as a link is; `false` when it was used, is too old, or another's.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn use_link(
    store: &Store,
    hash: &[u8],
    account: Uuid,
    now: Instant,
) -> Result<bool, Error> {
    let query = sqlx::query(USE_LINK).bind(hash).bind(account).bind(now.as_micros());
    let done = query.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(done.rows_affected() == 1)
}
