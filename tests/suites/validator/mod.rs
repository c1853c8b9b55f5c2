//! The cases of the FHIR validator's own test suite: valid or invalid, by the base definitions and
//! by the profile that a case brings along.
//!
//! A document is invalid for the suite when its expected outcome has an error. What the outcomes
//! say beyond that (texts, places, warnings) is the other implementation's own.

mod judged;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use kiln::fhir::codec::xml;
use kiln::fhir::json::{Limits, Value, parse};
use kiln::fhir::{Issue, Severity};
use kiln::spec::structure::Library;
use kiln::spec::{R4_PACK, Spec};
use kiln::terminology::Image;
use kiln::validate::form;
use kiln::validate::profile::{Options, Validator};

use crate::harness::shared::{archive, has_ending};

const SUITE: &str = "suites/validator-r4.tar.gz";

type Files = HashMap<String, Vec<u8>>;

/// Judges documents by R4 and what is brought along.
struct Bench {
    spec: Arc<Spec>,
    library: Library,
    codes: Image,
    plain: Validator,
}

impl Bench {
    fn new() -> Self {
        let spec = Spec::r4().unwrap();
        let library = Library::r4();
        let codes = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
        let plain = Validator::new(spec.clone(), Arc::new(Library::r4()), Arc::new(codes.clone()));
        Self { spec, library, codes, plain }
    }

    /// A validator that knows `resources` too.
    fn with(&self, resources: &[Value<'static>]) -> Validator {
        let library = self.library.with_resources(resources.iter().cloned());
        let codes = self.codes.with_resources(resources.iter().cloned());
        Validator::new(self.spec.clone(), Arc::new(library), Arc::new(codes))
    }

    fn read(&self, name: &str, bytes: &[u8]) -> Result<Value<'static>, String> {
        if has_ending(name, "xml") {
            let read = xml::read(bytes, &self.spec.schema, Limits::default());
            return read.map(Value::into_owned).map_err(|fault| format!("{fault:?}"));
        }
        parse(bytes).map(Value::into_owned).map_err(|fault| fault.to_string())
    }

    /// What is wrong with a document; nothing when it is valid.
    fn errors(
        &self,
        (name, bytes): (&str, &[u8]),
        validator: &Validator,
        profiles: &[&str],
        brought: &[Value<'static>],
        case: &Value<'_>,
    ) -> Vec<String> {
        let value = match self.read(name, bytes) {
            Ok(value) => value,
            Err(fault) => return vec![fault],
        };
        let verdict = form::check(&value, &self.spec.schema);
        if let form::Verdict::Malformed(issues) = verdict {
            return issues.iter().map(ToString::to_string).collect();
        }
        let unknown_extension = |url: &str| unknown_extension(case, url);
        let asked_for = |is_asked| if is_asked { Severity::Error } else { Severity::Information };
        let options = Options {
            questionnaires: brought,
            markup: asked_for(is(case, "security-checks") == Some(true)),
            example_urls: asked_for(is(case, "examples") == Some(false)),
            unknown_extension: &unknown_extension,
            ..Options::default()
        };
        let found = validator.validate(&value, profiles, &options);
        let all = verdict.issues().iter().chain(&found);
        let is_error = |issue: &&Issue| issue.severity <= Severity::Error;
        all.filter(is_error).map(ToString::to_string).collect()
    }
}

/// A switch of a case.
fn is(case: &Value<'_>, name: &str) -> Option<bool> {
    case.get(name).and_then(Value::as_bool)
}

/// The suite's own implementation refuses extensions that it does not know, but for those of a domain
/// that the case allows, and of examples unless the case refuses these.
fn unknown_extension(case: &Value<'_>, url: &str) -> Severity {
    // What a case names and the archive lacks may define any.
    if case.get("supporting5").is_some() {
        return Severity::Information;
    }
    let allowed = case.str_at("allowed-extension-domain");
    let is_example = url.contains("://example.org/") && is(case, "examples") != Some(false);
    let is_allowed = is_example || allowed.is_some_and(|domain| url.starts_with(domain));
    if is_allowed { Severity::Information } else { Severity::Error }
}

/// What the suite expects: the errors of its own implementation; `None`: the suite does not tell.
fn expected(files: &Files, case: &Value<'_>) -> Option<Vec<String>> {
    let told = case.get("java")?;
    if let Some(count) = told.get("errorCount").and_then(Value::as_number) {
        return Some(vec!["(counted)".to_owned(); count.parse().unwrap()]);
    }
    let owned;
    let outcome = match told.as_str() {
        Some(path) => {
            let bytes = files.get(&format!("validator-r4/outcomes/{path}"))?;
            owned = parse(bytes).unwrap();
            &owned
        }
        None => told.get("outcome")?,
    };
    let errors = outcome
        .items_at("issue")
        .iter()
        .filter(|issue| matches!(issue.str_at("severity"), Some("error" | "fatal")));
    let text = |issue: &Value<'_>| {
        let text = issue.get("details").and_then(|details| details.str_at("text"));
        text.unwrap_or_default().to_owned()
    };
    Some(errors.map(text).collect())
}

