//! The private PostgreSQL: a database server of our own in `data_dir`, for who has none.
//!
//! [`Private::start`] finds the installed server binaries, makes the data folder once, starts
//! PostgreSQL on a unix socket that only its own user (and root) can reach, starts it again when
//! it dies, and stops it when dropped. One living Kiln owns a folder (`kiln.lock`); a PostgreSQL
//! that outlived a killed Kiln is taken over. Never opens a connection and knows no SQL but the
//! three statements that make the roles and the database.
//!
//! Layer: 8. Imports `config`.

mod binaries;
mod cluster;
mod folder;
mod pidfile;
mod settings;
mod supervisor;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::config::Config;
use binaries::Binaries;
use folder::{Folder, Lock};
use pidfile::PidFile;
use supervisor::{Shared, Supervisor};

/// The oldest and the newest major version of PostgreSQL that we run on.
pub const SUPPORTED: std::ops::RangeInclusive<u32> = 15..=18;

/// The port, which with a unix socket is a part of the socket's name only.
const PORT: u16 = 5432;

/// How long a command waits for a server that another Kiln is just starting.
const ATTACH_PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no private PostgreSQL.
#[derive(Debug, Error)]
pub enum PostgresError {
    /// A program of PostgreSQL failed.
    #[error("{program} failed ({status}):\n{output}")]
    Failed {
        /// Which one.
        program: &'static str,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it said.
        output: String,
    },
    /// Another living Kiln runs the PostgreSQL of this folder.
    #[error(
        "{} belongs to a running Kiln{}; stop that one, or choose another `data_dir`",
        data_dir.display(),
        process(*pid)
    )]
    InUse {
        /// The folder.
        data_dir: PathBuf,
        /// The process id of its owner, when it could be read.
        pid: Option<u32>,
    },
    /// The system refused something about a file or a process.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// No server binaries that we can use.
    #[error("{}", binaries::advice(looked_in))]
    NoBinaries {
        /// Folders and programs that were tried, with what was found.
        looked_in: Vec<String>,
    },
    /// No Kiln runs on this folder, so there is nothing to attach to.
    #[error("no Kiln is running on {}", data_dir.display())]
    NotRunning {
        /// The folder.
        data_dir: PathBuf,
    },
    /// The data was written by a major version that is not installed.
    #[error(
        "{} was made by PostgreSQL {cluster}, and that version is not installed (found: {}); \
         install its server package (postgresql-{cluster}), or move the data with pg_upgrade",
        folder.display(),
        if found.is_empty() { "none".to_owned() } else { found.join(", ") }
    )]
    OtherMajor {
        /// The data folder.
        folder: PathBuf,
        /// The version that wrote it.
        cluster: u32,
        /// What is installed.
        found: Vec<String>,
    },
    /// The data belongs to another user.
    #[error(
        "{} belongs to the user with id {owner}, and we run as {ours}; run Kiln as that user",
        folder.display()
    )]
    Ownership {
        /// The data folder.
        folder: PathBuf,
        /// Who it belongs to.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// We are root, PostgreSQL refuses to be, and there is no other user to run it as.
    #[error("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")]
    NoAccount,
}

impl PostgresError {
    /// A closure for `map_err` that says what was tried on `path`.
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// A PostgreSQL in `data_dir`, ready for connections.
///
/// One that we started or took over stops when this is dropped; one that we only attached to
/// goes on.
#[derive(Debug)]
pub struct Private {
    socket_dir: PathBuf,
    port: u16,
    supervisor: Option<Supervisor>,
    _lock: Option<Lock>,
}

impl Private {
    /// Starts PostgreSQL in `config.data_dir`, making its data folder first when there is none.
    ///
    /// Blocks until connections are accepted: milliseconds on a clean folder, as long as the
    /// recovery takes after a crash.
    ///
    /// # Errors
    /// [`PostgresError::InUse`] when another Kiln runs it; the others say what is missing.
    pub fn start(config: &Config) -> Result<Self, PostgresError> {
        let began = Instant::now();
        let lock = Lock::take(&config.data_dir)?;
        let folder = Folder::open(&config.data_dir)?;
        let version = folder.version()?;
        let binaries =
            Binaries::find(config.database.postgres_bin.as_deref(), Some(&folder), version)?;
        if version.is_none() {
            cluster::initialise(&folder, &binaries)?;
            tracing::info!(
                folder = %folder.cluster.display(),
                postgres = binaries.major,
                duration_ms = began.elapsed().as_millis() as u64,
                "made the private PostgreSQL"
            );
        }
        let supervisor = match pidfile::running(&folder) {
            Some(running) => {
                tracing::warn!(pid = running.pid, "took over a PostgreSQL that outlived its Kiln");
                Supervisor::adopt(folder, binaries, config, running)?
            }
            None => Supervisor::launch(folder, binaries, config)?,
        };
        tracing::info!(
            socket = %supervisor.socket_dir().display(),
            duration_ms = began.elapsed().as_millis() as u64,
            "the private PostgreSQL is ready"
        );
        Ok(Self {
            socket_dir: supervisor.socket_dir().to_owned(),
            port: supervisor.port(),
            supervisor: Some(supervisor),
            _lock: Some(lock),
        })
    }

