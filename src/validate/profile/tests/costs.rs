//! What documents and definitions may cost, and that what was worked out once is taken for nothing else.

use std::time::Duration;

use super::{assert_lines, errors, lines, profile, validator, value};
use crate::fhir::Severity;
use crate::validate::profile::{Claim, Options};

/// An invariant on the names of a Patient that takes the square of its size.
const COSTLY: &str = r#"{"id":"Patient.name","path":"Patient.name","min":0,"max":"*","type":[{"code":"HumanName"}],
    "constraint":[{"key":"x-1","severity":"error","human":"h",
    "expression":"%resource.descendants().where(%resource.descendants().count() = 0).empty()"}]}"#;

fn named(count: usize, more: &str) -> String {
    let names = vec![r#"{"family":"f"}"#; count].join(",");
    format!(r#"{{"resourceType":"Patient",{more}"name":[{names}]}}"#)
}

#[test]
fn a_profile_is_compiled_once_however_its_canonical_is_written() {
    let validator = validator(&[profile("p", "Patient", "")]);
    for canonical in
        ["http://x.org/p|1", "http://x.org/p|1#a", "http://x.org/p|1#b", "http://x.org/p|1#"]
    {
        validator.check_profile(canonical).expect(canonical);
    }
    for canonical in ["http://x.org/p", "http://x.org/p|", "http://x.org/p|#a"] {
        validator.check_profile(canonical).expect(canonical);
    }
    let known = validator.compiled.profiles.read().expect("nobody panicked");
    let mut known: Vec<&str> = known.keys().map(|key| &**key).collect();
    known.sort_unstable();
    assert_eq!(known, ["http://x.org/p", "http://x.org/p|1"]);
}

#[test]
fn value_sets_that_a_document_names_are_not_kept() {
    let validator = validator(&[]);
    let document = value(
        r##"{"resourceType":"QuestionnaireResponse","status":"completed","questionnaire":"#q",
        "contained":[{"resourceType":"Questionnaire","id":"q","status":"active","item":[
        {"linkId":"1","type":"choice","answerValueSet":"urn:v"}]}],
        "item":[{"linkId":"1","answer":[{"valueCoding":{"code":"wrong"}}]}]}"##,
    );
    let found = lines(&validator.validate(&document, &[], &Options::default()));
    assert!(found.iter().any(|line| line.contains("not in the value set")), "{found:?}");
    let known = validator.members.read().expect("nobody panicked");
    assert!(!known.contains_key("urn:v"), "{:?}", known.keys());
}

#[test]
fn what_an_expression_asks_is_paid_by_the_walk_that_asks() {
    let asking = r#"{"id":"Patient.name","path":"Patient.name","min":0,"max":"*","type":[{"code":"HumanName"}],
        "constraint":[{"key":"x-2","severity":"error","human":"h",
        "expression":"%resource.conformsTo('http://x.org/q')"}]}"#;
    let definitions = [profile("p", "Patient", asking), profile("q", "Patient", COSTLY)];
    let validator = validator(&definitions);
    let document = named(40, "");
    let options = Options { least: Severity::Error, ..Options::default() };
    let found = |profile| lines(&validator.validate(&value(&document), &[profile], &options));
    assert_lines(&found("http://x.org/q"), &[], "once");
    let often = found("http://x.org/p");
    assert!(often.iter().any(|line| line.starts_with("error too-costly")), "{often:?}");
}

