//! Every row says alike by whom, for whom and why; the purpose of use is the token's, and the record
//! is for who may audit.
//!
//! Covers: security A8, S9, security C2.

use futures_util::future::join_all;

use crate::harness::grants::Token;
use crate::harness::server::TestServer;

/// What may claim a purpose and says nothing.
const HEADERS: &[&str] =
    &["Purpose-Of-Use", "X-Purpose-Of-Use", "X-PurposeOfUse", "PurposeOfUse", "X-Security-Context"];

const BATCH: &str = r#"{"resourceType":"Bundle","type":"batch","entry":[
    {"request":{"method":"GET","url":"Patient/a"}},
    {"request":{"method":"GET","url":"Patient/nobody"}},
    {"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}]}"#;
const EVENT: &str = r#"{"resourceType":"AuditEvent","type":{"code":"rest"},"recorded":"2020-01-01T00:00:00Z",
    "agent":[{"requestor":true}],"source":{"observer":{"display":"x"}}}"#;
const PATIENT: &str = r#"{"resourceType":"Patient","id":"a","active":true}"#;

/// Reads, pages of one statement and of more, writes, and what fails.
const ASKED: &[(&str, &str, &str, u16)] = &[
    ("GET", "/Patient/a", "", 200),
    ("GET", "/Patient/a/_history/1", "", 200),
    ("GET", "/Patient/a/_history", "", 200),
    ("GET", "/Patient?_id=a", "", 200),
    ("GET", "/Patient?_id=a&_total=accurate", "", 200),
    ("GET", "/Patient?_id=a&_revinclude=Provenance:target", "", 200),
    ("GET", "/Patient?_summary=count", "", 200),
    ("GET", "/Patient/a/Observation", "", 200),
    ("GET", "/AuditEvent?_count=1", "", 200),
    ("GET", "/Patient/nobody", "", 404),
    ("GET", "/Patient?birthdate=never", "", 400),
    ("PUT", "/Patient/a", PATIENT, 200),
    ("POST", "/Patient", r#"{"resourceType":"Patient"}"#, 201),
    ("POST", "/Patient", r#"{"resourceType":"Patient","nope":1}"#, 400),
    ("POST", "/", BATCH, 200),
    ("GET", "/Patient/a/$meta", "", 200),
    ("DELETE", "/Patient/a", "", 204),
    ("GET", "/Patient/a", "", 410),
];

/// Rows of requests whose ids begin with a text, for which a condition does not hold.
async fn others(server: &TestServer, begins: &str, condition: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM ledger WHERE request_id LIKE '{begins}%' AND ({condition}) IS NOT TRUE"
    );
    server.database.number(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_says_alike_by_whom_for_whom_and_why() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.expect(201);
    let ada = Token::new(&server, "user/*.cruds").user("Practitioner/ada", &["administrator"]);
    for (name, token, purpose) in [
        ("why", ada.clone().purpose("HPAYMT"), "purpose = 'HPAYMT'"),
        ("plain", ada, "purpose IS NULL"),
        ("service", Token::new(&server, "system/*.cruds"), "purpose IS NULL"),
    ] {
        let who = match name {
            "service" => "actor = 'client:app' AND person IS NULL",
            _ => "actor = 'user:ada' AND person = 'Practitioner/ada'",
        };
        server.client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await;
        let (client, _stop) = token.client().await;
        let many = (0..40).map(|_| {
            let call = client.call("GET", "/Patient/a").header("X-Request-Id", name);
            HEADERS.iter().fold(call, |call, header| call.header(header, "BTG")).send()
        });
        for answer in join_all(many).await {
            answer.expect(200);
        }
        for (method, url, body, status) in ASKED {
            let request = format!("{name} {method} {url}").replace(' ', "_");
            let mut call = client.call(method, url).header("X-Request-Id", &request);
            for header in HEADERS {
                call = call.header(header, "BTG");
            }
            if !body.is_empty() {
                call = call.json(*body);
            }
            let answer = call.send().await;
            assert!(answer.status == *status || answer.status == 201, "{request}: {answer:?}");
            let rows = others(&server, &request, "false").await;
            assert!(rows >= 1, "{request}: {rows} rows");
        }
        let condition = format!(
            "{who} AND {purpose} AND client = 'app' AND token = '00000000-0000-0000-0000-000000000000'"
        );
        assert_eq!(others(&server, name, &condition).await, 0, "{name}");
        let rows = others(&server, name, "false").await;
        assert!(rows >= 40 + ASKED.len() as i64 + 3, "{name}: {rows} rows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_tells_the_purpose_of_the_token() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.expect(201);
    let ada = Token::new(&server, "user/*.cruds").user("Practitioner/ada", &["administrator"]);
    let (client, _stop) = ada.purpose("ETREAT").client().await;
    client.get("/Patient/a").await.expect(200);
    client.get("/Patient?_id=a").await.expect(200);
    for subtype in ["read", "search-type"] {
        let url = format!("/AuditEvent?patient=a&agent=Practitioner/ada&subtype={subtype}");
        let found = server.client.get(&url).await.expect(200);
        let event = |path: &str| found.at(&format!("entry[0].resource.{path}"));
        assert_eq!(event("purposeOfEvent[0].coding[0].code").as_deref(), Some("ETREAT"));
        assert_eq!(event("agent[2].purposeOfUse[0].coding[0].code").as_deref(), Some("ETREAT"));
        assert_eq!(event("agent[2].who.reference").as_deref(), Some("Practitioner/ada"));
        let policy = "urn:ietf:params:oauth:jti:00000000-0000-0000-0000-000000000000";
        assert_eq!(event("agent[2].policy[0]").as_deref(), Some(policy));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_for_whose_role_names_it() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.expect(201);
    for (role, status) in [
        ("auditor", 200),
        ("privacy", 200),
        ("administrator", 200),
        ("practitioner", 403),
        ("patient", 403),
    ] {
        let scopes = "user/*.cruds user/AuditEvent.rs";
        let token = Token::new(&server, scopes).user("Practitioner/ada", &[role]);
        let (client, _stop) = token.client().await;
        let answer = client.get("/AuditEvent?_count=1").await.expect(status);
        if status == 200 {
            let id = answer.at("entry[0].resource.id").unwrap();
            let event = client.get(&format!("/AuditEvent/{id}")).await.expect(200).text();
            for method in ["PUT", "DELETE"] {
                let url = format!("/AuditEvent/{id}");
                client.call(method, &url).json(event.clone()).send().await.expect(405);
            }
        }
        client.post("/AuditEvent", EVENT).await.expect(403);
    }
}

/// Nor does anything come to stand before an event of the record where everybody may write.
///
/// Covers: security W10.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_writes_nothing_where_the_record_has_an_event() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.expect(201);
    client.get("/Patient?_id=a").await.expect(200);
    let found = client.get("/AuditEvent?subtype=search-type").await.expect(200);
    let id = found.at("entry[0].resource.id").unwrap();
    let before = client.get(&format!("/AuditEvent/{id}")).await.expect(200).text();
    let forged = EVENT.replacen('{', &format!(r#"{{"id":"{id}","#), 1);
    client.put(&format!("/AuditEvent/{id}"), forged.clone()).await.expect(405);
    for of in ["batch", "transaction"] {
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"{of}","entry":[{{"resource":{forged},
                "request":{{"method":"PUT","url":"AuditEvent/{id}"}}}}]}}"#
        );
        let answer = client.post("/", bundle).await;
        let status = if of == "batch" { answer.at("entry[0].response.status") } else { None };
        assert!(
            status.is_some_and(|it| it.starts_with("405")) || answer.status == 405,
            "{answer:?}"
        );
    }
    assert_eq!(client.get(&format!("/AuditEvent/{id}")).await.expect(200).text(), before);
    // What happened elsewhere may have such an id, and gets one where it has none.
    let other = "01890000-0000-7000-8000-000000000000";
    let event = EVENT.replacen('{', &format!(r#"{{"id":"{other}","#), 1);
    client.put(&format!("/AuditEvent/{other}"), event.clone()).await.expect(201);
    client.put(&format!("/AuditEvent/{other}"), event).await.expect(405);
    client.put("/AuditEvent?_tag=urn:x|none", EVENT).await.expect(201);
    server.stop().await;
}
