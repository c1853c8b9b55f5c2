//! Each rule of form, on the smallest document that keeps or breaks it.

use std::sync::{Arc, LazyLock};

use crate::fhir::IssueCode::{self, BusinessRule, Invariant, Required, Structure};
use crate::fhir::json::parse;
use crate::spec::Spec;

use super::*;

mod bundle;

static R4: LazyLock<Arc<Spec>> = LazyLock::new(|| Spec::r4().expect("the embedded pack loads"));

fn verdict(json: &str) -> Verdict {
    check(&parse(json.as_bytes()).expect(json), &R4.schema)
}

fn sound(cases: &[&str]) {
    for json in cases {
        assert_eq!(verdict(json), Verdict::Sound, "{json}");
    }
}

/// Each document has exactly one issue, of this code at this place.
fn faulty(cases: &[(&str, IssueCode, &str)]) {
    for (json, code, expression) in cases {
        let verdict = verdict(json);
        let found: Vec<_> =
            verdict.issues().iter().map(|issue| (issue.code, &*issue.expression)).collect();
        assert_eq!(found, [(*code, *expression)], "{json}: {verdict:?}");
    }
}

fn patient(properties: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{properties}}}"#)
}

/// Like [`faulty`], for the properties of a Patient.
fn faulty_patients(cases: &[(&str, IssueCode, &str)]) {
    for (properties, code, expression) in cases {
        faulty(&[(&patient(properties), *code, expression)]);
    }
}

fn sound_patients(cases: &[&str]) {
    for properties in cases {
        sound(&[&patient(properties)]);
    }
}

