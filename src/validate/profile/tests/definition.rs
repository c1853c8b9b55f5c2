//! StructureDefinitions, OperationDefinitions and Questionnaires, as documents of their own.

use super::{lines, profile, validator, value};
use crate::fhir::Severity;
use crate::validate::profile::Options;

fn found(document: &str, known: &[String]) -> Vec<String> {
    let options = Options { least: Severity::Error, ..Options::default() };
    lines(&validator(known).validate(&value(document), &[], &options))
}

#[test]
fn the_elements_of_a_definition_fit_what_they_name() {
    let other = "error business-rule StructureDefinition.differential.element[0].type[0].profile[0]: \
                 the profile is for Count, and the type is Quantity";
    let nowhere = "error business-rule StructureDefinition.differential.element[0].slicing.\
                   discriminator[0]: the path leads to no element of ";
    let profiled = |code: &str, profile: &str| {
        format!(
            r#""path":"Observation.value[x]","type":[{{"code":"{code}","profile":["{profile}"]}}]"#
        )
    };
    let sliced = |path: &str, by: &str| {
        format!(
            r#""path":"{path}","slicing":{{"rules":"open","discriminator":[{{"type":"value","path":"{by}"}}]}}"#
        )
    };
    let core = |name: &str| format!("http://hl7.org/fhir/StructureDefinition/{name}");
    for (element, expected) in [
        (profiled("Quantity", &core("Count")), Some(other.to_owned())),
        (profiled("Quantity", &core("SimpleQuantity")), None),
        (profiled("Resource", &core("bp")), None),
        (profiled("Quantity", "http://x.org/unknown"), None),
        (sliced("AuditEvent.agent.extension", "url"), None),
        (sliced("AuditEvent.agent.extension", "type"), Some(format!("{nowhere}Extension"))),
        (sliced("AuditEvent.agent", "type.coding.code"), None),
        (
            sliced("AuditEvent.agent", "type.coding.nothing"),
            Some(format!("{nowhere}AuditEvent.agent")),
        ),
        (sliced("AuditEvent.agent", "who.resolve()"), None),
        (sliced("Observation.component", "value.coding"), None),
        (sliced("Bundle.entry", "resource.code"), None),
        (sliced("Patient.identifier", "$this"), None),
    ] {
        let of = element.split(['"', '.']).nth(3).unwrap_or_default();
        let document = format!(
            r#"{{"resourceType":"StructureDefinition","url":"http://x.org/d","name":"D","status":"draft",
            "kind":"resource","abstract":false,"type":"{of}","derivation":"constraint",
            "baseDefinition":"{}","differential":{{"element":[{{{element}}}]}}}}"#,
            core(of)
        );
        let found = found(&document, &[]);
        let told: Vec<_> = found.iter().filter(|line| line.contains("business-rule")).collect();
        assert_eq!(told, expected.iter().collect::<Vec<_>>(), "{element}");
    }
}

/// Fails unless the one thing found begins with `expected`; where that is empty, nothing is.
#[track_caller]
fn one_thing(found: &[String], expected: &str, of: &str) {
    let is_it = match found {
        [] => expected.is_empty(),
        [one] => !expected.is_empty() && one.starts_with(expected),
        _ => false,
    };
    assert!(is_it, "{of}: {expected}: {found:#?}");
}

