//! The size of a page has a bound that operators set.
//!
//! Covers: rest 4.186.

use super::grouped::{ids, link};
use crate::harness::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_so_many_matches_at_most_and_says_so() {
    let server =
        TestServer::start_with(&[("http.max_page", "3"), ("http.default_page", "2")]).await;
    let client = &server.client;
    for id in ["a", "b", "c", "d", "e"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    let matches = |text: &str| text.matches(r#""mode":"match""#).count();
    let usual = client.get("/Patient").await.expect(200);
    assert_eq!(matches(&usual.text()), 2);
    let most = client.get("/Patient?_count=3").await.expect(200);
    assert_eq!(matches(&most.text()), 3);
    assert!(!most.text().contains("OperationOutcome"), "as many as may be: {most:?}");
    let capped = client.get("/Patient?_sort=_id&_count=4").await.expect(200);
    assert_eq!(matches(&capped.text()), 3, "{capped:?}");
    assert_eq!(capped.at("total").as_deref(), Some("5"));
    assert_eq!(capped.at("entry[3].search.mode").as_deref(), Some("outcome"));
    let issue = |name| capped.at(&format!("entry[3].resource.issue[0].{name}"));
    assert_eq!(issue("severity").as_deref(), Some("warning"));
    assert!(issue("diagnostics").is_some_and(|text| text.contains("_count")), "{capped:?}");
    let own = capped.at("link[relation=self].url").unwrap();
    assert!(own.ends_with("/Patient?_sort=_id&_count=3"), "{own}");
    let next = client.get(&capped.at("link[relation=next].url").unwrap()).await.expect(200);
    assert_eq!(matches(&next.text()), 2);
    assert_eq!(next.at("entry[0].resource.id").as_deref(), Some("d"));
    assert!(next.at("link[relation=next].url").is_none(), "{next:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_index_without_a_resource_count_for_nothing() {
    let server = TestServer::start().await;
    for id in ["a", "b", "c", "d"] {
        let identifier = r#""identifier":[{"system":"urn:x","value":"1"}]"#;
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}",{identifier}}}"#);
        server.client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    // Whatever order they are found in, one that is no more comes first.
    server.database.run("DELETE FROM res WHERE id IN ('a', 'd')").await;
    let found = server.client.get("/Patient?identifier=urn:x|1").await.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("2"), "{found:?}");
    // Two of them match: which is meant, nobody can tell.
    let update = server.client.put("/Patient?identifier=urn:x|1", r#"{"resourceType":"Patient"}"#);
    update.await.expect(412);
    server.stop().await;
}

/// A page of contained resources that was gone back to is the last too when all behind it is gone.
///
/// Covers: rest 4.189.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_contained_resources_end_where_the_others_went() {
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let client = &server.client;
    for id in ["a", "b", "c"] {
        let body = format!(
            r##"{{"resourceType":"MedicationRequest","id":"{id}","status":"active","intent":"order",
                "contained":[{{"resourceType":"Medication","id":"m","status":"active"}}],
                "subject":{{"reference":"Patient/p"}},"medicationReference":{{"reference":"#m"}}}}"##
        );
        client.put(&format!("/MedicationRequest/{id}"), body).await.expect(201);
    }
    let url = "/Medication?_contained=true&_containedType=container&_sort=_id&_count=1";
    let first = client.get(url).await.expect(200);
    assert_eq!(ids(&first), ["a"], "{first:?}");
    let second = client.get(&link(&first, "next").expect("more")).await.expect(200);
    let back = link(&second, "previous").expect("what was before");
    let again = client.get(&back).await.expect(200);
    assert_eq!(ids(&again), ["a"]);
    assert!(link(&again, "next").is_some(), "{again:?}");
    for id in ["b", "c"] {
        client.delete(&format!("/MedicationRequest/{id}")).await.expect(204);
    }
    let alone = client.get(&back).await.expect(200);
    assert_eq!(ids(&alone), ["a"]);
    assert_eq!(link(&alone, "next"), None, "{alone:?}");
    server.stop().await;
}
