//! Migrations: embedded, forward only, safe when many nodes start at once.

use sqlx::migrate::{MigrateError as SqlxError, Migrator};
use sqlx::postgres::{PgPool, PgPoolOptions};
use thiserror::Error;

use super::connection::whole::IS_RESTORING;
use super::tenant::{self, Realm};
use super::tls::AddressError;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

const LOCK: &str = "SELECT pg_advisory_lock(hashtext('kiln_migrate'), $1)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtext('kiln_migrate'), $1)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[IS_RESTORING, LOCK, UNLOCK];

/// Why a database could not be brought to this version.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// Its address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// It cannot be reached, or a statement failed.
    #[error("the database cannot be migrated: {0}")]
    Database(String),
    /// It is being filled from a backup, or that was not finished.
    #[error(
        "the database is being restored, or was not restored to the end: `kiln restore` into an empty one"
    )]
    Restoring,
    /// A newer Kiln has migrated it.
    #[error("the database is newer than this program (it has migration {0}): use a newer kiln")]
    Newer(i64),
    /// It is older than this program, and this role may not change it.
    #[error(
        "the database has an old schema and database.owner_url is not set: \
         run `kiln migrate` with it"
    )]
    Older,
}

/// Brings the database at `owner` to this version; waits while another node does.
///
/// # Errors
/// [`MigrateError::Newer`] when a newer program migrated it already, [`MigrateError::Restoring`] where it is not whole.
pub async fn migrate(owner: &Realm) -> Result<(), MigrateError> {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(owner.sqlx_options()?);
    let whole = is_whole(&pool).await;
    pool.close().await;
    whole?;
    migrate_copy(owner).await
}

/// Refuses a database that is not whole.
async fn is_whole(pool: &PgPool) -> Result<(), MigrateError> {
    let found: Result<bool, _> = sqlx::query_scalar(IS_RESTORING).fetch_one(pool).await;
    match found {
        Ok(false) => Ok(()),
        Ok(true) => Err(MigrateError::Restoring),
        Err(error) => Err(MigrateError::Database(error.to_string())),
    }
}

/// The same for what is being restored.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_copy(owner: &Realm) -> Result<(), MigrateError> {
    // "already exists, skipping" at every start is no news.
    let options = owner.sqlx_options()?.options([("client_min_messages", "warning")]);
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let result = run(owner, &pool).await;
    if result.is_ok() {
        if owner.is_shared() {
            let guarded = tenant::guard(&pool).await;
            guarded.map_err(|error| MigrateError::Database(error.to_string()))?;
        }
        let made = sqlx::query("SELECT kiln_make_partitions(CURRENT_DATE)").execute(&pool).await;
        made.map_err(|error| MigrateError::Database(error.to_string()))?;
    }
    pool.close().await;
    result.map_err(|error| match error {
        SqlxError::VersionMissing(version) => MigrateError::Newer(version),
        other => MigrateError::Database(other.to_string()),
    })
}

/// Runs what is missing, under a lock of this tenant alone: a long migration of one keeps no other from
/// being brought to this version.
async fn run(owner: &Realm, pool: &PgPool) -> Result<(), SqlxError> {
    let Some(number) = owner.number() else { return MIGRATIONS.run(pool).await };
    let mut own = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    own.set_locking(false);
    let mut connection = pool.acquire().await?;
    sqlx::query(LOCK).bind(number).execute(&mut *connection).await?;
    let result = own.run_direct(None, &mut *connection, false).await;
    sqlx::query(UNLOCK).bind(number).execute(&mut *connection).await?;
    result
}

/// Checks, as a role that may not migrate, that the database has this version.
///
/// # Errors
/// [`MigrateError::Older`] or [`MigrateError::Newer`] when it has not, [`MigrateError::Restoring`].
pub async fn check(realm: &Realm) -> Result<(), MigrateError> {
    let fault = |error: sqlx::Error| MigrateError::Database(error.to_string());
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(realm.sqlx_options()?);
    is_whole(&pool).await?;
    let exists: (bool,) = sqlx::query_as("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&pool)
        .await
        .map_err(fault)?;
    if !exists.0 {
        return Err(MigrateError::Older);
    }
    let applied: (Option<i64>,) =
        sqlx::query_as("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(&pool)
            .await
            .map_err(fault)?;
    pool.close().await;
    let latest = MIGRATIONS.iter().map(|migration| migration.version).max();
    match (applied.0, latest) {
        (Some(applied), Some(latest)) if applied > latest => Err(MigrateError::Newer(applied)),
        (applied, latest) if applied == latest => Ok(()),
        _ => Err(MigrateError::Older),
    }
}
