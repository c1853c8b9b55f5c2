//! HL7's test suite of FHIRPath for R4, case by case.
//!
//! The suite is not part of the project; without it the tests say so and skip (but fail in CI).

use std::collections::HashMap;

use kiln::fhir::Instant;
use kiln::fhir::codec::xml::{self, tree};
use kiln::fhir::json::{Limits, Value, parse};
use kiln::fhirpath::{Answer, Environment, Expression, Ignorance, Item, Knowledge, System};
use kiln::spec::Spec;
use kiln::validate::form;

use crate::harness::shared::archive;

/// How many cases the suite has.
const CASES: usize = 935;

/// Cases that are not answered as the suite says, each with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("LowBoundaryDecimal15", "-0.00345 rounds outwards to -0.1, as in LowBoundaryNegDecimal2"),
    ("HighBoundaryDecimal15", "0.00345 rounds outwards to 0.1, as in HighBoundaryDecimal1"),
    ("HighBoundaryDecimal16", "0.00345 rounds outwards to 0.1, as in HighBoundaryDecimal1"),
    ("HighBoundaryDateTimeMillisecond1", "an hour ends at minute 59, not at minute 0"),
    ("HighBoundaryDateTimeMillisecond3", "an hour ends at minute 59, not at minute 0"),
];

/// Cases that are answered as the suite says although [`Expression::check`] objects.
const UNCHECKED: &[(&str, &str)] = &[];

/// Knows the base definitions of R4, and what a narrative may be.
#[derive(Debug)]
struct Definitions<'s>(&'s Spec);

impl Knowledge for Definitions<'_> {
    fn conforms_to(&self, item: &Item<'_>, profile: &str) -> Answer {
        let name = profile.strip_prefix("http://hl7.org/fhir/StructureDefinition/");
        let wanted = name.and_then(|name| self.0.schema.by_name(name));
        let Some(wanted) = wanted else { return Err(Ignorance::Unknown(profile.to_owned())) };
        let node = item.node().filter(|node| self.0.schema.is_a(node.type_id, wanted));
        Ok(Some(node.is_some_and(|node| form::check(node.value, &self.0.schema).is_sound())))
    }
}

/// A case as the suite has it.
#[derive(Debug)]
struct Case {
    name: String,
    input: Option<String>,
    expression: String,
    /// `syntax`, `semantic` or `execution` for what must fail.
    invalid: Option<String>,
    is_predicate: bool,
    is_ordered: bool,
    outputs: Vec<(Option<String>, String)>,
}

/// A result as a condition: one boolean is what it is, another item is true, nothing is false.
///
/// <https://hl7.org/fhirpath/N1/#singleton-evaluation-of-collections>
fn holds(found: &[Item<'_>], spec: &Spec) -> bool {
    match found {
        [only] => !matches!(only.system(&spec.schema), Some(System::Boolean(false))),
        found => !found.is_empty(),
    }
}

fn child<'t>(of: &'t tree::Element, name: &str) -> Option<&'t tree::Element> {
    of.elements().find(|element| element.name == name)
}

impl Case {
    fn read(element: &tree::Element) -> Self {
        let expression = child(element, "expression").unwrap();
        let outputs = element.elements().filter(|element| element.name == "output");
        let is = |name: &str, value: &str| element.attribute(name) == Some(value);
        Self {
            name: element.attribute("name").unwrap().to_owned(),
            input: element.attribute("inputfile").map(str::to_owned),
            expression: expression.text(),
            invalid: expression.attribute("invalid").map(str::to_owned),
            is_predicate: is("predicate", "true"),
            is_ordered: !is("ordered", "false"),
            outputs: outputs
                .map(|output| (output.attribute("type").map(str::to_owned), output.text()))
                .collect(),
        }
    }

    /// What is wrong with the answer to this case.
    fn run(&self, document: &Value<'_>, spec: &Spec) -> Result<(), String> {
        let expression = match (Expression::parse(&self.expression), self.invalid.as_deref()) {
            (Err(_), Some(_)) => return Ok(()),
            (Err(fault), None) => return Err(format!("does not parse: {fault}")),
            (Ok(_), Some("syntax")) => return Err("parses".to_owned()),
            (Ok(expression), _) => expression,
        };
        let knowledge = Definitions(spec);
        let now = Instant::parse("2026-03-14T15:09:26.535Z").unwrap();
        let environment = Environment::new(document, &spec.schema);
        let environment = environment.with_now(now).with_knowledge(&knowledge);
        let context = environment.resource().node().unwrap().type_id;
        let checked = expression.check(context, &spec.schema);
        let found = expression.evaluate(&environment);
        match (self.invalid.as_deref(), found) {
            (Some("semantic"), Ok(_)) if checked.is_err() => Ok(()),
            (Some(_), Err(_)) => Ok(()),
            (Some(kind), Ok(found)) => {
                Err(format!("has no {kind} fault: {:?}", self.shown(&found, spec)))
            }
            (None, Err(fault)) => Err(format!("fails: {fault}")),
            (None, Ok(found)) => self.compare(self.shown(&found, spec)),
        }
    }

