//! The rules of Bundle, and of what it holds.

use super::*;

fn bundle(kind: &str, rest: &str) -> String {
    format!(r#"{{"resourceType":"Bundle","type":"{kind}"{rest}}}"#)
}

#[test]
fn a_bundle_keeps_the_rules_of_its_type() {
    let patient = r#""resource":{"resourceType":"Patient"}"#;
    let put = r#""request":{"method":"PUT","url":"Patient/1"}"#;
    let done = r#""response":{"status":"200"}"#;
    for (kind, rest, place) in [
        ("collection", r#","total":1"#.to_owned(), "Bundle.total"),
        (
            "collection",
            format!(r#","entry":[{{{patient},"search":{{"mode":"match"}}}}]"#),
            "Bundle.entry[0]",
        ),
        ("transaction", format!(r#","entry":[{{{patient}}}]"#), "Bundle.entry[0]"),
        ("collection", format!(r#","entry":[{{{patient},{put}}}]"#), "Bundle.entry[0]"),
        ("batch-response", format!(r#","entry":[{{{patient}}}]"#), "Bundle.entry[0]"),
        ("collection", format!(r#","entry":[{{{patient},{done}}}]"#), "Bundle.entry[0]"),
        (
            "collection",
            r#","entry":[{"fullUrl":"http://x/Patient/1"}]"#.to_owned(),
            "Bundle.entry[0]",
        ),
        (
            "collection",
            format!(r#","entry":[{{"fullUrl":"http://x/Patient/1/_history/2",{patient}}}]"#),
            "Bundle.entry[0].fullUrl",
        ),
        (
            "collection",
            format!(
                r#","entry":[{{"fullUrl":"urn:a",{patient}}},{{"fullUrl":"urn:a",{patient}}}]"#
            ),
            "Bundle.entry[1].fullUrl",
        ),
        ("message", format!(r#","entry":[{{{patient}}}]"#), "Bundle.entry"),
    ] {
        faulty(&[(&bundle(kind, &rest), Invariant, place)]);
    }
    sound(&[
        &bundle("searchset", r#","total":1"#),
        &bundle("transaction", &format!(r#","entry":[{{{patient},{put}}}]"#)),
        &bundle("history", &format!(r#","entry":[{{{patient},{put},{done}}}]"#)),
    ]);
    let versions = |a: &str, b: &str| {
        let entry = |version: &str| {
            format!(
                r#"{{"fullUrl":"urn:a","resource":{{"resourceType":"Patient",
                    "meta":{{"versionId":"{version}"}}}}}}"#
            )
        };
        bundle("collection", &format!(r#","entry":[{},{}]"#, entry(a), entry(b)))
    };
    sound(&[&versions("1", "2")]);
    faulty(&[(&versions("1", "1"), Invariant, "Bundle.entry[1].fullUrl")]);
}

#[test]
fn a_document_bundle_names_itself_and_starts_with_a_composition() {
    let verdict = verdict(&bundle("document", ""));
    let places: Vec<_> = verdict.issues().iter().map(|issue| &*issue.expression).collect();
    assert_eq!(places, ["Bundle.identifier", "Bundle.timestamp", "Bundle.entry"]);
    assert!(matches!(verdict, Verdict::Broken(_)));
}

#[test]
fn the_resources_of_a_bundle_are_checked_with_its_path() {
    let entry = |resource: &str| {
        format!(
            r#","entry":[{{"fullUrl":"urn:a","resource":{resource},
                "request":{{"method":"POST","url":"x"}}}}]"#
        )
    };
    let bad = r#"{"resourceType":"Patient","birthDate":"x"}"#;
    let place = "Bundle.entry[0].resource.birthDate";
    faulty(&[(&bundle("batch", &entry(bad)), IssueCode::Value, place)]);

    let subsetted = r#"{"resourceType":"Patient","meta":{"tag":[{"code":"SUBSETTED",
        "system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue"}]}}"#;
    faulty(&[
        (subsetted, BusinessRule, "Patient.meta.tag"),
        (
            &bundle("transaction", &entry(subsetted)),
            BusinessRule,
            "Bundle.entry[0].resource.meta.tag",
        ),
    ]);
    sound(&[&bundle("collection", &format!(r#","entry":[{{"resource":{subsetted}}}]"#))]);

    let conditional = r#"{"resourceType":"Patient",
        "managingOrganization":{"reference":"Organization?identifier=a"}}"#;
    sound(&[&bundle("transaction", &entry(conditional))]);
    let place = "Bundle.entry[0].resource.managingOrganization.reference";
    faulty(&[(&bundle("batch", &entry(conditional)), IssueCode::Value, place)]);
}

#[test]
fn a_shell_leaves_the_entries_to_their_own_check() {
    let json = bundle(
        "batch",
        r#","entry":[{"resource":{"resourceType":"Patient","x":1},
            "request":{"method":"POST","url":"Patient"}},{"link":[]}]"#,
    );
    let bundle = parse(json.as_bytes()).expect("JSON");
    let places = |verdict: &Verdict| -> Vec<String> {
        verdict.issues().iter().map(|issue| issue.expression.clone()).collect()
    };
    let shell = places(&check_shell(&bundle, &R4.schema));
    assert_eq!(shell, ["Bundle.entry[1].link", "Bundle.entry[1]", "Bundle.entry[1]"]);
}

#[test]
fn a_reference_to_an_entry_has_the_type_of_the_entry() {
    let with = |kind: &str, name: &str| {
        let request = |name: &str| match kind {
            "transaction" => format!(r#","request":{{"method":"POST","url":"{name}"}}"#),
            _ => String::new(),
        };
        let referring =
            r#"{"resourceType":"Patient","generalPractitioner":[{"reference":"urn:a"}]}"#;
        let entries = format!(
            r#","entry":[{{"resource":{referring}{}}},{{"fullUrl":"urn:a",
            "resource":{{"resourceType":"{name}","active":true}}{}}}]"#,
            request("Patient"),
            request(name)
        );
        bundle(kind, &entries)
    };
    let place = "Bundle.entry[0].resource.generalPractitioner[0].reference";
    for kind in ["collection", "transaction"] {
        sound(&[&with(kind, "Practitioner")]);
        faulty(&[(&with(kind, "Patient"), BusinessRule, place)]);
    }
}
