//! The command line: what an operator can ask of `kiln`.

use std::error::Error;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use secrecy::ExposeSecret as _;

use crate::clock::{Clock, IdSource, SystemClock, SystemIds};
use crate::config::{AuthMode, Config};
use crate::engine::Engine;
use crate::store::maintenance;

use super::audit;
use super::backup;
use super::bench::{self, BenchArgs};
use super::client;
use super::conformance::{self, ConformanceCommand};
use super::database::{Database, Home};
use super::definitions;
use super::demo::{self, DemoArgs};
use super::emergency;
use super::erasure;
use super::fhirpath::{self, FhirpathArgs};
use super::import::{self, ImportArgs};
use super::key;
use super::package;
use super::reindex;
use super::release;
use super::search_parameters::{self, SearchParameters};
use super::server::{self, Server};
use super::signals::Signals;
use super::sink::EngineSink;
use super::telemetry::Telemetry;
use super::tenants;
use super::token::{self, TokenArgs};
use super::user;
use super::{v2, validation};

/// Patients of the demo data that `serve --demo` loads.
const DEMO_PATIENTS: u64 = 20;

/// What the library calls the values of `--set`: the name of their field.
const SETTINGS: &str = "settings";

/// A standards-first FHIR R4 server on PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, about, max_term_width = 100)]
pub struct Cli {
    /// Read settings from this file instead of ./kiln.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting, such as --set http.listen=127.0.0.1:9000; stronger than the environment.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// The tenant that the command is about, where there are tenants.
    #[arg(long, global = true, value_name = "NAME")]
    tenant: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the record of who did what, and prove what is in it.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Measure a server, beside what its database does without one.
    #[command(after_help = "Example:\n  kiln bench read --clients 8,64 --seconds 10")]
    Bench(Box<BenchArgs>),
    /// Register and manage clients: apps and services that ask for tokens.
    #[command(subcommand)]
    Client(client::Command),
    /// Check a running server, Kiln's or another, by our own suites.
    #[command(subcommand)]
    Conformance(ConformanceCommand),
    /// Generate demo data: into the database, or into a file.
    #[command(
        after_help = "Examples:\n  kiln demo --patients 100\n  kiln demo --patients 1000 --out demo.ndjson"
    )]
    Demo(DemoArgs),
    /// Evaluate a FHIRPath expression on a resource: the path, type and value of each result.
    #[command(
        after_help = "Example:\n  kiln fhirpath \"name.where(use = 'official').given\" patient.json"
    )]
    Fhirpath(FhirpathArgs),
    /// Load Bundles and NDJSON: files, folders, .gz and .tar.gz.
    #[command(after_help = "Example:\n  kiln import patients.ndjson bundles/ archive.tar.gz")]
    Import(ImportArgs),
    #[command(flatten)]
    Keep(Keep),
    /// Manage the key that this node signs id_tokens with.
    #[command(subcommand)]
    Key(key::Command),
    /// Bring the database to this version and end.
    #[command(
        after_help = "Example:\n  kiln migrate --set database.owner_url=postgres://kiln_owner@localhost/kiln"
    )]
    Migrate,
    /// Make, install and list definition packs.
    #[command(subcommand)]
    Package(package::Command),
    /// Review who broke the glass in an emergency.
    #[command(subcommand)]
    Emergency(emergency::Command),
    /// Build what is derived from the resources anew.
    ///
    /// Without an option: the search index, for all nodes, while they serve.
    #[command(after_help = "Examples:\n  kiln reindex\n  kiln reindex --fulltext")]
    Reindex {
        /// The index of words of this node; a server that has it open does the work.
        #[arg(long)]
        fulltext: bool,
    },
    /// Serve FHIR until interrupted.
    #[command(after_help = "Example:\n  KILN_AUTH__MODE=off kiln serve --demo")]
    Serve(ServeArgs),
    /// Make and manage tenants: organizations that share a server and nothing else.
    #[command(subcommand)]
    Tenant(tenants::Command),
    /// Load code systems from the releases of their publishers.
    #[command(subcommand)]
    Terminology(release::Command),
    /// Print an access token for trying things out, for a server on a loopback address.
    #[command(
        after_help = "Examples:\n  curl -H \"Authorization: Bearer $(kiln token)\" localhost:8080/fhir/Patient\n  \
        kiln token --scope 'patient/*.rs' --patient p1"
    )]
    Token(TokenArgs),
    /// Make and manage accounts: persons who may log in.
    #[command(subcommand)]
    User(user::Command),
    /// Read, convert, send, take in and look for messages of HL7 version 2.
    #[command(subcommand)]
    V2(v2::Command),
}