    fn shown(&self, found: &[Item<'_>], spec: &Spec) -> Vec<(String, String)> {
        if self.is_predicate {
            return vec![("boolean".to_owned(), holds(found, spec).to_string())];
        }
        let shown = found.iter().map(|item| {
            let kind = item.type_name(&spec.schema).to_owned();
            let text = item.system(&spec.schema).map(|value| value.to_text());
            (kind, text.unwrap_or_else(|| "(a complex element)".to_owned()))
        });
        shown.collect()
    }

    fn compare(&self, mut found: Vec<(String, String)>) -> Result<(), String> {
        let mut expected = self.outputs.clone();
        if !self.is_ordered {
            found.sort_by(|left, right| left.1.cmp(&right.1));
            expected.sort_by(|left, right| left.1.cmp(&right.1));
        }
        let plain = |text: &str| match text.strip_prefix('@') {
            Some(date) => date.trim_start_matches('T').to_owned(),
            None => text.to_owned(),
        };
        let same = found.len() == expected.len()
            && found.iter().zip(&expected).all(|((kind, text), (wanted, expected))| {
                let is_kind = wanted.as_ref().is_none_or(|it| it.eq_ignore_ascii_case(kind));
                is_kind && *text == plain(expected)
            });
        if same { Ok(()) } else { Err(format!("gives {found:?} instead of {expected:?}")) }
    }
}

/// The document with its elements in the order that XML asks for and without hints for schemas:
/// some of the suite's have another, or them.
fn in_order(text: &str, spec: &Spec) -> Value<'static> {
    let mut root = tree::read(text).unwrap();
    root.attributes.retain(|(name, _)| !name.contains(':'));
    let def = spec.schema.type_named(&root.name).unwrap();
    root.children.sort_by_key(|child| match child {
        tree::Content::Element(element) => def.position(&element.name),
        tree::Content::Text(_) => None,
    });
    let text = tree::write(&root);
    let read = xml::read(text.as_bytes(), &spec.schema, Limits::default());
    read.unwrap_or_else(|fault| panic!("{fault}: {text}")).into_owned()
}

/// The cases, and the documents that they are asked of by file name.
fn suite(spec: &Spec) -> Option<(Vec<Case>, HashMap<String, Value<'static>>)> {
    let files = archive("suites/fhirpath-r4.tar.gz")?;
    let file = |name: &str| {
        let found = files.iter().find(|(path, _)| path.rsplit('/').next() == Some(name));
        &found.unwrap_or_else(|| panic!("{name} is not there")).1
    };
    let root = tree::read(std::str::from_utf8(file("tests-fhir-r4.xml")).unwrap()).unwrap();
    let groups = root.elements().filter(|element| element.name == "group");
    let tests = groups.flat_map(tree::Element::elements);
    let cases: Vec<_> = tests.filter(|it| it.name == "test").map(Case::read).collect();
    let mut documents = HashMap::new();
    for name in cases.iter().filter_map(|case| case.input.clone()) {
        let bytes = file(&name);
        let text = std::str::from_utf8(bytes).unwrap();
        let is_xml = text.trim_start().starts_with('<');
        let document =
            if is_xml { in_order(text, spec) } else { parse(bytes).unwrap().into_owned() };
        documents.insert(name, document);
    }
    Some((cases, documents))
}

const NO_DOCUMENT: &[u8] = br#"{"resourceType":"Basic"}"#;

#[test]
fn the_suite_of_hl7_is_answered_case_by_case() {
    let spec = Spec::r4().unwrap();
    let Some((cases, documents)) = suite(&spec) else { return };
    assert_eq!(cases.len(), CASES);
    let none = parse(NO_DOCUMENT).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let document = case.input.as_ref().map_or(&none, |name| &documents[name]);
        let listed = EXCEPTIONS.iter().find(|(name, _)| *name == case.name);
        match (case.run(document, &spec), listed) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Err(fault), None) => {
                failures.push(format!("{}: {} {fault}", case.name, case.expression.trim()));
            }
            (Ok(()), Some((_, reason))) => {
                failures.push(format!("{} passes but is listed ({reason})", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures: {failures:#?}", failures.len());
    assert!(EXCEPTIONS.len() * 100 <= CASES, "more than one case of a hundred is listed");
    for (name, _) in EXCEPTIONS {
        assert!(cases.iter().any(|case| case.name == *name), "{name} is no case");
    }
}

#[test]
fn the_check_objects_to_no_case_that_has_an_answer() {
    let spec = Spec::r4().unwrap();
    let Some((cases, documents)) = suite(&spec) else { return };
    let none = parse(NO_DOCUMENT).unwrap();
    let mut objections = Vec::new();
    for case in cases.iter().filter(|case| case.invalid.is_none()) {
        let document = case.input.as_ref().map_or(&none, |name| &documents[name]);
        let context = spec.schema.by_name(document.str_at("resourceType").unwrap()).unwrap();
        let Ok(expression) = Expression::parse(&case.expression) else { continue };
        let listed = UNCHECKED.iter().any(|(name, _)| *name == case.name);
        let checked = expression.check(context, &spec.schema);
        if checked.is_err() != listed {
            objections.push(format!("{}: {} {checked:?}", case.name, case.expression.trim()));
        }
    }
    assert!(objections.is_empty(), "{objections:#?}");
}

#[test]
fn one_false_is_no_condition_that_holds() {
    let spec = Spec::r4().unwrap();
    let document = parse(br#"{"resourceType":"Patient","active":false}"#).unwrap();
    let environment = Environment::new(&document, &spec.schema);
    for (text, expected) in [
        ("active", false),
        ("1 = 2", false),
        ("active.not()", true),
        ("active | true", true),
        ("'a'", true),
        ("Patient", true),
        ("name", false),
    ] {
        let expression = Expression::parse(text).unwrap();
        let found = expression.evaluate(&environment).unwrap();
        assert_eq!(holds(&found, &spec), expected, "{text}");
    }
}
