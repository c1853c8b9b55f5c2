//! The database of a command: found or started, migrated, connected.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::ExposeSecret;
use thiserror::Error;

use crate::config::{Config, ConfigError, ReadAudit, References};
use crate::error::root_cause;
use crate::fulltext::FullTextError;
use crate::http::listener::TlsError;
use crate::oauth::keys::KeyError;
use crate::oauth::login::seal::SealError;
use crate::store::{Address, Flush, Integrity, MigrateError, Sizes, Store, check_schema, migrate};

use super::audit::folder::FolderError;
use super::postgres::{Health, PostgresError, Private};

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The embedded definitions are damaged.
    #[error("the definitions cannot be loaded: {0}")]
    Definitions(String),
    /// The index of words cannot be opened.
    #[error("cannot open the full text index in {}: {cause}", folder.display())]
    FullText {
        /// Where it is.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: FullTextError,
    },
    /// The key to sign with cannot be used.
    #[error(transparent)]
    Keys(KeyError),
    /// The listener's address cannot be had.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The rules of labels cannot be used.
    #[error("`auth.labels` {}: {reason}", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A setting of the feed of HL7 version 2 names what there is not.
    #[error("{0} is not known")]
    Messages(String),
    /// Where events and alerts go cannot be used.
    #[error("{0}")]
    Outlets(String),
    /// A route is not declared as it must be.
    #[error("{0}")]
    Routes(String),
    /// The schema could not be brought to this version.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The private PostgreSQL does not run.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The roles cannot be used.
    #[error("`auth.roles`{}: {reason}", path.as_ref().map(|it| format!(" {}", it.display())).unwrap_or_default())]
    Roles {
        /// The file.
        path: Option<PathBuf>,
        /// What is wrong.
        reason: String,
    },
    /// The key of second factors cannot be used.
    #[error(transparent)]
    Seal(SealError),
    /// The database cannot be reached.
    #[error("cannot connect to the database: {0}")]
    Store(String),
    /// TLS of the listener.
    #[error(transparent)]
    Tls(TlsError),
    /// The key or the checkpoints of the ledger's seal.
    #[error("the ledger cannot be sealed: {0}")]
    LedgerSeal(#[from] FolderError),
    /// `search.zone` is no zone.
    #[error("`search.zone`: {0:?} is no zone, which is Z or as +01:00")]
    Zone(String),
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
            searchers: config.database.search_connections.get() as usize,
            search_timeout_ms: config.database.search_timeout_ms.get(),
            statement_timeout_ms: config.database.statement_timeout_ms.get(),
            read_audit: match config.audit.reads {
                ReadAudit::Committed => Flush::Soon,
                ReadAudit::Flushed => Flush::Wait,
            },
        };
        let store = Store::connect(&app, sizes, integrity(config)?).await;
        let store = store.map_err(|error| StartError::Store(root_cause(&error)))?;
        Ok(Self { store, private })
    }

    /// The address of the owner of the tables, where it is known.
    pub fn owner(&self, config: &Config) -> Option<Address> {
        addresses(config, self.private.as_ref()).1
    }

    /// The process id of the private PostgreSQL, when there is one and it is ours.
    pub fn postgres_pid(&self) -> Option<u32> {
        self.private.as_ref().and_then(Private::pid)
    }

    /// Tells how the private PostgreSQL does, when there is one and it is ours.
    pub fn postgres_health(&self) -> Health {
        self.private.as_ref().map(Private::health).unwrap_or_default()
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

/// The rules between resources that are switched on.
fn integrity(config: &Config) -> Result<Integrity, ConfigError> {
    let enforced = config.integrity.references == References::Enforced;
    let rules = Integrity::new(&config.integrity.unique_identifiers, enforced);
    rules.map_err(|reason| ConfigError::Rule { key: "integrity.unique_identifiers", reason })
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
