//! A search takes so many codes of a value set or of a hierarchy, and says so where there are more.

use std::fmt::Write as _;

use crate::harness::client::Client;
use crate::harness::server::TestServer;

/// As many as a search takes (the README says so too).
const MOST: usize = 10_000;

const SYSTEM: &str = "http://example.org/many";

/// A code, and as many below it as a search takes.
fn code_system() -> String {
    let mut below = String::new();
    for number in 0..MOST {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(below, r#"{comma}{{"code":"c{number}"}}"#);
    }
    format!(
        r#"{{"resourceType":"CodeSystem","id":"many","url":"{SYSTEM}","status":"active","content":"complete",
            "hierarchyMeaning":"is-a","concept":[{{"code":"all","concept":[{below}]}}]}}"#
    )
}

fn value_set(id: &str, more: &str) -> String {
    format!(
        r#"{{"resourceType":"ValueSet","id":"{id}","url":"http://example.org/sets/{id}","status":"active",
            "compose":{{"include":[{{"system":"{SYSTEM}"}}]{more}}}}}"#
    )
}

async fn refused(client: &Client, url: &str, what: &str) {
    let answer = client.get(url).await.expect(403);
    assert_eq!(answer.at("issue[0].code").as_deref(), Some("too-costly"), "{url}: {answer:?}");
    let diagnostics = answer.at("issue[0].diagnostics").unwrap_or_default();
    assert!(diagnostics.contains(what), "{url}: {diagnostics}");
    assert!(diagnostics.contains(&format!("more than {MOST} codes")), "{url}: {diagnostics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_codes_than_a_search_takes_are_refused_by_name() {
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let client = &server.client;
    client.put("/CodeSystem/many", code_system()).await.expect(201);
    let but_one = format!(r#","exclude":[{{"system":"{SYSTEM}","concept":[{{"code":"all"}}]}}]"#);
    for (id, more) in [("whole", ""), ("parts", but_one.as_str())] {
        client.put(&format!("/ValueSet/{id}"), value_set(id, more)).await.expect(201);
    }
    for (id, code) in [("a", "all"), ("b", "c9999")] {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"coding":[{{"system":"{SYSTEM}","code":"{code}"}}]}}}}"#
        );
        client.put(&format!("/Observation/{id}"), body).await.expect(201);
    }
    let found = |id: &'static str, url: &'static str| async move {
        let answer = client.get(url).await.expect(200);
        assert_eq!(answer.at("total").as_deref(), Some("1"), "{url}: {answer:?}");
        assert_eq!(answer.at("entry[0].resource.id").as_deref(), Some(id), "{url}: {answer:?}");
    };
    found("b", "/Observation?code:in=http://example.org/sets/parts").await;
    found("a", "/Observation?code:not-in=http://example.org/sets/parts").await;
    found("b", "/Observation?code:below=http://example.org/many|c9999").await;
    for url in [
        "/Observation?code:in=http://example.org/sets/whole",
        "/Observation?code:not-in=http://example.org/sets/whole",
    ] {
        refused(client, url, "http://example.org/sets/whole").await;
    }
    let root = format!("{SYSTEM}|all");
    refused(client, &format!("/Observation?code:below={root}"), &root).await;
    let filter = "/Observation?_filter=code%20in%20http://example.org/sets/whole";
    refused(client, filter, "http://example.org/sets/whole").await;
    server.stop().await;
}
