//! What was refused or failed is on record once, with why; what is hidden is on record as that, though
//! the caller hears that it is not there (A3).
//!
//! Covers: security A3.

use crate::harness::grants::Token;
use crate::harness::server::TestServer;

/// Who asks what: request id, method, url, body, If-Match, status, outcome, and a piece of why.
type Tried =
    (&'static str, &'static str, &'static str, &'static str, &'static str, u16, i64, &'static str);

const TRIED: &[Tried] = &[
    ("scope", "GET", "/Condition", "", "", 403, 4, "scope"),
    ("scope-write", "POST", "/Condition", r#"{"resourceType":"Condition"}"#, "", 403, 4, "scope"),
    ("hidden", "GET", "/Patient/b", "", "", 404, 4, "out of reach: Patient/b is not known"),
    ("missing", "GET", "/Patient/x", "", "", 404, 4, "Patient/x is not known"),
    ("hidden-version", "GET", "/Patient/b/_history/1", "", "", 404, 4, "out of reach: "),
    ("missing-version", "GET", "/Patient/x/_history/1", "", "", 404, 4, "Patient/x"),
    ("no-version", "GET", "/Patient/a/_history/9", "", "", 404, 4, "Patient/a/_history/9"),
    ("hidden-history", "GET", "/Observation/ob/_history", "", "", 404, 4, "out of reach: "),
    ("changed", "PUT", "/Observation/oa", OBSERVATION, r#"W/"7""#, 412, 4, ""),
    ("broken", "PUT", "/Observation/oa", BROKEN, "", 422, 4, ""),
    ("malformed", "PUT", "/Observation/oa", "{", "", 400, 4, ""),
    ("planted", "PUT", "/Observation/oa", OBSERVATION, "", 500, 8, ""),
];

const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"oa","status":"amended","code":{"text":"y"},
    "subject":{"reference":"Patient/a"}}"#;
/// Two values of a choice.
const BROKEN: &str = r#"{"resourceType":"Observation","id":"oa","status":"amended","code":{"text":"y"},
    "subject":{"reference":"Patient/a"},"valueString":"a","dataAbsentReason":{"text":"b"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_that_came_to_nothing_is_on_record_once_with_why() {
    let server = TestServer::start().await;
    for id in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        server.client.put(&format!("/Patient/{id}"), body).await.expect(201);
        let body = format!(
            r#"{{"resourceType":"Observation","id":"o{id}","status":"final","code":{{"text":"x"}},
                "subject":{{"reference":"Patient/{id}"}}}}"#
        );
        server.client.put(&format!("/Observation/o{id}"), body).await.expect(201);
    }
    let token = Token::new(&server, "patient/Patient.rs patient/Observation.cruds").patient("a");
    let (client, _stop) = token.client().await;
    for (request, method, url, body, condition, status, outcome, why) in TRIED {
        if *request == "planted" {
            let check = "ALTER TABLE res ADD CONSTRAINT planted CHECK (vid < 2) NOT VALID";
            server.database.run(check).await;
        }
        let mut call = client.call(method, url).header("X-Request-Id", request);
        if !condition.is_empty() {
            call = call.header("If-Match", condition);
        }
        if !body.is_empty() {
            call = call.json(*body);
        }
        let answer = call.send().await;
        assert_eq!(answer.status, *status, "{request}: {answer:?}");
        assert!(!answer.text().contains("out of reach"), "{request}: {answer:?}");
        let rows = format!("SELECT count(*) FROM ledger WHERE request_id = '{request}'");
        assert_eq!(server.database.number(&rows).await, 1, "{request}");
        let told = format!(
            "{rows} AND outcome = {outcome} AND failure LIKE '%{why}%' AND client = 'app' \
             AND source = '127.0.0.1'"
        );
        assert_eq!(server.database.number(&told).await, 1, "{request}: {why}");
    }
    let hidden = "SELECT count(*) FROM ledger WHERE failure LIKE 'out of reach%'";
    assert_eq!(server.database.number(hidden).await, 3);
    // Who audits finds who tried to see it.
    for by in ["entity", "patient"] {
        let url = format!("/AuditEvent?{by}=Patient/b&outcome=4&subtype=read");
        let found = server.client.get(&url).await;
        let event = |path: &str| found.at(&format!("entry[0].resource.{path}"));
        assert_eq!(event("outcome").as_deref(), Some("4"), "{by}: {found:?}");
        let why = event("outcomeDesc").unwrap();
        assert_eq!(why, "out of reach: Patient/b is not known", "{by}");
    }
}

