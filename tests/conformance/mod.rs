//! The cases in `conformance/`, what they cover, and the runner.

mod all;
mod case;
mod coverage;
mod run;
mod searchset;
mod smart;

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::shared::shared;
use coverage::{Coverage, LISTS};

#[test]
fn a_known_failure_is_a_case_and_has_a_reason() {
    let ids: BTreeSet<_> = case::all().into_iter().map(|case| case.id).collect();
    for (id, reason) in coverage::known_failures() {
        assert!(ids.contains(&id), "{id} is no case");
        assert!(reason.split(' ').count() > 3, "{id} has no reason");
    }
}

#[test]
fn no_two_cases_share_an_id() {
    let mut seen = BTreeSet::new();
    for case in case::all() {
        assert!(seen.insert(case.id.clone()), "{}", case.id);
    }
}

#[test]
fn coverage_tells_what_the_cases_show() {
    let claims = coverage::claims(&case::all());
    let known = coverage::known_failures();
    let mut coverage = Coverage::read();
    if std::env::var_os("UPDATE_COVERAGE").is_some() {
        coverage.update(&claims, &known);
        std::fs::write(case::folder().join("coverage.toml"), coverage.text()).unwrap();
    }
    let faults = coverage.faults(&claims, &known);
    assert!(faults.is_empty(), "{faults:#?}");
    let text = std::fs::read_to_string(case::folder().join("coverage.toml")).unwrap();
    assert!(text == coverage.text(), "the file is not in order: run with UPDATE_COVERAGE=1");
}

#[test]
fn what_is_shown_in_part_stays_open() {
    let coverage = Coverage::read();
    for (name, item) in coverage::parts(&case::all()) {
        assert!(coverage.is_open(&item), "{name}: {item} is not open");
    }
}

#[test]
fn coverage_has_every_item_of_the_checklists() {
    let items = Coverage::read().items();
    for (list, file) in LISTS.iter().zip(["rest.md", "security.md", "hl7v2.md"]) {
        let Some(path) = shared(&format!("spec/{file}")) else { return };
        let wanted = coverage::checklist(list, &std::fs::read_to_string(path).unwrap());
        assert!(wanted.len() > 20, "{list}: only {} items", wanted.len());
        let missing: Vec<_> = wanted.difference(&items).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn the_readme_table_is_the_coverage() {
    const BEGIN: &str = "<!-- coverage:begin -->\n";
    const END: &str = "<!-- coverage:end -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("README.md has no coverage:begin");
    let (table, tail) = rest.split_once(END).expect("README.md has no coverage:end");
    let wanted = Coverage::read().table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}")).unwrap();
        return;
    }
    assert!(table == wanted, "run UPDATE_GOLDEN=1 cargo test --test kiln readme");
}
