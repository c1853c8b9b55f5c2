//! What comes of the entries of a Bundle that fail: each has one row, by what it asked for (A4). Those of transactions that
//! fail are in `tests/ledger.rs`.
//!
//! Covers: security A4.

use crate::harness::client::Answer;
use crate::harness::server::TestServer;

/// An entry of a batch: what stands in it, its status, and what its row says.
type Tried = (&'static str, &'static str, &'static str);

/// All but the first fail.
const TRIED: &[Tried] = &[
    (
        r#""resource":{"resourceType":"Patient","id":"known"},"request":{"method":"PUT","url":"Patient/known"}"#,
        "201",
        "interaction = 14 AND logical_id = 'known' AND outcome = 0",
    ),
    // The resource is malformed, or of another id, or is not there.
    (
        r#""resource":{"resourceType":"Patient","id":"b","nope":1},"request":{"method":"PUT","url":"Patient/b"}"#,
        "400",
        "interaction = 14 AND logical_id = 'b'",
    ),
    (
        r#""resource":{"resourceType":"Patient","id":"d"},"request":{"method":"PUT","url":"Patient/c"}"#,
        "400",
        "interaction = 14 AND logical_id = 'c'",
    ),
    (
        r#""request":{"method":"PUT","url":"Patient/empty"}"#,
        "400",
        "interaction = 14 AND logical_id = 'empty'",
    ),
    (
        r#""resource":{"resourceType":"Binary","contentType":"text/plain"},"request":{"method":"PATCH","url":"Patient/p"}"#,
        "400",
        "interaction = 11 AND logical_id = 'p'",
    ),
    (
        r#""resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient/m/$meta-add"}"#,
        "400",
        "interaction = 9 AND logical_id = 'm'",
    ),
    // The entry around it is malformed.
    (
        r#""request":{"method":"DELETE","url":"Patient/odd","x":1}"#,
        "400",
        "interaction = 4 AND logical_id = 'odd'",
    ),
    (
        r#""resource":{"resourceType":"Patient","id":"tag"},"request":{"method":"PUT","url":"Patient/tag","ifMatch":"nonsense"}"#,
        "400",
        "interaction = 14 AND logical_id = 'tag'",
    ),
    // What it asks for is not so.
    (
        r#""resource":{"resourceType":"Patient","id":"old"},"request":{"method":"PUT","url":"Patient/old","ifMatch":"W/\"9\""}"#,
        "412",
        "interaction = 14 AND logical_id = 'old'",
    ),
    (
        r#""request":{"method":"GET","url":"Patient/nobody"}"#,
        "404",
        "interaction = 12 AND logical_id = 'nobody' AND query LIKE '%/Patient/nobody'",
    ),
    (
        r#""request":{"method":"GET","url":"Patient/h/_history?_count=x"}"#,
        "400",
        "interaction = 5 AND logical_id = 'h'",
    ),
    // Nobody can tell what it is: it is a part of the batch, as it was asked.
    (
        r#""request":{"method":"DELETE","url":"Nonsense/gone"}"#,
        "404",
        "interaction = 1 AND method = 'DELETE' AND query LIKE '%/Nonsense/gone'",
    ),
    (
        r#""request":{"method":"BREW","url":"Patient/z?access_token=canary"}"#,
        "400",
        "interaction = 1 AND method = 'OTHER' AND query LIKE '%/Patient/z?access\\_token=***'",
    ),
];

async fn number(server: &TestServer, request: &str, condition: &str) -> i64 {
    let rows =
        format!("SELECT count(*) FROM ledger WHERE request_id = '{request}' AND ({condition})");
    server.database.number(&rows).await
}

/// What a Bundle of entries is answered.
async fn post(server: &TestServer, request: &str, kind: &str, entries: &[&str]) -> Answer {
    let entries: Vec<String> = entries.iter().map(|entry| format!("{{{entry}}}")).collect();
    let entries = entries.join(",");
    let body = format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{entries}]}}"#);
    server.client.call("POST", "/").header("X-Request-Id", request).json(body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_batch_that_fails_is_on_record_as_what_it_asked_for() {
    let server = TestServer::start().await;
    let entries: Vec<&str> = TRIED.iter().map(|(entry, ..)| *entry).collect();
    let answer = post(&server, "batch", "batch", &entries).await.expect(200);
    for (at, (entry, status, condition)) in TRIED.iter().enumerate() {
        let told = answer.at(&format!("entry[{at}].response.status")).unwrap();
        assert!(told.starts_with(*status), "{entry}: {told}");
        let is_failure =
            if *status == "201" { "failure IS NULL" } else { "outcome = 4 AND failure <> ''" };
        let condition = format!("{condition} AND {is_failure}");
        assert_eq!(number(&server, "batch", &condition).await, 1, "{entry}: {condition}");
    }
    let rows = TRIED.len() as i64 + 1;
    assert_eq!(number(&server, "batch", "true").await, rows, "of the batch and of its entries");
    let own = "interaction = 1 AND outcome = 0 AND method = 'POST'";
    assert_eq!(number(&server, "batch", own).await, 1);
    assert_eq!(number(&server, "batch", "query LIKE '%canary%'").await, 0);
    // Who audits finds it by the resource.
    let found = server.client.get("/AuditEvent?entity=Patient/b&outcome=4&subtype=update").await;
    assert_eq!(found.expect(200).json().items_at("entry").len(), 1);
}

/// Entries of which none runs, because of the Bundle that they stand in.
#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_bundle_that_is_refused_as_a_whole_are_on_record() {
    let server = TestServer::start_with(&[("http.max_bundle_entries", "3")]).await;
    let twice = |id: &str| {
        format!(
            r#""fullUrl":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520","resource":{{"resourceType":"Patient","id":"{id}"}},
            "request":{{"method":"PUT","url":"Patient/{id}"}}"#
        )
    };
    let (one, other) = (twice("one"), twice("other"));
    let odd = r#""request":{"method":"DELETE","url":"Nonsense/gone"}"#;
    let entries = [one.as_str(), other.as_str(), odd];
    for (kind, number_of_kind) in [("batch", 1), ("transaction", 13)] {
        let answer = post(&server, kind, kind, &entries).await;
        assert!((400..500).contains(&answer.status), "{kind}: {answer:?}");
        for (condition, rows) in [
            ("outcome = 4 AND failure <> ''", 4),
            ("interaction = 14 AND logical_id = 'one'", 1),
            ("interaction = 14 AND logical_id = 'other'", 1),
            (&format!("interaction = {number_of_kind} AND query LIKE '%/Nonsense/gone'"), 1),
            (&format!("interaction = {number_of_kind}"), 2),
        ] {
            assert_eq!(number(&server, kind, condition).await, rows, "{kind}: {condition}");
        }
        let groups = format!("SELECT count(DISTINCT grp) FROM ledger WHERE request_id = '{kind}'");
        assert_eq!(server.database.number(&groups).await, 1, "{kind}");
        // Of too many there is one row, which says how many they are.
        let request = format!("many-{kind}");
        post(&server, &request, kind, &[odd; 4]).await.expect(400);
        assert_eq!(number(&server, &request, "true").await, 1, "{kind}");
        let told = "outcome = 4 AND failure LIKE '%has 4 entries%'";
        assert_eq!(number(&server, &request, told).await, 1, "{kind}");
    }
}
