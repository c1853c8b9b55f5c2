//! When the record cannot be written nothing is disclosed, no answer leaves before its row is there,
//! and who hangs up is on record all the same (A9, V32).
//!
//! Covers: security A9, C4, V32.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::client::Answer;
use crate::harness::database::connect;
use crate::harness::server::TestServer;

/// As when there is no space left for another row.
pub(crate) const FULL: &str = "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$; \
     CREATE TRIGGER planted BEFORE INSERT ON ledger_row FOR EACH ROW EXECUTE FUNCTION planted()";
pub(crate) const FREED: &str = "DROP TRIGGER planted ON ledger_row";

const SECRET: &str = r#"{"resourceType":"Patient","id":"a","name":[{"family":"Canary"}]}"#;
const BATCH: &str = r#"{"resourceType":"Bundle","type":"batch","entry":[
    {"request":{"method":"GET","url":"Patient/a"}}]}"#;
const TRANSACTION: &str = r#"{"resourceType":"Bundle","type":"transaction","entry":[
    {"request":{"method":"GET","url":"Patient/a"}},
    {"resource":{"resourceType":"Patient","id":"t"},"request":{"method":"PUT","url":"Patient/t"}}]}"#;

/// What is asked, of which nothing may be told or stored.
const ASKED: &[(&str, &str, &str)] = &[
    ("GET", "/Patient/a", ""),
    ("GET", "/Patient/a/_history/1", ""),
    ("GET", "/Patient/a/_history", ""),
    ("GET", "/Patient?_id=a", ""),
    ("GET", "/Patient?_id=a&_total=accurate", ""),
    ("GET", "/Observation?patient=a&_include=Observation:patient", ""),
    ("GET", "/AuditEvent?patient=a", ""),
    ("GET", "/Patient/nobody", ""),
    ("GET", "/Patient?birthdate=never", ""),
    ("GET", "/ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/administrative-gender", ""),
    ("PUT", "/Patient/a", r#"{"resourceType":"Patient","id":"a","active":true}"#),
    ("POST", "/Patient", r#"{"resourceType":"Patient"}"#),
    ("POST", "/Patient", r#"{"resourceType":"Patient","nope":1}"#),
    ("DELETE", "/Patient/a", ""),
    ("POST", "/", TRANSACTION),
];

fn tells_nothing(answer: &Answer, of: &str) {
    assert_eq!(answer.status, 503, "{of}: {answer:?}");
    assert!(!answer.text().contains("Canary"), "{of}: {answer:?}");
    assert_eq!(answer.at("issue[0].code").as_deref(), Some("transient"), "{of}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_503_and_nothing_is_told_or_stored() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", SECRET).await.expect(201);
    let stored = "SELECT count(*) + sum(vid) FROM res";
    let before = server.database.number(stored).await;
    server.database.run(FULL).await;
    for (method, url, body) in ASKED {
        let mut call = server.client.call(method, url);
        if !body.is_empty() {
            call = call.json(*body);
        }
        tells_nothing(&call.send().await, &format!("{method} {url} {body}"));
        assert_eq!(server.database.number(stored).await, before, "{method} {url}");
    }
    // A batch is an answer of answers.
    let batch = server.client.post("/", BATCH).await;
    assert!(!batch.text().contains("Canary"), "{batch:?}");
    server.database.run(FREED).await;
    server.client.get("/Patient/a").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_leaves_before_its_row_is_committed() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", SECRET).await.expect(201);
    let locker = connect(&server.database.superuser).await;
    for (number, (method, url, body)) in ASKED.iter().enumerate() {
        let request = format!("held-{number}");
        // Rows wait to be added, and can be read.
        locker.batch_execute("BEGIN; LOCK TABLE ledger_row IN SHARE MODE").await.unwrap();
        let mut call = server.client.call(method, url).header("X-Request-Id", &request);
        if !body.is_empty() {
            call = call.json(*body);
        }
        let mut answer = std::pin::pin!(call.send());
        let early = tokio::time::timeout(Duration::from_millis(150), &mut answer).await;
        assert!(early.is_err(), "{method} {url}: answered before its row was there: {early:?}");
        locker.batch_execute("ROLLBACK").await.unwrap();
        let answer = answer.await;
        assert!(answer.status < 500, "{method} {url}: {answer:?}");
        let rows = format!("SELECT count(*) FROM ledger WHERE request_id = '{request}'");
        assert!(server.database.number(&rows).await >= 1, "{method} {url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_is_on_record() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", SECRET).await.expect(201);
    let address = server.client.root().trim_start_matches("http://").to_owned();
    let locker = connect(&server.database.superuser).await;
    for (url, outcome) in
        [("/fhir/Patient/a", 0), ("/fhir/Patient?_id=a", 0), ("/fhir/Patient/x", 4)]
    {
        let request = format!("gone-{}", url.len());
        locker.batch_execute("BEGIN; LOCK TABLE ledger_row IN SHARE MODE").await.unwrap();
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head =
            format!("GET {url} HTTP/1.1\r\nHost: {address}\r\nX-Request-Id: {request}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        server.database.until_waiting(1).await;
        // Nobody listens any more when the row is written.
        drop(stream);
        tokio::time::sleep(Duration::from_millis(100)).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
        let rows = format!(
            "SELECT count(*) FROM ledger WHERE request_id = '{request}' AND outcome = {outcome}"
        );
        let mut found = 0;
        for _ in 0..100 {
            found = server.database.number(&rows).await;
            if found > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(found, 1, "{url}");
    }
}
