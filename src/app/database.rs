//! The database of a command: found or started, migrated, connected.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use secrecy::ExposeSecret;
use thiserror::Error;

use crate::config::{Config, ConfigError, ReadAudit, References};
use crate::error::root_cause;
use crate::fulltext::FullTextError;
use crate::http::listener::TlsError;
use crate::oauth::keys::KeyError;
use crate::oauth::login::seal::SealError;
use crate::store::{
    Address, Directory, Flush, Integrity, MigrateError, Realm, Sizes, Store, Tenant, check_schema,
    migrate, migrate_copy,
};

use super::audit::folder::FolderError;
use super::postgres::{Health, PostgresError, Private};

/// A tenant has one connection for so many that a server has without tenants.
const PART: u32 = 4;

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
    /// Texts of messages of HL7 version 2 cannot be opened, or not be sealed.
    #[error("texts of messages of version 2 are sealed: {0}")]
    SealedMessages(String),
    /// What only the owner of the tables does.
    #[error("database.owner_url is not set: only the owner of the tables does this")]
    NoOwner,
    /// A command that is about one tenant does not say about which.
    #[error("there are tenants: say which one is meant, by `--tenant NAME`")]
    NoTenant,
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
    /// The role that `database.url` names could change the ledger.
    #[error(
        "the role of `database.url` can change the record of who did what ({0}): serve by kiln_app, with the \
         owner of the tables in `database.owner_url`, or say `audit.any_role = true`"
    )]
    Role(String),
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
    /// There is no such tenant.
    #[error("there is no tenant {0:?}: `kiln tenant list` names them")]
    Tenant(String),
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

/// Where the databases of a configuration are, and what was started for them.
pub struct Home {
    app: Address,
    owner: Option<Address>,
    private: Option<Private>,
}

impl Home {
    /// Finds or starts the database server that `config` means.
    ///
    /// `attach` joins a private PostgreSQL that another Kiln runs, as commands beside a server do.
    ///
    /// # Errors
    /// [`StartError::Postgres`], [`StartError::Store`].
    pub async fn open(config: &Config, attach: bool) -> Result<Self, StartError> {
        let private = match config.database.url {
            Some(_) => None,
            None => Some(start_private(config, attach).await?),
        };
        let (app, owner) = addresses(config, private.as_ref());
        Ok(Self { app, owner, private })
    }

    /// Brings the data of a tenant to this version, or checks that they are.
    ///
    /// # Errors
    /// [`StartError::Migrate`].
    pub async fn bring_up(&self, tenant: Tenant) -> Result<(), StartError> {
        match &self.owner {
            Some(owner) => migrate(&owner.of(tenant)).await?,
            None => check_schema(&self.app.of(tenant)).await?,
        }
        Ok(())
    }

    /// The same by whoever may: without the owner of the tables, by who serves them.
    ///
    /// # Errors
    /// [`StartError::Migrate`].
    pub async fn migrate(&self, tenant: Tenant) -> Result<(), StartError> {
        let by = self.owner.as_ref().unwrap_or(&self.app);
        Ok(migrate(&by.of(tenant)).await?)
    }

    /// The same for data that are being restored.
    ///
    /// # Errors
    /// [`StartError::Migrate`].
    pub async fn migrate_copy(&self, tenant: Tenant) -> Result<(), StartError> {
        let by = self.owner.as_ref().unwrap_or(&self.app);
        Ok(migrate_copy(&by.of(tenant)).await?)
    }

    /// The owner of the tables of a tenant, where it is known.
    pub fn owner(&self, tenant: Tenant) -> Option<Realm> {
        self.owner.as_ref().map(|owner| owner.of(tenant))
    }

    /// Where the whole database is read and written, by whom no tenant is hidden from; the owner of the tables, where
    /// nobody else is named.
    pub fn whole(&self, config: &Config) -> Option<Address> {
        if let Some(private) = &self.private {
            return Some(Address::new(private.whole_url()));
        }
        let named = config.erasure.backup_url.as_ref();
        named.map(|url| Address::new(url.expose_secret())).or_else(|| self.owner.clone())
    }

    /// The list of tenants, to read.
    ///
    /// # Errors
    /// [`StartError::Store`] for an address that cannot be used.
    pub fn directory(&self) -> Result<Directory, StartError> {
        Directory::new(&self.app).map_err(|error| StartError::Store(root_cause(&error)))
    }

    /// The list of tenants, to change, where the owner of the tables is known.
    ///
    /// # Errors
    /// [`StartError::Store`] for an address that cannot be used.
    pub fn own_directory(&self) -> Result<Option<Directory>, StartError> {
        let opened = self.owner.as_ref().map(Directory::new).transpose();
        opened.map_err(|error| StartError::Store(root_cause(&error)))
    }

    /// Has a private PostgreSQL serve tenants as fast as it can; another one is its operator's.
    ///
    /// # Errors
    /// [`StartError::Store`] when it refuses.
    pub async fn prepare_tenants(&self) -> Result<(), StartError> {
        let Some(private) = &self.private else { return Ok(()) };
        let faulty = |error| StartError::Store(root_cause(&error));
        let directory =
            Directory::new(&Address::new(private.url("postgres", "kiln"))).map_err(faulty)?;
        let trusted = directory.trust().await.map_err(faulty);
        directory.close().await;
        trusted
    }

