//! Whether a database is whole: one that is being restored has what was erased since, and is nobody's but who restores it.
//!
//! Each connection asks when it is opened: a server may find another database behind its address than before.

use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::super::tenant::Realm;
use super::super::tls::AddressError;

/// Whether the mark is there (`store::backup`), whatever schema a connection is for. What somebody has for a session alone, or
/// calls so and is no table, is none.
pub(in super::super) const IS_RESTORING: &str = "SELECT EXISTS (SELECT FROM pg_class \
     WHERE relname = 'kiln_restoring' AND relkind = 'r' AND relpersistence = 'p')";

/// What is said of such a database.
pub(super) const RESTORING: &str = "the database is being restored";

/// Whether the database of a connection is being restored.
pub(super) async fn is_restoring(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let said = client.simple_query(IS_RESTORING).await?;
    let answer = said.iter().find_map(|it| match it {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(answer == Some("t"))
}

/// Up to so many connections of the driver that migrates, opened when they are needed.
pub(in super::super) fn pool(realm: &Realm, most: u32) -> Result<PgPool, AddressError> {
    let is_restored = realm.is_restored();
    let options = PgPoolOptions::new().max_connections(most).after_connect(move |connection, _| {
        Box::pin(async move {
            let found: bool = sqlx::query_scalar(IS_RESTORING).fetch_one(connection).await?;
            if found && !is_restored {
                return Err(sqlx::Error::Protocol(RESTORING.to_owned()));
            }
            Ok(())
        })
    });
    Ok(options.connect_lazy_with(realm.sqlx_options()?))
}
