//! `kiln bench validate`: how many resources one processor judges in a second.
//!
//! No server takes part. Each step does what those before it do and more: reading the JSON, the
//! form, the base definitions, and the named profiles. The figures are of one thread.
//!
//! Layer: 8, part of [`super`]. Imports `app::demo`, `fhir`, `spec`, `terminology`, `validate`.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::demo::Generator;
use super::{BenchArgs, BenchError};
use crate::fhir::Severity;
use crate::fhir::json::{self, Value};
use crate::spec::structure::Library;
use crate::spec::{R4_PACK, Spec};
use crate::terminology::Image;
use crate::validate::form;
use crate::validate::profile::{Claim, Options, Validator};

/// Most time between two looks at the clock, in resources.
const BATCH: usize = 64;

/// What one step did.
#[derive(Debug, Serialize)]
struct Row {
    step: &'static str,
    resources: u64,
    per_second: f64,
    megabytes_per_second: f64,
    /// Resources with an error, of those at hand.
    refused: usize,
}

/// What to judge by.
struct Judge {
    spec: Arc<Spec>,
    validator: Validator,
    profiles: Vec<Profile>,
}

/// A profile to judge by, and the type that it is for.
struct Profile {
    canonical: String,
    type_name: Box<str>,
}

/// How far a step goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Step {
    Read,
    Form,
    Base,
    Profiles,
}

/// Measures and prints the results.
///
/// # Errors
/// [`BenchError`]: files or packs that cannot be read.
pub(super) fn run(args: &BenchArgs) -> Result<(), BenchError> {
    let documents = documents(args)?;
    let judge = Judge::new(args)?;
    let mut steps = vec![
        ("read", Step::Read),
        ("read, form", Step::Form),
        ("read, form, base definitions", Step::Base),
    ];
    if !judge.profiles.is_empty() {
        steps.push(("read, form, base definitions, profiles", Step::Profiles));
    }
    let time = Duration::from_secs(args.seconds.max(1));
    let rows: Vec<Row> = steps
        .into_iter()
        .map(|(name, step)| measure(name, step, &documents, &judge, time))
        .collect();
    match &args.json {
        Some(path) => {
            let text = serde_json::to_string_pretty(&rows).unwrap_or_default();
            if path.as_os_str() == "-" {
                println!("{text}");
                return Ok(());
            }
            fs::write(path, text).map_err(BenchError::io(path.display().to_string()))?;
        }
        None => print(&rows, documents.len()),
    }
    Ok(())
}

fn print(rows: &[Row], documents: usize) {
    println!("{documents} resources, one thread");
    println!("{:<40} {:>12} {:>8} {:>8}", "", "resources/s", "MB/s", "refused");
    for row in rows {
        let Row { step, per_second, megabytes_per_second, refused, .. } = row;
        println!("{step:<40} {per_second:>12.0} {megabytes_per_second:>8.1} {refused:>8}");
    }
}

