use super::check;
use crate::fhir::json::{Value, parse};
use crate::spec::{R4_PACK, Spec};
use crate::terminology::Image;

/// The places and texts of what is wrong with a response of these items to a Questionnaire of those.
fn found(questions: &str, items: &str, status: &str) -> Vec<String> {
    let spec = Spec::r4().expect("definitions");
    let codes = Image::new(R4_PACK, "http://a/fhir").expect("codes");
    let text = format!(
        r##"{{"resourceType":"QuestionnaireResponse","questionnaire":"#q","status":"{status}",
        "contained":[{{"resourceType":"Questionnaire","id":"q","status":"active",
        "item":[{questions}]}}],"item":[{items}]}}"##
    );
    let value = parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let issues = check(&value, &[], &spec.schema, &codes);
    issues.into_iter().map(|issue| issue.diagnostics).collect()
}

/// Asserts that exactly one thing is wrong, at `place`, or nothing where that is empty.
#[track_caller]
fn assert_found(questions: &str, items: &str, place: &str, part: &str) {
    let found = found(questions, items, "completed");
    match place {
        "" => assert!(found.is_empty(), "{questions} {items}: {found:?}"),
        _ => {
            let is_it = |text: &String| {
                text.starts_with(&format!("QuestionnaireResponse{place}: ")) && text.contains(part)
            };
            assert!(found.len() == 1 && is_it(&found[0]), "{questions} {items}: {found:?}");
        }
    }
}

