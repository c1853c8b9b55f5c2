//! Extraction of search parameters over what HL7 publishes and over Synthea's resources.
//!
//! Suites are not part of the project; without them the tests say so and skip (but fail in CI).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln::fhir::ResourceType;
use kiln::fhir::datetime::Zone;
use kiln::fhir::json::{Limits, Value, parse_with};
use kiln::fhirpath::Cause;
use kiln::search::extract::{Extraction, Extractor, IndexValue, Settings, SkipReason, Skipped};
use kiln::search::values::quantity::Ucum;
use kiln::spec::Spec;
use kiln::spec::codes::Codes;

use crate::harness::shared::{archive, long};

pub(super) const EXAMPLES: &str = "suites/examples-r4-json.tar.gz";
const SYNTHEA: &str = "suites/synthea-r4-100-patients.tar.gz";
pub(super) const LIMITS: Limits = Limits { depth: 400, values: 20_000_000 };

fn settings() -> Settings {
    let base = "http://localhost/fhir".into();
    Settings { base, units: Box::new(Ucum), zone: Zone::UTC }
}

fn codes() -> Arc<Codes> {
    Codes::r4().unwrap()
}

pub(super) fn both() -> (Extractor, Extractor) {
    let spec = Spec::r4().unwrap();
    let paths = Extractor::new(Arc::clone(&spec), codes(), settings()).unwrap();
    (paths, Extractor::by_evaluator(spec, codes(), settings()).unwrap())
}

/// Shows each resource of a file to `visit`: those of a Bundle for themselves too.
pub(super) fn resources(value: &Value<'_>, visit: &mut impl FnMut(ResourceType, &Value<'_>)) {
    if let Some(Ok(of)) = value.str_at("resourceType").map(str::parse) {
        visit(of, value);
    }
    for entry in value.items_at("entry") {
        if let Some(resource) = entry.get("resource") {
            resources(resource, visit);
        }
    }
}

/// What both ways must agree on: systems that elements imply and words of names are told by
/// compiled paths alone, and with the system the rule of case.
fn comparable(value: &IndexValue<'_>) -> Option<String> {
    match value {
        IndexValue::Token { code, .. } => Some(format!("token {}", code.text.to_lowercase())),
        IndexValue::String { exact: None, .. } => None,
        IndexValue::Composite(parts) => {
            let parts: Vec<_> = parts.iter().filter_map(comparable).collect();
            Some(parts.join("$"))
        }
        other => Some(format!("{other:?}")),
    }
}

fn rows(extraction: &Extraction<'_>, extractor: &Extractor) -> BTreeSet<(String, String)> {
    let parameters = extractor.parameters(extraction.resource_type);
    let shown = extraction.rows.iter().filter_map(|row| {
        let code = parameters[usize::from(row.parameter)].code.to_string();
        Some((code, comparable(&row.value)?))
    });
    shown.collect()
}

/// A place where compiled paths find more than the evaluator, on purpose.
fn is_deliberate(code: &str, row: &str) -> bool {
    // R4 writes `as(DateTime)`; a reference by identifier alone is taken at its stated type.
    code == "code-value-date" || row.starts_with("Reference(Identifier")
}

fn compare(of: ResourceType, value: &Value<'_>, paths: &Extractor, evaluator: &Extractor) {
    let (fast, slow) = (paths.extract(of, value), evaluator.extract(of, value));
    let code = |at: u16| &*paths.parameters(of)[usize::from(at)].code;
    let id = value.str_at("id").unwrap_or_default();
    let failed = |skipped: &Skipped| matches!(skipped.reason, SkipReason::Evaluation(_));
    assert!(!fast.skipped.iter().any(failed), "{of}/{id}: {:?}", fast.skipped);
    // The union of all codes of a large value set takes more steps than an expression may.
    let mut given_up = BTreeSet::new();
    for skipped in slow.skipped.iter().filter(|skipped| failed(skipped)) {
        let SkipReason::Evaluation(error) = &skipped.reason else { continue };
        assert_eq!(error.cause, Cause::Budget, "{of}/{id} {}: {error}", code(skipped.parameter));
        given_up.insert(code(skipped.parameter));
    }
    let (found, expected) = (rows(&fast, paths), rows(&slow, evaluator));
    let missing: Vec<_> = expected.difference(&found).take(9).collect();
    let more = found.difference(&expected);
    let more = more.filter(|(code, row)| !is_deliberate(code, row) && !given_up.contains(&**code));
    let more: Vec<_> = more.take(9).collect();
    assert!(missing.is_empty() && more.is_empty(), "{of}/{id}: missing {missing:?}, more {more:?}");
    assert_eq!(fast.contained.len(), slow.contained.len());
}

