//! What ends since a moment is found however long ago it began, be such spans few or many.
//!
//! Covers: rest 4.44.

use std::fmt::Write as _;

use crate::harness::client::Client;
use crate::harness::server::TestServer;

/// Encounters that began in different years and have not ended, by a transaction.
async fn put_open(client: &Client, ids: std::ops::Range<u32>) {
    let mut entries = String::new();
    for id in ids {
        let comma = if entries.is_empty() { "" } else { "," };
        let start = 1990 + id % 30;
        let _ = write!(
            entries,
            r#"{comma}{{"resource":{{"resourceType":"Encounter","id":"e{id}","status":"in-progress",
            "class":{{"code":"AMB"}},"period":{{"start":"{start}-05-01"}}}},
            "request":{{"method":"PUT","url":"Encounter/e{id}"}}}}"#
        );
    }
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    client.post("/", bundle).await.expect(200);
}

async fn total(client: &Client, criteria: &str) -> Option<String> {
    let url = format!("/Encounter?{criteria}&_total=accurate&_count=5");
    client.get(&url).await.expect(200).at("total")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_ended_is_found_whether_few_or_many_began_long_ago() {
    let server = TestServer::start().await;
    let client = &server.client;
    // The bound of the walk is learned from 199 long spans, and not from 200 or more.
    let mut there = 0;
    for upto in [1, 198, 199, 200, 201] {
        put_open(client, there..upto).await;
        there = upto;
        for criteria in ["date=ge2026-01-01", "date=gt2026-01-01", "date=ap2026-01-01"] {
            let found = total(client, criteria).await;
            assert_eq!(found, Some(upto.to_string()), "{criteria} of {upto}");
        }
    }
    for sort in ["date", "-date"] {
        let page = format!("/Encounter?date=ge2026-01-01&_sort={sort}&_count=200");
        let found = client.get(&page).await.expect(200);
        assert_eq!(found.text().matches(r#""mode":"match""#).count(), 200, "{sort}");
        let first = found.at("entry[0].resource.period.start").unwrap();
        assert_eq!(first, if sort == "date" { "1990-05-01" } else { "2019-05-01" });
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_about_as_long_as_the_index_of_long_ones_begins_with_are_found() {
    let server = TestServer::start().await;
    let client = &server.client;
    for (id, start) in [("a", "09:00:01"), ("b", "09:00:00"), ("c", "08:59:59"), ("d", "08:00:00")]
    {
        let body = format!(
            r#"{{"resourceType":"Encounter","id":"{id}","status":"finished","class":{{"code":"AMB"}},
            "period":{{"start":"2026-03-01T{start}Z","end":"2026-03-02T10:00:00Z"}}}}"#
        );
        client.put(&format!("/Encounter/{id}"), body).await.expect(201);
    }
    for (criteria, expected) in [
        ("date=ge2026-03-02T09:59:59Z", "4"),
        ("date=gt2026-03-02T09:59:59Z", "4"),
        ("date=gt2026-03-02T10:00:01Z", "0"),
    ] {
        assert_eq!(total(client, criteria).await.as_deref(), Some(expected), "{criteria}");
    }
    server.stop().await;
}
