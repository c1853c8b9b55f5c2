//! The published patch suites: FHIRPath Patch as HL7 has it, JSON Patch as RFC 6902 has it.
//!
//! The suites are not part of the project; without them the tests say so and skip (but fail in CI).

use kiln::engine::patch::{Patch, apply};
use kiln::error::Error;
use kiln::fhir::codec::xml::{self, tree};
use kiln::fhir::json::{Limits, Value, parse};
use kiln::fhirpath::same_tree;
use kiln::spec::Spec;

use crate::harness::shared::archive;

/// Cases that are not answered as the suite says, each with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

fn suite(name: &str) -> Option<String> {
    let files = archive("suites/patch.tar.gz")?;
    let (_, bytes) = files.into_iter().find(|(path, _)| path.ends_with(name)).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

/// The failures of a suite beside the listed exceptions, and the exceptions that pass.
fn check(failures: &[String]) {
    let listed = |name: &str| EXCEPTIONS.iter().any(|(known, _)| *known == name);
    let unexpected: Vec<_> =
        failures.iter().filter(|text| !listed(text.split(": ").next().unwrap())).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    for (name, reason) in EXCEPTIONS {
        let fails = failures.iter().any(|text| text.starts_with(&format!("{name}: ")));
        assert!(fails, "{name} passes but is listed as an exception ({reason})");
    }
}

/// The resource in the child `name` of a case.
fn resource(case: &tree::Element, name: &str, spec: &Spec) -> Option<Value<'static>> {
    let holder = case.elements().find(|element| element.name == name)?;
    let text = tree::write(holder.elements().next()?);
    let read = xml::read(text.as_bytes(), &spec.schema, Limits::default());
    Some(read.unwrap_or_else(|fault| panic!("{fault}: {text}")).into_owned())
}

#[test]
fn fhirpath_patch_does_what_the_suite_of_hl7_says() {
    let Some(text) = suite("fhir-patch-tests.xml") else { return };
    let spec = Spec::r4().unwrap();
    let suite = tree::read(&text).unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for case in suite.elements() {
        count += 1;
        let name = case.attribute("name").unwrap();
        let input = resource(case, "input", &spec).unwrap();
        let patch = Patch::FhirPath(resource(case, "diff", &spec).unwrap());
        let found = apply(&patch, input, &spec.schema);
        match (resource(case, "output", &spec), found) {
            (Some(expected), Ok(found)) if same_tree(&expected, &found) => {}
            (None, Err(Error::Invalid(_))) => {}
            (expected, found) => {
                let shown = found.map(|value| value.to_text());
                let expected = expected.map(|value| value.to_text());
                failures.push(format!("{name}: {shown:?} instead of {expected:?}"));
            }
        }
    }
    assert_eq!(count, 33, "the suite has other cases than this test was written for");
    check(&failures);
}

#[test]
fn json_patch_does_what_the_suite_of_its_authors_says() {
    let Some(text) = suite("json-patch-tests.json") else { return };
    let spec = Spec::r4().unwrap();
    let suite = parse(text.as_bytes()).unwrap();
    let cases = suite.as_array().unwrap();
    assert!(cases.len() > 10, "the suite is cut short");
    let mut failures = Vec::new();
    for case in cases {
        let name = case.str_at("comment").unwrap();
        let patch = Patch::Json(case.get("patch").unwrap().clone());
        let found = apply(&patch, case.get("doc").unwrap().clone(), &spec.schema);
        match (case.get("expected"), &found) {
            (Some(expected), Ok(found)) if same_tree(expected, found) => {}
            (None, Err(_)) => {}
            _ => failures.push(format!("{name}: {found:?}")),
        }
    }
    check(&failures);
}
