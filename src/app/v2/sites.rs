//! `kiln v2 map install`, `list`, `show`, `rollback`, `remove`, and `kiln v2 codes`: what senders have
//! of their own, in the database.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::app::database::Database;
use crate::app::{hl7v2, server};
use crate::config::Config;
use crate::engine::Engine;
use crate::hl7v2::codes::{NewCode, Prepared};
use crate::hl7v2::sites;
use crate::hl7v2::tables::Target;
use crate::store::hl7v2::{NewSite, SiteVersion};

use super::list::caller;
use super::maps::read;

/// `kiln v2 map install`
#[derive(Debug, Args)]
pub(in crate::app) struct InstallArgs {
    /// The profile.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Why it is installed.
    #[arg(long, default_value = "")]
    note: String,
}

/// `kiln v2 map remove`
#[derive(Debug, Args)]
pub(in crate::app) struct RemoveArgs {
    /// The profile.
    name: String,
    /// Why it is withdrawn.
    #[arg(long, default_value = "")]
    note: String,
}

/// `kiln v2 map rollback`
#[derive(Debug, Args)]
pub(in crate::app) struct RollbackArgs {
    /// The profile.
    name: String,
    /// The version whose text counts again.
    #[arg(long, value_name = "VERSION")]
    to: i32,
}

/// `kiln v2 codes`
#[derive(Debug, Subcommand)]
pub(in crate::app) enum CodesCommand {
    /// Add a code to the profile of its sender, and have the messages worked on again in which it came.
    #[command(
        after_help = "Example:\n  kiln v2 codes add --site 'LAB|STM' --code-set lab-test --system \
                            99STM --code HB --to 'http://loinc.org|718-7'"
    )]
    Add(AddArgs),
    /// List the codes that came and are in no map.
    #[command(after_help = "Example:\n  kiln v2 codes list --site 'LAB|STM'")]
    List {
        /// Of this sender alone: MSH-3 and MSH-4 with a | between.
        #[arg(long)]
        site: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        count: u32,
    },
}

/// `kiln v2 codes add`
#[derive(Debug, Args)]
pub(in crate::app) struct AddArgs {
    /// The sender: MSH-3 and MSH-4 with a | between.
    #[arg(long)]
    site: String,
    /// The code set of the maps, as the list has it.
    #[arg(long)]
    code_set: String,
    /// The sender's name for the code system.
    #[arg(long, default_value = "")]
    system: String,
    /// The code.
    #[arg(long)]
    code: String,
    /// What it is: system and code with a | between.
    #[arg(long, value_name = "SYSTEM|CODE")]
    to: String,
    /// What that is called.
    #[arg(long)]
    display: Option<String>,
}

/// An engine on the database, for one command.
struct Opened {
    database: Database,
    engine: Engine,
}

impl Opened {
    async fn new(config: &Config) -> Result<Self, Box<dyn Error>> {
        let database = Database::open(config, true).await?;
        let engine = server::engine(config, database.store.clone(), String::new())?;
        Ok(Self { database, engine })
    }

    async fn close(self) {
        drop(self.engine);
        self.database.close().await;
    }

    /// A version of a profile: the newest, or the one that is named.
    async fn version(
        &self,
        name: &str,
        version: Option<i32>,
    ) -> Result<SiteVersion, Box<dyn Error>> {
        let all = self.engine.site_versions(Some(name), &caller("map show")).await?;
        let is_wanted = |one: &SiteVersion| version.is_none_or(|version| one.version == version);
        let found = all.into_iter().find(is_wanted);
        let missing = || match version {
            None => format!("there is no profile {name:?}"),
            Some(version) => format!("there is no version {version} of a profile {name:?}"),
        };
        Ok(found.ok_or_else(missing)?)
    }

    /// Stores a version of a profile that can be used: what a version before it had.
    async fn add(&self, new: &NewSite, config: &Config, what: &str) -> Result<i32, Box<dyn Error>> {
        if let Some(toml) = &new.toml {
            let base = hl7v2::base_maps(&config.hl7v2, self.engine.spec())?;
            let checked = sites::installed(&base, toml, &new.id, self.engine.spec());
            checked.map_err(|fault| fault.to_string())?;
        }
        Ok(self.engine.add_site(new, &caller(what)).await?)
    }
}

/// Stores the version of a profile that `next` makes of the newest one.
async fn succeed(
    name: &str,
    (config, what): (&Config, &str),
    next: impl AsyncFnOnce(&Opened, SiteVersion) -> Result<NewSite, Box<dyn Error>>,
) -> Result<i32, Box<dyn Error>> {
    let opened = Opened::new(config).await?;
    let done = async {
        let newest = opened.version(name, None).await?;
        let new = next(&opened, newest).await?;
        opened.add(&new, config, what).await
    };
    let done = done.await;
    opened.close().await;
    done
}

/// Who asks at the command line.
fn by() -> String {
    "kiln v2 map".to_owned()
}

/// The text of an installed profile: NAME, or NAME:VERSION.
///
/// # Errors
/// What keeps it from being read, as a sentence.
pub(super) async fn installed(name: &str, config: &Config) -> Result<String, Box<dyn Error>> {
    let (name, version) = match name.rsplit_once(':') {
        Some((name, version)) => {
            let bad = |_| format!("{version:?} is no version of a profile");
            (name, Some(version.parse::<i32>().map_err(bad)?))
        }
        None => (name, None),
    };
    let opened = Opened::new(config).await?;
    let found = opened.version(name, version).await;
    opened.close().await;
    let found = found?;
    let withdrawn = || format!("the profile {name:?} was withdrawn with version {}", found.version);
    Ok(found.toml.clone().ok_or_else(withdrawn)?)
}