    /// Joins the PostgreSQL that another living Kiln runs in `config.data_dir`.
    ///
    /// # Errors
    /// [`PostgresError::NotRunning`] when there is none, or when it does not become ready.
    pub fn attach(config: &Config) -> Result<Self, PostgresError> {
        let data_dir = config.data_dir.clone();
        let deadline = Instant::now() + ATTACH_PATIENCE;
        loop {
            match Lock::take(&data_dir) {
                Ok(_) => return Err(PostgresError::NotRunning { data_dir }),
                Err(PostgresError::InUse { .. }) => {}
                Err(other) => return Err(other),
            }
            let running = PidFile::read(&data_dir.join(folder::CLUSTER)).filter(PidFile::is_ready);
            if let Some(PidFile { socket_dir, port, .. }) = running {
                return Ok(Self { socket_dir, port, supervisor: None, _lock: None });
            }
            if Instant::now() > deadline {
                return Err(PostgresError::NotRunning { data_dir });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Attaches when another Kiln runs there, else starts: what a command such as `import` wants.
    ///
    /// # Errors
    /// Those of [`Private::start`].
    pub fn attach_or_start(config: &Config) -> Result<Self, PostgresError> {
        match Self::attach(config) {
            Err(PostgresError::NotRunning { .. }) => Self::start(config),
            other => other,
        }
    }

    /// Where the role that serves connects: no DDL, and the ledger only to add and to read.
    pub fn app_url(&self) -> String {
        self.url("kiln_app", "kiln")
    }

    /// Where the role that owns and migrates the tables connects.
    pub fn owner_url(&self) -> String {
        self.url("kiln_owner", "kiln")
    }

    /// Where the superuser connects: for tests that make databases, and for repairs.
    pub fn superuser_url(&self) -> String {
        self.url("postgres", "postgres")
    }

    /// The URL for `role` and `database`; libpq, tokio-postgres and sqlx all read it.
    pub fn url(&self, role: &str, database: &str) -> String {
        let host = percent_encoded(&self.socket_dir);
        format!("postgres://{role}@{host}:{}/{database}", self.port)
    }

    /// Where the superuser connects to our database: row level security hides no tenant from it.
    pub fn whole_url(&self) -> String {
        self.url("postgres", "kiln")
    }

    /// The process id of the server, when it is ours and alive.
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.as_ref().and_then(Supervisor::pid)
    }

    /// Tells how the server does, when it is ours.
    pub fn health(&self) -> Health {
        Health(self.supervisor.as_ref().map(Supervisor::shared))
    }

    /// Stops the server, unless we only attached: no new connections, open transactions are
    /// rolled back, everything is written out. Blocks until the process is gone.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.stop();
        }
    }
}

/// A program of the PostgreSQL that `config` means, such as `pg_dump`: beside the server that is private or could be,
/// else whichever the system finds.
///
/// # Errors
/// [`PostgresError`] without programs of the version of a private server.
pub fn program(config: &Config, name: &str) -> Result<PathBuf, PostgresError> {
    let folder = match config.database.url {
        Some(_) => None,
        None => Some(Folder::open(&config.data_dir)?),
    };
    let version = folder.as_ref().map(Folder::version).transpose()?.flatten();
    match Binaries::find(config.database.postgres_bin.as_deref(), folder.as_ref(), version) {
        Ok(found) => Ok(found.program(name)),
        Err(_) if folder.is_none() => Ok(PathBuf::from(name)),
        Err(error) => Err(error),
    }
}

/// Tells how a private PostgreSQL does; of one that is not ours, nothing.
#[derive(Clone, Debug, Default)]
pub struct Health(Option<Arc<Shared>>);

impl Health {
    /// Why the server does not start again.
    pub fn fault(&self) -> Option<String> {
        self.0.as_ref().and_then(|shared| shared.fault())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.end();
    }
}

/// A path as the host part of a URL.
fn percent_encoded(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