#[test]
fn a_definition_can_be_used() {
    let core = "http://hl7.org/fhir/StructureDefinition/Patient";
    let rule = |expression: &str| {
        format!(
            r#""constraint":[{{"key":"a-1","severity":"error","human":"h","expression":"{expression}"}}]"#
        )
    };
    let min = |min: u32| format!(r#""min":{min},"max":"2""#);
    let element = "StructureDefinition.differential.element[1]";
    let own = "http://x.org/d";
    for (base, name, says, expected) in [
        (core, "name", min(1), ""),
        (core, "name", rule("family.exists()"), ""),
        (
            core,
            "nope",
            min(1),
            "error business-rule @: ~ speaks of Patient.nope, which is no element",
        ),
        (core, "name", min(3), "error business-rule $: ~ cannot be used: Patient.name has min 3"),
        (own, "name", min(1), "error business-rule $: ~ builds on itself"),
        (
            "http://x.org/none",
            "name",
            min(1),
            "warning not-found $: ~ builds on http://x.org/none, ",
        ),
        (
            core,
            "name",
            rule("a.b("),
            "error invalid @.constraint[0].expression: the expression can",
        ),
        (
            core,
            "name",
            rule("a.b()"),
            "warning not-supported @.constraint[0].expression: b() is not",
        ),
    ] {
        let document = format!(
            r#"{{"resourceType":"StructureDefinition","url":"{own}","name":"D","status":"draft",
            "kind":"resource","abstract":false,"type":"Patient","derivation":"constraint",
            "baseDefinition":"{base}","differential":{{"element":[{{"id":"Patient","path":"Patient"}},
            {{"id":"Patient.{name}","path":"Patient.{name}",{says}}}]}}}}"#
        );
        let options = Options { least: Severity::Warning, ..Options::default() };
        let mut found = lines(&validator(&[]).validate(&value(&document), &[], &options));
        found.retain(|line| !line.contains("dom-6") && !line.contains("eld-2"));
        let expected = expected.replace('@', element).replace('$', "StructureDefinition");
        one_thing(&found, &expected.replace('~', "the definition http://x.org/d"), &document);
    }
}

fn operation(code: &str, says: &str) -> Vec<String> {
    let document = format!(
        r#"{{"resourceType":"OperationDefinition","name":"D","status":"draft","kind":"operation",
        "code":"{code}",{says}}}"#
    );
    let options = Options { least: Severity::Warning, ..Options::default() };
    let mut found = lines(&validator(&[]).validate(&value(&document), &[], &options));
    found.retain(|line| !line.contains("dom-6"));
    found
}

#[test]
fn an_operation_can_be_called() {
    let levels = |system: bool, of: bool, rest: &str| {
        format!(r#""system":{system},"type":{of},"instance":false{rest}"#)
    };
    let patients = r#","resource":["Patient"]"#;
    for (code, says, expected) in [
        ("do-it", levels(false, true, patients), ""),
        ("do-it", levels(true, false, ""), ""),
        ("$do-it", levels(true, false, ""), "error value OperationDefinition.code"),
        ("do/it", levels(true, false, ""), "error value OperationDefinition.code"),
        (
            "do-it",
            levels(false, false, ""),
            "error business-rule OperationDefinition: the operation",
        ),
        ("do-it", levels(false, true, ""), "warning required OperationDefinition.resource"),
    ] {
        one_thing(&operation(code, &says), expected, &says);
    }
}

#[test]
fn the_parameters_of_an_operation_can_be_given() {
    let one = |name: &str, of: &str, min: &str, max: &str| {
        format!(r#"{{"name":"{name}","use":"{of}","min":{min},"max":"{max}","type":"string"}}"#)
    };
    let two = |of: &str| format!("{},{}", one("a", "in", "0", "1"), one("a", of, "0", "1"));
    let parts =
        |parts: String| format!(r#"{{"name":"p","use":"in","min":0,"max":"1","part":[{parts}]}}"#);
    let overloads = |name: &str| format!(r#","overload":[{{"parameterName":["{name}"]}}]"#);
    for (parameters, rest, expected) in [
        (one("a", "in", "1", "*"), String::new(), ""),
        (two("in"), String::new(), "error duplicate ~[1].name"),
        (two("out"), String::new(), ""),
        (parts(two("in")), String::new(), "error duplicate ~[0].part[1].name"),
        (one("a", "in", "2", "1"), String::new(), "error business-rule ~[0]"),
        (one("a", "in", "0", "many"), String::new(), "error value ~[0].max"),
        (one("a", "in", "-1", "1"), String::new(), "error value ~[0].min"),
        (one("a", "in", "0", "1"), overloads("a"), ""),
        (
            one("a", "in", "0", "1"),
            overloads("b"),
            "error not-found OperationDefinition.overload[0].p",
        ),
    ] {
        let says = format!(
            r#""system":true,"type":false,"instance":false,"parameter":[{parameters}]{rest}"#
        );
        let expected = expected.replace('~', "OperationDefinition.parameter");
        one_thing(&operation("do-it", &says), &expected, &says);
    }
}

#[test]
fn no_item_waits_for_a_question_inside_it() {
    let item = |link: &str, question: &str, inner: &str| {
        format!(
            r#"{{"linkId":"{link}","type":"group","enableWhen":[{{"question":"{question}","operator":"exists",
            "answerBoolean":true}}],"item":[{{"linkId":"in","type":"boolean"{inner}}}]}}"#
        )
    };
    for (item, is_wrong) in [
        (item("g", "before", ""), false),
        (item("g", "in", ""), true),
        (item("g", "g", ""), true),
        (item("g", "deep", r#","item":[{"linkId":"deep","type":"boolean"}]"#), true),
    ] {
        let document = format!(
            r#"{{"resourceType":"Questionnaire","status":"draft","item":[{{"linkId":"before","type":"boolean"}},{item}]}}"#
        );
        let found = found(&document, &[]);
        let is_told = found.iter().any(|line| line.contains("a question inside it"));
        assert_eq!(is_told, is_wrong, "{item}: {found:?}");
    }
}

#[test]
fn two_conditions_need_a_word_how_they_join() {
    let twice = r#"{"question":"a","operator":"exists","answerBoolean":true}"#;
    for (behavior, is_wrong) in [("", true), (r#""enableBehavior":"any","#, false)] {
        let document = format!(
            r#"{{"resourceType":"Questionnaire","status":"draft","item":[{{"linkId":"a","type":"boolean"}},
            {{"linkId":"b","type":"boolean",{behavior}"enableWhen":[{twice},{twice}]}}]}}"#
        );
        let found = found(&document, &[]);
        assert_eq!(found.iter().any(|line| line.contains("que-12")), is_wrong, "{found:?}");
    }
}

