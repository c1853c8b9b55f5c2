//! The base definitions, on whole documents.

use super::{lines, validator, value};
use crate::fhir::Severity;
use crate::validate::profile::Options;

fn found(document: &str, least: Severity) -> Vec<String> {
    let options = Options { least, ..Options::default() };
    lines(&validator(&[]).validate(&value(document), &[], &options))
}

#[test]
fn what_a_type_is_at_least_is_not_for_stored_definitions_to_say() {
    let own = |name: &str, more: &str| {
        format!(
            r#"{{"resourceType":"StructureDefinition","url":"http://hl7.org/fhir/StructureDefinition/{name}",
            "version":"9","name":"{name}","status":"active","kind":"resource","abstract":false,
            "type":"{name}","derivation":"specialization","snapshot":{{"element":[
            {{"id":"{name}","path":"{name}","min":0,"max":"*"{more}}}]}}}}"#
        )
    };
    let never =
        r#","constraint":[{"key":"x-1","severity":"error","human":"h","expression":"false"}]"#;
    let document = value(r#"{"resourceType":"Patient","gender":"wrong","contact":[{"id":"c"}]}"#);
    let found = |definitions: &[String]| {
        let options = Options { least: Severity::Error, ..Options::default() };
        lines(&validator(definitions).validate(&document, &[], &options))
    };
    let expected = found(&[]);
    assert_eq!(expected.len(), 2, "{expected:?}");
    for definition in [own("Patient", ""), own("Element", never), own("DomainResource", never)] {
        assert_eq!(found(std::slice::from_ref(&definition)), expected, "{definition}");
    }
}

#[test]
fn base_invariants_hold_wherever_their_type_is() {
    for (document, expected) in [
        (
            r#"{"resourceType":"Patient","contact":[{"gender":"male"}]}"#,
            &["Patient.contact[0]", "(pat-1)"][..],
        ),
        (
            r#"{"resourceType":"Patient","telecom":[{"value":"1"}]}"#,
            &["Patient.telecom[0]", "(cpt-2)"],
        ),
        (
            r#"{"resourceType":"Patient","name":[{"period":{"start":"2021-01-02","end":"2020-01-01"}}]}"#,
            &["Patient.name[0].period", "(per-1)"],
        ),
        (
            r#"{"resourceType":"Observation","status":"final","code":{"text":"c"},"valueQuantity":{"value":1,"code":"g"}}"#,
            &["Observation.value", "(qty-3)"],
        ),
        (
            r#"{"resourceType":"Observation","status":"final","code":{"text":"c"},"valueString":"x","dataAbsentReason":{"text":"y"}}"#,
            &["Observation", "(obs-6)"],
        ),
        (
            r#"{"resourceType":"Questionnaire","status":"draft","item":[{"linkId":"1","type":"group","item":[{"linkId":"1.1","type":"display","required":true}]}]}"#,
            &["Questionnaire.item[0].item[0]", "(que-6)"],
        ),
        (
            r#"{"resourceType":"Organization","name":"o","telecom":[{"system":"phone","value":"1","use":"home"}]}"#,
            &["Organization.telecom[0]", "(org-3)"],
        ),
        (
            r#"{"resourceType":"Patient","photo":[{"contentType":"a/b","data":"YWJj","size":4}]}"#,
            &["Patient.photo[0]: the size is told as 4, and is 3"],
        ),
        (
            r#"{"resourceType":"Patient","extension":[{"url":"urn:x","valuePeriod":{"start":"2021-01-02","end":"2020-01-01"}}]}"#,
            &["Patient.extension[0].value", "(per-1)"],
        ),
        (
            r#"{"resourceType":"Patient","_birthDate":{"extension":[{"url":"urn:x","valueContactPoint":{"value":"1"}}]}}"#,
            &["Patient.birthDate.extension[0].value", "(cpt-2)"],
        ),
        (
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","contact":[{"gender":"male"}]}}]}"#,
            &["Bundle.entry[0].resource.contact[0]", "(pat-1)"],
        ),
        (
            r#"{"resourceType":"Observation","status":"final","code":{"text":"c"},"referenceRange":[{"low":{"value":1,"comparator":"<"}}]}"#,
            &["Observation.referenceRange[0].low:", "SimpleQuantity", "(sqty-1)"],
        ),
    ] {
        let found = found(document, Severity::Error);
        // The profile on a Quantity says it in two ways.
        let most = if expected.contains(&"SimpleQuantity") { 2 } else { 1 };
        assert!((1..=most).contains(&found.len()), "{document}: {found:?}");
        let line = &found[0];
        let is_all = expected.iter().all(|part| line.contains(part));
        assert!(is_all, "{document}: {line}");
    }
}

