//! Rules on single values: cardinality, types, fixed values, bounds, codes, invariants, references.

use super::{assert_lines, errors, lines, profile, validator, value};
use crate::fhir::Severity;
use crate::validate::profile::Options;

/// Elements of a profile on Observation or Patient, a document, and the errors.
type Case = (&'static str, &'static str, &'static [&'static str]);

fn table(of: &str, cases: &[Case]) {
    for (elements, document, expected) in cases {
        let document = format!(r#"{{"resourceType":"{of}",{document}}}"#);
        let found = errors(of, elements, &document);
        assert_lines(&found, expected, &format!("{elements}\n{document}"));
    }
}

const OBSERVATION: &str = r#""status":"final","code":{"text":"c"}"#;

fn observations(cases: &[Case]) {
    for (elements, document, expected) in cases {
        let document = format!(r#"{{"resourceType":"Observation",{OBSERVATION}{document}}}"#);
        let found = errors("Observation", elements, &document);
        assert_lines(&found, expected, &format!("{elements}\n{document}"));
    }
}

#[test]
fn cardinalities_are_narrowed() {
    const NAME: &str = r#"{"id":"Patient.name","path":"Patient.name","min":1,"max":"2","type":[{"code":"HumanName"}]},
        {"id":"Patient.name.given","path":"Patient.name.given","min":1,"max":"*","type":[{"code":"string"}]},
        {"id":"Patient.photo","path":"Patient.photo","min":0,"max":"0","type":[{"code":"Attachment"}]}"#;
    table(
        "Patient",
        &[
            (NAME, r#""name":[{"given":["a"]}]"#, &[]),
            (NAME, r#""name":[{"_given":[{"extension":[{"url":"urn:x","valueCode":"a"}]}]}]"#, &[]),
            (
                NAME,
                r#""active":true"#,
                &["error required Patient.name: required, but missing (http://x.org/p|1)"],
            ),
            (
                NAME,
                r#""name":[{"given":["a"]},{"family":"b"},{"given":["c"]}],"photo":[{"title":"t"}]"#,
                &[
                    "error structure Patient.name: at most 2 are allowed, found are 3 (http://x.org/p|1)",
                    "error required Patient.name[1].given: required, but missing (http://x.org/p|1)",
                    "error structure Patient.photo: not allowed (http://x.org/p|1)",
                ],
            ),
        ],
    );
}

#[test]
fn types_and_their_profiles_are_narrowed() {
    const TYPES: &str = r#"{"id":"Observation.value[x]","path":"Observation.value[x]","min":0,"max":"1",
        "type":[{"code":"Quantity","profile":["http://hl7.org/fhir/StructureDefinition/SimpleQuantity"]},{"code":"string"}]}"#;
    observations(&[
        (TYPES, r#","valueString":"x""#, &[]),
        (TYPES, r#","valueQuantity":{"value":1}"#, &[]),
        (
            TYPES,
            r#","valueBoolean":true"#,
            &[
                "error structure Observation.value: must be Quantity, string, not boolean (http://x.org/p|1)",
            ],
        ),
        (
            TYPES,
            r#","valueQuantity":{"value":1,"comparator":"<"}"#,
            &[
                "error invariant Observation.value: The comparator is not used on a SimpleQuantity (sqty-1) \
                 (http://hl7.org/fhir/StructureDefinition/SimpleQuantity|4.0.1)",
                "error structure Observation.value.comparator: not allowed \
                 (http://hl7.org/fhir/StructureDefinition/SimpleQuantity|4.0.1)",
            ],
        ),
    ]);
}

#[test]
fn values_are_fixed_patterned_and_bounded() {
    const FIXED: &str = r#"{"id":"Observation.value[x]","path":"Observation.value[x]","min":0,"max":"1",
        "type":[{"code":"Quantity"}],"fixedQuantity":{"value":1.50,"unit":"g"}}"#;
    const PATTERN: &str = r#"{"id":"Observation.code","path":"Observation.code","min":1,"max":"1",
        "type":[{"code":"CodeableConcept"}],"patternCodeableConcept":{"text":"c"}}"#;
    const BOUNDS: &str = r#"{"id":"Observation.value[x]","path":"Observation.value[x]","min":0,"max":"1",
        "type":[{"code":"integer"}],"minValueInteger":2,"maxValueInteger":9}"#;
    const LONG: &str = r#"{"id":"Observation.value[x]","path":"Observation.value[x]","min":0,"max":"1",
        "type":[{"code":"string"}],"maxLength":3}"#;
    observations(&[
        (FIXED, r#","valueQuantity":{"unit":"g","value":1.5}"#, &[]),
        (
            FIXED,
            r#","valueQuantity":{"unit":"g","value":1.5,"code":"g","system":"urn:x"}"#,
            &[
                r#"error value Observation.value: the value must be {"value":1.50,"unit":"g"} (http://x.org/p|1)"#,
            ],
        ),
        (PATTERN, "", &[]),
        (BOUNDS, r#","valueInteger":2"#, &[]),
        (
            BOUNDS,
            r#","valueInteger":1"#,
            &["error value Observation.value: the value must be at least 2 (http://x.org/p|1)"],
        ),
        (
            BOUNDS,
            r#","valueInteger":10"#,
            &["error value Observation.value: the value must be at most 9 (http://x.org/p|1)"],
        ),
        (LONG, r#","valueString":"äöü""#, &[]),
        (
            LONG,
            r#","valueString":"abcd""#,
            &[
                "error too-long Observation.value: at most 3 characters are allowed (http://x.org/p|1)",
            ],
        ),
    ]);
    let found = errors(
        "Observation",
        PATTERN,
        r#"{"resourceType":"Observation","status":"final","code":{"text":"d"}}"#,
    );
    let expected =
        r#"error value Observation.code: the value must have {"text":"c"} (http://x.org/p|1)"#;
    assert_lines(&found, &[expected], "pattern");
}

#[test]
fn a_binding_is_as_bad_as_it_is_strong() {
    for (strength, value_set, coding, expected) in [
        ("required", "urn:v", r#"{"code":"wrong","system":"urn:s"}"#, Some("error code-invalid")),
        ("extensible", "urn:v", r#"{"code":"wrong"}"#, Some("warning code-invalid")),
        ("preferred", "urn:v", r#"{"code":"wrong"}"#, Some("information code-invalid")),
        ("example", "urn:v", r#"{"code":"wrong"}"#, None),
        ("required", "urn:v", r#"{"code":"right"}"#, None),
        ("required", "urn:v", r#"{"code":"x","system":"urn:dark"}"#, Some("warning not-supported")),
        ("required", "urn:none", r#"{"code":"right"}"#, Some("warning not-supported")),
        ("required", "urn:v", r#"{"display":"no code"}"#, Some("error code-invalid")),
        ("extensible", "urn:v", r#"{"display":"no code"}"#, None),
    ] {
        let element = format!(
            r#"{{"id":"Observation.method","path":"Observation.method","min":0,"max":"1",
            "type":[{{"code":"CodeableConcept"}}],"binding":{{"strength":"{strength}","valueSet":"{value_set}"}}}}"#
        );
        let document = format!(
            r#"{{"resourceType":"Observation",{OBSERVATION},"method":{{"coding":[{coding}]}}}}"#
        );
        let validator = validator(&[profile("p", "Observation", &element)]);
        let issues =
            validator.validate(&value(&document), &["http://x.org/p"], &Options::default());
        let of = lines(&issues).into_iter().find(|line| line.contains("Observation.method"));
        let found = of.as_deref().map(|line| line.split(" Observation").next().unwrap_or(line));
        assert_eq!(found, expected, "{strength} {value_set} {coding}");
    }
}

#[test]
fn a_max_value_set_is_not_left_whatever_the_strength() {
    let element = r#"{"id":"Patient.language","path":"Patient.language","min":0,"max":"1","type":[{"code":"code"}],
        "binding":{"strength":"preferred","valueSet":"urn:v","extension":[
        {"url":"http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet","valueCanonical":"urn:m"}]}}"#;
    let found = errors("Patient", element, r#"{"resourceType":"Patient","language":"wrong"}"#);
    let of_profile = found.iter().filter(|line| line.contains("x.org")).count();
    assert_eq!(of_profile, 1, "{found:?}");
    assert!(
        found[0].starts_with("error code-invalid Patient.language: wrong is not in"),
        "{found:?}"
    );
}

#[test]
fn invariants_have_their_key_and_severity() {
    let invariant = |severity: &str, expression: &str| {
        let element = format!(
            r#"{{"id":"Patient.name","path":"Patient.name","min":0,"max":"*","type":[{{"code":"HumanName"}}],
            "constraint":[{{"key":"x-1","severity":"{severity}","human":"a rule","expression":"{expression}"}}]}}"#
        );
        let validator = validator(&[profile("p", "Patient", &element)]);
        let document = value(r#"{"resourceType":"Patient","name":[{"text":"a"},{"family":"b"}]}"#);
        let issues = validator.validate(&document, &["http://x.org/p"], &Options::default());
        let mut found = lines(&issues);
        found.retain(|line| line.contains("x-1"));
        found
    };
    for (severity, expression, expected) in [
        (
            "error",
            "text.exists()",
            &["error invariant Patient.name[1]: a rule (x-1) (http://x.org/p|1)"][..],
        ),
        (
            "warning",
            "text.exists()",
            &["warning invariant Patient.name[1]: a rule (x-1) (http://x.org/p|1)"],
        ),
        ("error", "text.exists() or family.exists()", &[]),
        ("error", "%resource.name.count() = 2", &[]),
        (
            "error",
            "text.nothing() = 1",
            &[
                "warning not-supported Patient.name[0]: the rule x-1 cannot be checked: the function nothing() is not supported at column 6 (http://x.org/p|1)",
                "warning not-supported Patient.name[1]: the rule x-1 cannot be checked: the function nothing() is not supported at column 6 (http://x.org/p|1)",
            ],
        ),
        ("error", "conformsTo('http://hl7.org/fhir/StructureDefinition/HumanName')", &[]),
        ("error", "%resource.conformsTo('http://hl7.org/fhir/StructureDefinition/bp').not()", &[]),
    ] {
        assert_lines(&invariant(severity, expression), expected, expression);
    }
}

#[test]
fn references_lead_to_the_right_types_and_profiles() {
    const SUBJECT: &str = r#"{"id":"Observation.subject","path":"Observation.subject","min":0,"max":"1",
        "type":[{"code":"Reference","targetProfile":["http://hl7.org/fhir/StructureDefinition/Patient"]}]}"#;
    const OWN: &str = r#"{"id":"Observation.subject","path":"Observation.subject","min":0,"max":"1",
        "type":[{"code":"Reference","targetProfile":["http://x.org/named"]}]}"#;
    let named = r#"{"id":"Patient.name","path":"Patient.name","min":1,"max":"*","type":[{"code":"HumanName"}]}"#;
    let wrong = "error business-rule Observation.subject: may point to Patient, not to Group (http://x.org/p|1)";
    for (elements, document, expected) in [
        (SUBJECT, r#","subject":{"reference":"Patient/1"}"#, &[][..]),
        (SUBJECT, r#","subject":{"reference":"Group/1"}"#, &[wrong]),
        (SUBJECT, r#","subject":{"reference":"http://a.org/Group/1"}"#, &[wrong]),
        (SUBJECT, r#","subject":{"reference":"urn:uuid:1","type":"Group"}"#, &[wrong]),
        (SUBJECT, r#","subject":{"reference":"urn:uuid:1"}"#, &[]),
        (
            SUBJECT,
            r##","contained":[{"resourceType":"Group","id":"g","type":"person","actual":true}],"subject":{"reference":"#g"}"##,
            &[wrong],
        ),
        (
            OWN,
            r##","contained":[{"resourceType":"Patient","id":"g","name":[{"text":"x"}]}],"subject":{"reference":"#g"}"##,
            &[],
        ),
        (
            OWN,
            r##","contained":[{"resourceType":"Patient","id":"g"}],"subject":{"reference":"#g"}"##,
            &[
                "error structure Observation.subject: the target conforms to none of http://x.org/named|1: \
               target.name: required, but missing (http://x.org/named|1) (http://x.org/p|1)",
            ],
        ),
        (OWN, r#","subject":{"reference":"Patient/1"}"#, &[]),
    ] {
        let document = format!(r#"{{"resourceType":"Observation",{OBSERVATION}{document}}}"#);
        let definitions =
            [profile("p", "Observation", elements), profile("named", "Patient", named)];
        let options = Options { least: Severity::Error, ..Options::default() };
        let issues =
            validator(&definitions).validate(&value(&document), &["http://x.org/p"], &options);
        assert_lines(&lines(&issues), expected, &document);
    }
}

#[test]
fn profiles_that_lead_to_themselves_end() {
    let part_of = r#"{"id":"Organization.partOf","path":"Organization.partOf","min":0,"max":"1",
        "type":[{"code":"Reference","targetProfile":["http://x.org/p"]}]}"#;
    let document = r##"{"resourceType":"Organization","name":"a","partOf":{"reference":"#b"},"contained":[
        {"resourceType":"Organization","id":"b","name":"b","partOf":{"reference":"#c"}},
        {"resourceType":"Organization","id":"c","name":"c","partOf":{"reference":"#b"}}]}"##;
    assert_lines(&errors("Organization", part_of, document), &[], "a circle of references");
    let whole = r#"{"id":"Organization.contact","path":"Organization.contact","min":0,"max":"*","type":[{"code":"BackboneElement"}],
        "constraint":[{"key":"x-1","severity":"error","human":"h","expression":"%resource.conformsTo('http://x.org/p')"}]}"#;
    let document =
        r#"{"resourceType":"Organization","name":"a","contact":[{"name":{"text":"x"}}]}"#;
    assert_lines(&errors("Organization", whole, document), &[], "a circle of questions");
}

#[test]
fn an_expression_that_takes_too_much_work_is_told() {
    let whole = r#"{"id":"Patient.name","path":"Patient.name","min":0,"max":"*","type":[{"code":"HumanName"}],
        "constraint":[{"key":"x-1","severity":"error","human":"h",
        "expression":"%resource.descendants().where(%resource.descendants().count() = 0).empty()"}]}"#;
    let names = vec![r#"{"family":"f"}"#; 1_500].join(",");
    let document = format!(r#"{{"resourceType":"Patient","name":[{names}]}}"#);
    let found = errors("Patient", whole, &document);
    let [line] = found.as_slice() else { panic!("{found:?}") };
    assert!(line.starts_with("error too-costly Patient.name["), "{line}");
}

#[test]
fn an_invariant_about_codes_that_nobody_knows_is_told_and_does_not_fail() {
    let about = |expression: &str, code: &str| {
        let element = format!(
            r#"{{"id":"Observation.code","path":"Observation.code","min":1,"max":"1","type":[{{"code":"CodeableConcept"}}],
            "constraint":[{{"key":"x-1","severity":"error","human":"a rule","expression":"{expression}"}}]}}"#
        );
        let validator = validator(&[profile("p", "Observation", &element)]);
        let document =
            format!(r#"{{"resourceType":"Observation","status":"final","code":{code}}}"#);
        let options = Options::default();
        let mut found =
            lines(&validator.validate(&value(&document), &["http://x.org/p"], &options));
        found.retain(|line| line.contains("x-1"));
        found
    };
    let broken = "error invariant Observation.code: a rule (x-1) (http://x.org/p|1)";
    let unchecked = |what: &str| {
        format!(
            "warning not-supported Observation.code: the rule x-1 cannot be checked: \
             {what} is not known at column "
        )
    };
    let dark = r#"{"coding":[{"system":"urn:dark","code":"d"}]}"#;
    let (text, wrong) = (r#"{"text":"t"}"#, r#"{"coding":[{"system":"urn:s","code":"wrong"}]}"#);
    for (expression, code, expected) in [
        ("memberOf('urn:some')", dark, unchecked("urn:dark")),
        ("memberOf('urn:some').not()", dark, unchecked("urn:dark")),
        ("coding.where(memberOf('urn:some')).exists()", dark, unchecked("urn:dark")),
        ("memberOf('urn:none')", wrong, unchecked("urn:none")),
        ("memberOf('urn:some')", wrong, broken.to_owned()),
        ("memberOf('urn:some')", text, broken.to_owned()),
        ("memberOf('urn:some').not()", text, String::new()),
        ("%resource.status.memberOf('urn:some')", text, String::new()),
        ("'wrong'.memberOf('urn:some')", text, broken.to_owned()),
        ("subsumes(coding.first())", dark, String::new()),
        ("subsumes('d')", dark, unchecked(r#"the system of the code "d""#)),
    ] {
        let found = about(expression, code);
        match (&*expected, &found[..]) {
            ("", []) => {}
            ("", _) => panic!("{expression} {code}: {found:?}"),
            (expected, [line]) if line.starts_with(expected) => {}
            (expected, _) => panic!("{expression} {code}: {found:?} instead of {expected}"),
        }
    }
}
