//! `kiln import`: Bundles, NDJSON, folders and archives into a server, in parallel, resumably.
//!
//! One thread reads ahead as far as a bound on memory lets it, workers hand Bundles to a [`Sink`],
//! and a journal notes what was acknowledged. Content is never unpacked to disk, and a faulty
//! entry never stops the others.
//!
//! What it never does: decide what is valid. It only looks as far as it must to know how a
//! document is to be sent; the server behind the sink judges it.
//!
//! Layer: 8. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#transaction>

mod head;
mod journal;
mod progress;
mod report;
mod run;
mod source;
#[cfg(test)]
mod tests;
mod unit;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::config::ValidationLevel;

pub use report::Reported;
pub use run::run;

/// `kiln import`: what to load.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// Files and folders: .json, .ndjson, .tar, each also as .gz; folders are searched through.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Bundles loaded at the same time; by default two for each processor.
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Where it is noted what is loaded; by default a file in the data folder.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Load everything, even what the journal says is loaded.
    #[arg(long)]
    pub again: bool,
    /// Write the failures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Store a Provenance with what is loaded that names its file: one with each transaction, and one
    /// with each resource of what is no transaction.
    #[arg(long)]
    pub provenance: bool,
    /// How much is checked of each resource, instead of what the settings say: off, base or
    /// profiles. The form always is.
    #[arg(long, value_name = "LEVEL", value_parser = ValidationLevel::parse)]
    pub validate: Option<ValidationLevel>,
}

/// How an import runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Files and folders to load.
    pub paths: Vec<PathBuf>,
    /// Units loaded at the same time, at least one.
    pub workers: usize,
    /// The journal; `None` keeps none.
    pub journal: Option<PathBuf>,
    /// Whether to load what the journal says is loaded.
    pub again: bool,
    /// Where the failures are written as JSON.
    pub report: Option<PathBuf>,
    /// Whether progress and the table of failures go to standard error.
    pub is_quiet: bool,
}

impl ImportArgs {
    /// The options that the arguments stand for, with `journal` where none was named.
    pub fn into_options(self, journal: Option<PathBuf>) -> Options {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Options {
            paths: self.paths,
            workers: self.workers.unwrap_or(2 * processors).max(1),
            journal: self.journal.or(journal),
            again: self.again,
            report: self.report,
            is_quiet: false,
        }
    }
}

/// Where a unit comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// The member of an archive and the lines of an NDJSON file (`a.ndjson:1-500`); else empty.
    pub entry: String,
}

/// What kind of Bundle a unit is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnitKind {
    /// Entries fail each for itself.
    Batch,
    /// All or nothing.
    Transaction,
}

/// One Bundle to load. Its JSON is not parsed yet and may be malformed.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Where it comes from.
    pub origin: Origin,
    /// Batch or transaction, as `Bundle.type` says.
    pub kind: UnitKind,
    /// The Bundle as JSON.
    pub bytes: Bytes,
}

/// What became of a unit.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Entries that are stored now.
    pub resources: u64,
    /// Entries that are not, or the unit as a whole.
    pub failures: Vec<Failure>,
}

/// Why an entry could not be loaded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The place in `Bundle.entry`, from 0; `None` is the whole Bundle.
    pub entry: Option<usize>,
    /// A sentence for the user.
    pub message: String,
}

impl Failure {
    /// The whole Bundle could not be loaded.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { entry: None, message: message.into() }
    }
}

/// Nothing can be loaded: where units go is away, and did not come back. Says why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Away(pub String);

/// Where units go: the engine of this process, or a server over HTTP.
///
/// A sink waits and tries again by itself where that can help (a database that comes back);
/// what it reports as a failure is final for this run.
pub trait Sink: Send + Sync + 'static {
    /// Loads one unit; acknowledged means durable.
    ///
    /// # Errors
    /// [`Away`] ends the import: no other unit would fare better.
    fn load(&self, unit: Unit) -> impl Future<Output = Result<Loaded, Away>> + Send;
}

/// What an import did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Files read.
    pub files: u64,
    /// Bundles loaded, with or without failures.
    pub units: u64,
    /// Pieces passed over because the journal says that they are loaded.
    pub skipped: u64,
    /// Resources stored.
    pub resources: u64,
    /// Failures in all.
    pub failed: u64,
    /// The failures, as many as are kept.
    pub failures: Vec<Reported>,
    /// Time from first to last.
    pub elapsed: Duration,
}

impl Summary {
    /// Whether everything was loaded: exit code 0, else 1.
    pub fn is_complete(&self) -> bool {
        self.failed == 0
    }
}

/// Why an import could not run, as opposed to an entry that could not be loaded.
#[derive(Debug, Error)]
pub enum ImportError {
    /// Where the units go did not come back; what the journal has is loaded.
    #[error("the import was given up, and goes on where it was when it is run again: {0}")]
    Away(String),
    /// The journal cannot be read or written.
    #[error("the journal {path} cannot be used: {source}")]
    Journal {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The report cannot be written.
    #[error("the report {path} cannot be written: {source}")]
    Report {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A path that was named cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that was named is of no kind that can be imported.
    #[error("{0}: only .json, .ndjson and .tar, each also as .gz, can be imported")]
    UnknownKind(PathBuf),
    /// A worker or the reader ended without an answer.
    #[error("the import was cut off: {0}")]
    CutOff(String),
}