#[test]
fn what_a_guide_asks_of_a_type_is_asked_of_each_resource() {
    let guide = r#"{"resourceType":"ImplementationGuide","global":[{"type":"Patient","profile":"http://x.org/p"}]}"#;
    let named = r#"{"id":"Patient.name","path":"Patient.name","min":1,"max":"*","type":[{"code":"HumanName"}]}"#;
    let known = [guide.to_owned(), profile("p", "Patient", named)];
    let missing = "error required Patient.name: required, but missing (http://x.org/p|1)";
    for (document, expected) in [
        (r#"{"resourceType":"Patient"}"#, vec![missing]),
        (r#"{"resourceType":"Patient","name":[{"text":"n"}]}"#, vec![]),
        (r#"{"resourceType":"Group","type":"person","actual":true}"#, vec![]),
    ] {
        assert_eq!(found(document, &known), expected, "{document}");
    }
}

#[test]
fn a_narrative_has_the_languages_that_a_profile_asks_for() {
    let text = |control: &str| {
        format!(
            r#"{{"id":"Patient.text","path":"Patient.text","min":0,"max":"1","type":[{{"code":"Narrative"}}],
            "extension":[{{"url":"http://hl7.org/fhir/StructureDefinition/narrative-language-control","valueCode":"{control}"}}]}}"#
        )
    };
    let none = "<p>x</p>";
    let some = "<div lang='en'>x</div><div lang='de'>y</div>";
    for (control, inner, expected) in [
        ("_no", none, None),
        ("_no", some, Some("no sections by language are allowed")),
        ("_yes", none, Some("sections by language are required")),
        ("_yes", some, None),
        ("_resource", some, None),
        ("_resource", "<div lang='fr'>x</div>", Some("a section in the language en is required")),
        ("de", some, None),
        ("fr", some, Some("a section in the language fr is required")),
    ] {
        let document = format!(
            r#"{{"resourceType":"Patient","language":"en","text":{{"status":"generated","div":"<div xmlns='http://www.w3.org/1999/xhtml'>{inner}</div>"}}}}"#
        );
        let found = super::errors("Patient", &text(control), &document);
        let expected =
            expected.map(|rule| format!("error structure Patient.text: {rule} (http://x.org/p|1)"));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{control} {inner}");
    }
}
