//! Published examples against what they claim: those of R4 against the base, those of US Core and of
//! the International Patient Summary against their profiles.
//!
//! Covers: rest 7.76.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use kiln::fhir::Severity;
use kiln::fhir::json::{Value, parse};
use kiln::spec::package::build;
use kiln::spec::structure::Library;
use kiln::spec::{GUIDE_PACKS, R4_PACK, Spec};
use kiln::terminology::Image;
use kiln::validate::form;
use kiln::validate::profile::{Claim, Options, Validator};

use super::refused::{IPS, R4, US_CORE};
use crate::harness::shared::{archive, has_ending, long, shared};

/// What is wrong with a document that is held to what it claims, or not.
fn errors(validator: &Validator, spec: &Spec, value: &Value<'_>, claim: Claim) -> Vec<String> {
    let verdict = form::check(value, &spec.schema);
    let mut found: Vec<String> = verdict.issues().iter().map(ToString::to_string).collect();
    if matches!(verdict, form::Verdict::Malformed(_)) {
        return found;
    }
    let claims = |_: &str| claim;
    let unknown_claim = Severity::Error;
    let options = Options { claims: &claims, unknown_claim, ..Options::default() };
    let issues = validator.validate(value, &[], &options);
    let bad = issues.iter().filter(|issue| issue.severity <= Severity::Error);
    found.extend(bad.map(ToString::to_string));
    found
}

/// Compares what was refused with the list of what is to be; what differs, nothing when they agree.
fn compare(found: &BTreeMap<String, Vec<String>>, listed: &[(&str, &str, &str)]) -> String {
    let mut text = String::new();
    for (name, errors) in found {
        let known = listed.iter().find(|(file, ..)| file == name);
        let is_known =
            known.is_some_and(|(_, part, _)| errors.iter().any(|error| error.contains(part)));
        if !is_known {
            let _ = writeln!(text, "{name}: {:#?}", &errors[..errors.len().min(3)]);
        }
    }
    for (name, ..) in listed.iter().filter(|(name, ..)| !found.contains_key(*name)) {
        let _ = writeln!(text, "{name} is listed, and valid");
    }
    text
}

#[test]
fn the_published_examples_are_valid_by_the_base_or_listed() {
    let Some(files) = archive("suites/examples-r4-json.tar.gz") else { return };
    assert_eq!(files.len(), 2906);
    let spec = Spec::r4().unwrap();
    let codes = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
    let validator = Validator::new(spec.clone(), Arc::new(Library::r4()), Arc::new(codes));
    let formless: BTreeMap<String, &str> = crate::form_suites::refused().collect();
    let mut found = BTreeMap::new();
    for (path, bytes) in &files {
        let name = path.rsplit('/').next().unwrap();
        if formless.contains_key(name) {
            continue;
        }
        let errors = errors(&validator, &spec, &parse(bytes).unwrap(), Claim::Enforce);
        if !errors.is_empty() {
            found.insert(name.to_owned(), errors);
        }
    }
    let text = compare(&found, R4);
    assert!(text.is_empty(), "{text}");
}

/// The examples of a package that are refused, and how many there are.
fn of_package(file: &str) -> Option<(BTreeMap<String, Vec<String>>, usize)> {
    let packed = std::fs::read(shared(file)?).unwrap();
    let pack = build(&packed).unwrap();
    let spec = Spec::r4().unwrap();
    let library = Library::with_packs([Cow::Owned(pack)]).unwrap();
    let codes = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
    let files = archive(file)?;
    let definitions = files.iter().filter(|(name, _)| {
        let rest = name.strip_prefix("package/").unwrap_or_default();
        rest.starts_with("CodeSystem-") || rest.starts_with("ValueSet-")
    });
    let definitions: Vec<_> = definitions.map(|(_, bytes)| parse(bytes).unwrap()).collect();
    let codes = codes.with_resources(definitions);
    let validator = Validator::new(spec.clone(), Arc::new(library), Arc::new(codes));
    let mut found = BTreeMap::new();
    let examples = files.iter().filter(|(name, _)| name.starts_with("package/example/"));
    let mut count = 0;
    for (path, bytes) in examples {
        let name = path.rsplit('/').next().unwrap();
        let value = parse(bytes).unwrap();
        if value.str_at("resourceType").is_none() {
            continue;
        }
        count += 1;
        let errors = errors(&validator, &spec, &value, Claim::Enforce);
        if !errors.is_empty() {
            found.insert(name.to_owned(), errors);
        }
    }
    Some((found, count))
}

#[test]
fn the_examples_of_us_core_fit_the_profiles_they_claim_or_are_listed() {
    let mut text = String::new();
    for (version, listed) in US_CORE {
        let file = format!("packages/hl7.fhir.us.core-{version}.tgz");
        let Some((found, count)) = of_package(&file) else { return };
        assert!(count > 50, "{version}: only {count} examples");
        text += &compare(&found, listed);
    }
    assert!(text.is_empty(), "{text}");
}

#[test]
fn the_examples_of_the_patient_summary_fit_the_profiles_they_claim_or_are_listed() {
    let Some((found, count)) = of_package("packages/hl7.fhir.uv.ips-1.1.0.tgz") else { return };
    assert!(count > 30, "only {count} examples");
    let text = compare(&found, IPS);
    assert!(text.is_empty(), "{text}");
}

/// Without indexes, so that findings of a kind fall together.
fn kind(error: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for letter in error.chars() {
        match letter {
            '[' => inside = true,
            ']' => inside = false,
            _ if !inside => text.push(letter),
            _ => {}
        }
    }
    text
}

#[test]
fn the_synthetic_patients_are_valid_by_the_base_whatever_they_claim() {
    let Some(files) = archive("suites/synthea-r4-100-patients.tar.gz") else { return };
    let spec = Spec::r4().unwrap();
    let packs = GUIDE_PACKS.iter().copied();
    let library = Arc::new(Library::with_packs(packs.clone().map(Cow::Borrowed)).unwrap());
    let codes = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
    let codes = codes.with_guides(&packs.collect::<Vec<_>>()).unwrap();
    let validator = Validator::new(spec.clone(), library, Arc::new(codes));
    let step = if long() { 1 } else { 12 };
    let (mut found, mut count, mut claims) = (BTreeMap::<String, usize>::new(), 0, 0);
    for (path, bytes) in files.iter().filter(|(path, _)| has_ending(path, "json")).step_by(step) {
        let bundle = parse(bytes).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        for entry in bundle.items_at("entry") {
            let Some(resource) = entry.get("resource") else { continue };
            count += 1;
            let meta = resource.get("meta");
            claims += usize::from(meta.is_some_and(|meta| !meta.items_at("profile").is_empty()));
            for error in errors(&validator, &spec, resource, Claim::Ignore) {
                *found.entry(kind(&error)).or_default() += 1;
            }
        }
    }
    assert!(count > 1_000, "only {count}");
    assert!(found.is_empty(), "of {count} resources, {claims} with claims: {found:#?}");
}
