//! `kiln audit`: the record of who did what, and whether it is still what it was.
//!
//! Layer: 8. Imports `access`, `audit`, `config`, `engine`, `outbound`, `store`.

pub mod folder;
pub(super) mod outlet;
mod retain;
mod retired;
pub mod sealer;
pub mod verify;
pub(super) mod who;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::access::{Actor, Gate, Outcome, RequestContext};
use crate::audit::proof::{self, Shown};
use crate::audit::{Hash, PublicKey, Signed, batch_leaf, hex, month_text};
use crate::clock::{IdSource as _, SystemClock, SystemIds};
use crate::config::Config;
use crate::engine::Engine;
use crate::error::{Error as Unrecorded, root_cause};
use crate::store::Store;
use crate::store::maintenance;

use super::database::{Database, StartError};
use super::progress::Progress;
use super::server;
use folder::Folder;
use outlet::Outlets;
use sealer::Sealer;
use verify::{Outside, Report};

/// What `kiln audit` is asked to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check a proof, with nothing but the public key.
    #[command(after_help = "Example:\n  kiln audit check proof.json --key checkpoints.pub")]
    Check {
        /// What `kiln audit prove` or `kiln audit growth` printed.
        proof: PathBuf,
        /// The file of the public key, got from its owner.
        #[arg(long)]
        key: PathBuf,
    },
    /// Show that the record of one checkpoint is the beginning of that of a later one.
    #[command(after_help = "Example:\n  kiln audit growth --from 120 > proof.json")]
    Growth {
        /// How many batches the earlier checkpoint has.
        #[arg(long)]
        from: u64,
        /// How many the later one has. Default: the last one.
        #[arg(long)]
        to: Option<u64>,
    },
    /// Show that an event is in the sealed record.
    #[command(
        after_help = "Example:\n  kiln audit prove 01990000-0000-7000-8000-000000000000 > proof.json"
    )]
    Prove {
        /// The id of the AuditEvent.
        id: String,
    },
    /// Compare the ledger with its seal: the first row that is altered, missing, inserted, not in its
    /// place or cut off is named.
    #[command(after_help = "Examples:\n  kiln audit verify\n  kiln audit verify --since 120")]
    Verify {
        /// Compare rows only of what was added after the checkpoint of so many batches.
        #[arg(long, value_name = "CHECKPOINT", default_value_t = 0)]
        since: u64,
        /// A copy of checkpoints.jsonl that was kept elsewhere. Default: that of this node.
        #[arg(long, value_name = "FILE")]
        checkpoints: Option<PathBuf>,
        /// Show no progress.
        #[arg(long)]
        quiet: bool,
    },
    /// Archive and drop months of the ledger whose time to be kept is over.
    #[command(after_help = "Example:\n  kiln audit retain --years 6")]
    Retain {
        /// How many years rows are kept.
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
        years: u32,
    },
    /// Say who had access to a patient's data, or what a user had access to: newest first.
    #[command(after_help = "Examples:\n  kiln audit who --patient 123 --since 2026-01-01\n  \
                      kiln audit who --user ada --json")]
    Who(who::WhoArgs),
}

type Ended = Result<ExitCode, Box<dyn Error>>;

/// Seals the ledger, where this node is to do so, and sends it on, as long as the server runs. From now
/// on no row passes those by that are to have all.
///
/// # Errors
/// [`StartError`] when a key, a file or the database cannot be used.
pub(super) async fn keep(
    config: &Config,
    engine: &Arc<Engine>,
    store: &Store,
    base: &str,
) -> Result<impl Future<Output = ()> + Send + use<>, StartError> {
    let sealer = || Sealer::new(store.clone(), SystemClock, Folder::of(config));
    let sealer = config.audit.seal.then(sealer).transpose()?;
    let outlets = Outlets::open(config, engine, store, base).await?;
    Ok(async {
        let seal = async {
            if let Some(sealer) = sealer {
                sealer.run().await;
            }
        };
        tokio::join!(seal, outlets.run());
    })
}

/// Refuses a role of the database that could change the record, unless the settings say that it may serve.
///
/// # Errors
/// [`StartError::Role`], [`StartError::Store`] without a database.
///
/// Spec: security A12
pub(super) async fn check_role(config: &Config, store: &Store) -> Result<(), StartError> {
    let faulty = |error| StartError::Store(root_cause(&error));
    match maintenance::rights_over_record(store).await.map_err(faulty)? {
        None => Ok(()),
        Some(why) if config.audit.any_role => {
            tracing::warn!(why, "the server's own role can change the record of who did what");
            Ok(())
        }
        Some(why) => Err(StartError::Role(why)),
    }
}

