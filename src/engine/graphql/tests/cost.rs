//! What a document may cost that tells little or nothing.

use super::*;

/// An organization with two thousand numbers and as many references to itself: some 3,000 looks to open it.
fn many() -> Held {
    let all = |one: &str| vec![one; 2_000].join(",");
    let organization = format!(
        r#"{{"name":"{}","identifier":[{}],"endpoint":[{}]}}"#,
        "n".repeat(200),
        all(r#"{"value":"x"}"#),
        all(r#"{"reference":"Organization/many"}"#),
    );
    Held { more: vec![("Organization/many", organization)], ..Held::default() }
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