#[test]
fn required_bindings_of_the_base_hold() {
    for (document, expected) in [
        (r#"{"resourceType":"Patient","gender":"wrong"}"#, "Patient.gender: wrong is not in"),
        (
            r#"{"resourceType":"Patient","name":[{"use":"wrong"}]}"#,
            "Patient.name[0].use: wrong is not",
        ),
        (
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","gender":"wrong"}}]}"#,
            "Bundle.entry[0].resource.gender: wrong is not in",
        ),
    ] {
        let found = found(document, Severity::Error);
        assert_eq!(found.len(), 1, "{document}: {found:?}");
        assert!(found[0].contains(expected), "{document}: {found:?}");
    }
}

#[test]
fn what_only_warns_is_left_out_on_request() {
    let document = r#"{"resourceType":"Patient","modifierExtension":[{"url":"http://x.org/m","valueCode":"a"}]}"#;
    let all = found(document, Severity::Information);
    assert!(all.iter().any(|line| line.contains("(dom-6)")), "{all:?}");
    assert!(all.iter().any(|line| line.contains("http://x.org/m is not known")), "{all:?}");
    assert_eq!(found(document, Severity::Error), Vec::<String>::new());
}

#[test]
fn every_base_definition_is_compiled_with_expressions_that_can_be_read() {
    let validator = validator(&[]);
    for (at, def) in validator.spec.schema.types().iter().enumerate() {
        let base = validator.base(crate::fhir::schema::TypeId(at as u16)).expect("a type");
        assert_eq!(base.fields.len(), def.fields.len(), "{}", def.name);
        let fields = base.fields.iter().flat_map(|checks| &checks.constraints);
        for constraint in base.own.iter().chain(fields) {
            let read = constraint.expression.as_ref();
            let unsupported = read.map(|it| it.unsupported().len());
            assert_eq!(unsupported, Ok(0), "{} {}", def.name, constraint.key);
        }
    }
}

#[test]
fn the_work_is_bounded_by_the_size_of_the_document() {
    // An expression that is quadratic in the number of items, on a document with many.
    let items: Vec<String> =
        (0..20_000).map(|at| format!(r#"{{"linkId":"{at}","type":"string"}}"#)).collect();
    let document = format!(
        r#"{{"resourceType":"Questionnaire","status":"draft","item":[{}]}}"#,
        items.join(",")
    );
    let began = std::time::Instant::now();
    let found = found(&document, Severity::Error);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn errata_of_the_base_are_mended() {
    for (document, key, is_broken) in [
        (
            r#"{"resourceType":"RiskAssessment","status":"final","subject":{"display":"s"},"prediction":[{"outcome":{"text":"o"}}]}"#,
            "ras-2",
            false,
        ),
        (
            r#"{"resourceType":"RiskAssessment","status":"final","subject":{"display":"s"},"prediction":[{"probabilityDecimal":101}]}"#,
            "ras-2",
            true,
        ),
        (
            r#"{"resourceType":"Questionnaire","status":"draft","item":[{"linkId":"1","type":"string","enableWhen":[{"question":"2","operator":"exists","answerBoolean":true}]}]}"#,
            "que-7",
            false,
        ),
        (
            r#"{"resourceType":"Questionnaire","status":"draft","item":[{"linkId":"1","type":"string","enableWhen":[{"question":"2","operator":"exists","answerInteger":1}]}]}"#,
            "que-7",
            true,
        ),
        (r#"{"resourceType":"ValueSet","status":"draft"}"#, "vsd-0", false),
        (r#"{"resourceType":"ValueSet","status":"draft","name":"a b"}"#, "vsd-0", true),
    ] {
        let found = found(document, Severity::Information);
        let named = format!("({key})");
        assert_eq!(
            found.iter().any(|line| line.contains(&named)),
            is_broken,
            "{document}: {found:?}"
        );
    }
}

#[test]
fn the_id_of_an_element_stands_once_in_its_resource() {
    let twice = "error duplicate Patient.name[1].id: another element of the resource has this id";
    for (document, expected) in [
        (
            r#"{"resourceType":"Patient","name":[{"id":"a","text":"x"},{"id":"b","text":"y"}]}"#,
            None,
        ),
        (
            r#"{"resourceType":"Patient","name":[{"id":"a","text":"x"},{"id":"a","text":"y"}]}"#,
            Some(twice),
        ),
        (r#"{"resourceType":"Patient","id":"a","name":[{"id":"a","text":"x"}]}"#, None),
        (
            r##"{"resourceType":"Patient","name":[{"id":"a","text":"x"}],"managingOrganization":{"reference":"#o"},
            "contained":[{"resourceType":"Organization","id":"o","contact":[{"id":"a","name":{"text":"y"}}]}]}"##,
            None,
        ),
        (
            r#"{"resourceType":"Patient","gender":"male","_gender":{"id":"a"},"name":[{"text":"x"},{"id":"a","text":"y"}]}"#,
            Some(twice),
        ),
    ] {
        let found = found(document, Severity::Error);
        let told: Vec<_> =
            found.iter().map(String::as_str).filter(|it| it.contains("duplicate")).collect();
        assert_eq!(told, expected.into_iter().collect::<Vec<_>>(), "{document}");
    }
}

#[test]
fn the_links_of_a_narrative_lead_somewhere() {
    for (link, is_right) in [
        ("#", true),
        ("#named", true),
        ("#here", true),
        ("#o", true),
        ("#n", true),
        ("#p", true),
        ("http://x.org/#lost", true),
        ("#lost", false),
        ("#o/n", false),
    ] {
        let document = format!(
            r##"{{"resourceType":"Patient","id":"p","text":{{"status":"generated","div":"<div xmlns='http://www.w3.org/1999/xhtml'><a name='named'> </a><p id='here'><a href=\"{link}\">x</a></p></div>"}},
            "contained":[{{"resourceType":"Organization","id":"o","name":"o"}}],
            "managingOrganization":{{"reference":"#o"}},"name":[{{"id":"n","text":"x"}}]}}"##
        );
        let found = found(&document, Severity::Error);
        let is_lost = found.iter().any(|line| line.contains("leads nowhere in the resource"));
        assert_eq!(!is_lost, is_right, "{link}: {found:?}");
    }
}
