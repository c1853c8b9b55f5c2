//! `kiln bench`: what a FHIR server does under load, beside what its database could do at most.
//!
//! The load generator is one thread with one connection a client and reads as little of the
//! answers as it must; its own processor time is printed with the results. The floor is `pgbench`
//! on the same database in the same run, with the same number of clients and the same bodies.
//! Works against any FHIR server over plain HTTP.
//!
//! What it never does: start the server it measures, but for *smart* where none is named; or open a
//! database connection of its own, but *smart* does, to make tokens, and *audit*, to compare the ledger
//! with its seal and to ask who had access.
//!
//! Layer: 8. Imports `app::audit`, `app::demo`, `app::import`, `fhir`; `validate` for what needs no server; `oauth` and
//! `store::oauth` for tokens; `store::maintenance` for the room of bodies; `hl7v2` for messages.

mod audit;
mod checks;
mod connection;
mod crud;
mod figures;
mod floor;
mod linked;
mod load;
mod only;
mod process;
mod read;
mod report;
mod search;
mod sharing;
mod smart;
mod target;
mod terminology;
#[cfg(test)]
mod tests;
mod transactions;
mod v2;
mod validate;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::release::generate::snomed;
use crate::config::Config;
use connection::Answer;
use floor::Floor;
use only::Only;
use process::Meter;
use report::Report;
use smart::{LIMITS, Own};
use target::Target;

pub use smart::Origin;

/// The base of a server with the usual settings.
const BASE: &str = "http://127.0.0.1:8080/fhir";

/// The load to put on the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Work {
    /// What the ledger costs, beside a server without one (--without), for one client beside a flush in
    /// --database; and with --database what its rows weigh, how fast they are compared with their seal, and how
    /// soon they are found by a search and by `kiln audit who` (--config names the same database, and what
    /// audit.reads of the server is).
    Audit,
    /// Create with the base definitions checked beside creates of which the form alone is, on a server with
    /// validation.create = off.
    Checks,
    /// Create, read, update and delete nine linked types: each alone, then all in turn.
    Crud,
    /// POST transaction Bundles.
    Import,
    /// Load resources, then read them by id.
    Read,
    /// Ask every kind of search for what the base holds; loads data when it holds none.
    Search,
    /// Read and search by tokens beside the open policy, and ask for tokens. It makes them in the server's
    /// database, which --config names; a server of its own has data that go with it where no setting says
    /// where they are.
    Smart,
    /// Ask about the codes of a generated SNOMED CT that is loaded.
    Terminology,
    /// Send messages of HL7 version 2 to --feed, and the same resources as transactions.
    V2,
    /// Judge resources by base definitions and profiles, without a server.
    Validate,
}

impl Work {
    /// What it is called on the command line and in results.
    fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Checks => "checks",
            Self::Crud => "crud",
            Self::Import => "import",
            Self::Read => "read",
            Self::Search => "search",
            Self::Smart => "smart",
            Self::Terminology => "terminology",
            Self::V2 => "v2",
            Self::Validate => "validate",
        }
    }
}