/// One comparison: what is expected and what was found, each the errors.
struct Compared {
    theirs: Vec<String>,
    ours: Vec<String>,
}

impl Compared {
    fn agrees(&self) -> bool {
        self.theirs.is_empty() == self.ours.is_empty()
    }
}

/// The documents that `names` of a case's list name.
fn brought(bench: &Bench, files: &Files, case: &Value<'_>, names: &[&str]) -> Vec<Value<'static>> {
    let mut found = Vec::new();
    for list in names {
        for name in case.items_at(list).iter().filter_map(Value::as_str) {
            let Some(bytes) = files.get(&format!("validator-r4/{name}")) else { continue };
            // A definition that is broken on purpose is one that nobody knows.
            let Ok(value) = bench.read(name, bytes) else { continue };
            let entries = value.items_at("entry").iter();
            found.extend(entries.filter_map(|entry| entry.get("resource")).cloned());
            found.push(value);
        }
    }
    found
}

/// Runs a case: by the base, and by its profile when it has one.
fn run(bench: &Bench, files: &Files, case: &Value<'_>) -> Vec<(&'static str, Compared)> {
    let file = case.str_at("file").unwrap();
    let bytes = files.get(&format!("validator-r4/{file}")).unwrap();
    let mut found = Vec::new();
    let mut resources = brought(bench, files, case, &["profiles", "supporting"]);
    let own;
    let validator = match &*resources {
        [] => &bench.plain,
        resources => {
            own = bench.with(resources);
            &own
        }
    };
    if let Some(theirs) = expected(files, case) {
        let ours = bench.errors((file, bytes), validator, &[], &resources, case);
        found.push(("base", Compared { theirs, ours }));
    }
    let Some(profile) = case.get("profile") else { return found };
    let Some(theirs) = expected(files, profile) else { return found };
    let source = profile.str_at("source").unwrap();
    resources.extend(brought(bench, files, profile, &["supporting"]));
    let url = match files.get(&format!("validator-r4/{source}")) {
        Some(bytes) => match bench.read(source, bytes) {
            Ok(definition) => {
                let url = definition.str_at("url").unwrap().to_owned();
                resources.push(definition);
                url
            }
            Err(fault) => {
                found.push(("profile", Compared { theirs, ours: vec![fault] }));
                return found;
            }
        },
        None => source.to_owned(),
    };
    let validator = bench.with(&resources);
    let ours = match validator.check_profile(&url) {
        Ok(()) => bench.errors((file, bytes), &validator, &[&url], &resources, case),
        Err(fault) => vec![fault.to_string()],
    };
    found.push(("profile", Compared { theirs, ours }));
    found
}

/// How many cases agree; more is better, and the list of the others says why they do not.
const AGREED: usize = 216;

#[test]
fn the_validators_suite_is_agreed_with_or_the_disagreement_is_judged() {
    let Some(files) = archive(SUITE) else { return };
    let files: Files = files.into_iter().collect();
    let manifest = parse(&files["validator-r4/manifest.json"]).unwrap();
    let cases = manifest.items_at("test-cases");
    assert_eq!(cases.len(), 244);
    let bench = Bench::new();
    let judged: BTreeMap<&str, &str> = judged::DISAGREEMENTS.iter().copied().collect();
    // Two cases may have one name.
    let mut met = BTreeSet::new();
    let (mut told, mut agreed, mut surprises) = (0, 0, String::new());
    for case in cases {
        let name = case.str_at("name").unwrap();
        let compared = run(&bench, &files, case);
        if compared.is_empty() {
            assert!(judged::UNTOLD.contains(&name), "{name}: the suite does not tell");
            continue;
        }
        told += 1;
        let bad: Vec<_> = compared.iter().filter(|(_, one)| !one.agrees()).collect();
        agreed += usize::from(bad.is_empty());
        if judged.contains_key(name) && !bad.is_empty() {
            met.insert(name);
            continue;
        }
        for (how, one) in bad {
            let (ours, theirs) = (one.ours.first(), one.theirs.first());
            let _ = writeln!(surprises, "{name} ({how})\n  we: {ours:?}\n  they: {theirs:?}");
        }
    }
    let score = f64::from(agreed as u32) / f64::from(told);
    println!("{agreed} of {told} cases agree: {score:.3}");
    assert!(agreed >= AGREED, "only {agreed} of {told} agree");
    assert!(surprises.is_empty(), "{agreed} of {told} agree\n{surprises}");
    let settled: Vec<_> = judged.keys().filter(|name| !met.contains(*name)).collect();
    assert!(settled.is_empty(), "judged, but no case, or one that agrees: {settled:?}");
}