#[test]
fn that_a_document_takes_too_much_work_is_an_error_of_a_mere_warning_too() {
    let validator = validator(&[profile("p", "Patient", COSTLY)]);
    let document = named(1_500, r#""meta":{"profile":["http://x.org/p"]},"#);
    let options = Options { claims: &|_| Claim::Warn, ..Options::default() };
    let found = lines(&validator.validate(&value(&document), &[], &options));
    assert!(found.iter().any(|line| line.starts_with("error too-costly")), "{found:?}");
}

/// Covers: security H9.
#[test]
fn an_invariant_that_takes_too_long_is_too_costly_whoever_asks_for_it() {
    let asking = r#"{"id":"Patient.active","path":"Patient.active","min":0,"max":"1","type":[{"code":"boolean"}],
        "constraint":[{"key":"x-2","severity":"error","human":"h",
        "expression":"%resource.conformsTo('http://x.org/q')"}]}"#;
    let definitions = [profile("p", "Patient", asking), profile("q", "Patient", COSTLY)];
    let validator = validator(&definitions);
    let document = named(40, r#""active":true,"#);
    let found = |profile, expression_time| {
        let options = Options { least: Severity::Error, expression_time, ..Options::default() };
        lines(&validator.validate(&value(&document), &[profile], &options))
    };
    for (profile, expected) in [
        ("http://x.org/q", "Patient.name[0]: an expression takes longer than 0 ms"),
        ("http://x.org/p", "Patient.active: the document takes too much work to be judged"),
    ] {
        assert_lines(&found(profile, Duration::from_mins(10)), &[], profile);
        let late = found(profile, Duration::ZERO);
        let expected = format!("error too-costly {expected}");
        assert_lines(&late, &[expected.as_str()], profile);
    }
}

#[test]
fn answers_are_paid_by_the_options_that_they_are_held_against() {
    let options = vec![r#"{"valueInteger":1}"#; 40_000].join(",");
    let questionnaire = format!(
        r#"{{"resourceType":"Questionnaire","url":"urn:q","status":"active","item":[
        {{"linkId":"1","type":"choice","repeats":true,"answerOption":[{options}]}}]}}"#
    );
    let answers = vec![r#"{"valueInteger":2}"#; 200].join(",");
    let response = format!(
        r#"{{"resourceType":"QuestionnaireResponse","questionnaire":"urn:q","status":"completed",
        "item":[{{"linkId":"1","answer":[{answers}]}}]}}"#
    );
    let questionnaires = [value(&questionnaire)];
    let options =
        Options { least: Severity::Error, questionnaires: &questionnaires, ..Options::default() };
    let found = lines(&validator(&[]).validate(&value(&response), &[], &options));
    assert!(found.iter().any(|line| line.starts_with("error too-costly")), "{found:?}");
}

#[test]
fn slices_by_profiles_that_lead_to_each_other_end() {
    let leading = |name: &str, to: &str| {
        format!(
            r#"{{"resourceType":"StructureDefinition","url":"http://x.org/{name}","version":"1",
            "name":"{name}","status":"active","kind":"complex-type","abstract":false,"type":"Identifier",
            "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Identifier","derivation":"constraint",
            "snapshot":{{"element":[{{"id":"Identifier","path":"Identifier","min":0,"max":"*",
            "type":[{{"code":"Identifier","profile":["http://x.org/{to}"]}}]}}]}}}}"#
        )
    };
    let sliced = r#"{"id":"Patient.identifier","path":"Patient.identifier","min":0,"max":"*",
        "type":[{"code":"Identifier"}],"slicing":{"discriminator":[{"type":"value","path":"nope"}],"rules":"open"}},
        {"id":"Patient.identifier:s","path":"Patient.identifier","sliceName":"s","min":0,"max":"*",
        "type":[{"code":"Identifier","profile":["http://x.org/a"]}]}"#;
    let document = value(r#"{"resourceType":"Patient","identifier":[{"system":"urn:a"}]}"#);
    for (one, other) in [("b", "a"), ("a|1", "a|1")] {
        let definitions = [profile("p", "Patient", sliced), leading("a", one), leading("b", other)];
        let found = validator(&definitions).validate(
            &document,
            &["http://x.org/p"],
            &Options { least: Severity::Error, ..Options::default() },
        );
        assert_lines(&lines(&found), &[], one);
    }
}