/// What keeps all data, and what takes those of a patient away.
#[derive(Debug, Subcommand)]
enum Keep {
    /// Write the whole database into one encrypted file, while it is served.
    #[command(after_help = "Example:\n  kiln backup --to kiln-2026-11-30.backup")]
    Backup(backup::BackupArgs),
    /// Erase a patient's record: asked for by one person, approved by another one.
    #[command(subcommand)]
    Erase(erasure::Command),
    /// Keep patients' records from being erased.
    #[command(subcommand)]
    Hold(erasure::HoldCommand),
    /// Restore a backup into an empty database.
    #[command(
        after_help = "Example:\n  kiln restore kiln-2026-11-30.backup --set data_dir=/srv/kiln-new"
    )]
    Restore(backup::RestoreArgs),
}

/// `kiln serve`: how.
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Load demo data first, when the database is empty.
    #[arg(long)]
    demo: bool,
    /// Keep no ledger. Only builds for `kiln bench audit` have this, to measure what the ledger costs.
    #[cfg(feature = "bench-without-ledger")]
    #[arg(long)]
    without_ledger: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    match execute(parse(std::env::args_os())) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kiln: {}", told(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes in one line; a cause that the text before quotes is left out.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// Reads the command line; `--set` counts wherever it stands, the last one for a key wins.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Cli {
    let matches = settable(Cli::command()).get_matches_from(arguments);
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let mut level = &matches;
    while let Some((_, below)) = level.subcommand() {
        cli.settings.extend(settings_of(below));
        level = below;
    }
    cli.settings.extend(cli.tenant.take().map(|name| ("tenancy.tenant".to_owned(), name)));
    cli
}

/// `command` with `--set` in all of its subcommands. A global argument would do, but for the
/// library forgets those before the subcommand when there are others behind it.
fn settable(command: clap::Command) -> clap::Command {
    let own = command.get_arguments().find(|argument| argument.get_id() == SETTINGS).cloned();
    command.mut_subcommands(|below| {
        let below = own.iter().fold(below, |below, own| below.arg(own.clone()));
        settable(below)
    })
}

fn settings_of(matches: &ArgMatches) -> impl Iterator<Item = (String, String)> {
    matches.get_many::<(String, String)>(SETTINGS).into_iter().flatten().cloned()
}

