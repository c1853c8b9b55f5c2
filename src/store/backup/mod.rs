//! Backups and what is restored from one: their form (`stream`), what programs of PostgreSQL are told to connect, and
//! the mark of a database that is not whole yet.
//!
//! Reads and writes no data of resources: `pg_dump` and `pg_restore` do, which `app` runs.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::Host;

use crate::error::Error;

use super::connection::{Address, Flush, Pipeline, Pipelines};
use super::tls::AddressError;
use super::{Realm, Tenant, failure};

pub use stream::{BackupError, BackupKey, Head, Opening, Sealing};

/// Whether nobody has made anything in a database, but for the mark: who was broken off before anything came in has left
/// that.
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
       AND NOT (c.relname = 'kiln_restoring' AND c.relkind = 'r'))";

/// Of two who restore, one: as long as it is connected. The mark is of nobody else then.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtext('kiln_restoring'), 0)";

/// As long as this table is there, nobody serves the database (`migrate`), and no server that runs already gets a connection
/// (`connection::whole`).
const MARK: &str = "CREATE TABLE IF NOT EXISTS kiln_restoring ( \
     since timestamptz NOT NULL DEFAULT clock_timestamp())";
const UNMARK: &str = "DROP TABLE kiln_restoring";

/// Who else is connected. (Who may not see what others do is not told which of them are clients.)
const OTHERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
     AND pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'";

/// How often, and how long apart, it is looked whether others have gone.
const LOOKS: (u32, Duration) = (50, Duration::from_millis(100));

const LAST: &str = "SELECT kiln_last_xid(), pg_snapshot_xmax(pg_current_snapshot())::text::bigint";

const REACH: &str = "CALL kiln_reach($1)";

/// Every statement of this folder that can be prepared, for the test that does.
pub(super) const STATEMENTS: &[&str] = &[IS_EMPTY, LOCK, OTHERS, LAST];

/// What the environment of a program of PostgreSQL says of where to connect, as whom and how: a password stands in no
/// list of processes.
///
/// # Errors
/// [`AddressError`] for an address that cannot be read.
pub fn client_environment(address: &Address) -> Result<Vec<(&'static str, String)>, AddressError> {
    let (_, config, tls) = address.read()?;
    let host = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let hosts: Vec<String> = config.get_hosts().iter().map(host).collect();
    let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
    let addresses: Vec<String> =
        config.get_hostaddrs().iter().map(std::net::IpAddr::to_string).collect();
    let password = config.get_password().map(|it| String::from_utf8_lossy(it).into_owned());
    let said = [
        ("PGHOST", Some(hosts.join(","))),
        ("PGHOSTADDR", Some(addresses.join(","))),
        ("PGPORT", Some(ports.join(","))),
        ("PGUSER", config.get_user().map(str::to_owned)),
        ("PGPASSWORD", password),
        ("PGDATABASE", config.get_dbname().map(str::to_owned)),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Ok(said.filter(|(_, value)| !value.is_empty()).chain(tls.environment()).collect())
}

/// A database that is filled from a backup.
pub struct Restoring(Arc<Pipeline>);

impl Restoring {
    /// Marks an empty database as one that is not whole; `None` where it is not empty.
    ///
    /// # Errors
    /// [`Error::Busy`] where others are connected, who would see what comes; [`Error::Unavailable`] without a database; so in
    /// all functions of this type.
    pub async fn begin(address: &Address) -> Result<Option<Self>, Error> {
        let pipelines = Pipelines::new(&address.of(Tenant::ONLY).restored(), 1, 0, Flush::Wait)?;
        let pipeline = pipelines.pipeline().await?;
        let restoring = Self(pipeline);
        if !restoring.says(LOCK).await? {
            return Err(Error::Busy("somebody else restores into the database".to_owned()));
        }
        if !restoring.says(IS_EMPTY).await? {
            return Ok(None);
        }
        restoring.0.client().batch_execute(MARK).await.map_err(failure::error)?;
        // Who connects from now on finds the mark.
        match restoring.is_alone().await {
            Ok(true) => return Ok(Some(restoring)),
            Ok(false) => restoring.finish().await?,
            Err(error) => {
                // What failed is told of; nothing has come in.
                let _ = restoring.finish().await;
                return Err(error);
            }
        }
        Err(Error::Busy(
            "others are connected to the database: stop the servers, then restore".to_owned(),
        ))
    }

    async fn says(&self, question: &'static str) -> Result<bool, Error> {
        let row = self.0.client().query_one(question, &[]).await.map_err(failure::error)?;
        row.try_get(0).map_err(failure::error)
    }

    /// Whether nobody else is connected, after a while for those who are just going.
    async fn is_alone(&self) -> Result<bool, Error> {
        let (looks, pause) = LOOKS;
        for _ in 0..looks {
            let row = self.0.client().query_one(OTHERS, &[]).await.map_err(failure::error)?;
            if row.try_get::<_, i64>(0).map_err(failure::error)? == 0 {
                return Ok(true);
            }
            tokio::time::sleep(pause).await;
        }
        Ok(false)
    }

    /// From now on it may be served.
    pub async fn finish(self) -> Result<(), Error> {
        self.0.client().batch_execute(UNMARK).await.map_err(failure::error)
    }
}

/// Has the transactions of a database come as far as those that restored rows of these data name: what is written from
/// then on is later than all of them. How many were used up.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn reach(owner: &Realm) -> Result<u64, Error> {
    let owner = owner.clone().restored();
    let pipeline = Pipelines::new(&owner, 1, 0, Flush::Soon)?.pipeline().await?;
    let row = pipeline.client().query_one(LAST, &[]).await.map_err(failure::error)?;
    let (last, next): (i64, i64) =
        (row.try_get(0).map_err(failure::error)?, row.try_get(1).map_err(failure::error)?);
    if last < next {
        return Ok(0);
    }
    pipeline.client().execute(REACH, &[&last]).await.map_err(failure::error)?;
    Ok((last - next + 1).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_by_their_environment_where_to_connect() {
        for (url, expected) in [
            (
                "postgres://u:p%40ss@localhost:5433/d",
                "PGHOST=localhost PGPORT=5433 PGUSER=u PGPASSWORD=p@ss PGDATABASE=d PGSSLMODE=prefer",
            ),
            (
                "postgres://u@%2Frun%2Fpostgresql/d?sslmode=require",
                "PGHOST=/run/postgresql PGPORT=5432 PGUSER=u PGDATABASE=d PGSSLMODE=disable",
            ),
            (
                "postgres://u@db.example.org/d?sslrootcert=/etc/ca.pem",
                "PGHOST=db.example.org PGPORT=5432 PGUSER=u PGDATABASE=d PGSSLMODE=verify-full PGSSLROOTCERT=/etc/ca.pem",
            ),
            (
                "postgres://u@a.example.org:1,b.example.org:2/d",
                "PGHOST=a.example.org,b.example.org PGPORT=1,2 PGUSER=u PGDATABASE=d PGSSLMODE=verify-full \
                 PGSSLROOTCERT=system",
            ),
        ] {
            let said = client_environment(&Address::new(url)).unwrap();
            let said: Vec<_> = said.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(said.join(" "), expected, "{url}");
        }
    }
}