/// What no route is for: request id, method, path, status, and a piece of why.
const UNFIT: &[(&str, &str, &str, u16, &str)] = &[
    ("type", "GET", "/Nonsense/x?name=y&access_token=canary", 404, "not a resource type of R4"),
    ("operation", "POST", "/Patient/a/$nonsense", 404, "operation $nonsense is not offered"),
    ("method", "DELETE", "/metadata", 405, "DELETE is not offered at /fhir/metadata"),
    ("escape", "GET", "/Patient/%zz", 400, ""),
];

/// Covers: security A9.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_route_fits_is_on_record_as_it_was_asked() {
    let server = TestServer::start_with(&[("auth.mode", "smart")]).await;
    let (client, _stop) = Token::new(&server, "system/*.cruds").client().await;
    let rows = async |request: &str, condition: &str| {
        let of = format!(
            "SELECT count(*) FROM ledger WHERE request_id = '{request}' AND interaction = 26 \
             AND outcome = 4 AND source = '127.0.0.1' AND {condition}"
        );
        server.database.number(&of).await
    };
    for (request, method, url, status, why) in UNFIT {
        for (by, client, name) in [("known", &client, "app"), ("stranger", &server.client, "")] {
            let id = format!("{by}-{request}");
            let call = client.call(method, url).header("X-Request-Id", &id);
            let told = call.send().await;
            assert_eq!(told.status, *status, "{id}: {told:?}");
            let shown = url.replace("canary", "***");
            let who = if name.is_empty() {
                "actor = 'anonymous'".to_owned()
            } else {
                format!("client = '{name}' AND failure LIKE '%{why}%'")
            };
            let condition = format!("method = '{method}' AND query = '/fhir{shown}' AND {who}");
            assert_eq!(rows(&id, &condition).await, 1, "{id}: {condition}");
        }
    }
    // Of a URL that is too long, as much as one may have; of what is no FHIR, and of what browsers ask first, nothing.
    let long = format!("/Patient?name={}", "x".repeat(20_000));
    let told = client.call("GET", &long).header("X-Request-Id", "long").send().await;
    assert_eq!(told.status, 414, "{told:?}");
    assert_eq!(rows("long", "length(query) BETWEEN 1000 AND 19000").await, 1);
    let call = client.call("GET", "/Patient").header("X-Request-Id", "head");
    let told = call.header("X-Much", &"x".repeat(40_000)).send().await;
    assert_eq!(told.status, 431, "{told:?}");
    assert_eq!(rows("head", "query = '/fhir/Patient'").await, 1);
    // However its path is written.
    let escaped = format!("{}/%66hir/Nonsense", client.root());
    client.call("GET", &escaped).header("X-Request-Id", "escaped").send().await.expect(404);
    assert_eq!(rows("escaped", "query = '/%66hir/Nonsense'").await, 1);
    let other = format!("{}/nothing", client.root());
    client.call("GET", &other).header("X-Request-Id", "other").send().await.expect(404);
    client.call("OPTIONS", "/Nonsense").header("X-Request-Id", "other").send().await.expect(204);
    let none = "SELECT count(*) FROM ledger WHERE request_id = 'other'";
    assert_eq!(server.database.number(none).await, 0);
    let event = server.database.number("SELECT count(*) FROM ledger WHERE query LIKE '%canary%'");
    assert_eq!(event.await, 0);
}
