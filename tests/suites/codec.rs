//! JSON to XML and back over all published R4 examples, and the published XML and JSON pairs.
//!
//! The examples are not part of the project: the test looks for them in the folder that
//! `KILN_SHARED` names, else in `shared` beside the project, and skips without them (but fails
//! in CI). A file on a list of known differences that passes fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use kiln::fhir::codec::xml;
use kiln::fhir::json::{Limits, Object, Value, parse};
use kiln::fhir::schema::Schema;
use kiln::spec::Spec;

/// Examples that do not come back unchanged, each with the reason.
const CHANGED: &[(&str, &str)] =
    &[("package-min-ver.json", "the manifest of an NPM package, not a resource")];

/// Pairs that differ outside `meta` and `text`, each with the reason.
const UNEQUAL: &[(&str, &str)] = &[];

/// The files of a suite by name; `None`, with a word about it, when the suites are not there.
fn suite(name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("KILN_SHARED").map_or(beside, PathBuf::from);
    let path = shared.join("suites").join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{} is missing",
            path.display()
        );
        eprintln!("skipped: {} is not there", path.display());
        return None;
    };
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type().is_file() {
            let name = entry.path().expect("a path").file_name().expect("a name").to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("the content");
            files.insert(name.into_string().expect("UTF-8"), bytes);
        }
    }
    Some(files)
}

fn to_xml(value: &Value<'_>, schema: &Schema, pretty: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    xml::write(value, schema, &mut out, pretty).map_err(|fault| format!("write: {fault}"))?;
    Ok(out)
}

/// The first place where two documents differ, with both values.
fn difference(left: &Value<'_>, right: &Value<'_>, path: &str) -> Option<String> {
    if left == right {
        return None;
    }
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&str> = a.iter().chain(b.iter()).map(|(name, _)| name).collect();
            names.into_iter().find_map(|name| {
                let there = |object: &Object<'_>| object.get(name).cloned().map(Value::into_owned);
                let (a, b) = (there(a).unwrap_or(Value::Null), there(b).unwrap_or(Value::Null));
                difference(&a, &b, &format!("{path}.{name}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).find_map(|at| difference(&a[at], &b[at], &format!("{path}[{at}]")))
        }
        _ => Some(format!("{path}: {} is now {}", left.to_text(), right.to_text())),
    }
}

/// The document without `meta` and `text` of every resource in it.
fn bare(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(bare).collect()),
        Value::Object(mut object) => {
            let is_resource = object.contains("resourceType");
            object.retain(|name, _| !is_resource || (name != "meta" && name != "text"));
            let inner = object.into_iter().map(|(name, value)| (name, bare(value)));
            Value::Object(inner.collect())
        }
        scalar => scalar,
    }
}

/// Compares what failed with what is listed; both ways.
fn compare_with_list(failed: &BTreeMap<String, String>, listed: &[(&str, &str)]) {
    let known: BTreeSet<&str> = listed.iter().map(|(name, _)| *name).collect();
    let new: Vec<_> = failed.iter().filter(|(name, _)| !known.contains(&***name)).collect();
    assert!(new.is_empty(), "{} not on the list: {new:#?}", new.len());
    let passing: Vec<_> = known.iter().filter(|name| !failed.contains_key(**name)).collect();
    assert!(passing.is_empty(), "listed but unchanged: {passing:?}");
}

#[test]
fn every_published_example_goes_to_xml_and_back_unchanged() {
    let Some(files) = suite("examples-r4-json.tar.gz") else { return };
    let spec = Spec::r4().expect("the embedded pack");
    let back = |bytes: &[u8], pretty: bool| -> Result<(), String> {
        let value = parse(bytes).map_err(|fault| format!("JSON: {fault}"))?;
        let xml = to_xml(&value, &spec.schema, pretty)?;
        let again = xml::read(&xml, &spec.schema, Limits::default())
            .map_err(|fault| format!("read: {fault} ({})", fault.path))?;
        difference(&value, &again, "").map_or(Ok(()), Err)
    };
    let mut failed = BTreeMap::new();
    for (name, bytes) in &files {
        if let Err(reason) = back(bytes, false).and_then(|()| back(bytes, true)) {
            failed.insert(name.clone(), reason);
        }
    }
    assert_eq!(files.len(), 2906);
    compare_with_list(&failed, CHANGED);
}

#[test]
fn the_published_pairs_agree_outside_meta_and_text() {
    let Some(files) = suite("xml-json-pairs.tar.gz") else { return };
    let spec = Spec::r4().expect("the embedded pack");
    let mut failed = BTreeMap::new();
    let mut pairs = 0;
    for (name, bytes) in &files {
        let Some(stem) = name.strip_suffix(".xml") else { continue };
        pairs += 1;
        let agree = || -> Result<(), String> {
            let json = files.get(&format!("{stem}.json")).ok_or("no JSON beside it")?;
            let json = parse(json).map_err(|fault| format!("JSON: {fault}"))?;
            let xml = xml::read(bytes, &spec.schema, Limits::default())
                .map_err(|fault| format!("read: {fault} ({})", fault.path))?;
            difference(&bare(json), &bare(xml), "").map_or(Ok(()), Err)
        };
        if let Err(reason) = agree() {
            failed.insert(stem.to_owned(), reason);
        }
    }
    assert_eq!(pairs, 67);
    compare_with_list(&failed, UNEQUAL);
}