#[test]
fn a_document_is_a_resource_of_a_known_type() {
    faulty(&[
        ("[]", Structure, "Resource"),
        ("1", Structure, "Resource"),
        ("{}", Structure, "Resource"),
        (r#"{"id":"a"}"#, Structure, "Resource"),
        (r#"{"resourceType":1}"#, Structure, "Resource"),
        (r#"{"resourceType":"patient"}"#, Structure, "Resource"),
        (r#"{"resourceType":"Nobody"}"#, Structure, "Resource"),
        (r#"{"resourceType":"DomainResource"}"#, Structure, "DomainResource"),
        (r#"{"resourceType":"HumanName"}"#, Structure, "HumanName"),
        (r#"{"resourceType":"Patient.contact"}"#, Structure, "Patient.contact"),
    ]);
    sound(&[r#"{"resourceType":"Patient"}"#, r#"{"id":"a","resourceType":"Patient"}"#]);
}

#[test]
fn every_property_is_an_element_of_its_type() {
    faulty_patients(&[
        (r#""nmae":[]"#, Structure, "Patient.nmae"),
        (r#""fhir_comments":["x"]"#, Structure, "Patient.fhir_comments"),
        (r#""name":[{"family":"a","x y":1}]"#, Structure, "Patient.name[0].`x y`"),
        (r#""contact":[{"resourceType":"a"}]"#, Structure, "Patient.contact[0].resourceType"),
        (r#""_foo":{"id":"a"}"#, Structure, "Patient._foo"),
        (r#""value":1"#, Structure, "Patient.value"),
        (r#""deceasedString":"x""#, Structure, "Patient.deceasedString"),
        (r#""deceased":true"#, Structure, "Patient.deceased"),
    ]);
}

#[test]
fn every_value_has_the_json_kind_of_its_type() {
    faulty_patients(&[
        (r#""deceasedBoolean":"true""#, Structure, "Patient.deceased"),
        (r#""gender":["male"]"#, Structure, "Patient.gender"),
        (r#""name":{"family":"a"}"#, Structure, "Patient.name"),
        (r#""name":["a"]"#, Structure, "Patient.name[0]"),
        (r#""name":[["a"]]"#, Structure, "Patient.name[0]"),
        (r#""multipleBirthInteger":"2""#, Structure, "Patient.multipleBirth"),
        (r#""birthDate":1980"#, Structure, "Patient.birthDate"),
        (r#""active":1"#, Structure, "Patient.active"),
        (r#""maritalStatus":"M""#, Structure, "Patient.maritalStatus"),
        (r#""gender":{"value":"male"}"#, Structure, "Patient.gender"),
        (r#""text":{"status":"empty","div":1}"#, Structure, "Patient.text.div"),
    ]);
    sound_patients(&[r#""deceasedBoolean":false,"multipleBirthInteger":2,"birthDate":"1980""#]);
}

#[test]
fn nothing_is_empty_or_null() {
    faulty_patients(&[
        (r#""name":[]"#, Structure, "Patient.name"),
        (r#""name":[{}]"#, Structure, "Patient.name[0]"),
        (r#""maritalStatus":{}"#, Structure, "Patient.maritalStatus"),
        (r#""gender":"""#, IssueCode::Value, "Patient.gender"),
        (r#""gender":null"#, Structure, "Patient.gender"),
        (r#""name":null"#, Structure, "Patient.name"),
        (r#""name":[null]"#, Structure, "Patient.name[0]"),
        (r#""name":[{"given":["a",null]}]"#, Structure, "Patient.name[0].given[1]"),
        (r#""name":[{"id":"a"}]"#, Invariant, "Patient.name[0]"),
        (r#""_birthDate":{}"#, Structure, "Patient.birthDate"),
        (r#""_birthDate":{"id":"a"}"#, Invariant, "Patient.birthDate"),
        (
            r#""name":[{"given":["a",null],"_given":[{"id":"b"},{"id":"c"}]}]"#,
            Invariant,
            "Patient.name[0].given[1]",
        ),
        (r#""_birthDate":null"#, Structure, "Patient.birthDate"),
    ]);
}

#[test]
fn primitives_are_checked_as_text() {
    faulty_patients(&[
        (r#""id":"a_b""#, IssueCode::Value, "Patient.id"),
        (r#""birthDate":"2023-02-30""#, IssueCode::Value, "Patient.birthDate"),
        (r#""multipleBirthInteger":1.0"#, IssueCode::Value, "Patient.multipleBirth"),
        (r#""multipleBirthInteger":99999999999"#, IssueCode::Value, "Patient.multipleBirth"),
        (r#""gender":" male""#, IssueCode::Value, "Patient.gender"),
        (r#""implicitRules":"a b""#, IssueCode::Value, "Patient.implicitRules"),
        (r#""name":[{"given":["a","\u0000"]}]"#, IssueCode::Value, "Patient.name[0].given[1]"),
        (r#""language":"en_US""#, IssueCode::Value, "Patient.language"),
    ]);
    sound_patients(&[r#""language":"de-CH-1996""#]);
}

const NOTE: &str = r#"{"extension":[{"url":"http://x","valueString":"a"}]}"#;

#[test]
fn a_sibling_says_more_about_a_primitive() {
    let with = |text: &str| patient(&text.replace('N', NOTE));
    for text in [
        r#""birthDate":"1980","_birthDate":N"#,
        r#""_birthDate":N"#,
        r#""_birthDate":{"id":"a"},"birthDate":"1980""#,
        r#""name":[{"given":["a",null],"_given":[null,N]}]"#,
        r#""name":[{"given":["a","b"],"_given":[N]}]"#,
        r#""name":[{"_given":[N]}]"#,
        r#""_deceasedBoolean":N"#,
    ] {
        sound(&[&with(text)]);
    }
    for (text, expression) in [
        (r#""_name":[N]"#, "Patient.name"),
        (r#""_maritalStatus":N"#, "Patient.maritalStatus"),
        (r#""_id":N"#, "Patient.id"),
        (r#""_birthDate":[N]"#, "Patient.birthDate"),
        (r#""_birthDate":"x""#, "Patient.birthDate"),
        (r#""name":[{"given":["a"],"_given":N}]"#, "Patient.name[0].given"),
        (r#""name":[{"given":["a"],"_given":[null,N]}]"#, "Patient.name[0].given"),
        (r#""name":[{"given":["a",null],"_given":[N,null]}]"#, "Patient.name[0].given[1]"),
        (r#""name":[{"given":["a",null],"_given":[N]}]"#, "Patient.name[0].given[1]"),
        (r#""name":[{"_given":[null]}]"#, "Patient.name[0].given[0]"),
        (r#""name":[{"_given":[]}]"#, "Patient.name[0].given"),
        (r#""_birthDate":{"value":"x"}"#, "Patient.birthDate.value"),
    ] {
        faulty(&[(&with(text), Structure, expression)]);
    }
}

#[test]
fn a_choice_is_made_once() {
    faulty_patients(&[
        (r#""deceasedBoolean":true,"deceasedDateTime":"2020""#, Structure, "Patient.deceased"),
        (r#""deceasedBoolean":true,"_deceasedDateTime":{"id":"a"}"#, Structure, "Patient.deceased"),
    ]);
    sound_patients(&[r#""deceasedBoolean":true,"_deceasedBoolean":{"id":"a"}"#]);
}

#[test]
fn mandatory_elements_are_there() {
    faulty(&[
        (r#"{"resourceType":"Observation","status":"final"}"#, Required, "Observation.code"),
        (r#"{"resourceType":"Basic","id":"a"}"#, Required, "Basic.code"),
        (
            r#"{"resourceType":"Patient","link":[{"type":"seealso"}]}"#,
            Required,
            "Patient.link[0].other",
        ),
        (r#"{"resourceType":"Patient","text":{"status":"empty"}}"#, Required, "Patient.text.div"),
        (
            r#"{"resourceType":"Patient","extension":[{"valueString":"a"}]}"#,
            Required,
            "Patient.extension[0].url",
        ),
        (
            r#"{"resourceType":"Group","type":"person","actual":true,
                "characteristic":[{"code":{"text":"a"},"exclude":false}]}"#,
            Required,
            "Group.characteristic[0].value",
        ),
    ]);
    let json = patient(r#""link":[{"type":"seealso"}]"#);
    let verdict = verdict(&json);
    assert!(matches!(verdict, Verdict::Malformed(_)), "{verdict:?}");
    assert!(verdict.issues()[0].diagnostics.contains("Patient.link[0].other"), "{verdict:?}");
}

#[test]
fn an_extension_has_a_value_or_extensions() {
    faulty_patients(&[
        (r#""extension":[{"url":"http://x"}]"#, Invariant, "Patient.extension[0]"),
        (
            r#""extension":[{"url":"http://x","valueString":"a",
                "extension":[{"url":"y","valueString":"b"}]}]"#,
            Invariant,
            "Patient.extension[0]",
        ),
        (
            r#""extension":[{"url":"http://x","valueString":"a","valueCode":"b"}]"#,
            Structure,
            "Patient.extension[0].value",
        ),
    ]);
    sound_patients(&[
        r#""extension":[{"url":"http://x","extension":[{"url":"y","valueString":"b"}]}]"#,
        r#""modifierExtension":[{"url":"http://x","valueReference":{"display":"a"}}]"#,
    ]);
}

#[test]
fn a_reference_has_one_of_its_forms_and_an_allowed_target() {
    let general = |text: &str| format!(r#""generalPractitioner":[{{"reference":"{text}"}}]"#);
    for text in [
        "Practitioner/1",
        "Organization/1/_history/2",
        "http://example.org/fhir/Anything/1",
        "http://example.org/fhir/Practitioner/1",
        "http://example.org/page?of=/Patient/1",
        "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
        "#",
    ] {
        sound_patients(&[&general(text)]);
    }
    let place = "Patient.generalPractitioner[0].reference";
    for (text, code) in [
        ("Patient/1", BusinessRule),
        ("http://example.org/fhir/Patient/1", BusinessRule),
        ("https://example.org/fhir/Patient/1/_history/2", BusinessRule),
        ("John", IssueCode::Value),
        ("Nobody/1", IssueCode::Value),
        ("Practitioner?identifier=a", IssueCode::Value),
        ("#x", Invariant),
        ("", IssueCode::Value),
        ("Practitioner/1 ", IssueCode::Value),
    ] {
        faulty_patients(&[(&general(text), code, place)]);
    }
}

#[test]
fn a_contained_resource_belongs_to_its_container() {
    let organization = r#"{"resourceType":"Organization","id":"o","name":"a"}"#;
    let with = |contained: &str, reference: &str| {
        let contained = contained.replace('@', organization);
        patient(&format!(
            r#""contained":[{contained}],"managingOrganization":{{"reference":"{reference}"}}"#
        ))
    };
    sound(&[
        &with("@", "#o"),
        &with(
            r##"{"resourceType":"Encounter","id":"e","status":"planned","class":{"code":"AMB"},
                "subject":{"reference":"#"}}"##,
            "Organization/1",
        ),
        &with(r##"{"resourceType":"Organization","id":"p","partOf":{"reference":"#o"}},@"##, "#p"),
    ]);
    let listed = r#"{"resourceType":"Organization","id":"o","name":"a""#;
    faulty(
        &[
            (&with("@", "Organization/1"), Invariant, "Patient.contained[0]"),
            (&with("@,@", "#o"), Invariant, "Patient.contained[1].id"),
            (
                &with(&format!(r#"{listed},"meta":{{"versionId":"1"}}}}"#), "#o"),
                Invariant,
                "Patient.contained[0].meta",
            ),
            (
                &with(&format!(r#"{listed},"meta":{{"security":[{{"code":"R"}}]}}}}"#), "#o"),
                Invariant,
                "Patient.contained[0].meta",
            ),
            (
                &with(&format!(r#"{listed},"contained":[@]}}"#), "#o"),
                Invariant,
                "Patient.contained[0].contained[0]",
            ),
            (
                &with(r#"{"resourceType":"Practitioner","id":"o","active":true}"#, "#o"),
                BusinessRule,
                "Patient.managingOrganization.reference",
            ),
            (&with(r#"{"resourceType":"Org","id":"o"}"#, "#o"), Structure, "Patient.contained[0]"),
        ]
        .map(|(json, code, place)| (json.as_str(), code, place)),
    );
    let without_id = with(r#"{"resourceType":"Organization","name":"a"}"#, "Organization/1");
    faulty(&[(&without_id, Invariant, "Patient.contained[0]")]);
}

#[test]
fn a_parameter_has_one_kind_of_content() {
    let parameters = |rest: &str| {
        format!(r#"{{"resourceType":"Parameters","parameter":[{{"name":"a"{rest}}}]}}"#)
    };
    sound(&[
        &parameters(r#","valueString":"x""#),
        &parameters(r#","resource":{"resourceType":"Patient"}"#),
        &parameters(r#","part":[{"name":"b","valueCode":"x"}]"#),
    ]);
    let place = "Parameters.parameter[0]";
    faulty(&[
        (&parameters(""), Invariant, place),
        (
            &parameters(r#","valueString":"x","resource":{"resourceType":"Patient"}"#),
            Invariant,
            place,
        ),
        (&parameters(r#","part":[{"name":"b"}]"#), Invariant, "Parameters.parameter[0].part[0]"),
        (
            &parameters(r#","resource":{"resourceType":"Patient","x":1}"#),
            Structure,
            "Parameters.parameter[0].resource.x",
        ),
    ]);
}

#[test]
fn the_narrative_is_part_of_the_form() {
    let with = |div: &str| patient(&format!(r#""text":{{"status":"generated","div":"{div}"}}"#));
    sound(&[&with("<div xmlns='http://www.w3.org/1999/xhtml'>a&nbsp;b</div>")]);
    faulty(&[
        (&with("<div>a</div>"), Invariant, "Patient.text.div"),
        (&with("a"), Structure, "Patient.text.div"),
        (&with(""), IssueCode::Value, "Patient.text.div"),
    ]);
    let with = |status: &str| {
        patient(&format!(
            r#""text":{{"status":{status},"div":"<div xmlns='http://www.w3.org/1999/xhtml'>a</div>"}}"#
        ))
    };
    for status in ["generated", "extensions", "additional", "empty"] {
        sound(&[&with(&format!("\"{status}\""))]);
    }
    faulty(&[(&with("\"final\""), IssueCode::CodeInvalid, "Patient.text.status")]);
}

#[test]
fn a_language_is_spelled_like_one() {
    sound_patients(&[
        r#""language":"de-CH-1996""#,
        r#""photo":[{"language":"en","title":"x"}]"#,
        r#""extension":[{"url":"u","valueExpression":{"language":"text/cql","expression":"1"}}]"#,
    ]);
    let value = IssueCode::Value;
    faulty_patients(&[
        (r#""language":"en_US""#, value, "Patient.language"),
        (r#""photo":[{"language":"english text"}]"#, value, "Patient.photo[0].language"),
        (
            r##""contained":[{"resourceType":"Organization","id":"o","language":"e"}],
               "managingOrganization":{"reference":"#o"}"##,
            value,
            "Patient.contained[0].language",
        ),
    ]);
    let system = |language: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","status":"draft","content":"complete","concept":
            [{{"code":"a","designation":[{{"language":"{language}","value":"x"}}]}}]}}"#
        )
    };
    sound(&[&system("pt-BR")]);
    faulty(&[(&system("12"), value, "CodeSystem.concept[0].designation[0].language")]);
}

#[test]
fn large_exponents_do_not_make_a_large_document() {
    let decimals = |decimal: &str, count: usize| {
        let one = format!(r#"{{"url":"u","valueDecimal":{decimal}}}"#);
        format!(r#""extension":[{}]"#, vec![one; count].join(","))
    };
    sound_patients(&[&decimals("1e64", 1_000), &decimals("-1.0E-308", 53)]);
    let place = "Patient.extension[53].value";
    faulty_patients(&[
        (&decimals("1e308", 1_000), IssueCode::TooLong, place),
        (&decimals("1e309", 1), IssueCode::Value, "Patient.extension[0].value"),
    ]);
}

#[test]
fn malformed_content_outweighs_broken_rules() {
    let both = patient(r#""x":1,"extension":[{"url":"http://x"}]"#);
    let Verdict::Malformed(issues) = verdict(&both) else { panic!("malformed") };
    assert_eq!(issues.len(), 2);
    let broken = patient(r#""extension":[{"url":"http://x"}]"#);
    assert!(matches!(verdict(&broken), Verdict::Broken(_)));
}

#[test]
fn the_issues_are_capped_and_the_depth_is_bounded() {
    let names = vec![r#"{"x":1}"#; 1_000].join(",");
    assert_eq!(verdict(&patient(&format!(r#""name":[{names}]"#))).issues().len(), MAX_ISSUES);

    let mut nested = Value::from(true);
    for _ in 0..5_000 {
        let inner = crate::fhir::json::Object::new().with("url", "http://x");
        let inner = match nested {
            Value::Bool(_) => inner.with("valueBoolean", nested),
            _ => inner.with("extension", vec![nested]),
        };
        nested = inner.into();
    }
    let patient = crate::fhir::json::Object::new()
        .with("resourceType", "Patient")
        .with("extension", vec![nested])
        .into();
    let verdict = check(&patient, &R4.schema);
    assert_eq!(verdict.issues().len(), 1);
    assert!(verdict.issues()[0].diagnostics.contains("too deep"));
}

#[test]
fn many_contained_resources_take_as_long_as_they_are_many() {
    let one = |at| {
        format!(
            r##"{{"resourceType":"Basic","id":"{at}","code":{{"text":"x"}},"subject":{{"reference":"#"}}}}"##
        )
    };
    let contained: Vec<String> = (0..250_000).map(one).collect();
    let text = patient(&format!(r#""contained":[{}]"#, contained.join(",")));
    let began = std::time::Instant::now();
    assert_eq!(verdict(&text), Verdict::Sound);
    // Were each looked for among all, it would be most of a minute.
    assert!(began.elapsed().as_secs() < 12, "{:?}", began.elapsed());
}

#[test]
fn an_image_of_the_narrative_refers_to_what_is_contained() {
    let document = |source: &str| {
        format!(
            r#"{{"resourceType":"Patient","text":{{"status":"generated","div":"<div xmlns='http://www.w3.org/1999/xhtml'><img src='{source}' alt='i'/></div>"}},
            "contained":[{{"resourceType":"Binary","id":"i","contentType":"image/png"}}]}}"#
        )
    };
    sound(&[&document("#i")]);
    faulty(&[(&document("i"), Invariant, "Patient.contained[0]")]);
}