    /// The store of a tenant.
    ///
    /// # Errors
    /// [`StartError::Store`], [`StartError::Config`].
    pub async fn store(&self, config: &Config, tenant: Tenant) -> Result<Store, StartError> {
        connected(&self.app.of(tenant), config).await
    }

    /// The same of data that are being restored.
    ///
    /// # Errors
    /// As [`Home::store`].
    pub async fn store_of_copy(
        &self,
        config: &Config,
        tenant: Tenant,
    ) -> Result<Store, StartError> {
        connected(&self.app.of(tenant).restored(), config).await
    }

    /// Tells how the private PostgreSQL does, when there is one and it is ours.
    pub fn health(&self) -> Health {
        self.private.as_ref().map(Private::health).unwrap_or_default()
    }

    /// Stops the private PostgreSQL, if there is one.
    pub async fn close(self) {
        if let Some(private) = self.private {
            // Stopping waits for the process; nothing can be done if that fails.
            let _ = tokio::task::spawn_blocking(move || private.stop()).await;
        }
    }

    /// The tenant that `config` is about.
    async fn tenant(&self, config: &Config) -> Result<Tenant, StartError> {
        if !config.has_tenants() {
            return Ok(Tenant::ONLY);
        }
        let name = config.tenant().ok_or(StartError::NoTenant)?;
        let directory = self.directory()?;
        let listed = directory.list().await;
        directory.close().await;
        let listed = listed.map_err(|error| StartError::Store(root_cause(&error)))?;
        let found = listed.into_iter().find(|it| it.is_ready && it.name == name);
        found.map(|it| it.tenant).ok_or_else(|| StartError::Tenant(name.to_owned()))
    }
}

/// The migrated data that a command is about, and what was started for them.
pub struct Database {
    /// The store on them.
    pub store: Store,
    tenant: Tenant,
    home: Home,
}

impl Database {
    /// Finds or starts the database that `config` means, migrates it and connects: to the data of the
    /// tenant that is named, where there are tenants.
    ///
    /// `attach` joins a private PostgreSQL that another Kiln runs, as commands beside a server do.
    ///
    /// # Errors
    /// Each [`StartError`] but that of the listener.
    pub async fn open(config: &Config, attach: bool) -> Result<Self, StartError> {
        let home = Home::open(config, attach).await?;
        home.bring_up(Tenant::ONLY).await?;
        let tenant = home.tenant(config).await?;
        if tenant != Tenant::ONLY {
            home.bring_up(tenant).await?;
        }
        let store = home.store(config, tenant).await?;
        Ok(Self { store, tenant, home })
    }

    /// The owner of the tables, where it is known.
    pub fn owner(&self) -> Option<Realm> {
        self.home.owner(self.tenant)
    }

    /// The process id of the private PostgreSQL, when there is one and it is ours.
    pub fn postgres_pid(&self) -> Option<u32> {
        self.home.private.as_ref().and_then(Private::pid)
    }

    /// Tells how the private PostgreSQL does, when there is one and it is ours.
    pub fn postgres_health(&self) -> Health {
        self.home.health()
    }

    /// Stops the private PostgreSQL, if there is one.
    pub async fn close(self) {
        let Self { store, home, .. } = self;
        drop(store);
        home.close().await;
    }
}

async fn connected(realm: &Realm, config: &Config) -> Result<Store, StartError> {
    let realm = realm.clone().called(config.tenant());
    let store = Store::connect(&realm, sizes(config), integrity(config)?).await;
    store.map_err(|error| StartError::Store(root_cause(&error)))
}

/// How many connections there are, of which kinds.
fn sizes(config: &Config) -> Sizes {
    let own = &config.database;
    // A tenant has a part of what a server has by itself: several are seldom busy at once.
    let part = if config.has_tenants() { PART } else { 1 };
    let number = |count: NonZeroU32| count.get().div_ceil(part) as usize;
    Sizes {
        readers: number(own.read_connections),
        writers: number(own.write_connections),
        feeds: own.feed_connections().div_ceil(part) as usize,
        searchers: number(own.search_connections),
        exports: config.export.workers as usize,
        search_timeout_ms: own.search_timeout_ms.get(),
        statement_timeout_ms: own.statement_timeout_ms.get(),
        read_audit: match config.audit.reads {
            ReadAudit::Committed => Flush::Soon,
            ReadAudit::Flushed => Flush::Wait,
        },
    }
}

/// The rules between resources that are switched on.
fn integrity(config: &Config) -> Result<Integrity, ConfigError> {
    let enforced = config.integrity.references == References::Enforced;
    let rules = Integrity::new(&config.integrity.unique_identifiers, enforced);
    rules.map_err(|reason| ConfigError::Rule { key: "integrity.unique_identifiers", reason })
}

/// The addresses to serve and, where it is known, to migrate by.
fn addresses(config: &Config, private: Option<&Private>) -> (Address, Option<Address>) {
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
