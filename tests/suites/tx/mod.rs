//! The cases of the terminology ecosystem's suite, answered by [`kiln::terminology::operation`].

mod compare;

use std::collections::HashMap;

use kiln::fhir::json::{Object, Value, parse};
use kiln::fhir::operation_outcome;
use kiln::fhir::outcome::outcome_of_codes;
use kiln::spec::R4_PACK;
use kiln::terminology::Image;
use kiln::terminology::operation::{Operation, Refusal, Request, answer};

use crate::harness::shared::archive;

use compare::{compare, in_r4};

const SUITE: &str = "suites/tx.tar.gz";
/// What a server may bear, in the words of the case that asks for it.
const LIMIT: usize = 1_000;
/// Least cases that must agree.
const LEAST: usize = 149;

/// Cases that are answered otherwise, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("language-xform-en-multi-de-hard", "the language is told as it was asked, without more space"),
    ("metadata", "another matter: conformance/capability"),
    ("term-caps", "another matter: conformance/terminology"),
    ("validate-code-inactive-display", "the designation is withdrawn, and not deprecated"),
];

fn document(files: &HashMap<String, Vec<u8>>, name: &str) -> Value<'static> {
    let bytes = files.get(&format!("tx/{name}")).unwrap_or_else(|| panic!("{name} is missing"));
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    parse(bytes).unwrap_or_else(|fault| panic!("{name}: {fault}")).into_owned()
}

fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "expand" => Operation::Expand,
        "lookup" => Operation::Lookup,
        "subsumes" => Operation::Subsumes,
        "translate" => Operation::Translate,
        "validate-code" => Operation::ValidateInSet,
        "cs-validate-code" => Operation::ValidateInSystem,
        _ => return None,
    })
}

/// R5's relationships of a ConceptMap in R4's words.
fn with_equivalences(resource: &Value<'_>) -> Value<'static> {
    match resource {
        Value::Array(items) => Value::Array(items.iter().map(with_equivalences).collect()),
        Value::Object(object) => {
            let mut changed = Object::new();
            for (name, value) in object.iter() {
                match (name, value.as_str()) {
                    ("relationship", Some(relationship)) => {
                        let equivalence = match relationship {
                            "source-is-broader-than-target" => "narrower",
                            "source-is-narrower-than-target" => "wider",
                            "not-related-to" => "disjoint",
                            "related-to" => "relatedto",
                            other => other,
                        };
                        changed.set("equivalence", equivalence.to_owned());
                    }
                    ("sourceScopeUri", _) => changed.set("sourceUri", with_equivalences(value)),
                    ("targetScopeUri", _) => changed.set("targetUri", with_equivalences(value)),
                    _ => changed.set(name.to_owned(), with_equivalences(value)),
                }
            }
            changed.into()
        }
        other => other.clone().into_owned(),
    }
}

/// The answer, and whether it is one.
fn answered(
    image: &Image,
    of: Operation,
    case: &Value<'_>,
    request: &Value<'_>,
) -> (Value<'static>, bool) {
    let request = Request {
        parameters: request,
        subject: kiln::terminology::operation::Subject::Named,
        languages: case.str_at("Accept-Language"),
        limit: LIMIT,
        now: "2026-03-14T15:09:26.535Z",
        identifier: "018e3b1c-0000-7000-8000-000000000000",
    };
    match answer(image, of, &request) {
        Ok(answer) => (without_versions(answer), true),
        Err(Refusal::Malformed(issues)) => (operation_outcome(&issues), false),
        Err(Refusal::Missing(findings) | Refusal::Unprocessable(findings)) => {
            (outcome_of_codes(&findings), false)
        }
    }
}

/// Without the parameters by which R4 tells what `used-codesystem` tells too.
fn without_versions(mut answer: Value<'static>) -> Value<'static> {
    let expansion = answer.as_object_mut().and_then(|it| it.get_mut("expansion"));
    let parameters = expansion.and_then(|it| it.as_object_mut()?.get_mut("parameter"));
    if let Some(parameters) = parameters.and_then(Value::as_array_mut) {
        parameters.retain(|it| it.str_at("name") != Some("version"));
    }
    answer
}

/// What is wrong with the answer to a case.
fn judge(files: &HashMap<String, Vec<u8>>, image: &Image, case: &Value<'_>) -> Result<(), String> {
    let name = case.str_at("operation").unwrap();
    let Some(of) = operation(name) else { return Err(format!("{name} is another matter")) };
    let request = document(files, case.str_at("request").unwrap());
    let (found, is_answer) = answered(image, of, case, &request);
    let expects_answer = !case.str_at("http-code").is_some_and(|code| code.starts_with('4'));
    if is_answer != expects_answer {
        return Err(format!("{} instead", found.to_text()));
    }
    let mut fault = Err("there is no response".to_owned());
    for form in ["response", "response:flat"] {
        let response = case.str_at(form).filter(|it| files.contains_key(&format!("tx/{it}")));
        let Some(response) = response else { continue };
        let judged = compare(&in_r4(&document(files, response)), &found, "");
        if judged.is_ok() || form == "response" {
            fault = judged;
        }
    }
    fault
}

#[test]
fn the_cases_of_the_ecosystem_are_answered_as_it_says() {
    let Some(files) = archive(SUITE) else { return };
    let files: HashMap<_, _> = files.into_iter().collect();
    let cases = document(&files, "test-cases.json");
    let packed = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
    let (mut agreed, mut all, mut wrong) = (0, 0, Vec::new());
    for suite in cases.items_at("suites") {
        let setup = suite.items_at("setup").iter().filter_map(Value::as_str);
        let setup: Vec<_> = setup.map(|name| with_equivalences(&document(&files, name))).collect();
        let image = packed.with_resources(setup);
        for case in suite.items_at("tests") {
            let name = case.str_at("name").unwrap();
            let is_exception = EXCEPTIONS.iter().any(|(known, _)| *known == name);
            all += 1;
            match judge(&files, &image, case) {
                Ok(()) if is_exception => wrong.push(format!("{name} agrees by now")),
                Ok(()) => agreed += 1,
                Err(_) if is_exception => {}
                Err(fault) => wrong.push(format!("{name}: {fault}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{agreed} of {all} agree\n{}", wrong.join("\n"));
    assert!(all == 156 && agreed >= LEAST, "{agreed} of {all} agree");
}
