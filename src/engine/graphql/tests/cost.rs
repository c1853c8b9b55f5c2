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