#[test]
fn an_answer_has_the_type_of_its_question() {
    for (kind, good, bad) in [
        ("boolean", r#""valueBoolean":true"#, r#""valueString":"true""#),
        ("decimal", r#""valueDecimal":1.5"#, r#""valueInteger":1"#),
        ("integer", r#""valueInteger":1"#, r#""valueDecimal":1.0"#),
        ("date", r#""valueDate":"2020""#, r#""valueDateTime":"2020""#),
        ("string", r#""valueString":"x""#, r#""valueCoding":{"code":"x"}"#),
        ("text", r#""valueString":"x""#, r#""valueInteger":1"#),
        ("url", r#""valueUri":"http://x""#, r#""valueString":"http://x""#),
        ("choice", r#""valueCoding":{"code":"x"}"#, r#""valueString":"x""#),
        ("open-choice", r#""valueString":"x""#, r#""valueInteger":1"#),
        ("reference", r#""valueReference":{"reference":"Patient/1"}"#, r#""valueString":"x""#),
        ("quantity", r#""valueQuantity":{"value":1}"#, r#""valueDecimal":1"#),
    ] {
        let question = format!(r#"{{"linkId":"a","type":"{kind}"}}"#);
        let item = |answer: &str| format!(r#"{{"linkId":"a","answer":[{{{answer}}}]}}"#);
        assert_found(&question, &item(good), "", "");
        assert_found(&question, &item(bad), ".item[0].answer[0]", "takes no answer of type");
    }
}

#[test]
fn items_stand_where_the_questionnaire_has_them() {
    let questions = r#"{"linkId":"g","type":"group","item":[{"linkId":"a","type":"string"}]},
        {"linkId":"b","type":"string","item":[{"linkId":"c","type":"string"}]},
        {"linkId":"d","type":"display"}"#;
    let a = r#"{"linkId":"a","answer":[{"valueString":"x"}]}"#;
    let g = format!(r#"{{"linkId":"g","item":[{a}]}}"#);
    let b = r#"{"linkId":"b","answer":[{"valueString":"x"}]}"#;
    let c = r#"{"linkId":"c","answer":[{"valueString":"x"}]}"#;
    let nested = format!(r#"{{"linkId":"b","answer":[{{"valueString":"x","item":[{c}]}}]}}"#);
    let beside = format!(r#"{{"linkId":"b","answer":[{{"valueString":"x"}}],"item":[{c}]}}"#);
    for (items, place, part) in [
        (format!("{g},{b}"), "", ""),
        (nested, "", ""),
        (beside, ".item[0]", "inside its answers"),
        (a.to_owned(), ".item[0]", "has no item \"a\" here"),
        (r#"{"linkId":"x"}"#.to_owned(), ".item[0]", "has no item \"x\""),
        (format!("{b},{g}"), ".item[1]", "stands after"),
        (format!("{g},{g}"), ".item[1]", "does not repeat"),
        (format!("{b},{b}"), ".item[1]", "stand in one item"),
        (b.replace("\"b\"", "\"d\""), ".item[0]", "only displayed"),
        (b.replace("\"b\"", "\"g\""), ".item[0]", "a group has no answers"),
    ] {
        let found = found(questions, &items, "completed");
        let is_it = |text: &String| {
            text.starts_with(&format!("QuestionnaireResponse{place}: ")) && text.contains(part)
        };
        if place.is_empty() {
            assert!(found.is_empty(), "{items}: {found:?}");
        } else {
            assert!(found.iter().any(is_it), "{items}: {found:?}");
        }
    }
}

#[test]
fn there_are_as_many_answers_as_are_asked_for() {
    const MIN: &str = "http://hl7.org/fhir/StructureDefinition/questionnaire-minOccurs";
    let question = |rest: &str| format!(r#"{{"linkId":"a","type":"string"{rest}}}"#);
    let least = format!(r#","repeats":true,"extension":[{{"url":"{MIN}","valueInteger":2}}]"#);
    let answers = |count: usize| {
        let all = vec![r#"{"valueString":"x"}"#; count].join(",");
        format!(r#"{{"linkId":"a","answer":[{all}]}}"#)
    };
    for (rest, count, part) in [
        ("", 1, ""),
        ("", 2, "at most 1"),
        (r#","repeats":true"#, 2, ""),
        (&*least, 2, ""),
        (&*least, 1, "at least 2"),
    ] {
        let place = if part.is_empty() { "" } else { ".item[0]" };
        assert_found(&question(rest), &answers(count), place, part);
    }
    let missing = found(&question(r#","required":true"#), "", "completed");
    assert_eq!(missing, [r#"QuestionnaireResponse: an answer to "a" is required"#]);
}

#[test]
fn what_is_required_may_be_missing_only_while_it_is_in_progress() {
    let required = r#"{"linkId":"a","type":"string","required":true}"#;
    assert_eq!(found(required, "", "in-progress"), [] as [String; 0]);
    assert_eq!(found(required, "", "completed").len(), 1);
}

#[test]
fn answers_keep_within_bounds_options_and_units() {
    let core = "http://hl7.org/fhir/StructureDefinition/";
    let bound = |kind: &str, end: &str, value: &str| {
        format!(r#"{{"linkId":"a","type":"{kind}","extension":[{{"url":"{core}{end}",{value}}}]}}"#)
    };
    let unit = r#"{"url":"http://hl7.org/fhir/StructureDefinition/questionnaire-unitOption",
        "valueCoding":{"system":"http://unitsofmeasure.org","code":"km"}}"#;
    let options = r#"{"linkId":"a","type":"choice","answerOption":[{"valueCoding":{"system":"s","code":"x"}}]}"#;
    let genders = r#"{"linkId":"a","type":"choice","answerValueSet":"http://hl7.org/fhir/ValueSet/administrative-gender"}"#;
    for (question, answer, part) in [
        (bound("integer", "minValue", r#""valueInteger":2"#), r#""valueInteger":2"#, ""),
        (bound("integer", "minValue", r#""valueInteger":2"#), r#""valueInteger":1"#, "minValue"),
        (bound("date", "maxValue", r#""valueDate":"2020""#), r#""valueDate":"2021""#, "maxValue"),
        (bound("string", "minLength", r#""valueInteger":2"#), r#""valueString":"x""#, "minLength"),
        (bound("string", "regex", r#""valueString":"[a-c]+""#), r#""valueString":"abc""#, ""),
        (bound("string", "regex", r#""valueString":"[a-c]+""#), r#""valueString":"abd""#, "regex"),
        (
            bound("decimal", "maxDecimalPlaces", r#""valueInteger":1"#),
            r#""valueDecimal":1.25"#,
            "places",
        ),
        (
            bound("attachment", "maxSize", r#""valueDecimal":2"#),
            r#""valueAttachment":{"data":"AAAA"}"#,
            "3 bytes",
        ),
        (
            r#"{"linkId":"a","type":"attachment"}"#.into(),
            r#""valueAttachment":{"data":"AAAA","size":4}"#,
            "is said",
        ),
        (
            r#"{"linkId":"a","type":"string","maxLength":1}"#.into(),
            r#""valueString":"ab""#,
            "longer",
        ),
        (
            format!(r#"{{"linkId":"a","type":"quantity","extension":[{unit}]}}"#),
            r#""valueQuantity":{"value":1,"system":"http://unitsofmeasure.org","code":"km"}"#,
            "",
        ),
        (
            format!(r#"{{"linkId":"a","type":"quantity","extension":[{unit}]}}"#),
            r#""valueQuantity":{"value":1,"system":"http://unitsofmeasure.org","code":"kg"}"#,
            "units",
        ),
        (options.into(), r#""valueCoding":{"system":"s","code":"x","display":"X"}"#, ""),
        (options.into(), r#""valueCoding":{"system":"s","code":"y"}"#, "options"),
        (
            genders.into(),
            r#""valueCoding":{"system":"http://hl7.org/fhir/administrative-gender","code":"male"}"#,
            "",
        ),
        (
            genders.into(),
            r#""valueCoding":{"system":"http://hl7.org/fhir/administrative-gender","code":"robot"}"#,
            "value set",
        ),
        (r#"{"linkId":"a","type":"url"}"#.into(), r#""valueUri":"urn:uuid:X""#, "UUID"),
    ] {
        let item = format!(r#"{{"linkId":"a","answer":[{{{answer}}}]}}"#);
        let place = if part.is_empty() { "" } else { ".item[0].answer[0]" };
        assert_found(&question, &item, place, part);
    }
}

#[test]
fn what_is_not_enabled_has_no_answers_and_is_not_required() {
    let condition = |operator: &str, answer: &str| {
        format!(
            r#"{{"linkId":"a","type":"integer"}},{{"linkId":"b","type":"string","required":true,
            "enableWhen":[{{"question":"a","operator":"{operator}",{answer}}}]}}"#
        )
    };
    let a = |value: &str| format!(r#"{{"linkId":"a","answer":[{{"valueInteger":{value}}}]}}"#);
    let b = r#"{"linkId":"b","answer":[{"valueString":"x"}]}"#;
    for (operator, answer, given, is_enabled) in [
        ("exists", r#""answerBoolean":true"#, Some("1"), true),
        ("exists", r#""answerBoolean":true"#, None, false),
        ("exists", r#""answerBoolean":false"#, Some("1"), false),
        ("=", r#""answerInteger":1"#, Some("1"), true),
        ("=", r#""answerInteger":2"#, Some("1"), false),
        ("!=", r#""answerInteger":2"#, Some("1"), true),
        (">", r#""answerInteger":1"#, Some("1"), false),
        (">=", r#""answerInteger":1"#, Some("1"), true),
        ("<", r#""answerInteger":2"#, Some("1"), true),
        ("<=", r#""answerInteger":0"#, Some("1"), false),
    ] {
        let questions = condition(operator, answer);
        let first = given.map(|value| a(value) + ",").unwrap_or_default();
        let place = format!(".item[{}]", usize::from(given.is_some()));
        let place = if is_enabled { "" } else { &place };
        assert_found(&questions, &format!("{first}{b}"), place, "not enabled");
        let alone = first.trim_end_matches(',');
        let missing = found(&questions, alone, "completed");
        assert_eq!(missing.len(), usize::from(is_enabled), "{questions} {alone}: {missing:?}");
    }
}

#[test]
fn a_question_does_not_depend_on_itself_or_on_what_is_not_there() {
    let spec = Spec::r4().expect("definitions");
    let codes = Image::new(R4_PACK, "http://a/fhir").expect("codes");
    for (asked, errors) in [("b", 0), ("a", 1), ("c", 1), ("x", 1)] {
        let text = format!(
            r#"{{"resourceType":"Questionnaire","item":[{{"linkId":"a","enableWhen":
            [{{"question":"{asked}","operator":"exists"}}],"item":[{{"linkId":"c"}}]}},
            {{"linkId":"b"}}]}}"#
        );
        let value: Value<'_> = parse(text.as_bytes()).expect("JSON");
        let issues = check(&value, &[], &spec.schema, &codes);
        assert_eq!(issues.len(), errors, "{asked}: {issues:?}");
    }
}

#[test]
fn the_questionnaire_of_a_response_may_stand_beside_it() {
    let spec = Spec::r4().expect("definitions");
    let codes = Image::new(R4_PACK, "http://a/fhir").expect("codes");
    let text = r#"{"resourceType":"Bundle","entry":[
        {"resource":{"resourceType":"QuestionnaireResponse","questionnaire":"http://q|2",
        "item":[{"linkId":"x"}]}},{"resource":{"resourceType":"Questionnaire","url":"http://q",
        "version":"VERSION","item":[]}}]}"#;
    for (version, errors) in [("2", 1), ("1", 0)] {
        let text = text.replace("VERSION", version);
        let value = parse(text.as_bytes()).expect("JSON");
        let issues = check(&value, &[], &spec.schema, &codes);
        assert_eq!(issues.len(), errors, "{issues:?}");
        assert!(issues.iter().all(|it| it.expression == "Bundle.entry[0].resource.item[0]"));
    }
}
