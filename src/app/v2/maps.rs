//! `kiln v2 map`: maps and profiles of sites are checked, compared, explained.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Message, Reading};
use crate::hl7v2::map::{Draft, MapError, Maps, bundle};
use crate::spec::Spec;

use super::messages;

/// Which maps are used.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::app) struct MapArgs {
    /// The profile of a site, laid over the maps.
    #[arg(long, value_name = "FILE")]
    site: Option<PathBuf>,
    /// Maps of this folder instead of those in the program.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
}

/// The definitions of FHIR, and maps that were checked by them.
pub(super) struct Loaded {
    pub(super) spec: Arc<Spec>,
    pub(super) maps: Arc<Maps>,
}

impl MapArgs {
    /// Reads and checks the maps.
    ///
    /// # Errors
    /// All faults, a line each with file, line and key.
    pub(super) fn load(&self) -> Result<Loaded, Box<dyn Error>> {
        let spec = Arc::new(Spec::r4()?);
        let base = match &self.maps {
            None => Maps::base(&spec.schema),
            Some(folder) => Maps::of(texts(folder)?, &spec.schema),
        };
        let base = base.map_err(faults)?;
        let maps = match &self.site {
            None => Arc::new(base),
            Some(file) => {
                let text = read(file)?;
                let name = file.display().to_string();
                base.with_site(&name, &text, &spec.schema).map_err(faults)?
            }
        };
        Ok(Loaded { spec, maps })
    }
}

fn read(file: &Path) -> Result<String, Box<dyn Error>> {
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

fn faults(faults: Vec<MapError>) -> Box<dyn Error> {
    let lines = faults.into_iter().map(|fault| fault.to_string());
    lines.collect::<Vec<_>>().join("\n").into()
}

/// What can be done with maps.
#[derive(Debug, Subcommand)]
pub(in crate::app) enum MapCommand {
    /// Check the maps, and the profile of a site over them.
    #[command(after_help = "Example:\n  kiln v2 map check --site stmary.toml")]
    Check {
        #[command(flatten)]
        maps: MapArgs,
    },
    /// Show what messages make by one profile and not by another.
    #[command(after_help = "Example:\n  kiln v2 map diff old.toml new.toml corpus/*.hl7")]
    Diff {
        /// The profile of now; - for none.
        old: PathBuf,
        /// The profile to come.
        new: PathBuf,
        /// Files with messages.
        #[arg(required = true, value_name = "FILE")]
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
}

/// Runs it.
///
/// # Errors
/// What cannot be read, or the faults of the maps, a line each.
pub(super) fn run(command: &MapCommand, out: &mut impl Write) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        MapCommand::Check { maps } => {
            let loaded = maps.load()?;
            let (messages, resources) = (loaded.maps.messages(), loaded.maps.resources());
            let (messages, resources) = (messages.len(), resources.len());
            let (site, hash) = (&loaded.maps.site().id, loaded.maps.hash());
            writeln!(out, "{site}: {messages} messages, {resources} resources, hash {hash}")?;
            Ok(ExitCode::SUCCESS)
        }
        MapCommand::Diff { old, new, files } => diff(old, new, files, out),
        MapCommand::Explain { what, message, maps } => {
            explain(what.as_deref(), message.as_deref(), &maps.load()?, out)
        }
    }
}

fn draft_of(raw: &[u8], maps: &Maps) -> Result<Option<Draft>, Box<dyn Error>> {
    let utf8 = Charset::named("UNICODE UTF-8").ok_or("no UTF-8")?;
    let read = Charset::read(raw, utf8)?;
    let message = Message::parse(&read.text, read.charset, Reading::Lenient)?;
    Ok(maps.draft(&message))
}

/// A resource of a draft a block, with its name and elements, to be compared.
fn shown(draft: Option<&Draft>) -> Vec<String> {
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
    old: &Path,
    new: &Path,
    files: &[PathBuf],
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let of = |file: &Path| {
        let site = Some(file.to_owned()).filter(|file| file.as_os_str() != "-");
        MapArgs { site, maps: None }.load()
    };
    let (before, after) = (of(old)?, of(new)?);
    let mut changed = 0;
    for file in files {
        for raw in messages(file)? {
            let one = shown(draft_of(&raw, &before.maps)?.as_ref());
            let other = shown(draft_of(&raw, &after.maps)?.as_ref());
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
        let draft = draft_of(&raw, &loaded.maps)?.ok_or("no map for its type and event")?;
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
