//! Connections: a few that many tasks pipeline their statements on, and pools of those that one task has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, QueueMode, RecyclingMethod, Runtime, Timeouts,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio_postgres::config::Host;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, root_cause};

use super::PoolStatus;
use super::failure;
use super::tenant::{Opened, Realm, Tenant};
use super::tls::{AddressError, Tls};
use super::write::Locks;

mod transaction;
pub(super) mod whole;

pub(super) use transaction::Transaction;

/// Longest wait for a new connection, and for a free one of the pool.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const POOL_TIMEOUT: Duration = Duration::from_secs(5);

/// Has all be found by indexes, where there are some.
const BY_INDEX: &str = " -c enable_seqscan=off";

/// Takes locks in the order of the array, which all writers sort alike; and lets all of them go.
const LOCK: &str = "SELECT CASE WHEN alone THEN pg_advisory_lock(k)::text \
     ELSE pg_advisory_lock_shared(k)::text END FROM unnest($1::bigint[], $2::bool[]) l (k, alone)";
const UNLOCK: &str = "SELECT pg_advisory_unlock_all()";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[LOCK, UNLOCK];

/// Where a database is and as whom to log in: a `postgresql://` URL. Its `sslmode` and
/// `sslrootcert` say how the connection is kept from others.
#[derive(Clone, Debug)]
pub struct Address(SecretString);

impl Address {
    /// An address from its URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self(SecretString::from(url.into()))
    }

    /// The data of one tenant there.
    pub fn of(&self, tenant: Tenant) -> Realm {
        Realm::new(self.clone(), tenant)
    }

    /// What both drivers read, what it says, and what it says of TLS.
    pub(super) fn read(&self) -> Result<(String, Config, Tls), AddressError> {
        let (text, tls) = Tls::split(self.0.expose_secret())?;
        let config = Config::from_str(&text);
        let config = config.map_err(|error| AddressError::Url(root_cause(&error)))?;
        let is_socket = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let tls = match (is_socket, leaves_the_machine(&config)) {
            (true, _) => tls.without(),
            (false, true) => tls.over_a_network(),
            (false, false) => tls,
        };
        Ok((text, config, tls))
    }
}

/// Whether one of the places that may be asked is not this machine. An address, where one is named
/// beside a host, is what is asked.
fn leaves_the_machine(config: &Config) -> bool {
    let is_here = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|it: IpAddr| it.is_loopback())
        }
        Host::Unix(_) => true,
    };
    let addresses = config.get_hostaddrs();
    if addresses.is_empty() {
        !config.get_hosts().iter().all(is_here)
    } else {
        !addresses.iter().all(IpAddr::is_loopback)
    }
}

/// What a connection is made with, and where it is counted.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    pub(super) opened: Opened,
    /// Whether it is for who restores the database, which is whole for nobody else.
    pub(super) is_restored: bool,
}

/// Whether a commit waits until the disk has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flush {
    /// It does not: it is written within milliseconds, but a crash of the database may lose it.
    Soon,
    /// It does.
    Wait,
}

impl Flush {
    pub(super) fn setting(self) -> &'static str {
        match self {
            Self::Soon => "off",
            Self::Wait => "on",
        }
    }
}

/// One connection that many tasks share: their statements are pipelined.
pub(super) struct Pipeline {
    client: Client,
    statements: RwLock<HashMap<&'static str, Statement>>,
    /// Those that are compiled, by their texts.
    compiled: RwLock<HashMap<String, Statement>>,
}

/// Most compiled statements that a shared connection keeps, and the longest text of one, in bytes.
const COMPILED: usize = 32;
const LONGEST: usize = 5_120;

