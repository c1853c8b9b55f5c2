//! `kiln terminology`: code systems from the releases of their publishers.
//!
//! Reading a release is [`crate::terminology::release`]; here are files, words, and the way into the
//! database and out of it. What is loaded is in force on every node within seconds, and the release
//! before stays until then.
//!
//! SNOMED CT, LOINC, RxNorm and others are licensed and not part of this project. The readers were
//! tested with files of their shape and size that `kiln terminology generate` makes.
//!
//! Layer: 8. Imports `config`, `store`, `terminology`.

mod files;
pub(crate) mod generate;
mod load;
pub(crate) mod rows;

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Config;
use crate::store::maintenance;
use crate::terminology::release::Kind;

use super::audit::note_command;
use super::database::Database;

/// What `kiln terminology` is asked to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Take a code system away that was loaded.
    #[command(after_help = "Example:\n  kiln terminology drop http://loinc.org")]
    Drop {
        /// Its url.
        url: String,
    },
    /// Make files in the shape of a release, with made-up content, for tests and measurements.
    #[command(after_help = "Example:\n  kiln terminology generate snomed --out rf2")]
    Generate(generate::GenerateArgs),
    /// Say which code systems are loaded.
    #[command(after_help = "Example:\n  kiln terminology list")]
    List,
    /// Load a release: SNOMED CT RF2, LOINC, ICD-10-CM, RxNorm, CVX, UCUM, FHIR packages.
    ///
    /// A second run goes on where one that was interrupted has ended. The release before stays in
    /// force until the new one is whole.
    #[command(
        after_help = "Examples:\n  kiln terminology load SnomedCT_InternationalRF2_PRODUCTION/\n  \
                      kiln terminology load Loinc/ --version 2.77"
    )]
    Load(LoadArgs),
}

/// `kiln terminology load`: what to load.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LoadArgs {
    /// Files and folders of one release, unpacked; folders are searched through.
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Whose release it is, where the names of the files do not tell.
    #[arg(long, value_name = "KIND")]
    pub(super) kind: Option<KindArg>,
    /// Its version, where the files do not tell, or another one.
    #[arg(long, value_name = "VERSION")]
    pub(super) version: Option<String>,
    /// SNOMED CT: the reference set whose preferred terms are the displays; by default US English.
    #[arg(long, value_name = "ID")]
    pub(super) language_refset: Option<String>,
}

/// Whose release it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum KindArg {
    /// Vaccines (CDC).
    Cvx,
    /// CodeSystems in a package, or by themselves.
    Fhir,
    /// The order file of ICD-10-CM.
    #[value(name = "icd-10-cm")]
    Icd10Cm,
    /// LOINC.
    Loinc,
    /// RxNorm.
    #[value(name = "rxnorm")]
    RxNorm,
    /// SNOMED CT, release format 2.
    Snomed,
    /// UCUM's essence file.
    Ucum,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Cvx => Self::Cvx,
            KindArg::Fhir => Self::Fhir,
            KindArg::Icd10Cm => Self::Icd10Cm,
            KindArg::Loinc => Self::Loinc,
            KindArg::RxNorm => Self::RxNorm,
            KindArg::Snomed => Self::Snomed,
            KindArg::Ucum => Self::Ucum,
        }
    }
}

/// Does what `command` says.
///
/// # Errors
/// Why it was not done, as a sentence.
pub(super) async fn run(command: Command, config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Drop { url } => take_away(&url, config).await,
        Command::Generate(args) => {
            generate::run(&args)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::List => list(config).await,
        Command::Load(args) => load::run(args, config).await,
    }
}

async fn take_away(url: &str, config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let database = Database::open(config, true).await?;
    let dropped = match note_command(&database.store, "kiln terminology drop", url).await {
        Ok(()) => maintenance::drop_code_system(&database.store, url).await,
        Err(error) => Err(error),
    };
    database.close().await;
    if dropped? { Ok(ExitCode::SUCCESS) } else { Err(format!("{url} is not loaded").into()) }
}

async fn list(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let database = Database::open(config, true).await?;
    let found = maintenance::code_systems(&database.store).await;
    database.close().await;
    let mut out = std::io::stdout().lock();
    for system in found? {
        let state = if system.is_completed {
            format!("{} concepts", system.concepts)
        } else {
            format!("{} of {} concepts, not in force", system.done, system.concepts)
        };
        writeln!(out, "{}  {}  {state}", system.url, system.version)?;
    }
    Ok(ExitCode::SUCCESS)
}
