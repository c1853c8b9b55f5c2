//! Answers by the Questionnaire that they answer.

use super::{lines, validator, value};
use crate::fhir::Severity;
use crate::validate::profile::Options;

/// The errors of items that answer items, each the inside of an array.
fn found(asked: &str, answered: &str) -> Vec<String> {
    let questionnaire = format!(
        r#"{{"resourceType":"Questionnaire","url":"urn:q","status":"active","item":[{asked}]}}"#
    );
    let response = format!(
        r#"{{"resourceType":"QuestionnaireResponse","questionnaire":"urn:q|1","status":"completed","item":[{answered}]}}"#
    );
    let questionnaires = [value(&questionnaire)];
    let options =
        Options { least: Severity::Error, questionnaires: &questionnaires, ..Options::default() };
    lines(&validator(&[]).validate(&value(&response), &[], &options))
}

const STRING: &str = r#"{"linkId":"1","type":"string"}"#;
const MANY: &str = r#"{"linkId":"1","type":"string","repeats":true,"required":true}"#;
const CHOICE: &str = r#"{"linkId":"1","type":"choice","answerOption":[{"valueCoding":{"system":"urn:s","code":"a"}}]}"#;
const OPEN: &str = r#"{"linkId":"1","type":"open-choice","answerValueSet":"urn:v"}"#;
const SHOWN: &str = r#"{"linkId":"1","type":"choice","answerValueSet":"urn:shown"}"#;
const TEXT: &str = r#"{"linkId":"1","type":"string","answerValueSet":"urn:shown"}"#;
const URL: &str = r#"{"linkId":"1","type":"url"}"#;
const NUMBER: &str = r#"{"linkId":"1","type":"integer","extension":[
    {"url":"http://hl7.org/fhir/StructureDefinition/minValue","valueInteger":2},
    {"url":"http://hl7.org/fhir/StructureDefinition/maxValue","valueInteger":4}]}"#;
const REGEX: &str = r#"{"linkId":"1","type":"string","maxLength":5,"extension":[
    {"url":"http://hl7.org/fhir/StructureDefinition/regex","valueString":"[a-c]+'?"}]}"#;
const WHEN: &str = r#"{"linkId":"1","type":"boolean"},
    {"linkId":"2","type":"string","required":true,"enableWhen":[{"question":"1","operator":"=","answerBoolean":true}]}"#;
const GROUP: &str = r#"{"linkId":"g","type":"group","required":true,"item":[{"linkId":"1","type":"string","required":true}]}"#;