/// Puts on record that this server begins to keep the record of `store`, or ends: which version, where, and the
/// SHA-256 of its settings.
///
/// # Errors
/// [`Unrecorded`] without a database.
///
/// Spec: security A7; DICOM PS3.15 A.5.3.1 (Application Activity)
pub(super) async fn note_activity(
    store: &Store,
    kind: Kind,
    settings: &[u8; 32],
) -> Result<(), Unrecorded> {
    let (version, host) = (env!("CARGO_PKG_VERSION"), outlet::host());
    let text = format!("kiln {version} on {host}, settings sha256:{}", hex(settings));
    note(store, kind, ("service:serve", "kiln serve"), &text).await
}

/// Puts what the operator does by a command on record, before anything of it is told or done.
///
/// # Errors
/// [`Unrecorded`] without a database: then nothing is to be told.
pub(super) async fn note_command(
    store: &Store,
    command: &str,
    text: &str,
) -> Result<(), Unrecorded> {
    note(store, Kind::Admin, ("service:operator", command), text).await
}

/// The same for an act of another kind.
///
/// # Errors
/// As [`note_command`]: then it is not to be done.
pub(super) async fn note_act(
    store: &Store,
    kind: Kind,
    command: &str,
    text: &str,
) -> Result<(), Unrecorded> {
    note(store, kind, ("service:operator", command), text).await
}

/// Puts what a command does on record.
async fn note(
    store: &Store,
    kind: Kind,
    (actor, command): (&str, &str),
    text: &str,
) -> Result<(), Unrecorded> {
    let ids = SystemIds::default();
    let request = RequestContext {
        id: ids.ordered().to_string(),
        method: "",
        path_and_query: command.to_owned(),
        source: None,
    };
    let actor = Actor { name: actor.to_owned(), request: Arc::new(request) };
    let gate = Gate::new(store.clone(), Arc::new(SystemClock), Arc::new(ids));
    gate.note(kind, &actor, Outcome::Success, text).await
}

/// Runs the command.
///
/// # Errors
/// What keeps it from being done, as a sentence.
pub(super) async fn run(command: Command, config: &Config) -> Ended {
    if let Command::Check { proof, key } = &command {
        return check(proof, key);
    }
    let database = Database::open(config, true).await?;
    let outcome = match command {
        Command::Retain { years } => {
            let missing = "database.owner_url is not set: only the owner of the tables drops them";
            let owner = database.owner().ok_or(missing)?;
            let lines = Box::pin(retain::retain(config, &database.store, &owner, years)).await;
            lines.map(|lines| {
                println!("{} months were dropped", lines.len());
                for line in &lines {
                    println!("{line}");
                }
                ExitCode::SUCCESS
            })
        }
        other => on(other, config, &database.store).await,
    };
    database.close().await;
    outcome
}

