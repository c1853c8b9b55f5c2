//! `$graphql`: what a document may cost, what is on record of it, and what it leads to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::harness::client::{Answer, Client};
use crate::harness::server::TestServer;

/// What is tried of each route, for the ratchet of the audit: route, url, body, status.
pub(crate) const ATTEMPTS: &[(&str, &str, &str, u16)] = &[
    ("GET /fhir/$graphql", "/$graphql?query=%7B__typename%7D", "", 200),
    ("GET /fhir/$graphql", "/$graphql", "", 400),
    ("POST /fhir/$graphql", "/$graphql", r#"{"query":"{__typename}"}"#, 200),
    ("POST /fhir/$graphql", "/$graphql", r#"{"query":1}"#, 400),
    ("POST /fhir/$graphql", "/$graphql", "{", 400),
    ("GET /fhir/{type}/{id}/$graphql", "/Patient/p/$graphql?query=%7Bid%7D", "", 200),
    ("GET /fhir/{type}/{id}/$graphql", "/Patient/x/$graphql?query=%7Bid%7D", "", 404),
    ("GET /fhir/{type}/{id}/$graphql", "/Patient/d/$graphql?query=%7Bid%7D", "", 410),
    ("POST /fhir/{type}/{id}/$graphql", "/Patient/p/$graphql", r#"{"query":"{id}"}"#, 200),
    ("POST /fhir/{type}/{id}/$graphql", "/Patient/x/$graphql", r#"{"query":"{id}"}"#, 404),
];

/// Two patients, five observations of the first.
async fn filled(settings: &[(&str, &str)]) -> TestServer {
    let server = TestServer::start_with(settings).await;
    for id in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","active":true}}"#);
        server.client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    for at in 0..5 {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"o{at}","status":"final","code":{{"text":"x"}},
                "subject":{{"reference":"Patient/a"}},"focus":[{{"reference":"Patient/a/_history/1"}}]}}"#
        );
        server.client.put(&format!("/Observation/o{at}"), body).await.expect(201);
    }
    server
}

async fn ask(client: &Client, url: &str, document: &str) -> Answer {
    let call = client.call("POST", url).header("Content-Type", "application/graphql");
    call.header("X-Request-Id", "document").body(document.to_owned()).send().await.expect(200)
}

async fn rows(server: &TestServer, more: &str) -> i64 {
    let query =
        format!("SELECT count(*) FROM ledger WHERE request_id = 'document' AND outcome = 0 {more}");
    server.database.number(&query).await
}

/// The request that an AuditEvent has at this entity.
fn asked(answer: &Answer, entity: usize) -> String {
    let text = answer.at(&format!("entry[0].resource.entity[{entity}].query"));
    let bytes = STANDARD.decode(text.unwrap_or_else(|| panic!("{answer:?}"))).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    percent_decode_str(&text).decode_utf8().unwrap().into_owned()
}

/// Covers: security A5.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_and_whatever_it_reads_are_on_record() {
    let server = filled(&[]).await;
    let client = &server.client;
    let document = r#"{ Patient(id: "a") { id ObservationList(_reference: subject) { id subject { resource { id } } } } }"#;
    let answer = ask(client, "/$graphql", document).await;
    assert!(answer.text().contains(r#""resource":{"id":"a"}"#), "{answer:?}");
    // The document, the read, the search: the subjects were read already.
    assert_eq!(rows(&server, "").await, 3);
    assert_eq!(rows(&server, "AND query = '/fhir/Patient/a' AND method = 'GET'").await, 1);
    let search = "AND query LIKE '/fhir/Observation?subject=%' AND cardinality(pats) = 1";
    assert_eq!(rows(&server, search).await, 1);
    let event = client.get("/AuditEvent?subtype=operation&_sort=-date&_count=1").await.expect(200);
    assert_eq!(asked(&event, 0), format!("POST /fhir/$graphql?query={document}"));

    let document = "{ id active }";
    ask(client, "/Patient/b/$graphql", document).await;
    assert_eq!(rows(&server, "").await, 4);
    let url = "/AuditEvent?patient=Patient/b&subtype=operation";
    let event = client.get(url).await.expect(200);
    let what = event.at("entry[0].resource.entity[0].what.reference");
    assert_eq!(what.as_deref(), Some("Patient/b/_history/1"), "{event:?}");
    assert_eq!(asked(&event, 1), format!("POST /fhir/Patient/b/$graphql?query={document}"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_in_the_url_takes_variables_in_the_body() {
    let server = filled(&[]).await;
    let document = "query($id: ID!) { Patient(id: $id) { id } }";
    let url = format!("/$graphql?query={}", utf8_percent_encode(document, NON_ALPHANUMERIC));
    for body in [r#"{"variables":{"id":"b"}}"#, r#"{"query":" ","variables":{"id":"b"}}"#] {
        let call = server.client.call("POST", &url).header("Content-Type", "application/json");
        let answer = call.body(body).send().await.expect(200);
        assert_eq!(answer.text(), r#"{"data":{"Patient":{"id":"b"}}}"#, "{body}");
    }
    let url = "/AuditEvent?subtype=operation&_sort=-date&_count=1";
    let event = server.client.get(url).await.expect(200);
    let expected = format!(r#"POST /fhir/$graphql?query={document}&variables={{"id":"b"}}"#);
    assert_eq!(asked(&event, 0), expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_document_may_cost_is_a_setting() {
    let settings =
        [("graphql.max_resources", "4"), ("graphql.max_depth", "3"), ("graphql.max_fields", "8")];
    let server = filled(&settings).await;
    let read = |at| format!("a{at}: Patient(id: \"x{at}\") {{ id }} ");
    let reads = (0..5).map(read).collect::<Vec<_>>().concat();
    for (document, setting) in [
        (reads.replace("a3: Patient(id: \"x3\") { id } ", ""), None),
        ("a: ObservationList { id } b: Patient(id: \"a\") { id }".to_owned(), None),
        ("a: ObservationList { id } b: ObservationList { id }".to_owned(), Some("max_resources")),
        ("Patient(id: \"a\") { name { given } }".to_owned(), None),
        ("Patient(id: \"a\") { contact { name { given } } }".to_owned(), Some("max_depth")),
        (reads, Some("max_fields")),
    ] {
        let text = ask(&server.client, "/$graphql", &format!("{{ {document} }}")).await.text();
        let found = text.contains("the setting graphql.");
        assert_eq!(found, setting.is_some(), "{document}: {text}");
        assert!(setting.is_none_or(|setting| text.contains(setting)), "{document}: {text}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references_lead_to_versions_and_to_what_was_deleted() {
    let server = filled(&[]).await;
    let client = &server.client;
    let body = r#"{"resourceType":"Patient","id":"a","active":false}"#;
    client.put("/Patient/a", body).await.expect(200);
    let document = r#"{ Observation(id: "o1") { subject { resource { ... on Patient { active } } } focus { resource { ... on Patient { active meta { versionId } } } } } }"#;
    let answer = ask(client, "/$graphql", document).await;
    let expected = r#"{"data":{"Observation":{"subject":{"resource":{"active":false}},"focus":[{"resource":{"active":true,"meta":{"versionId":"1"}}}]}}}"#;
    assert_eq!(answer.text(), expected);
    client.delete("/Patient/a").await.expect(204);
    let answer = ask(client, "/$graphql", document).await;
    let code = answer.at("errors[0].extensions.resource.issue[0].code");
    assert_eq!(code.as_deref(), Some("deleted"), "{answer:?}");
    assert_eq!(
        answer.at("data.Observation.focus[0].resource.meta.versionId").as_deref(),
        Some("1")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_no_entry_of_a_bundle() {
    let server = filled(&[]).await;
    let entry = r#"[{"request":{"method":"GET","url":"Patient/a/$graphql?query=%7Bid%7D"}}]"#;
    for (kind, path) in
        [("batch", "entry[0].response.outcome.issue[0]"), ("transaction", "issue[0]")]
    {
        let body = format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":{entry}}}"#);
        let answer = server.client.post("/", body).await;
        assert_eq!(answer.status, if kind == "batch" { 200 } else { 400 }, "{answer:?}");
        let code = answer.at(&format!("{path}.code"));
        assert_eq!(code.as_deref(), Some("not-supported"), "{answer:?}");
    }
    server.stop().await;
}