/// What is asked, what is answered, what is said of it.
const CASES: &[(&str, &str, Option<&str>)] = &[
    (STRING, r#"{"linkId":"1","answer":[{"valueString":"x"}]}"#, None),
    (
        STRING,
        r#"{"linkId":"1","answer":[{"valueCode":"x"}]}"#,
        Some("the answer to an item of type string is a string"),
    ),
    (STRING, r#"{"linkId":"2","answer":[{"valueString":"x"}]}"#, Some("no item of this linkId")),
    (
        STRING,
        r#"{"linkId":"1","answer":[{"valueString":"x"},{"valueString":"y"}]}"#,
        Some("more answers than"),
    ),
    (MANY, r#"{"linkId":"1","answer":[{"valueString":"x"},{"valueString":"y"}]}"#, None),
    (MANY, r#"{"linkId":"1"}"#, Some("item 1 needs 1 answers")),
    (
        MANY,
        r#"{"linkId":"1","answer":[{"valueString":"x"}]},{"linkId":"1","answer":[{"valueString":"y"}]}"#,
        Some("stand in one item"),
    ),
    (
        CHOICE,
        r#"{"linkId":"1","answer":[{"valueCoding":{"code":"a","system":"urn:s","display":"d"}}]}"#,
        None,
    ),
    (
        CHOICE,
        r#"{"linkId":"1","answer":[{"valueCoding":{"code":"b","system":"urn:s"}}]}"#,
        Some("none of the options"),
    ),
    (CHOICE, r#"{"linkId":"1","answer":[{"valueString":"a"}]}"#, Some("is a Coding")),
    (OPEN, r#"{"linkId":"1","answer":[{"valueString":"wrong"}]}"#, None),
    (
        OPEN,
        r#"{"linkId":"1","answer":[{"valueCoding":{"code":"wrong"}}]}"#,
        Some("not in the value set"),
    ),
    (
        SHOWN,
        r#"{"linkId":"1","answer":[{"valueCoding":{"system":"urn:l","code":"a","display":"letter  a"}}]}"#,
        None,
    ),
    (
        SHOWN,
        r#"{"linkId":"1","answer":[{"valueCoding":{"system":"urn:l","code":"a","display":"Letter B"}}]}"#,
        Some("the display is none of the code"),
    ),
    (
        SHOWN,
        r#"{"linkId":"1","answer":[{"valueCoding":{"system":"urn:t","code":"a","display":"Letter B"}}]}"#,
        None,
    ),
    (TEXT, r#"{"linkId":"1","answer":[{"valueString":"a"}]}"#, None),
    (TEXT, r#"{"linkId":"1","answer":[{"valueString":"Letter A"}]}"#, Some("not one of its codes")),
    (URL, r#"{"linkId":"1","answer":[{"valueUri":"Patient/1"}]}"#, None),
    (
        URL,
        r#"{"linkId":"1","answer":[{"valueUri":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}]}"#,
        None,
    ),
    (
        URL,
        r#"{"linkId":"1","answer":[{"valueUri":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520a"}]}"#,
        Some("a uuid is urn:uuid:"),
    ),
    (NUMBER, r#"{"linkId":"1","answer":[{"valueInteger":2}]}"#, None),
    (NUMBER, r#"{"linkId":"1","answer":[{"valueInteger":1}]}"#, Some("less than the least")),
    (NUMBER, r#"{"linkId":"1","answer":[{"valueInteger":5}]}"#, Some("more than the most")),
    (REGEX, r#"{"linkId":"1","answer":[{"valueString":"abc'"}]}"#, None),
    (REGEX, r#"{"linkId":"1","answer":[{"valueString":"abd"}]}"#, Some("regular expression")),
    (REGEX, r#"{"linkId":"1","answer":[{"valueString":"abcabc"}]}"#, Some("longer than may be")),
    (
        WHEN,
        r#"{"linkId":"1","answer":[{"valueBoolean":true}]},{"linkId":"2","answer":[{"valueString":"x"}]}"#,
        None,
    ),
    (WHEN, r#"{"linkId":"1","answer":[{"valueBoolean":true}]}"#, Some("item 2 needs 1 answers")),
    (WHEN, r#"{"linkId":"1","answer":[{"valueBoolean":false}]}"#, None),
    (
        WHEN,
        r#"{"linkId":"1","answer":[{"valueBoolean":false}]},{"linkId":"2","answer":[{"valueString":"x"}]}"#,
        Some("is not enabled"),
    ),
    (
        WHEN,
        r#"{"linkId":"2","answer":[{"valueString":"x"}]},{"linkId":"1","answer":[{"valueBoolean":true}]}"#,
        Some("in the order of the Questionnaire"),
    ),
    (GROUP, r#"{"linkId":"g","item":[{"linkId":"1","answer":[{"valueString":"x"}]}]}"#, None),
    (GROUP, r#"{"linkId":"g","item":[{"linkId":"g","text":"t"}]}"#, Some("no item of this linkId")),
    (GROUP, r#"{"linkId":"g","text":"t"}"#, Some("item 1 needs 1 answers")),
];

#[test]
fn answers_fit_their_questions() {
    for (asked, answered, expected) in CASES {
        let found = found(asked, answered);
        match expected {
            None => assert_eq!(found, Vec::<String>::new(), "{asked} {answered}"),
            Some(text) => {
                let is_told = found.iter().any(|line| line.contains(text));
                assert!(is_told, "{asked} {answered}: {found:?}");
            }
        }
    }
}

#[test]
fn a_questionnaire_that_is_not_at_hand_is_no_fault() {
    let response = value(
        r#"{"resourceType":"QuestionnaireResponse","questionnaire":"urn:q","status":"completed","item":[{"linkId":"1"}]}"#,
    );
    let options = Options { least: Severity::Error, ..Options::default() };
    assert_eq!(validator(&[]).validate(&response, &[], &options), vec![]);
    let told = lines(&validator(&[]).validate(&response, &[], &Options::default()));
    assert!(told.iter().any(|line| line.contains("Questionnaire is not at hand")), "{told:?}");
}

#[test]
fn what_is_answered_is_a_questionnaire() {
    for (canonical, is) in [
        ("urn:set", "ValueSet"),
        ("http://hl7.org/fhir/StructureDefinition/Patient", "StructureDefinition"),
    ] {
        let response = format!(
            r#"{{"resourceType":"QuestionnaireResponse","questionnaire":"{canonical}","status":"in-progress"}}"#
        );
        let options = Options { least: Severity::Error, ..Options::default() };
        let found = lines(&validator(&[]).validate(&value(&response), &[], &options));
        let expected = format!(
            "error business-rule QuestionnaireResponse.questionnaire: the canonical is that of a \
             {is}, not of a Questionnaire"
        );
        assert_eq!(found, [expected]);
    }
}

#[test]
fn displays_in_another_language_are_no_fault() {
    let asked = r#"{"resourceType":"Questionnaire","url":"urn:q","status":"active","item":[{"linkId":"1","type":"choice","answerValueSet":"urn:shown"}]}"#;
    let questionnaires = [value(asked)];
    for (language, is_wrong) in [("de", false), ("en-GB", true)] {
        let response = format!(
            r#"{{"resourceType":"QuestionnaireResponse","language":"{language}","questionnaire":"urn:q","status":"completed",
            "item":[{{"linkId":"1","answer":[{{"valueCoding":{{"system":"urn:l","code":"a","display":"Buchstabe A"}}}}]}}]}}"#
        );
        let options = Options {
            least: Severity::Error,
            questionnaires: &questionnaires,
            ..Options::default()
        };
        let found = lines(&validator(&[]).validate(&value(&response), &[], &options));
        assert_eq!(!found.is_empty(), is_wrong, "{language}: {found:?}");
    }
}
