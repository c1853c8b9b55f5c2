//! What FHIR defines for search, against what the server offers: nothing is left out or made up.
//!
//! The published package is not part of the project; without it the tests say so and skip (but fail
//! in CI).
//!
//! Covers: rest 4.171, rest 4.217, rest 4.219, rest 5.7.

use std::collections::{BTreeMap, BTreeSet};

use kiln::fhir::ResourceType;
use kiln::fhir::json::{Value, parse};
use kiln::fhirpath::Expression;
use kiln::spec::Spec;

use crate::harness::server::TestServer;
use crate::harness::shared::archive;

const PACKAGE: &str = "packages/hl7.fhir.r4.core-4.0.1.tgz";

/// The resources of the package in files that begin so.
fn published(beginning: &str) -> Option<Vec<Value<'static>>> {
    let files = archive(PACKAGE)?;
    let wanted = files.iter().filter(|(path, _)| {
        path.rsplit('/').next().is_some_and(|name| name.starts_with(beginning))
    });
    Some(wanted.map(|(_, bytes)| parse(bytes).unwrap().into_owned()).collect())
}

/// The definitions that are in force: those that are no examples of what may be defined.
fn definitions() -> Option<Vec<Value<'static>>> {
    let mut all = published("SearchParameter-")?;
    all.retain(|one| one.get("experimental").and_then(Value::as_bool) != Some(true));
    Some(all)
}

/// What a definition has to be declared as.
fn declared(definition: &Value<'_>) -> [String; 3] {
    ["code", "type", "url"].map(|name| definition.str_at(name).unwrap().to_owned())
}

/// Types that have a parameter of `base`.
fn types_of(base: &str) -> Vec<&str> {
    match base {
        "Resource" => vec!["Binary", "Patient"],
        "DomainResource" => vec!["Basic", "Patient"],
        own => vec![own],
    }
}

fn texts<'v>(value: &'v Value<'_>, list: &str) -> Vec<&'v str> {
    value.items_at(list).iter().filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_definition_is_declared_and_asked_for_by_its_name() {
    let Some(definitions) = definitions() else { return };
    let server = TestServer::start().await;
    let statement = server.client.get("/metadata").await.expect(200).json();
    let mut offered = BTreeMap::new();
    for resource in statement.items_at("rest")[0].items_at("resource") {
        let (of, parameters) = (resource.str_at("type").unwrap(), resource.items_at("searchParam"));
        let names: BTreeSet<_> = parameters.iter().map(|it| it.str_at("name")).collect();
        assert_eq!(names.len(), parameters.len(), "{of} has a name twice");
        offered.insert(of, parameters);
    }
    let (mut known, mut without) = (BTreeSet::new(), BTreeSet::new());
    for definition in &definitions {
        let [code, of_type, url] = declared(definition);
        known.insert([code.clone(), of_type.clone(), url.clone()]);
        if definition.get("expression").is_none() {
            without.insert(code);
            continue;
        }
        for of in texts(definition, "base").into_iter().flat_map(types_of) {
            let is_this = |it: &&Value<'_>| {
                (it.str_at("name"), it.str_at("type"), it.str_at("definition"))
                    == (Some(&code), Some(&of_type), Some(&url))
            };
            assert_eq!(offered[of].iter().filter(is_this).count(), 1, "{of} {code}");
        }
        let of = types_of(texts(definition, "base")[0])[0];
        let asked = match (&*of_type, definition.items_at("component").len()) {
            ("composite", parts) => format!("={}", vec!["2000"; parts].join("$")),
            _ => ":missing=false".to_owned(),
        };
        let call = server.client.call("GET", &format!("/{of}?{code}{asked}&_count=1"));
        call.header("Prefer", "handling=strict").send().await.expect(200);
    }
    assert!(known.len() > 1_370, "{}", known.len());
    let words = ["_content", "_filter", "_query", "_text"].map(str::to_owned);
    assert_eq!(without, BTreeSet::from(words));
    // Nothing is declared that is not defined, but for what the store itself does.
    let own = ["_filter", "_has", "_list"];
    for (of, parameters) in offered {
        for it in parameters {
            let name = it.str_at("name").unwrap();
            let entry = ["name", "type", "definition"].map(|at| it.str_at(at).unwrap_or_default());
            let is_known = known.contains(&entry.map(str::to_owned));
            assert!(is_known || own.contains(&name), "{of} {name}");
        }
    }
    server.stop().await;
}

/// Names before a parenthesis, and what stands between blanks, outside of literals.
fn used(expression: &str, functions: &mut BTreeSet<String>, operators: &mut BTreeSet<String>) {
    let bare: String = expression.split('\'').step_by(2).collect::<Vec<_>>().join("\"");
    for (at, _) in bare.match_indices('(') {
        let name = bare[..at].rsplit(|it: char| !it.is_ascii_alphanumeric()).next();
        functions.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    for symbol in ["!=", "|", "[0]", " and ", " or ", " as ", " is ", "+", "*", "<", ">", "~"] {
        if bare.contains(symbol) {
            operators.insert(symbol.trim().to_owned());
        }
    }
    if bare.replace("!=", "").contains('=') {
        operators.insert("=".to_owned());
    }
}

#[test]
fn definitions_use_what_is_known_of_fhirpath() {
    let Some(definitions) = definitions() else { return };
    let (mut functions, mut operators) = (BTreeSet::new(), BTreeSet::new());
    for definition in &definitions {
        let parts = definition.items_at("component").iter();
        let own = definition.str_at("expression");
        for expression in own.into_iter().chain(parts.filter_map(|it| it.str_at("expression"))) {
            used(expression, &mut functions, &mut operators);
            let parsed = Expression::parse(expression);
            assert!(parsed.is_ok(), "{expression}: {parsed:?}");
        }
    }
    let all = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(functions, all(&["as", "exists", "resolve", "where"]));
    assert_eq!(operators, all(&["!=", "=", "[0]", "and", "as", "is", "|"]));
}

#[test]
fn compartments_have_the_members_and_parameters_that_are_published() {
    let Some(definitions) = published("CompartmentDefinition-") else { return };
    let spec = Spec::r4().unwrap();
    let mut counts = BTreeMap::new();
    for definition in &definitions {
        let code = definition.str_at("code").unwrap();
        // There is an example beside the five.
        if definition.str_at("url").is_some_and(|url| url.ends_with("/example")) {
            continue;
        }
        let compartment = spec.compartment(code.parse().unwrap()).unwrap();
        let mut members = 0;
        for entry in definition.items_at("resource") {
            let of: ResourceType = entry.str_at("code").unwrap().parse().unwrap();
            let mut wanted = texts(entry, "param");
            members += usize::from(!wanted.is_empty());
            // Not a parameter: the one whose compartment it is.
            wanted.retain(|name| *name != "{def}");
            wanted.sort_unstable();
            let mut found: Vec<&str> =
                compartment.parameters(of).iter().map(|name| &**name).collect();
            found.sort_unstable();
            assert_eq!(found, wanted, "{code} {of}");
        }
        counts.insert(code, members);
    }
    let expected = [
        ("Device", 32),
        ("Encounter", 25),
        ("Patient", 66),
        ("Practitioner", 59),
        ("RelatedPerson", 32),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
}