/// Installs a profile.
///
/// # Errors
/// What is wrong with it, a line each.
pub(super) async fn install(
    args: InstallArgs,
    config: &Config,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let toml = read(&args.file)?;
    let opened = Opened::new(config).await?;
    let done = async {
        let base = hl7v2::base_maps(&config.hl7v2, opened.engine.spec())?;
        let file = args.file.display().to_string();
        let checked = sites::check(&base, &toml, &file, opened.engine.spec());
        let maps = checked.map_err(|fault| fault.to_string())?;
        let id = maps.site().id.clone();
        let new = NewSite { id, toml: Some(toml), by: by(), note: args.note, after: None };
        let version = opened.engine.add_site(&new, &caller("map install")).await?;
        Ok::<_, Box<dyn Error>>((new.id, version))
    };
    let done = done.await;
    opened.close().await;
    let (id, version) = done?;
    writeln!(out, "{id}: version {version} is installed")?;
    Ok(ExitCode::SUCCESS)
}

/// Lists profiles, or the versions of one.
///
/// # Errors
/// What keeps them from being listed, as a sentence.
pub(super) async fn list(
    name: Option<&str>,
    config: &Config,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let opened = Opened::new(config).await?;
    let found = opened.engine.site_versions(name, &caller("map list")).await;
    let spec = opened.engine.spec().clone();
    opened.close().await;
    let mut all = found?;
    let base = hl7v2::base_maps(&config.hl7v2, &spec)?;
    if name.is_none() {
        // The newest of each stands first.
        all.dedup_by(|next, kept| next.id == kept.id);
    }
    for SiteVersion { id, version, toml, at, by, note } in all {
        let state = match &toml {
            None => "  withdrawn",
            Some(toml) if sites::installed(&base, toml, &id, &spec).is_err() => "  cannot be used",
            Some(_) => "",
        };
        let note = if note.is_empty() { note } else { format!("  {note}") };
        writeln!(out, "{id}  {version}  {at}  {by}{state}{note}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Withdraws a profile.
///
/// # Errors
/// What keeps it from being withdrawn, as a sentence.
pub(super) async fn remove(
    args: RemoveArgs,
    config: &Config,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let name = args.name;
    let withdrawn = async |_: &Opened, newest: SiteVersion| {
        if newest.toml.is_none() {
            return Err(format!("the profile {:?} is withdrawn already", newest.id).into());
        }
        let after = Some(newest.version);
        Ok(NewSite { id: newest.id, toml: None, by: by(), note: args.note, after })
    };
    let version = succeed(&name, (config, "map remove"), withdrawn).await?;
    writeln!(out, "{name}: withdrawn with version {version}")?;
    Ok(ExitCode::SUCCESS)
}

/// Makes an older version the newest.
///
/// # Errors
/// What keeps it from counting again, a line each.
pub(super) async fn rollback(
    args: RollbackArgs,
    config: &Config,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let restored = async |opened: &Opened, newest: SiteVersion| {
        let old = opened.version(&args.name, Some(args.to)).await?;
        let note = format!("back to version {}", args.to);
        let after = Some(newest.version);
        Ok(NewSite { id: newest.id, toml: old.toml, by: by(), note, after })
    };
    let version = succeed(&args.name, (config, "map rollback"), restored).await?;
    writeln!(out, "{}: version {version} is version {} again", args.name, args.to)?;
    Ok(ExitCode::SUCCESS)
}

/// Lists codes that are in no map, or adds one.
///
/// # Errors
/// What keeps it from being done, as a sentence.
pub(super) async fn codes(
    command: CodesCommand,
    config: &Config,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let opened = Opened::new(config).await?;
    match command {
        CodesCommand::List { site, count } => {
            let asked = caller("codes list");
            let found = opened.engine.unmapped_codes(site.as_deref(), count.into(), &asked).await;
            opened.close().await;
            for one in found? {
                let code = one.code;
                writeln!(
                    out,
                    "{}  {}  {}  {}  {:?}  {}",
                    one.count, one.site, code.set, code.system, code.code, code.display
                )?;
            }
        }
        CodesCommand::Add(args) => {
            let (system, code) = args.to.rsplit_once('|').ok_or("--to is SYSTEM|CODE")?;
            let (system, code) = (system.to_owned(), code.to_owned());
            let new = NewCode {
                site: args.site,
                set: args.code_set,
                system: args.system,
                code: args.code,
                target: Target { code, system, display: args.display },
            };
            let Opened { database, engine } = opened;
            let engine = Arc::new(engine);
            let done = async {
                let receiver =
                    hl7v2::receiver(config, engine.clone(), database.store.clone()).await?;
                let Prepared { site, lacking } = receiver.with_code(&new, &by()).await?;
                let added = engine.add_code(&site, &lacking, &caller("codes add")).await?;
                Ok::<_, Box<dyn Error>>((site.id, added))
            };
            let done = done.await;
            drop(engine);
            database.close().await;
            let (profile, (version, replayed)) = done?;
            let count = replayed.len();
            writeln!(out, "{profile}: version {version}; {count} messages wait to be worked on")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