fn measure(
    name: &'static str,
    step: Step,
    documents: &[Vec<u8>],
    judge: &Judge,
    time: Duration,
) -> Row {
    // Once over all of them, so that everything is compiled.
    let refused = documents.iter().filter(|text| !judge.accepts(step, text)).count();
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let began = Instant::now();
    for batch in documents.chunks(BATCH).cycle() {
        for text in batch {
            judge.accepts(step, text);
            count += 1;
            bytes += text.len() as u64;
        }
        if batch.is_empty() || began.elapsed() >= time {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    Row {
        step: name,
        resources: count,
        per_second: count as f64 / seconds,
        megabytes_per_second: bytes as f64 / seconds / 1e6,
        refused,
    }
}

impl Judge {
    fn new(args: &BenchArgs) -> Result<Self, BenchError> {
        let fault = |what: &str| {
            let what = what.to_owned();
            move |fault: &dyn std::fmt::Display| BenchError::Arguments(format!("{what}: {fault}"))
        };
        let spec = Spec::r4().map_err(|error| fault("R4")(&error))?;
        let mut packs = Vec::new();
        for path in &args.pack {
            let bytes = fs::read(path).map_err(BenchError::io(path.display().to_string()))?;
            packs.push(Cow::Owned(bytes));
        }
        let library = Library::with_packs(packs).map_err(|error| fault("--pack")(&error))?;
        let terminology = Image::new(R4_PACK, "").map_err(|error| fault("R4")(&error))?;
        let mut profiles = Vec::new();
        for canonical in &args.profile {
            let structure =
                library.structure(canonical).map_err(|error| fault("--profile")(&error))?;
            let type_name = structure.type_name.clone();
            profiles.push(Profile { canonical: canonical.clone(), type_name });
        }
        let validator = Validator::new(Arc::clone(&spec), Arc::new(library), Arc::new(terminology));
        Ok(Self { spec, validator, profiles })
    }

    fn accepts(&self, step: Step, text: &[u8]) -> bool {
        let Ok(value) = json::parse(text) else { return false };
        if step == Step::Read {
            return true;
        }
        let mut accepts = form::check(&value, &self.spec.schema).is_sound();
        if step == Step::Form {
            return accepts;
        }
        let of = value.str_at("resourceType").unwrap_or_default();
        let fitting = |profile: &&Profile| step == Step::Profiles && *profile.type_name == *of;
        let profiles: Vec<&str> =
            self.profiles.iter().filter(fitting).map(|profile| &*profile.canonical).collect();
        let options =
            Options { claims: &|_| Claim::Ignore, least: Severity::Error, ..Options::default() };
        accepts &= self.validator.validate(&value, &profiles, &options).is_empty();
        accepts
    }
}

/// The resources of the files, each by itself; of demo data without files.
fn documents(args: &BenchArgs) -> Result<Vec<Vec<u8>>, BenchError> {
    let mut found = Vec::new();
    for path in &args.data {
        add_path(path, &mut found)?;
    }
    if args.data.is_empty() {
        for bundle in Generator::new(args.seed).bundles(args.patients) {
            add(&bundle.value, &mut found);
        }
    }
    if found.is_empty() {
        return Err(BenchError::Arguments("--data: there are no resources in it".to_owned()));
    }
    Ok(found)
}

fn add_path(path: &Path, found: &mut Vec<Vec<u8>>) -> Result<(), BenchError> {
    let fault = || BenchError::io(path.display().to_string());
    if path.is_dir() {
        let mut inner = Vec::new();
        for item in fs::read_dir(path).map_err(fault())? {
            inner.push(item.map_err(fault())?.path());
        }
        inner.sort();
        return inner.iter().try_for_each(|path| add_path(path, found));
    }
    let name = path.extension().and_then(|name| name.to_str());
    let bytes = match name {
        Some("json" | "ndjson") => fs::read(path).map_err(fault())?,
        _ => return Ok(()),
    };
    if name == Some("ndjson") {
        let lines = bytes.split(|&byte| byte == b'\n');
        lines.filter_map(|line| json::parse(line).ok()).for_each(|value| add(&value, found));
    } else if let Ok(value) = json::parse(&bytes) {
        add(&value, found);
    }
    Ok(())
}

fn add(value: &Value<'_>, found: &mut Vec<Vec<u8>>) {
    if value.str_at("resourceType") != Some("Bundle") {
        found.push(value.to_text().into_bytes());
        return;
    }
    let entries = value.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
    found.extend(entries.map(|resource| resource.to_text().into_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_judges_what_it_is_given() {
        let args = BenchArgs {
            without: None,
            bounded: false,
            rows: 0,
            work: super::super::Work::Validate,
            base: None,
            clients: Vec::new(),
            concepts: 0,
            seconds: 1,
            database: None,
            postgres_bin: None,
            pid: None,
            resources: 0,
            patients: 1,
            seed: 1,
            pack: Vec::new(),
            profile: vec!["http://hl7.org/fhir/StructureDefinition/vitalsigns".to_owned()],
            data: Vec::new(),
            feed: ([127, 0, 0, 1], 2575).into(),
            messages: None,
            quiet_floor: Vec::new(),
            only: Vec::new(),
            header: Vec::new(),
            json: None,
        };
        let documents = documents(&args).expect("demo data");
        let judge = Judge::new(&args).expect("the embedded pack");
        let time = Duration::from_millis(1);
        let refused = |step| measure("step", step, &documents, &judge, time).refused;
        assert_eq!(refused(Step::Read), 0);
        assert_eq!(refused(Step::Form), 0);
        assert_eq!(refused(Step::Base), 0, "demo data is valid");
        assert!(refused(Step::Profiles) > 0, "not every Observation is a vital sign");
    }
}
