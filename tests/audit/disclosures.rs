//! `$disclosures` tells a patient who had access to the data about them, and nobody else (A14).
//!
//! Covers: security A8, A14.

use crate::harness::client::{Answer, Client};
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

const URL: &str = "/Patient/a/$disclosures";

/// Two patients, of whom others have seen this and that.
async fn seen() -> TestServer {
    let server = TestServer::start().await;
    for id in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"male"}}"#);
        server.client.put(&format!("/Patient/{id}"), body).await.expect(201);
        let body = format!(
            r#"{{"resourceType":"Observation","id":"o{id}","status":"final","code":{{"text":"x"}},
                "subject":{{"reference":"Patient/{id}"}}}}"#
        );
        server.client.put(&format!("/Observation/o{id}"), body).await.expect(201);
    }
    let ada = Token::new(&server, "user/*.cruds").user("Practitioner/ada", &["practitioner"]);
    for (purpose, url, status) in [
        ("TREAT", "/Patient/a", 200),
        ("HRESCH", "/Observation?status=final", 200),
        ("HRESCH", "/Patient/b", 200),
        ("HMARKT", "/Patient/nobody", 404),
    ] {
        let (client, _stop) = ada.clone().purpose(purpose).client().await;
        client.get(url).await.expect(status);
    }
    let (own, _stop) = patient(&server, "a").client().await;
    own.get("/Patient/a").await.expect(200);
    server
}

fn patient<'s>(server: &'s TestServer, id: &str) -> Token<'s> {
    let token = Token::new(server, "patient/*.rs user/*.rs").patient(id);
    token.user(&format!("Patient/{id}"), &["patient"])
}

/// What was done and for what, newest first.
fn told(answer: &Answer) -> Vec<String> {
    let count = answer.json().items_at("entry").len();
    let text = |at: usize, path: &str| answer.at(&format!("entry[{at}].resource.{path}"));
    (0..count)
        .map(|at| {
            let what = text(at, "subtype[0].code").unwrap();
            let why = text(at, "purposeOfEvent[0].coding[0].code").unwrap_or_default();
            format!("{what} {why}").trim().to_owned()
        })
        .collect()
}

async fn get(client: &Client, url: &str) -> Answer {
    client.get(url).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_is_told_of_others_and_of_nobody_elses_data() {
    let server = seen().await;
    let (own, _stop) = patient(&server, "a").client().await;
    let all = get(&own, URL).await;
    // What is put there was done under no token.
    assert_eq!(told(&all), ["search-type HRESCH", "read TREAT", "update", "update"], "{all:?}");
    let text = all.text();
    assert!(text.contains("Practitioner/ada") && text.contains("\"app\""), "{text}");
    for hidden in ["Patient/b", "Observation/ob", "127.0.0.1\"", "status=final", "jti", "altId"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    assert_eq!(all.at("entry[0].resource.entity[1].what.reference").as_deref(), Some("Patient/a"));
    let accounting = get(&own, &format!("{URL}?accounting=true")).await;
    assert_eq!(told(&accounting), ["search-type HRESCH", "update", "update"]);
    for (query, expected) in
        [("end=2020-01-01", 0), ("start=2020-01-01", 4), ("start=2020-01-01&end=2999-01-01", 4)]
    {
        let found = get(&own, &format!("{URL}?{query}")).await;
        assert_eq!(told(&found).len(), expected, "{query}");
    }
    for bad in ["start=never", "end=1", "accounting=yes", "start=2020&start=2021", "_count=x"] {
        own.get(&format!("{URL}?{bad}")).await.expect(400);
    }
    // The question is on record itself.
    let asked = "SELECT count(*) FROM ledger WHERE interaction = 75 AND outcome = 0 \
         AND person = 'Patient/a' AND logical_id = 'a' AND cardinality(pats) = 1";
    assert!(server.database.number(asked).await >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_each_access_once() {
    let server = seen().await;
    let (own, _stop) = patient(&server, "a").client().await;
    let mut found = Vec::new();
    let mut url = format!("{URL}?_count=1");
    while found.len() < 9 {
        let page = get(&own, &url).await;
        found.extend(told(&page));
        let next = (0..4).find_map(|at| {
            let relation = page.at(&format!("link[{at}].relation"))?;
            (relation == "next").then(|| page.at(&format!("link[{at}].url")).unwrap())
        });
        let Some(next) = next else { break };
        url = next;
    }
    assert_eq!(found, ["search-type HRESCH", "read TREAT", "update", "update"]);
    own.get(&format!("{URL}?_cursor=nonsense")).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_the_patient_and_for_who_may_read_the_record() {
    let server = seen().await;
    for (token, status) in [
        (patient(&server, "b"), 404),
        (Token::new(&server, "user/*.rs").user("Practitioner/ada", &["practitioner"]), 403),
        (Token::new(&server, "user/*.rs").user("Practitioner/ada", &["auditor"]), 403),
        (Token::new(&server, "user/*.rs").user("Practitioner/ada", &["privacy"]), 200),
        (Token::new(&server, "user/*.rs").user("Practitioner/ada", &["administrator"]), 200),
        // An app of a clinician with the patient in context.
        (
            Token::new(&server, "patient/*.rs")
                .patient("a")
                .user("Practitioner/ada", &["practitioner"]),
            403,
        ),
        (Token::new(&server, "system/*.rs"), 200),
        (Token::new(&server, "system/Patient.rs"), 403),
        (Token::new(&server, "user/Observation.rs").user("Patient/a", &["patient"]), 403),
    ] {
        let (client, _stop) = token.client().await;
        client.get(URL).await.expect(status);
    }
    server.client.delete("/Observation/oa").await.expect(204);
    server.client.delete("/Patient/a").await.expect(204);
    server.client.get(URL).await.expect(410);
    server.client.get("/Patient/nobody/$disclosures").await.expect(404);
}
