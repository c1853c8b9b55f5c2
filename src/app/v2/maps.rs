//! `kiln v2 map`: maps and profiles of sites are checked, compared, explained.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use crate::app::hl7v2;
use crate::config::Config;
use crate::hl7v2::er7::Message;
use crate::hl7v2::judge::Rules;
use crate::hl7v2::map::{Draft, MapError, Maps, bundle};
use crate::spec::Spec;

use super::{import, messages, sites};

/// Which maps are used.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::app) struct MapArgs {
    /// The profile of a site, laid over the maps: a file, or @NAME[:VERSION] for an installed one.
    #[arg(long, value_name = "FILE|@NAME")]
    site: Option<String>,
    /// Maps of this folder instead of those in the program.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
}

/// The definitions of FHIR, and maps that were checked by them.
pub(super) struct Loaded {
    pub(super) spec: Arc<Spec>,
    pub(super) maps: Arc<Maps>,
    /// How messages are read: as a server with these settings and this profile reads them.
    pub(super) rules: Rules,
    /// What in the profile can have no effect.
    idle: Vec<MapError>,
}

impl MapArgs {
    /// Reads and checks the maps.
    ///
    /// # Errors
    /// All faults, a line each with file, line and key.
    pub(super) async fn load(&self, config: &Config) -> Result<Loaded, Box<dyn Error>> {
        let spec = Spec::r4()?;
        let base = match &self.maps {
            None => Maps::base(&spec.schema),
            Some(folder) => Maps::of(texts(folder)?, &spec.schema),
        };
        let base = base.map_err(faults)?;
        let (maps, idle) = match &self.site {
            None => (Arc::new(base), Vec::new()),
            Some(name) => {
                let text = profile(name, config).await?;
                base.with_installed(name, &text, &spec.schema).map_err(faults)?
            }
        };
        let rules = hl7v2::rules(&config.hl7v2)?.wished(&maps.site().wishes);
        Ok(Loaded { spec, maps, rules, idle })
    }
}

/// The text of a profile: of a file, or of one that is installed.
///
/// # Errors
/// What keeps it from being read, as a sentence.
async fn profile(name: &str, config: &Config) -> Result<String, Box<dyn Error>> {
    match name.strip_prefix('@') {
        None => read(Path::new(name)),
        Some(name) => sites::installed(name, config).await,
    }
}

pub(super) fn read(file: &Path) -> Result<String, Box<dyn Error>> {
    Ok(std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// The maps of a folder: all of its TOML files but the tables, in the order of their names.
fn texts(folder: &Path) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_map = path.extension().is_some_and(|ending| ending == "toml");
        if is_map && !matches!(&*name, "tables.toml" | "deviations.toml" | "guide.toml") {
            texts.push((name, read(&path)?));
        }
    }
    texts.sort();
    Ok(texts)
}

pub(super) fn faults(faults: Vec<MapError>) -> Box<dyn Error> {
    let lines = faults.into_iter().map(|fault| fault.to_string());
    lines.collect::<Vec<_>>().join("\n").into()
}

/// What can be done with maps.
#[derive(Debug, Subcommand)]
pub(in crate::app) enum MapCommand {
    /// Check the maps, and the profile of a site over them.
    #[command(after_help = "Example:\n  kiln v2 map check stmary.toml")]
    Check {
        /// The profile: a file, or @NAME[:VERSION] for an installed one.
        #[arg(value_name = "FILE|@NAME", conflicts_with = "site")]
        profile: Option<String>,
        #[command(flatten)]
        maps: MapArgs,
    },
    /// Show what messages make by one profile and not by another.
    #[command(
        after_help = "Examples:\n  kiln v2 map diff old.toml new.toml corpus/\n  kiln v2 map \
                            diff @stmary stmary.toml a01.hl7"
    )]
    Diff {
        /// The profile of now: a file, @NAME[:VERSION] for an installed one, - for none.
        old: String,
        /// The profile to come.
        new: String,
        /// Files and folders with messages.
        #[arg(required = true, value_name = "PATH")]
        files: Vec<PathBuf>,
    },
    /// Show which rule writes which element: of fields, of resources, or of a message.
    #[command(after_help = "Examples:\n  kiln v2 map explain PID-3\n  kiln v2 map explain \
                            --message adt-a01.hl7 Patient")]
    Explain {
        /// A field such as PID-3, or a type or name of a resource.
        what: Option<String>,
        /// A file with a message: what was written, and by which rule.
        #[arg(long, value_name = "FILE")]
        message: Option<PathBuf>,
        #[command(flatten)]
        maps: MapArgs,
    },
    /// Install the profile of a site: all nodes use it for the messages that come from then on.
    #[command(after_help = "Example:\n  kiln v2 map install stmary.toml --note 'ticket 311'")]
    Install(sites::InstallArgs),
    /// List the installed profiles, or all versions of one.
    #[command(after_help = "Example:\n  kiln v2 map list stmary")]
    List {
        /// The profile.
        name: Option<String>,
    },
    /// Withdraw the profile of a site.
    #[command(after_help = "Example:\n  kiln v2 map remove stmary")]
    Remove(sites::RemoveArgs),
    /// Go back to an older version of a profile, which becomes a new version.
    #[command(after_help = "Example:\n  kiln v2 map rollback stmary --to 3")]
    Rollback(sites::RollbackArgs),
    /// Print an installed profile.
    #[command(after_help = "Example:\n  kiln v2 map show stmary:3")]
    Show {
        /// The profile: NAME, or NAME:VERSION.
        name: String,
    },
}