#[test]
fn compiled_paths_find_what_the_evaluator_finds_in_every_example() {
    let Some(examples) = archive(EXAMPLES) else { return };
    let (paths, evaluator) = both();
    let step = if long() { 1 } else { 4 };
    let mut count = 0;
    for (name, bytes) in examples.iter().step_by(step) {
        let value = parse_with(bytes, LIMITS).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        resources(&value, &mut |of, resource| {
            compare(of, resource, &paths, &evaluator);
            count += 1;
        });
    }
    assert!(count * step > 3_000, "only {count} resources");
}

/// How many rows a resource gives, by the table that they go to.
#[derive(Debug, Default)]
struct Counts {
    resources: usize,
    rows: BTreeMap<&'static str, usize>,
}

fn table(value: &IndexValue<'_>) -> &'static str {
    match value {
        IndexValue::Composite(_) => "composite",
        IndexValue::Date(_) => "date",
        IndexValue::Number(_) => "number",
        IndexValue::OfType { .. } => "of-type",
        IndexValue::Position { .. } => "position",
        IndexValue::Quantity(_) => "quantity",
        IndexValue::Reference(_) => "reference",
        IndexValue::String { .. } => "string",
        IndexValue::Text(_) => "text",
        IndexValue::Token { .. } => "token",
        IndexValue::Uri(_) => "uri",
    }
}

fn count(counts: &mut BTreeMap<ResourceType, Counts>, extraction: &Extraction<'_>) {
    let own = counts.entry(extraction.resource_type).or_default();
    own.resources += 1;
    for row in &extraction.rows {
        *own.rows.entry(table(&row.value)).or_default() += 1;
    }
    let keys = extraction.sort_keys().map(|(_, least, most)| if least == most { 1 } else { 2 });
    *own.rows.entry("keys").or_default() += keys.sum::<usize>();
    *own.rows.entry("primary").or_default() += usize::from(extraction.primary.is_some());
}

#[test]
fn every_example_is_extracted_and_every_kind_of_row_comes_out() {
    let Some(examples) = archive(EXAMPLES) else { return };
    let (paths, _) = both();
    let mut counts = BTreeMap::new();
    let mut skipped = BTreeMap::<String, usize>::new();
    let mut used = BTreeSet::new();
    for (name, bytes) in &examples {
        let value = parse_with(bytes, LIMITS).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        resources(&value, &mut |of, resource| {
            let found = paths.extract(of, resource);
            count(&mut counts, &found);
            used.extend(found.present().map(|at| &*paths.parameters(of)[usize::from(at)].url));
            for skip in &found.skipped {
                let code = &paths.parameters(of)[usize::from(skip.parameter)].code;
                *skipped.entry(format!("{of} {code} {:?}", skip.reason)).or_default() += 1;
            }
        });
    }
    eprintln!("skipped: {skipped:#?}\nparameters with a value: {}", used.len());
    assert!(used.len() > 1_050, "only {} parameters have a value", used.len());
    assert!(skipped.len() < 5, "{skipped:#?}");
    let total: usize = counts.values().map(|of| of.resources).sum();
    assert!(total > 5_000, "{total} resources");
    for kind in ["composite", "date", "number", "of-type", "position", "quantity", "reference"]
        .into_iter()
        .chain(["string", "text", "token", "uri"])
    {
        let rows: usize = counts.values().filter_map(|of| of.rows.get(kind)).sum();
        assert!(rows > 0, "no {kind}");
    }
}

#[test]
fn synthea_resources_stay_within_the_budget_of_rows() {
    let Some(bundles) = archive(SYNTHEA) else { return };
    let (paths, evaluator) = both();
    let step = if long() { 1 } else { 20 };
    let mut counts = BTreeMap::new();
    for (name, bytes) in bundles.iter().step_by(step) {
        let value = parse_with(bytes, LIMITS).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        resources(&value, &mut |of, resource| {
            if of != ResourceType::BUNDLE {
                count(&mut counts, &paths.extract(of, resource));
                compare(of, resource, &paths, &evaluator);
            }
        });
    }
    let total: usize = counts.values().map(|of| of.resources).sum();
    let mut all = BTreeMap::<&str, usize>::new();
    for (of, own) in &counts {
        let per: Vec<String> = own
            .rows
            .iter()
            .map(|(kind, rows)| format!("{kind} {:.1}", *rows as f64 / own.resources as f64))
            .collect();
        eprintln!("{of} {}: {}", own.resources, per.join(", "));
        for (kind, rows) in &own.rows {
            *all.entry(kind).or_default() += rows;
        }
    }
    let per = |kind: &str| all.get(kind).copied().unwrap_or_default() as f64 / total as f64;
    for kind in all.keys() {
        eprintln!("all {total}: {kind} {:.2}", per(kind));
    }
    // Synthea's lean resources: an Observation has 7.4 of these, an ExplanationOfBenefit 10.
    let hashed = per("token") + per("reference") + per("composite");
    assert!((6.0..12.0).contains(&hashed), "{hashed}: {all:?}");
    assert!(per("keys") < 10.0 && per("text") < 3.0, "{all:?}");
}
