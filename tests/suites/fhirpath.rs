//! FHIRPath over what HL7 publishes: every search expression of R4 over Synthea's resources,
//! every invariant of R4 through the parser.
//!
//! Packages and suites are not part of the project; without them the tests say so and skip (but
//! fail in CI).

use std::collections::HashMap;

use kiln::fhir::json::{Value, parse};
use kiln::fhirpath::{Environment, Expression};
use kiln::spec::Spec;

use crate::harness::shared::{archive, long};

const PACKAGE: &str = "packages/hl7.fhir.r4.core-4.0.1.tgz";

/// The files of the R4 package whose names begin with `prefix`.
fn definitions(prefix: &str) -> Option<Vec<Vec<u8>>> {
    let files = archive(PACKAGE)?;
    let wanted = format!("package/{prefix}-");
    Some(files.into_iter().filter(|(name, _)| name.starts_with(&wanted)).map(|it| it.1).collect())
}

/// The search expressions by base type, parsed.
fn search_expressions() -> Option<HashMap<String, Vec<Expression>>> {
    let mut by_base: HashMap<String, Vec<Expression>> = HashMap::new();
    let mut count = 0;
    for bytes in definitions("SearchParameter")? {
        let parameter = parse(&bytes).unwrap();
        let Some(text) = parameter.str_at("expression") else { continue };
        let expression = Expression::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert!(expression.unsupported().is_empty(), "{text}");
        count += 1;
        for base in parameter.items_at("base") {
            by_base.entry(base.as_str().unwrap().to_owned()).or_default().push(expression.clone());
        }
    }
    assert!(count > 1300, "only {count} expressions");
    Some(by_base)
}

#[test]
fn every_search_expression_evaluates_over_every_resource() {
    let Some(expressions) = search_expressions() else { return };
    let Some(bundles) = archive("suites/synthea-r4-100-patients.tar.gz") else { return };
    let spec = Spec::r4().unwrap();
    // Each file has the same kinds of resources: the short form takes some of them.
    let step = if long() { 1 } else { 20 };
    let (mut evaluated, mut filled) = (0_u64, 0_u64);
    for (name, bytes) in bundles.iter().step_by(step) {
        let bundle = parse(bytes).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        for resource in bundle.items_at("entry").iter().filter_map(|entry| entry.get("resource")) {
            let environment = Environment::new(resource, &spec.schema);
            let own = resource.str_at("resourceType").unwrap();
            for base in [own, "DomainResource", "Resource"] {
                for expression in expressions.get(base).into_iter().flatten() {
                    let found = expression.evaluate(&environment);
                    let items =
                        found.unwrap_or_else(|fault| panic!("{}: {fault}", expression.text()));
                    evaluated += 1;
                    filled += u64::from(!items.is_empty());
                }
            }
        }
    }
    assert!(evaluated > 10_000, "only {evaluated} evaluations");
    assert!(filled * 5 > evaluated, "{filled} of {evaluated} evaluations found something");
}

#[test]
fn every_invariant_of_r4_parses() {
    let Some(structures) = definitions("StructureDefinition") else { return };
    let mut count = 0;
    for bytes in structures {
        let structure = parse(&bytes).unwrap();
        let elements = structure.get("snapshot").map_or(&[][..], |it| it.items_at("element"));
        for constraint in elements.iter().flat_map(|element| element.items_at("constraint")) {
            let Some(text) = constraint.get("expression").and_then(Value::as_str) else { continue };
            Expression::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            count += 1;
        }
    }
    assert!(count > 10_000, "only {count} invariants");
}