/// `kiln bench`: what to measure and where.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// The load.
    pub work: Work,
    /// FHIR base of the server; by default http://127.0.0.1:8080/fhir, but smart starts a server of its own.
    #[arg(long, value_name = "URL")]
    pub base: Option<String>,
    /// Numbers of clients, one after the other; by default 1,8,30,64, for import 4,8,
    /// for search 1,8,30, for smart 8,64, for audit and terminology 1,8, for checks 8, for v2 16 and 8.
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub clients: Vec<usize>,
    /// Seconds for each measurement; an import runs until everything is in.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// audit: FHIR base of a server without a ledger, on data of its own: a build with the feature
    /// bench-without-ledger, started by `kiln serve --without-ledger`.
    #[arg(long, value_name = "URL")]
    pub without: Option<String>,
    /// audit: fail where the ledger costs reads at 1,000 a second more than it may, or anything far more; by an optimised
    /// build where it costs anything more than it may. With --database also where rows weigh more, or where comparing
    /// them with the seal, a search or an answer who had access takes longer.
    /// search: fail where a kind of search takes more times its floor than it may or fails, where a costly
    /// client holds back others, or where the index takes more room than it may.
    #[arg(long)]
    pub bounded: bool,
    /// audit: rows that the ledger is filled up to before events are searched for.
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u64,
    /// The server's database (a libpq URL or key=value string), to measure the floor on.
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Folder of psql and pgbench, where they are not found by themselves.
    #[arg(long, value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// Process id of the server, where it is not found by the port that it listens on.
    #[arg(long)]
    pub pid: Option<u32>,
    /// read, search, smart: resources to load beforehand; a search loads them into an empty base only.
    #[arg(long, default_value_t = 20_000)]
    pub resources: usize,
    /// import: demo patients to load with each number of clients.
    #[arg(long, default_value_t = 100)]
    pub patients: u64,
    /// terminology: how many concepts were generated; --seed says with which seed.
    #[arg(long, default_value_t = snomed::CONCEPTS)]
    pub concepts: u32,
    /// Seed of the demo data.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// validate: definition packs beside R4's.
    #[arg(long, value_name = "FILE")]
    pub pack: Vec<PathBuf>,
    /// validate: canonical of a profile to judge resources of its type by.
    #[arg(long, value_name = "URL")]
    pub profile: Vec<String>,
    /// import, search, validate: files and folders to load; an import loads the same for each number of
    /// clients, a search demo data too until there are --resources.
    #[arg(long, value_name = "PATH")]
    pub data: Vec<PathBuf>,
    /// v2: where the server listens for messages.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2575")]
    pub feed: SocketAddr,
    /// v2: send so many messages in one run instead (visits, or with --only result results), and tell the rate,
    /// and whether the server's memory grows.
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
    /// v2: the floor of store, visit or result on this machine when it is quiet, in INSERTs a second: where it is lower
    /// in this run, the same ratio to the floor is asked, not the same rate.
    #[arg(long, value_name = "NAME=N,..", value_delimiter = ',', value_parser = v2::quiet_floor)]
    pub quiet_floor: Vec<(String, f64)>,
    /// search, terminology: the one kind to measure, by its name in the results; several may be
    /// named. v2: store, paced, visit, result. audit: cost (with --without); seal, search, who (with --database).
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// A header to send with each request ("Authorization: Bearer ..").
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// Write the results as JSON to this file ("-" is standard output, in place of the table).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Why a measurement could not be made.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The arguments do not fit together.
    #[error("{0}")]
    Arguments(String),
    /// psql or pgbench failed.
    #[error("{tool}: {reason}")]
    Database {
        /// The program.
        tool: &'static str,
        /// What it says.
        reason: String,
    },
    /// A cost is beyond its budget.
    #[error("more than it may be: {0}")]
    Over(String),
    /// The input for an import cannot be read.
    #[error(transparent)]
    Import(#[from] super::import::ImportError),
    /// It cannot be told who had access.
    #[error("who had access was not told: {0}")]
    Who(String),
    /// The ledger cannot be compared with its seal.
    #[error("the ledger was not compared with its seal: {0}")]
    Ledger(String),
    /// The server cannot be reached, or a file cannot be written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// Tokens, or what they are measured with, cannot be made.
    #[error("tokens cannot be measured: {0}")]
    Tokens(String),
    /// The server has limits, so that they would be measured.
    #[error(
        "the server refused requests by its limits (429): set {} to 0 there; `smart` without --base starts a \
         server that has none",
        LIMITS.join(", ")
    )]
    Limited,
    /// The server refused what had to be loaded before the measurement.
    #[error("the server refused the data: {0}")]
    Refused(String),
}

