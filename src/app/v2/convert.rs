//! `kiln v2 convert`: what a message would make, without a server.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::Config;
use crate::fhir::Severity;
use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::Message;
use crate::hl7v2::map::{Draft, DraftResource, bundle};
use crate::spec::structure::Library;
use crate::spec::{GUIDE_PACKS, R4_PACK, Spec};
use crate::terminology::Image;
use crate::validate::form;
use crate::validate::profile::{Claim, Options, Validator};

use super::maps::{Loaded, MapArgs};
use super::messages;

/// `kiln v2 convert`
#[derive(Debug, clap::Args)]
pub(in crate::app) struct ConvertArgs {
    /// Files with messages.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    maps: MapArgs,
    /// Judge the resources and say what is wrong with them, instead of showing them.
    #[arg(long)]
    check: bool,
    /// The character set where MSH-18 names none, in the place of the one of the profile or of `hl7v2.charset`.
    #[arg(long)]
    charset: Option<String>,
}

/// Writes the transaction Bundle of each message, and to `told` what is to be said about it.
///
/// # Errors
/// What cannot be read, as a sentence.
pub(super) async fn run(
    args: &ConvertArgs,
    config: &Config,
    out: &mut impl Write,
    told: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let loaded = args.maps.load(config).await?;
    let judge = Judge::new(&loaded)?;
    let mut rules = loaded.rules.clone();
    if let Some(name) = &args.charset {
        rules.charset = Charset::named(name).ok_or("no such character set")?;
    }
    let mut is_sound = true;
    for file in &args.files {
        for raw in messages(file)? {
            let read = rules.read(&raw, false)?;
            let message = Message::parse(&read.text, read.charset, rules.reading)?;
            let message = message.with_escapes(&loaded.maps.site().escapes);
            let Some(mut draft) = loaded.maps.draft(&message) else {
                writeln!(told, "{}: no map for its type and event", file.display())?;
                is_sound = false;
                continue;
            };
            judge.stamp(&mut draft);
            if args.check {
                is_sound &= judge.tell(&file.display().to_string(), &draft, out)?;
            } else {
                let mut text = Vec::new();
                bundle::transaction(&draft).write_pretty(&mut text);
                out.write_all(&text)?;
                writeln!(out)?;
                say(&draft, told)?;
                is_sound &= !draft.is_refused();
            }
        }
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say(draft: &Draft, told: &mut impl Write) -> std::io::Result<()> {
    for problem in &draft.problems {
        let severity = if problem.is_error { "error" } else { "note" };
        writeln!(told, "{severity}: {}: {}: {}", problem.place, problem.kind, problem.text)?;
    }
    if !draft.unmapped.is_empty() {
        writeln!(told, "kept in the message alone: {}", draft.unmapped.join(" "))?;
    }
    Ok(())
}

/// Judges resources by FHIR and by the profiles that their rules name.
struct Judge {
    spec: Arc<Spec>,
    validator: Validator,
}

impl Judge {
    fn new(loaded: &Loaded) -> Result<Self, Box<dyn Error>> {
        let packs = GUIDE_PACKS.map(std::borrow::Cow::Borrowed);
        let library = Arc::new(Library::with_packs(packs)?);
        let codes = Image::new(R4_PACK, "http://localhost/fhir")?.with_guides(&GUIDE_PACKS)?;
        let validator = Validator::new(loaded.spec.clone(), library, Arc::new(codes));
        Ok(Self { spec: loaded.spec.clone(), validator })
    }

    fn errors(&self, resource: &DraftResource, profiles: &[&str]) -> Vec<String> {
        let value = bundle::resource(resource);
        let options =
            Options { claims: &|_| Claim::Ignore, least: Severity::Error, ..Options::default() };
        let mut issues = form::check(&value, &self.spec.schema).issues().to_vec();
        issues.extend(self.validator.validate(&value, profiles, &options));
        let errors = issues.iter().filter(|issue| issue.severity <= Severity::Error);
        let text =
            |issue: &crate::fhir::Issue| format!("{} {}", issue.expression, issue.diagnostics);
        errors.map(text).collect()
    }

    /// Lets the resources claim the profiles that they keep to.
    fn stamp(&self, draft: &mut Draft) {
        for resource in &mut draft.resources {
            let Some(profile) = resource.profile.clone() else { continue };
            if self.errors(resource, &[profile.as_str()]).is_empty() {
                bundle::claim(&mut resource.body, &profile);
            }
        }
    }

    /// Writes what is wrong with the resources of a draft; whether nothing is.
    fn tell(&self, file: &str, draft: &Draft, out: &mut impl Write) -> std::io::Result<bool> {
        let mut is_sound = true;
        for problem in draft.problems.iter().filter(|problem| problem.is_error) {
            writeln!(out, "{file}\trefused\t{} {}", problem.place, problem.text)?;
        }
        for resource in &draft.resources {
            for error in self.errors(resource, &[]) {
                is_sound = false;
                writeln!(out, "{file}\t{} {}\t{error}", resource.resource_type, resource.rule)?;
            }
            if let Some(profile) = &resource.profile {
                let claims =
                    resource.body.get("meta").is_some_and(|it| it.get("profile").is_some());
                if !claims {
                    let errors = self.errors(resource, &[profile.as_str()]).join("; ");
                    writeln!(out, "{file}\t{}\tnot-profile {errors}", resource.resource_type)?;
                }
            }
        }
        let (made, kept) = (draft.resources.len(), draft.unmapped.len());
        writeln!(out, "{file}\t{made} resources\t{kept} kept: {}", draft.unmapped.join(" "))?;
        Ok(is_sound)
    }
}