impl Pipeline {
    /// The client to run statements on.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// `sql` prepared on this connection, once.
    pub(super) async fn prepare(&self, sql: &'static str) -> Result<Statement, Error> {
        let known =
            self.statements.read().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await.map_err(failure::error)?;
        let mut statements = self.statements.write().unwrap_or_else(PoisonError::into_inner);
        statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// The same of a text that was compiled: its form comes again, with other values.
    async fn prepare_compiled(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        let known = self.compiled.read().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        if sql.len() <= LONGEST {
            let mut compiled = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
            if compiled.len() >= COMPILED {
                compiled.clear();
            }
            compiled.insert(sql.to_owned(), statement.clone());
        }
        Ok(statement)
    }
}

/// Where a statement reads: on a shared connection, or inside a writer's open transaction.
#[derive(Clone, Copy)]
pub(super) enum Reader<'a> {
    /// Sees what is committed, on a connection that no other uses meanwhile.
    Alone(&'a Object),
    /// Sees what is committed.
    Shared(&'a Pipeline),
    /// Sees what its transaction has written too.
    Transaction(&'a Transaction),
}

impl Reader<'_> {
    /// The rows of `sql`.
    pub(super) async fn query(
        self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let rows = match self {
            Self::Shared(pipeline) => {
                let statement = pipeline.prepare(sql).await?;
                pipeline.client.query(&statement, parameters).await
            }
            Self::Alone(connection) => query(connection, sql, parameters).await,
            Self::Transaction(connection) => query(connection, sql, parameters).await,
        };
        rows.map_err(failure::costly)
    }

    /// The rows of a statement that was compiled.
    pub(super) async fn query_compiled(
        self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let rows = match self {
            Self::Shared(pipeline) => match pipeline.prepare_compiled(sql).await {
                Ok(statement) => pipeline.client.query(&statement, parameters).await,
                Err(error) => Err(error),
            },
            Self::Alone(connection) => query(connection, sql, parameters).await,
            Self::Transaction(connection) => query(connection, sql, parameters).await,
        };
        rows.map_err(failure::costly)
    }
}

async fn query(
    connection: &Object,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = connection.prepare_cached(sql).await?;
    connection.query(&statement, parameters).await
}

/// A fixed number of pipelined connections, opened when first needed and after a loss.
pub(super) struct Pipelines {
    target: Target,
    slots: Vec<Slot>,
    next: AtomicUsize,
    renewals: AtomicU64,
}

#[derive(Default)]
struct Slot {
    /// A connection, and how many renewals came before it was opened.
    open: RwLock<Option<(u64, Arc<Pipeline>)>>,
    opening: Mutex<()>,
}

impl Slot {
    /// The connection that was opened after so many renewals.
    fn current(&self, renewals: u64) -> Option<Arc<Pipeline>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let (opened, pipeline) = open.as_ref()?;
        (*opened == renewals && !pipeline.client.is_closed()).then(|| pipeline.clone())
    }
}

impl Pipelines {
    pub(super) fn new(
        realm: &Realm,
        count: usize,
        timeout_ms: u32,
        flush: Flush,
    ) -> Result<Self, Error> {
        Self::with(realm, (count, timeout_ms), flush, "")
    }

    /// The same for what is found by indexes, as by [`Pool::by_index`].
    pub(super) fn by_index(
        realm: &Realm,
        count: usize,
        timeout_ms: u32,
        flush: Flush,
    ) -> Result<Self, Error> {
        Self::with(realm, (count, timeout_ms), flush, BY_INDEX)
    }

    fn with(
        realm: &Realm,
        (count, timeout_ms): (usize, u32),
        flush: Flush,
        more: &str,
    ) -> Result<Self, Error> {
        let slots = (0..count.max(1)).map(|_| Slot::default()).collect();
        let target = realm.target(timeout_ms, flush, more)?;
        Ok(Self { target, slots, next: AtomicUsize::new(0), renewals: AtomicU64::new(0) })
    }

    /// A connection to run statements on; the slots take turns.
    pub(super) async fn pipeline(&self) -> Result<Arc<Pipeline>, Error> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = &self.slots[turn % self.slots.len()];
        if let Some(pipeline) = slot.current(self.renewals()) {
            return Ok(pipeline);
        }
        let _opening = slot.opening.lock().await;
        loop {
            let renewals = self.renewals();
            if let Some(pipeline) = slot.current(renewals) {
                return Ok(pipeline);
            }
            let pipeline = Arc::new(open(&self.target).await?);
            let opened = Some((renewals, pipeline.clone()));
            *slot.open.write().unwrap_or_else(PoisonError::into_inner) = opened;
            // Else it may be to what was to be left.
            if self.renewals() == renewals {
                return Ok(pipeline);
            }
        }
    }

    /// Has whoever comes next open a connection anew, also where one is just being opened.
    pub(super) fn renew(&self) {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        for slot in &self.slots {
            *slot.open.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::SeqCst)
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        let pipeline = self.pipeline().await?;
        pipeline.client.simple_query("").await.map(drop).map_err(failure::error)
    }
}

async fn open(target: &Target) -> Result<Pipeline, Error> {
    let connected = target.config.connect(target.tls.clone()).await;
    let (client, connection) = connected.map_err(failure::error)?;
    target.opened.add();
    drive(connection);
    if !target.is_restored && whole::is_restoring(&client).await.map_err(failure::error)? {
        return Err(Error::Unavailable(whole::RESTORING.into()));
    }
    Ok(Pipeline { client, statements: RwLock::default(), compiled: RwLock::default() })
}

#[expect(clippy::disallowed_methods, reason = "a connection needs a task that drives it")]
fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "database connection lost");
        }
    });
}

/// Connections that one task has at a time.
pub(super) struct Pool(deadpool_postgres::Pool);