/// Runs it.
///
/// # Errors
/// What cannot be read, or the faults of the maps, a line each.
pub(super) async fn run(
    command: MapCommand,
    config: &Config,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        MapCommand::Check { profile, mut maps } => {
            maps.site = profile.or(maps.site);
            check(&maps, &maps.load(config).await?, out)
        }
        MapCommand::Diff { old, new, files } => {
            let (before, after) = (one_of(&old, config).await?, one_of(&new, config).await?);
            diff(&before, &after, &files, out)
        }
        MapCommand::Explain { what, message, maps } => {
            let loaded = maps.load(config).await?;
            explain(what.as_deref(), message.as_deref(), &loaded, out)
        }
        MapCommand::Install(args) => sites::install(args, config, out).await,
        MapCommand::List { name } => sites::list(name.as_deref(), config, out).await,
        MapCommand::Remove(args) => sites::remove(args, config, out).await,
        MapCommand::Rollback(args) => sites::rollback(args, config, out).await,
        MapCommand::Show { name } => {
            out.write_all(sites::installed(&name, config).await?.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(
    args: &MapArgs,
    loaded: &Loaded,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    if !loaded.idle.is_empty() {
        return Err(faults(loaded.idle.clone()));
    }
    let (messages, resources) = (loaded.maps.messages().len(), loaded.maps.resources().len());
    let (site, hash) = (&loaded.maps.site().id, loaded.maps.hash());
    writeln!(out, "{site}: {messages} messages, {resources} resources, hash {hash}")?;
    if args.site.is_some() && loaded.maps.site().matching.is_empty() {
        writeln!(out, "{site}: without site.match it cannot be installed, as it is for nobody")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn one_of(name: &str, config: &Config) -> Result<Loaded, Box<dyn Error>> {
    let site = Some(name.to_owned()).filter(|name| name != "-");
    MapArgs { site, maps: None }.load(config).await
}

fn draft_of(raw: &[u8], loaded: &Loaded) -> Result<Option<Draft>, Box<dyn Error>> {
    let read = loaded.rules.read(raw, false)?;
    let message = Message::parse(&read.text, read.charset, loaded.rules.reading)?;
    let message = message.with_escapes(&loaded.maps.site().escapes);
    Ok(loaded.maps.draft(&message))
}

/// A resource of a draft a block, with its name and elements, to be compared; or why there is none.
fn shown(draft: &Result<Option<Draft>, Box<dyn Error>>) -> Vec<String> {
    let draft = match draft {
        Ok(draft) => draft.as_ref(),
        Err(error) => return vec![format!("refused: {error}")],
    };
    let resources = draft.map(|draft| draft.resources.as_slice()).unwrap_or_default();
    let mut lines = Vec::new();
    for resource in resources {
        for (name, value) in resource.body.iter() {
            lines.push(format!("{} {name} = {}", resource.name, value.to_text()));
        }
    }
    lines
}

fn diff(
    before: &Loaded,
    after: &Loaded,
    paths: &[PathBuf],
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut files = Vec::new();
    for path in paths {
        import::find(path, &mut files)?;
    }
    files.sort();
    let mut changed = 0;
    for file in &files {
        for raw in messages(file)? {
            let (one, other) = (draft_of(&raw, before), draft_of(&raw, after));
            if let (Err(error), Err(_)) = (&one, &other) {
                return Err(format!("{}: {error}", file.display()).into());
            }
            let (one, other) = (shown(&one), shown(&other));
            let gone =
                one.iter().filter(|line| !other.contains(line)).map(|line| format!("- {line}"));
            let come =
                other.iter().filter(|line| !one.contains(line)).map(|line| format!("+ {line}"));
            let lines: Vec<_> = gone.chain(come).collect();
            if !lines.is_empty() {
                changed += 1;
                writeln!(out, "{}\n{}", file.display(), lines.join("\n"))?;
            }
        }
    }
    writeln!(out, "{changed} messages make something else")?;
    Ok(ExitCode::SUCCESS)
}

fn explain(
    what: Option<&str>,
    message: Option<&Path>,
    loaded: &Loaded,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let is_about = |texts: &[&str]| {
        what.is_none_or(|what| texts.iter().any(|text| *text == what || is_below(text, what)))
    };
    let Some(file) = message else {
        for line in loaded.maps.explained() {
            let texts: Vec<_> = line.sources.iter().map(String::as_str).collect();
            let texts = [texts, vec![&*line.resource, &*line.resource_type]].concat();
            if is_about(&texts) {
                let sources = line.sources.join(" ");
                writeln!(out, "{}.{}\t{sources}\t{}", line.resource_type, line.path, line.rule)?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    for raw in messages(file)? {
        let draft = draft_of(&raw, loaded)?.ok_or("no map for its type and event")?;
        for resource in &draft.resources {
            for write in &resource.writes {
                let sources: Vec<_> = write.sources.iter().map(String::as_str).collect();
                let texts = [sources.clone(), vec![&*resource.rule, &*resource.resource_type]];
                if is_about(&texts.concat()) {
                    let mut line = format!("{} {}", resource.name, write.path);
                    // Writing to a String does not fail.
                    let _ = write!(line, "\t{}\t{}", sources.join(" "), write.rule);
                    writeln!(out, "{line}")?;
                }
            }
        }
        let text = bundle::transaction(&draft).to_text();
        writeln!(out, "{} resources, {} bytes", draft.resources.len(), text.len())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a path is of the field: `PID-3[*].1` of `PID-3`.
fn is_below(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.starts_with(['[', '.']))
}