#[test]
fn an_invariant_weighs_what_its_own_profile_says() {
    let rule = |severity: &str, human: &str| {
        format!(
            r#"{{"id":"Patient.active","path":"Patient.active","min":0,"max":"1","type":[{{"code":"boolean"}}],
            "constraint":[{{"key":"x-1","severity":"{severity}","human":"{human}","expression":"false"}}]}}"#
        )
    };
    let definitions = [
        profile("p", "Patient", &rule("warning", "perhaps")),
        profile("q", "Patient", &rule("error", "never")),
    ];
    let validator = validator(&definitions);
    let document = value(r#"{"resourceType":"Patient","active":true}"#);
    for (name, expected) in [("p", "warning"), ("q", "error"), ("p", "warning")] {
        let url = format!("http://x.org/{name}");
        let found = lines(&validator.validate(&document, &[&url], &Options::default()));
        let found = found.into_iter().find(|line| line.contains("x-1")).unwrap_or_default();
        assert!(found.starts_with(expected), "{name}: {found}");
    }
}

#[test]
fn what_was_warned_about_is_an_error_where_another_profile_asks_for_it() {
    let named = r#"{"id":"Patient.name","path":"Patient.name","min":1,"max":"*","type":[{"code":"HumanName"}]}"#;
    let entry = r#"{"id":"Bundle.entry","path":"Bundle.entry","min":0,"max":"*","type":[{"code":"BackboneElement"}]},
        {"id":"Bundle.entry.resource","path":"Bundle.entry.resource","min":0,"max":"1",
        "type":[{"code":"Patient","profile":["http://x.org/p"]}]}"#;
    let validator = validator(&[profile("p", "Patient", named), profile("b", "Bundle", entry)]);
    let document = value(
        r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:1","resource":
        {"resourceType":"Patient","meta":{"profile":["http://x.org/p"]}}}]}"#,
    );
    for least in [Severity::Information, Severity::Error] {
        let options = Options { claims: &|_| Claim::Warn, least, ..Options::default() };
        let mut found = lines(&validator.validate(&document, &["http://x.org/b"], &options));
        found.retain(|line| line.starts_with("error"));
        assert_eq!(found.len(), 1, "{least:?} {found:?}");
    }
}

#[test]
fn what_conforms_only_to_a_guess_is_asked_again() {
    let rules = |target: &str, more: &str| {
        format!(
            r#"{{"id":"Observation.hasMember","path":"Observation.hasMember","min":0,"max":"*",
            "type":[{{"code":"Reference","targetProfile":["http://x.org/{target}"]}}]}}{more}"#
        )
    };
    let missing = r#",{"id":"Observation.bodySite","path":"Observation.bodySite","min":1,"max":"1",
        "type":[{"code":"CodeableConcept"}]}"#;
    let derived = r#",{"id":"Observation.derivedFrom","path":"Observation.derivedFrom","min":0,"max":"*",
        "type":[{"code":"Reference","targetProfile":["http://x.org/b"]}]}"#;
    let definitions = [
        profile("p", "Observation", &rules("a", derived)),
        profile("a", "Observation", &rules("b", missing)),
        profile("b", "Observation", &rules("a", "")),
    ];
    let of = |id: &str, member: &str| {
        format!(
            r##"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"c"}},
            "hasMember":[{{"reference":"#{member}"}}]}}"##
        )
    };
    let document = format!(
        r##"{{"resourceType":"Observation","status":"final","code":{{"text":"c"}},
        "contained":[{},{}],"hasMember":[{{"reference":"#one"}}],
        "derivedFrom":[{{"reference":"#two"}}]}}"##,
        of("one", "two"),
        of("two", "one")
    );
    let options = Options { least: Severity::Error, ..Options::default() };
    let found =
        lines(&validator(&definitions).validate(&value(&document), &["http://x.org/p"], &options));
    for element in ["Observation.hasMember", "Observation.derivedFrom"] {
        assert!(found.iter().any(|line| line.contains(element)), "{element} {found:?}");
    }
    assert!(errors("Observation", &rules("p", ""), &document).is_empty(), "a circle alone is none");
}