impl Pool {
    pub(super) fn new(
        realm: &Realm,
        size: usize,
        timeout_ms: u32,
        flush: Flush,
    ) -> Result<Self, Error> {
        Self::with(realm, (size, timeout_ms), flush, "")
    }

    /// For writers and for the queue of messages: what they look for is found by indexes. A table that was small
    /// when a statement was planned would be walked through until the database next counts its rows.
    pub(super) fn by_index(realm: &Realm, size: usize, timeout_ms: u32) -> Result<Self, Error> {
        Self::with(realm, (size, timeout_ms), Flush::Wait, BY_INDEX)
    }

    pub(super) fn with(
        realm: &Realm,
        (size, timeout_ms): (usize, u32),
        flush: Flush,
        more: &str,
    ) -> Result<Self, Error> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let Target { config, tls, opened, is_restored } = realm.target(timeout_ms, flush, more)?;
        let manager = Manager::from_config(config, tls, recycling);
        let timeouts = Timeouts {
            wait: Some(POOL_TIMEOUT),
            create: Some(POOL_TIMEOUT),
            recycle: Some(POOL_TIMEOUT),
        };
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(size.max(1))
            // The one that was used last knows its plans and tables best: while two are enough, two are used.
            .queue_mode(QueueMode::Lifo)
            .timeouts(timeouts)
            .post_create(Hook::async_fn(move |client, _| {
                opened.add();
                Box::pin(async move {
                    let found = whole::is_restoring(client).await.map_err(HookError::Backend)?;
                    if found && !is_restored {
                        return Err(HookError::message(whole::RESTORING));
                    }
                    Ok(())
                })
            }))
            .runtime(Runtime::Tokio1)
            .build();
        pool.map(Self).map_err(Error::internal)
    }

    pub(super) async fn connection(&self) -> Result<Object, Error> {
        self.0.get().await.map_err(failure::pool_error)
    }

    /// A connection on which `sql`, a BEGIN, has run.
    pub(super) async fn begin(&self, sql: &str) -> Result<Transaction, Error> {
        let transaction = Transaction::on(self.connection().await?, Locks::new());
        transaction.batch_execute(sql).await.map_err(failure::error)?;
        Ok(transaction)
    }

    /// The same once nobody is in the way of `locks`; they are held until the transaction has ended.
    ///
    /// The locks come first, so that the transaction sees what their last holder committed.
    pub(super) async fn begin_locked(
        &self,
        locks: &Locks,
        sql: &str,
    ) -> Result<Transaction, Error> {
        if locks.is_empty() {
            return self.begin(sql).await;
        }
        let transaction = Transaction::on(self.connection().await?, locks.clone());
        let (keys, alone): (Vec<i64>, Vec<bool>) =
            locks.iter().map(|(key, alone)| (*key, *alone)).unzip();
        let statement = transaction.prepare_cached(LOCK).await.map_err(failure::error)?;
        transaction.query(&statement, &[&keys, &alone]).await.map_err(failure::error)?;
        transaction.batch_execute(sql).await.map_err(failure::error)?;
        Ok(transaction)
    }

    pub(super) fn status(&self) -> PoolStatus {
        let status = self.0.status();
        PoolStatus { open: status.size, idle: status.available, waiting: status.waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: security K3.
    #[test]
    fn who_is_not_this_machine_must_prove_who_it_is() {
        for (url, expected) in [
            ("postgres://u@localhost/d", "Prefer"),
            ("postgres://u@127.0.0.1:5433/d", "Prefer"),
            ("postgres://u@127.8.9.1/d", "Prefer"),
            ("postgres://u@[::1]/d", "Prefer"),
            ("postgres://u@%2Frun%2Fpostgresql/d", "Disable"),
            ("postgres://u@%2Frun%2Fpostgresql/d?sslmode=require", "Disable"),
            ("postgres://u@db.example.org/d", "Verify"),
            ("postgres://u@192.0.2.7/d?application_name=x", "Verify"),
            ("postgres://u@[2001:db8::1]/d", "Verify"),
            ("postgres://u@localhost.example.org/d", "Verify"),
            ("postgres://u@localhost,db.example.org/d", "Verify"),
            ("postgres://u@localhost/d?hostaddr=192.0.2.7", "Verify"),
            ("postgres://u@db.example.org/d?sslmode=prefer", "Prefer"),
            ("postgres://u@db.example.org/d?sslmode=disable", "Disable"),
            ("postgres://u@db.example.org/d?sslmode=require", "Require"),
            ("postgres://u@localhost/d?sslmode=verify-full", "Verify"),
        ] {
            let (.., tls) = Address::new(url).read().unwrap();
            let said = format!("{tls:?}");
            assert!(said.contains(&format!("mode: {expected},")), "{url}: {said}");
        }
    }
}
