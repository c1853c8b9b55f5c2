//! Resources that stand inside of others.

use super::*;

/// An entry that contains what it refers to.
const BUNDLE: &str = r##"{"type":"collection","entry":[{"resource":{"resourceType":"Observation","status":"final",
    "subject":{"reference":"#s"},"contained":[
        {"resourceType":"Patient","id":"s","active":true,"managingOrganization":{"reference":"#o"}},
        {"resourceType":"Organization","id":"o","name":"Inner"}]}}]}"##;

/// What is selected of the entry.
const CASES: &[(&str, &str)] = &[
    (
        "subject { resource { active managingOrganization { resource { name } } } }",
        r#"{"subject":{"resource":{"active":true,"managingOrganization":{"resource":{"name":"Inner"}}}}}"#,
    ),
    (
        "contained { managingOrganization { resource { name } } }",
        r#"{"contained":[{"managingOrganization":{"resource":{"name":"Inner"}}},{}]}"#,
    ),
    (
        "contained { managingOrganization(fhirpath: \"%resource.active\") { reference } }",
        r##"{"contained":[{"managingOrganization":{"reference":"#o"}},{}]}"##,
    ),
    ("status(fhirpath: \"%rootResource is Observation\")", r#"{"status":"final"}"#),
    ("status(fhirpath: \"%resource is Bundle\")", "{}"),
];

#[tokio::test]
async fn a_resource_inside_of_another_is_one_of_its_own() {
    for (inner, expected) in CASES {
        let held = Held { more: vec![("Bundle/b", BUNDLE.to_owned())], ..Held::default() };
        let document = format!("{{ Bundle(id: \"b\") {{ entry {{ resource {{ {inner} }} }} }} }}");
        let (found, _) = ask_of(held, None, &document, None).await;
        let expected = format!(r#"{{"Bundle":{{"entry":[{{"resource":{expected}}}]}}}}"#);
        assert_eq!(found, expected, "{inner}");
    }
}

#[tokio::test]
async fn nothing_refers_to_what_another_contains() {
    let list = "PatientList(_reference: general_practitioner) { id }";
    let document = format!("{{ contained {{ ... on Practitioner {{ {list} }} }} }}");
    let (found, asked) = ask(Some("Patient/p"), &document, None).await;
    let expected = r#"{"contained":[{"PatientList":null}]} ! nothing refers to a resource that another contains"#;
    assert_eq!(found, expected);
    assert!(asked.is_empty(), "{asked:?}");
}