impl BenchError {
    /// What an answer that is no success says.
    fn refused(answer: &Answer<'_>) -> Self {
        if answer.is_limited() { Self::Limited } else { Self::Refused(answer.describe()) }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Everything that a measurement works with.
struct Bench {
    args: BenchArgs,
    base: String,
    clients: Vec<usize>,
    target: Target,
    floor: Option<Floor>,
    meter: Meter,
    report: Report,
}

/// Runs the measurement and prints its results.
///
/// The calling task does all the work itself: a runtime of one thread keeps the generator from
/// taking more than one processor.
///
/// # Errors
/// [`BenchError`]; requests that fail during a measurement are counted, not errors.
pub async fn run(args: BenchArgs, config: &Config, origin: &Origin) -> Result<(), BenchError> {
    only::refuse_without_parts(&args.only, args.work)?;
    refuse_without_bounds(&args)?;
    if args.work == Work::Validate {
        return validate::run(&args);
    }
    match (args.work, args.base.clone()) {
        (Work::Smart, None) => {
            // The folder of data without a place goes after the server.
            let (origin, config, _folder) = origin.with_data(config)?;
            let own = Own::start(&origin).await?;
            let outcome = Box::pin(measure(args, own.base(), (&config, &origin))).await;
            own.stop().await;
            outcome
        }
        (_, base) => {
            let base = base.unwrap_or_else(|| BASE.to_owned());
            Box::pin(measure(args, base, (config, origin))).await
        }
    }
}

/// Refuses to judge where there is nothing to judge by, which would always be kept.
///
/// # Errors
/// [`BenchError::Arguments`].
fn refuse_without_bounds(args: &BenchArgs) -> Result<(), BenchError> {
    if !args.bounded {
        return Ok(());
    }
    let refused = match (args.work, &args.database) {
        (Work::Audit, _) | (Work::Search, Some(_)) => return Ok(()),
        (Work::Search, None) => {
            "--bounded: a search is judged by its floor, so name the --database".to_owned()
        }
        (work, _) => format!("--bounded: nothing that {} measures is judged", work.name()),
    };
    Err(BenchError::Arguments(refused))
}

async fn measure(
    args: BenchArgs,
    base: String,
    (config, origin): (&Config, &Origin),
) -> Result<(), BenchError> {
    let target = Target::parse(&base, &args.header).map_err(BenchError::Arguments)?;
    let clients = match (args.clients.as_slice(), args.work) {
        // It has numbers of its own for each measurement.
        ([], Work::V2) => Vec::new(),
        ([], Work::Import) => vec![4, 8],
        ([], Work::Search) => vec![1, 8, 30],
        ([], Work::Smart) => vec![8, 64],
        ([], Work::Checks) => vec![8],
        ([], Work::Audit | Work::Terminology) => vec![1, 8],
        ([], _) => vec![1, 8, 30, 64],
        (given, _) if given.contains(&0) => {
            return Err(BenchError::Arguments("--clients: at least one client".to_owned()));
        }
        (given, _) => given.to_vec(),
    };
    let floor = match &args.database {
        Some(database) => Some(Floor::new(database, args.postgres_bin.as_deref()).await?),
        None => None,
    };
    let server = args.pid.or_else(|| process::listener(target.port()));
    let data_directory = floor.as_ref().and_then(Floor::data_directory);
    let meter = Meter::new(server, data_directory);
    let facts = floor.as_ref().map(|floor| floor.facts().to_owned());
    let report = Report::new(args.work, &base, facts, &meter);
    let mut bench = Bench { args, base, clients, target, floor, meter, report };
    let outcome = match bench.args.work {
        Work::Audit => Box::pin(audit::run(&mut bench, (config, origin))).await,
        Work::Checks => checks::run(&mut bench).await,
        Work::Crud => crud::run(&mut bench).await,
        Work::Import => transactions::run(&mut bench).await,
        Work::Read => read::run(&mut bench).await,
        Work::Search => search::run(&mut bench).await,
        Work::Smart => Box::pin(smart::run(&mut bench, config)).await,
        Work::Terminology => terminology::run(&mut bench).await,
        Work::V2 => Box::pin(v2::run(&mut bench)).await,
        // It has no server, and ended above.
        Work::Validate => Ok(()),
    };
    if let Some(floor) = &bench.floor {
        floor.remove().await?;
    }
    outcome?;
    bench.report.print(bench.args.json.as_deref())?;
    if bench.args.bounded { bench.report.refuse_over() } else { Ok(()) }
}
