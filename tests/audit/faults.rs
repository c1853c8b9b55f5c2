//! When the record cannot be written nothing is disclosed, no answer leaves before its row is there,
//! and who hangs up is on record all the same (A9, V32).
//!
//! Covers: security C4, V32.
//! Covers: security A9.

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

fn patient(id: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#)
}

/// A transaction that stores these.
fn transaction(ids: [&str; 3]) -> String {
    let entry = |id: &str| {
        let resource = patient(id);
        format!(r#"{{"resource":{resource},"request":{{"method":"PUT","url":"Patient/{id}"}}}}"#)
    };
    let entries = ids.map(entry).join(",");
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
}

/// Sends a request and hangs up once the database holds it, before there is an answer.
async fn hang_up(server: &TestServer, request: &str, [method, url, body]: [&str; 3]) {
    let address = server.client.root().trim_start_matches("http://").to_owned();
    let is_form = url.ends_with("/_search");
    let kind = if is_form { "application/x-www-form-urlencoded" } else { "application/fhir+json" };
    let length = body.len();
    let text = format!(
        "{method} /fhir{url} HTTP/1.1\r\nHost: {address}\r\nX-Request-Id: {request}\r\n\
         Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    server.database.until_waiting(1).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Nobody listens any more when the row is written: each that hung up is on record once, a transaction by each of its
/// entries too, as done where it was stored and as failed where it was not.
#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_is_on_record() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", SECRET).await.expect(201);
    // Found out when it is stored.
    let check = "ALTER TABLE res ADD CONSTRAINT planted CHECK (id <> 'fails')";
    server.database.run(check).await;
    let locker = connect(&server.database.superuser).await;
    let (ledger, data) = ("ledger_row", "res");
    for (number, (table, asked, outcome, rows, ids)) in [
        (ledger, ["GET", "/Patient/a", ""], 0, 1, &[][..]),
        (ledger, ["GET", "/Patient/x", ""], 4, 1, &[]),
        (ledger, ["GET", "/Patient?_id=a", ""], 0, 1, &[]),
        (ledger, ["POST", "/Patient/_search", "_id=a"], 0, 1, &[]),
        (ledger, ["GET", "/Patient?_id=a&_revinclude=Observation:subject", ""], 0, 1, &[]),
        (ledger, ["PUT", "/Patient/p", &patient("p")], 0, 1, &["p"]),
        (data, ["PUT", "/Patient/q", &patient("q")], 0, 1, &["q"]),
        (data, ["PUT", "/Patient/fails", &patient("fails")], 8, 1, &["fails"]),
        (ledger, ["POST", "/", &transaction(["r", "s", "t"])], 0, 4, &["r", "s", "t"]),
        (data, ["POST", "/", &transaction(["u", "v", "w"])], 0, 4, &["u", "v", "w"]),
        (data, ["POST", "/", &transaction(["y", "fails", "z"])], 8, 4, &["y", "fails", "z"]),
    ]
    .into_iter()
    .enumerate()
    {
        let (request, [method, url, _]) = (format!("gone-{number}"), asked);
        let lock = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE");
        locker.batch_execute(&lock).await.unwrap();
        hang_up(&server, &request, asked).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
        let all = format!("SELECT count(*) FROM ledger WHERE request_id = '{request}'");
        for _ in 0..100 {
            if server.database.number(&all).await >= rows {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Nor does one more come.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.database.number(&all).await, rows, "{method} {url}, held by {table}");
        let right = format!("{all} AND outcome = {outcome}");
        assert_eq!(server.database.number(&right).await, rows, "{method} {url}, held by {table}");
        let stored = format!("SELECT count(*) FROM res WHERE id IN ('{}')", ids.join("','"));
        let expected = if outcome == 0 { ids.len() } else { 0 };
        assert_eq!(server.database.number(&stored).await, expected as i64, "{method} {url}");
    }
}
