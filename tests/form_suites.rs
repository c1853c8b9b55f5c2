//! Form validation over all published R4 examples and the synthetic patients.
//!
//! Every file that is refused is on a list with the reason; a listed file that passes, or is
//! refused for another reason, fails the test.

mod refused;

use std::collections::BTreeMap;

use kiln::fhir::json::{Value, parse};
use kiln::spec::Spec;
use kiln::validate::form;

use crate::harness::shared::archive;

pub(crate) use refused::refused;

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[test]
fn every_published_example_has_the_form_of_r4_or_is_listed() {
    let Some(files) = archive("suites/examples-r4-json.tar.gz") else { return };
    assert_eq!(files.len(), 2906);
    let spec = Spec::r4().expect("the embedded pack");
    let mut listed: BTreeMap<String, &str> = refused().collect();
    let mut surprises = Vec::new();
    for (path, bytes) in &files {
        let value = parse(bytes).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        let verdict = form::check(&value, &spec.schema);
        let name = file_name(path);
        match (listed.remove(name), verdict.issues()) {
            (None, []) => {}
            (Some(rule), issues) if issues.iter().any(|issue| issue.to_string().contains(rule)) => {
            }
            (rule, issues) => surprises.push((name, rule, issues.first().cloned())),
        }
    }
    assert!(surprises.is_empty(), "{} not as listed: {surprises:#?}", surprises.len());
    assert!(listed.is_empty(), "listed, but not published: {listed:?}");
}

#[test]
fn every_synthetic_patient_has_the_form_of_r4() {
    let Some(files) = archive("suites/synthea-r4-100-patients.tar.gz") else { return };
    let spec = Spec::r4().expect("the embedded pack");
    let mut entries = 0;
    let is_json =
        |path: &str| std::path::Path::new(path).extension().is_some_and(|end| end == "json");
    for (path, bytes) in files.iter().filter(|(path, _)| is_json(path)) {
        let value = parse(bytes).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        let verdict = form::check(&value, &spec.schema);
        assert!(verdict.is_sound(), "{path}: {verdict:?}");
        let shell = form::check_shell(&value, &spec.schema);
        assert!(shell.is_sound(), "{path}: {shell:?}");
        for resource in value.items_at("entry").iter().filter_map(|entry| entry.get("resource")) {
            entries += 1;
            let verdict = form::check(resource, &spec.schema);
            assert!(verdict.is_sound(), "{path}: {verdict:?}");
        }
    }
    assert_eq!(entries, 38_970);
}

/// Damage to a sound document, by the name of the rule it breaks.
type Damage = (&'static str, fn(&mut Value<'static>));

#[test]
fn damage_to_any_published_example_is_found() {
    let Some(files) = archive("suites/examples-r4-json.tar.gz") else { return };
    let spec = Spec::r4().expect("the embedded pack");
    let damages: [Damage; 4] = [
        ("unknown element", |value| set(value, "unknown", Value::Bool(true))),
        ("null", |value| set(value, "language", Value::Null)),
        ("empty", |value| set(value, "meta", Value::Object(kiln::fhir::json::Object::new()))),
        ("id", |value| set(value, "id", Value::from("a_b"))),
    ];
    for (path, bytes) in files.iter().step_by(7) {
        let value = parse(bytes).unwrap_or_else(|fault| panic!("{path}: {fault}")).into_owned();
        for (name, damage) in &damages {
            let mut broken = value.clone();
            damage(&mut broken);
            assert!(!form::check(&broken, &spec.schema).is_sound(), "{path}: {name}");
        }
    }
}

fn set(value: &mut Value<'static>, name: &'static str, to: Value<'static>) {
    value.as_object_mut().expect("an object").set(name, to);
}