fn execute(cli: Cli) -> Outcome {
    let config = Config::load(cli.config.as_deref(), &cli.settings)?;
    let origin = bench::Origin { file: cli.config, settings: cli.settings };
    let telemetry = Telemetry::start(&config)?;
    let mut runtime = match cli.command {
        // The generator of load must not take the processors that it measures.
        Command::Bench(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Audit(command) => unless_interrupted(audit::run(command, &config)).await,
            Command::Bench(args) => {
                bench::run(*args, &config, &origin).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Client(command) => {
                let mut out = std::io::stdout();
                unless_interrupted(done(Box::pin(client::run(command, &config, &mut out)))).await
            }
            Command::Conformance(command) => Ok(Box::pin(conformance::run(command)).await?),
            Command::Demo(DemoArgs { out: Some(path), seed, patients, narratives }) => {
                let generator = demo::Generator::new(seed).with_narratives(narratives);
                write_demo(&generator, patients, &path)
            }
            Command::Demo(args) => unless_interrupted(generate(args, &config)).await,
            Command::Fhirpath(args) => {
                let now = SystemClock.now();
                fhirpath::run(&args, now, &mut std::io::stdout().lock(), &mut std::io::stderr())?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Import(args) => unless_interrupted(load(args, &config)).await,
            Command::Keep(it) => unless_interrupted(done(keep(it, &config))).await,
            Command::Key(command) => {
                let mut out = std::io::stdout();
                unless_interrupted(done(Box::pin(key::run(command, &config, &mut out)))).await
            }
            Command::Migrate => unless_interrupted(bring_up(&config)).await,
            Command::Package(it) => unless_interrupted(done(package::run(it, &config))).await,
            Command::Reindex { fulltext } => {
                unless_interrupted(reindex::run(fulltext, &config)).await
            }
            Command::Serve(args) => serve(config, &args, telemetry.is_pretty()).await,
            Command::Tenant(it) => unless_interrupted(done(tenants::execute(it, &config))).await,
            Command::Terminology(command) => {
                unless_interrupted(release::run(command, &config)).await
            }
            Command::Token(args) => {
                let mut out = std::io::stdout();
                unless_interrupted(done(Box::pin(token::run(args, &config, &mut out)))).await
            }
            Command::Emergency(it) => unless_interrupted(done(emergency::run(it, &config))).await,
            Command::User(command) => {
                let mut out = std::io::stdout();
                unless_interrupted(done(Box::pin(user::run(command, &config, &mut out)))).await
            }
            Command::V2(command) => unless_interrupted(v2::run(command, &config)).await,
        }
    })
}

async fn keep(command: Keep, config: &Config) -> Result<(), Box<dyn Error>> {
    match command {
        Keep::Backup(args) => Box::pin(backup::run(args, config)).await,
        Keep::Erase(command) => Box::pin(erasure::run(command, config)).await,
        Keep::Hold(command) => Box::pin(erasure::hold(command, config)).await,
        Keep::Restore(args) => Box::pin(backup::restore(args, config)).await,
    }
}

/// A command that is done or not, as the process tells it.
async fn done(command: impl Future<Output = Result<(), Box<dyn Error>>>) -> Outcome {
    command.await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command that may have a database of its own: asked to end, it is dropped, and with it
/// the private PostgreSQL is stopped, which a process that just ends would leave behind.
async fn unless_interrupted(command: impl Future<Output = Outcome>) -> Outcome {
    let mut signals = Signals::new()?;
    let mut command = Box::pin(command);
    tokio::select! {
        outcome = &mut command => outcome,
        () = signals.next() => {
            drop(command);
            Err("interrupted: what was done until then stays".into())
        }
    }
}

async fn serve(config: Config, args: &ServeArgs, for_people: bool) -> Outcome {
    #[cfg(feature = "bench-without-ledger")]
    if args.without_ledger {
        crate::store::keep_none();
    }
    let demo = args.demo;
    if config.has_tenants() {
        return done(Box::pin(tenants::serve(config, demo))).await;
    }
    let mut signals = Signals::new()?;
    let folder = config.node_dir();
    let mode = config.auth.mode;
    let mut starting = Box::pin(Server::start(config));
    let mut server = tokio::select! {
        started = &mut starting => started?,
        () = signals.next() => {
            tracing::info!("stopping before the start was complete");
            drop(starting);
            return Ok(ExitCode::SUCCESS);
        }
    };
    server.begin().await?;
    if demo && maintenance::is_empty(server.store()).await? {
        let sink = EngineSink::new(server.engine().clone(), server.store().clone(), "demo");
        let generator = demo::Generator::new(1);
        let mut loading = Box::pin(load_demo(sink, &generator, DEMO_PATIENTS));
        tokio::select! {
            loaded = &mut loading => { loaded?; }
            () = signals.next() => {
                drop(loading);
                server.stop().await;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    let link = match server.authority() {
        Some(authority) => user::first_start(authority, &folder).await?,
        None => None,
    };
    if let Some(link) = link.filter(|_| std::io::stdout().is_terminal()) {
        println!("To make the first account, within a day: {}", link.expose_secret());
    }
    if for_people || demo {
        // Not on standard error, where programs read the log. Without a reader there is nobody to greet.
        let _ = greet(server.base(), demo, mode, &mut std::io::stdout());
    }
    server.until_interrupted(&mut signals).await;
    Ok(ExitCode::SUCCESS)
}

fn greet(
    base: &str,
    demo: bool,
    mode: AuthMode,
    out: &mut impl std::io::Write,
) -> std::io::Result<()> {
    writeln!(out, "Kiln serves FHIR R4 at {base}")?;
    if demo {
        let query = "Patient?_count=1&_revinclude=Condition:patient&_pretty=true";
        let token = match mode {
            AuthMode::Off => "",
            AuthMode::Smart => "-H \"Authorization: Bearer $(kiln token)\" ",
        };
        let first = format!("curl -s {token}'{base}/{query}'");
        writeln!(out, "Demo data: {DEMO_PATIENTS} patients. Try:\n  {first}")?;
    }
    out.flush()
}

fn write_demo(generator: &demo::Generator, patients: u64, path: &Path) -> Outcome {
    if path.as_os_str() == "-" {
        generator.write(patients, &mut std::io::stdout().lock())?;
    } else {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        generator.write(patients, &mut file)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn generate(args: DemoArgs, config: &Config) -> Outcome {
    let generator = demo::Generator::new(args.seed).with_narratives(args.narratives);
    let (database, engine, mut parameters) = open_engine(config).await?;
    let sink = EngineSink::new(engine, database.store.clone(), "demo");
    let loading = load_demo(sink, &generator, args.patients);
    let count = Box::pin(parameters.during(loading)).await?;
    println!("{count} resources of {} patients", args.patients);
    database.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn load_demo(
    sink: EngineSink,
    generator: &demo::Generator,
    patients: u64,
) -> Result<u64, Box<dyn Error>> {
    let mut count = 0;
    for bundle in generator.bundles(patients) {
        let bytes = bundle.to_json();
        count += sink.load_transaction(bytes.into()).await?;
    }
    Ok(count)
}

async fn load(args: ImportArgs, config: &Config) -> Outcome {
    let mut config = config.clone();
    if let Some(level) = args.validate {
        config.validation = config.validation.at(level);
    }
    let (database, engine, mut parameters) = open_engine(&config).await?;
    let journal = Some(config.node_dir().join(journal_name(&database)));
    let has_provenance = args.provenance;
    let options = args.into_options(journal);
    let salt =
        if options.again { SystemIds::default().ordered().to_string() } else { String::new() };
    let sink = EngineSink::new(engine, database.store.clone(), "import");
    let sink = sink.once(database.store.hasher().clone(), salt).with_provenance(has_provenance);
    let sink = Arc::new(sink);
    let summary = Box::pin(parameters.during(import::run(&options, sink))).await;
    database.close().await;
    let is_complete = summary?.is_complete();
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The journal belongs to one database: another one has none of what it lists.
fn journal_name(database: &Database) -> String {
    format!("import-{:016x}.journal", database.store.hasher().seal(b"import journal"))
}

/// The database, joined when a server runs on it already, and an engine for a service.
pub(super) async fn open_engine(
    config: &Config,
) -> Result<(Database, Arc<Engine>, SearchParameters), Box<dyn Error>> {
    let database = Database::open(config, true).await?;
    let base = config.base_url(config.http.listen);
    let (codes, structures) = definitions::keepers(config, &database.store, &base)?;
    let engine = server::engine(config, database.store.clone(), base)?;
    let (engine, _) = validation::judging(engine, structures, codes).await?;
    let mut parameters = search_parameters::of(&engine, &database.store).await?;
    // Writes tell the index what changes: what it holds must be of this version's making.
    Box::pin(parameters.during(server::build_index(&database.store))).await?;
    Ok((database, Arc::new(engine), parameters))
}

async fn bring_up(config: &Config) -> Outcome {
    let home = Home::open(config, true).await?;
    let done = tenants::migrate(config, &home).await;
    home.close().await;
    done?;
    println!("the database has the schema of this version");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_count_wherever_they_stand() {
        let split = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (line, expected) in [
            ("kiln --set a=1 serve --set b=2 --demo --set=c=3", &["a", "b", "c"][..]),
            ("kiln --set a=1 --set b=2 migrate", &["a", "b"]),
            ("kiln package --set a=1 list --set b=2", &["a", "b"]),
            ("kiln --set a=1 package --set b=2 build x --set c=3", &["a", "b", "c"]),
            ("kiln serve", &[]),
        ] {
            let cli = parse(split(line));
            let keys: Vec<_> = cli.settings.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys, expected, "{line}");
        }
        let twice = parse(split("kiln --set a=1 serve --set a=2")).settings;
        assert_eq!(twice.last().map(|(_, value)| value.as_str()), Some("2"));
    }
}
