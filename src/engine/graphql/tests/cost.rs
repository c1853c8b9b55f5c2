//! What a document may cost that tells little or nothing.

use super::*;

/// An organization with two thousand numbers and as many references to itself: some 3,000 looks to open it. A
/// patient with as many names, and 200 references to what is not among 200 contained resources.
fn many() -> Held {
    let all = |one: &str| vec![one; 2_000].join(",");
    let organization = format!(
        r#"{{"name":"{}","identifier":[{}],"endpoint":[{}]}}"#,
        "n".repeat(200),
        all(r#"{"value":"x"}"#),
        all(r#"{"reference":"Organization/many"}"#),
    );
    let patient = format!(
        r#"{{"name":[{{"given":[{}]}}],"generalPractitioner":[{}],"contained":[{}]}}"#,
        all(r#""x""#),
        vec![r##"{"reference":"#none"}"##; 200].join(","),
        vec![r#"{"resourceType":"Practitioner","id":"x"}"#; 200].join(","),
    );
    let more = vec![("Organization/many", organization), ("Patient/many", patient)];
    Held { more, ..Held::default() }
}

/// A field under `count` names.
fn times(count: usize, field: &str) -> String {
    (0..count).map(|at| format!("a{at}: {field} ")).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn a_resource_is_opened_once_wherever_it_is_wanted() {
    let page = |inner: &str| format!("OrganizationConnection {{ {inner} }}");
    for document in [
        times(6, r#"Organization(id: "many") { id }"#),
        page(&format!("edges {{ {} }}", times(6, "resource { id }"))),
        page(&times(6, "edges { mode resource { id } }")),
    ] {
        let (found, _) = ask_of(many(), None, &format!("{{ {document} }}"), None).await;
        assert!(!found.contains(" ! "), "{document}: {found}");
        assert_eq!(found.matches(r#""id":"many""#).count(), 6, "{document}: {found}");
    }
}

#[tokio::test]
async fn what_a_search_asks_for_takes_room_each_time() {
    let document = "query($v: String) { Patient(id: \"p\") { ObservationList(_reference: subject, code: $v) { id } } }";
    let long = "v".repeat(LIMITS.answer_bytes);
    let (found, asked) = ask(None, document, Some(&format!(r#"{{"v":"{long}"}}"#))).await;
    assert!(found.contains("graphql.max_answer_bytes"), "{found}");
    assert_eq!(asked, ["Patient/p"]);
}

#[tokio::test]
async fn arguments_are_bounded_before_anything_is_read() {
    let list = format!("PatientList(name: [{}]) {{ id }}", "$v ".repeat(50));
    let all = times(25, "PatientList(name: $v) { id }");
    for (inner, expected) in
        [(list, "name: a list has more than"), (all, "all arguments have more than")]
    {
        let document = format!("query($v: String) {{ {inner} }}");
        let variables = format!(r#"{{"v":"{}"}}"#, "v".repeat(3_000));
        let (found, asked) = ask(None, &document, Some(&variables)).await;
        assert!(found.contains(expected), "{expected}: {found}");
        assert!(asked.is_empty(), "{expected}: {asked:?}");
    }
}

#[tokio::test]
async fn what_leads_on_takes_room_before_it_is_read() {
    let document =
        "{ Organization(id: \"many\") { endpoint @flatten { resource @flatten { id } } } }";
    let (found, asked) = ask_of(many(), None, document, None).await;
    assert!(found.contains("graphql.max_answer_bytes"), "{found}");
    assert_eq!(asked, ["Organization/many"]);
}

#[tokio::test]
async fn what_is_looked_at_is_bounded_though_nothing_of_it_is_told() {
    let organization = |inner: &str| format!("{{ Organization(id: \"many\") {{ {inner} }} }}");
    let patient = |inner: &str| format!("{{ Patient(id: \"many\") {{ {inner} }} }}");
    let long = format!("a: use(fhirpath: \"true{}\")", " and true".repeat(40));
    let twice = format!("identifier @flatten {{ {long} ... on Identifier {{ {long} }} }}");
    let named = format!("identifier @flatten {{ {}: system }}", "k".repeat(200));
    for (document, is_looked_at) in [
        // Each of them alone is allowed.
        (organization("identifier(value: none) { system }"), false),
        (organization("identifier @flatten { system }"), false),
        (patient("name(given: none) { use }"), false),
        (organization(&times(4, "identifier(value: none) { system }")), true),
        (organization(&times(3, "identifier @flatten { system }")), true),
        (organization("identifier(fhirpath: \"nope()\") { system }"), true),
        (organization(&named), true),
        (organization(&twice), true),
        (patient(&times(5, "name(given: none) { use }")), true),
        (patient("generalPractitioner @flatten { resource(optional: true) { id } }"), true),
    ] {
        let (found, _) = ask_of(many(), None, &document, None).await;
        assert_eq!(found.contains("looks at more values"), is_looked_at, "{document}: {found}");
    }
}

#[tokio::test]
async fn what_names_end_in_takes_room_where_nothing_has_such_a_name() {
    let document = r#"{ Organization(id: "many") { identifier @flatten @slice(path: "%resource.name") { system } } }"#;
    let (found, _) = ask_of(many(), None, document, None).await;
    assert!(found.contains("graphql.max_answer_bytes"), "{found}");
}