async fn on(command: Command, config: &Config, store: &Store) -> Ended {
    match command {
        Command::Check { proof, key } => check(&proof, &key),
        Command::Retain { .. } => Err("months are dropped by the owner of the tables".into()),
        Command::Who(args) => {
            let engine = server::engine(config, store.clone(), config.base_url(config.http.listen));
            let count = Box::pin(who::who(&args, &engine?, &mut std::io::stdout())).await?;
            eprintln!("{count} events");
            Ok(ExitCode::SUCCESS)
        }
        Command::Growth { from, to } => {
            let (log, seals) = log(store).await?;
            let to = to.unwrap_or(seals.len() as u64);
            let (old, new) = (at(&seals, from)?, at(&seals, to)?);
            let log = &log[..usize::try_from(to)?];
            let shown = proof::of_growth(old, new, log);
            note_command(store, "kiln audit growth", &format!("from {from} to {to}")).await?;
            println!("{shown:#}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Prove { id } => {
            let shown = prove(store, &id).await?;
            note_command(store, "kiln audit prove", &format!("AuditEvent/{id}")).await?;
            println!("{shown:#}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { since, checkpoints, quiet } => {
            let folder = Folder::of(config);
            let checkpoints = match checkpoints {
                Some(file) => folder::checkpoints(&file)?,
                None => folder.checkpoints()?,
            };
            let outside = Outside { trusted: folder.trusted()?, checkpoints };
            let report = verified(store, &outside, since, quiet).await?;
            // A record that cannot be written to is to be verified all the same: this tells no data.
            let text = format!("since {since}: {} rows", report.rows);
            if let Err(error) = note_command(store, "kiln audit verify", &text).await {
                eprintln!("the verification itself is not on record: {error}");
            }
            tell(&report, &outside);
            Ok(if report.finding.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Refuses to begin behind every checkpoint that anybody knows: nothing would be compared, and it would look well. Where
/// only the database knows less, its end is missing, and that is told.
fn refuse_future(last: u64, outside: &Outside, since: u64) -> Result<(), String> {
    let exported = outside.checkpoints.iter().map(|signed| signed.checkpoint.size);
    if since > exported.fold(last, u64::max) {
        return Err(format!("there is no checkpoint {since}: the last one is {last}"));
    }
    Ok(())
}

async fn verified(
    store: &Store,
    outside: &Outside,
    since: u64,
    quiet: bool,
) -> Result<Report, Box<dyn Error>> {
    let log = sealer::log_name(store);
    let last = maintenance::last_seal(store, &log).await?;
    let (size, total) = last.map_or((0, 0), |seal| (seal.n + 1, seal.signed.checkpoint.rows));
    refuse_future(size, outside, since)?;
    let mut progress = Progress::new("verify", total, quiet);
    let show = |rows| progress.show(rows, &format!("{rows} rows"));
    let report = verify::verify(store, &log, outside, since, show).await?;
    let seconds = progress.elapsed().as_secs_f64();
    let rate = report.rows as f64 / seconds.max(0.001);
    progress.finish(&format!("{} rows in {seconds:.1} s ({rate:.0} a second)", report.rows));
    Ok(report)
}

fn tell(report: &Report, outside: &Outside) {
    let Report { batches, rows, finding, sealed_until, retired, unsealed } = report;
    if let Some(finding) = finding {
        println!("NOT AS SEALED: {finding} (checked before it: {rows} rows, {batches} batches)");
        return;
    }
    println!("{rows} rows are as they were sealed, in {batches} batches");
    if !retired.is_empty() {
        let months =
            retired.iter().map(|it| format!("{} ({} rows)", month_text(&it.month), it.rows));
        println!("months dropped: {}, signed", months.collect::<Vec<_>>().join(", "));
    }
    if let Some(until) = sealed_until {
        println!("the last checkpoint is of {until}");
    }
    match (unsealed, outside.checkpoints.len()) {
        ((0, _), _) => println!("nothing waits to be sealed"),
        ((count, Some(first)), _) => {
            println!("not sealed yet, and so not checked: {count} rows, the first of {first}");
        }
        ((count, None), _) => println!("not sealed yet, and so not checked: {count} rows"),
    }
    match outside.checkpoints.len() {
        0 => println!("no exported checkpoint was at hand: a cut-off end would not be seen"),
        count => println!("{count} exported checkpoints agree"),
    }
}

fn check(file: &Path, key: &Path) -> Ended {
    let proof: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let key: PublicKey = folder::public_key(key)?;
    match proof::check(&proof, key)? {
        Shown::Growth { old, new } => {
            println!("the record of checkpoint {new} begins with that of checkpoint {old}");
        }
        Shown::Row { encoding, size } => {
            // Nobody is to take the proof of another event for that of theirs.
            let (id, at) =
                maintenance::id_and_time(&encoding).ok_or("what was sealed is no row")?;
            println!("event {id}, recorded at {at}, is in the record of checkpoint {size}");
            println!("what was sealed of its row:");
            println!("{}", hex(&encoding));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn prove(store: &Store, id: &str) -> Result<Value, Box<dyn Error>> {
    // What stands behind the id of a row tells its events apart.
    let row = id.get(..36).and_then(|id| id.parse::<Uuid>().ok());
    let row = row.ok_or_else(|| format!("{id} is not the id of an event of this server"))?;
    let row = maintenance::encoded_row(store, row).await?;
    let row = row.ok_or_else(|| format!("there is no event {id}"))?;
    let waits = || format!("{id} is not sealed yet: try again in a few seconds");
    let number = maintenance::seal_of(store, row.place).await?.ok_or_else(waits)?;
    let batches = maintenance::sealed_rows(store, number, number + 1).await?;
    let sealed = &batches.first().ok_or("the rows of the seal are missing")?.rows;
    let index = sealed.iter().position(|it| it.id == row.place.id);
    let index = index.ok_or_else(|| format!("{id} is not in the seal of its batch"))?;
    let leaves: Vec<Hash> = sealed.iter().map(|row| row.leaf).collect();
    let (log, seals) = log(store).await?;
    let newest = seals.last().ok_or_else(waits)?;
    let batch = usize::try_from(number)?;
    Ok(proof::of_row(&row.encoding, (&leaves, index), (&log, batch), newest))
}

/// The leaves of the log, and the checkpoint after each of them.
async fn log(store: &Store) -> Result<(Vec<Hash>, Vec<Signed>), Box<dyn Error>> {
    let name = sealer::log_name(store);
    let (mut leaves, mut signed) = (Vec::new(), Vec::new());
    loop {
        let seals = maintenance::seals(store, &name, leaves.len() as u64, 10_000).await?;
        if seals.is_empty() {
            return Ok((leaves, signed));
        }
        for seal in seals {
            leaves.push(batch_leaf(&seal.root, seal.size));
            signed.push(seal.signed);
        }
    }
}

fn at(seals: &[Signed], size: u64) -> Result<&Signed, Box<dyn Error>> {
    let at = usize::try_from(size)?.checked_sub(1);
    let signed = at.and_then(|at| seals.get(at));
    let missing = || format!("there is no checkpoint {size}: the last one is {}", seals.len());
    Ok(signed.ok_or_else(missing)?)
}
