//! The composition root: database, store, engine and listener put together, and taken apart again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use thiserror::Error;

use crate::clock::{Clock, IdOrder, IdSource, SystemClock, SystemIds};
use crate::config::{Config, ConfigError, Ids};
use crate::engine::{Engine, Settings};
use crate::spec::Spec;
use crate::store::{Address, MigrateError, Sizes, Store, check_schema, maintenance, migrate};

use super::postgres::{PostgresError, Private};

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The embedded definitions are damaged.
    #[error("the definitions cannot be loaded: {0}")]
    Definitions(String),
    /// The listener's address cannot be had.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The schema could not be brought to this version.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The private PostgreSQL does not run.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The database cannot be reached.
    #[error("cannot connect to the database: {0}")]
    Store(String),
}

/// A migrated database and what was started for it.
pub struct Database {
    /// The store on it.
    pub store: Store,
    private: Option<Private>,
}

impl Database {
    /// Finds or starts the database that `config` means, migrates it and connects.
    ///
    /// `attach` joins a private PostgreSQL that another Kiln runs, as commands beside a server do.
    ///
    /// # Errors
    /// Each [`StartError`] but that of the listener.
    pub async fn open(config: &Config, attach: bool) -> Result<Self, StartError> {
        let private = match config.database.url {
            Some(_) => None,
            None => Some(start_private(config, attach).await?),
        };
        let (app, owner) = addresses(config, private.as_ref());
        match owner {
            Some(owner) => migrate(&owner).await?,
            None => check_schema(&app).await?,
        }
        let sizes = Sizes {
            readers: config.database.read_connections.get() as usize,
            writers: config.database.write_connections.get() as usize,
            statement_timeout_ms: config.database.statement_timeout_ms.get(),
        };
        let store = Store::connect(&app, sizes).await;
        let store = store.map_err(|error| StartError::Store(cause_of(&error)))?;
        Ok(Self { store, private })
    }

    /// The process id of the private PostgreSQL, when there is one and it is ours.
    pub fn postgres_pid(&self) -> Option<u32> {
        self.private.as_ref().and_then(Private::pid)
    }

    /// Stops the private PostgreSQL, if there is one.
    pub async fn close(self) {
        let Self { store, private } = self;
        drop(store);
        if let Some(private) = private {
            // Stopping waits for the process; nothing can be done if that fails.
            let _ = tokio::task::spawn_blocking(move || private.stop()).await;
        }
    }
}

/// The addresses to serve and, where it is known, to migrate by.
pub fn addresses(config: &Config, private: Option<&Private>) -> (Address, Option<Address>) {
    if let Some(private) = private {
        return (Address::new(private.app_url()), Some(Address::new(private.owner_url())));
    }
    let address = |secret: &secrecy::SecretString| Address::new(secret.expose_secret());
    let url = config.database.url.as_ref().map_or_else(|| Address::new(""), address);
    (url, config.database.owner_url.as_ref().map(address))
}

async fn start_private(config: &Config, attach: bool) -> Result<Private, StartError> {
    let config = config.clone();
    let start = move || {
        if attach { Private::attach_or_start(&config) } else { Private::start(&config) }
    };
    let started = tokio::task::spawn_blocking(start).await;
    Ok(started.map_err(|error| StartError::Store(error.to_string()))??)
}

/// An engine on `store` whose references are relative to `base`.
///
/// # Errors
/// [`StartError::Definitions`] when the embedded definitions are damaged.
pub fn engine(config: &Config, store: Store, base: String) -> Result<Engine, StartError> {
    let spec = Spec::r4().map_err(|error| StartError::Definitions(error.to_string()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let order = match config.ids {
        Ids::Random => IdOrder::Random,
        Ids::Time => IdOrder::Time,
    };
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds(order));
    let settings = Settings { base, max_bundle_entries: config.http.max_bundle_entries };
    Ok(Engine::new(store, Arc::new(spec), clock, ids, settings))
}

/// Makes the partitions of coming months, every day, as long as the server runs.
pub(super) async fn keep_partitions(store: Store) {
    let mut daily = tokio::time::interval(Duration::from_secs(24 * 60 * 60));
    loop {
        daily.tick().await;
        if let Err(error) = maintenance::make_partitions(&store).await {
            tracing::warn!(%error, "cannot make partitions; trying again tomorrow");
        }
    }
}

/// The innermost cause of an error, which says most.
fn cause_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
