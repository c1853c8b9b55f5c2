//! Where an operator wants it, a date finds what overlaps it (rest, appendix A2).

use crate::harness::client::Client;
use crate::harness::server::TestServer;

/// The dates of appendix A1, by number.
const DATES: &[&str] = &[
    r#""effectiveDateTime":"1979-12-31""#,
    r#""effectiveDateTime":"1980""#,
    r#""effectiveDateTime":"1980-05""#,
    r#""effectiveDateTime":"1980-05-11""#,
    r#""effectiveDateTime":"1980-05-11T16:32:15Z""#,
    r#""effectiveDateTime":"1980-05-11T16:32:15.500Z""#,
    r#""effectiveDateTime":"1981-01-01""#,
    r#""effectivePeriod":{"start":"1980-05-16","end":"1980-05-17"}"#,
];

/// The periods of appendix A3.
const PERIODS: &[(&str, &str)] = &[
    ("A", r#"{"start":"2013-01-21"}"#),
    ("B", r#"{"end":"2013-01-21"}"#),
    ("C", r#"{"start":"2013-01-01","end":"2013-12-31"}"#),
];

async fn found(client: &Client, query: &str) -> String {
    found_of(client, "Observation", query).await
}

async fn found_of(client: &Client, of: &str, query: &str) -> String {
    let answer = client.get(&format!("/{of}?{query}&_sort=_id")).await.expect(200);
    let bundle = answer.json();
    let ids = bundle.items_at("entry").iter().filter_map(|it| it.get("resource")?.str_at("id"));
    ids.map(|id| id.trim_start_matches('o')).collect::<Vec<_>>().join(",")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_finds_what_overlaps_it_where_that_is_wanted() {
    let server = TestServer::start_with(&[("search.dates_overlap", "true")]).await;
    let client = &server.client;
    for (number, date) in DATES.iter().enumerate() {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"o{number}","status":"final",
            "code":{{"coding":[{{"code":"c"}}]}},"valueDateTime":"1980-05",{date}}}"#
        );
        client.put(&format!("/Observation/o{number}"), body).await.expect(201);
    }
    for (query, expected) in [
        ("date=1980-01", "1"),
        ("date=1980-05", "1,2,3,4,5,7"),
        ("date=eq1980-05", "1,2,3,4,5,7"),
        ("date=1980-05-10", "1,2"),
        ("date=1980-05-11", "1,2,3,4,5"),
        ("date=1980-05-11T16:32:30", "1,2,3"),
        ("date=1980-05-16", "1,2,7"),
        ("date=1981", "6"),
        ("_filter=date%20eq%201980-05-10", "1,2"),
        ("_filter=date%20po%201980-05-10", "1,2"),
        ("code-value-date=c$1980-05-20", "0,1,2,3,4,5,6,7"),
        ("code-value-date=c$1980-06", ""),
        // The others are as they were.
        ("date=ne1980-05", "0,1,6"),
        ("date=ge1980-05-16", "1,2,6,7"),
        ("date=sa1980-05-11", "6,7"),
    ] {
        assert_eq!(found(client, query).await, expected, "{query}");
    }
    let read = client.get("/Observation/o3").await.expect(200);
    let written = read.at("meta.lastUpdated").unwrap();
    assert!(found(client, &format!("_lastUpdated={written}")).await.contains('3'));
    server.stop().await;
}

/// The columns `ap` of appendices A1 and A3: what overlaps, without the tenth of the distance from now
/// that `ap` itself adds (rest 4.51).
#[tokio::test(flavor = "multi_thread")]
async fn what_overlaps_is_that_of_the_tables() {
    let server = TestServer::start_with(&[("search.dates_overlap", "true")]).await;
    let client = &server.client;
    for (number, date) in DATES.iter().enumerate() {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"o{number}","status":"final",
            "code":{{"coding":[{{"code":"c"}}]}},{date}}}"#
        );
        client.put(&format!("/Observation/o{number}"), body).await.expect(201);
    }
    for (id, period) in PERIODS {
        let body = format!(
            r#"{{"resourceType":"DiagnosticReport","id":"{id}","status":"final",
            "code":{{"coding":[{{"code":"c"}}]}},"effectivePeriod":{period}}}"#
        );
        client.put(&format!("/DiagnosticReport/{id}"), body).await.expect(201);
    }
    for (value, expected) in [
        ("1980", "1,2,3,4,5,7"),
        ("1980-05", "1,2,3,4,5,7"),
        ("1980-05-11", "1,2,3,4,5"),
        ("1980-05-11T16:32:15", "1,2,3,4,5"),
        ("1980-05-16", "1,2,7"),
        ("1979-12-31", "0"),
        ("1981-01-01", "6"),
    ] {
        assert_eq!(found(client, &format!("date={value}")).await, expected, "{value}");
    }
    for (value, expected) in
        [("2013-03-14", "A,C"), ("2013-01-21", "A,B,C"), ("2013", "A,B,C"), ("2012", "B")]
    {
        let query = format!("date={value}");
        let found = found_of(client, "DiagnosticReport", &query).await;
        assert_eq!(found, expected, "{value}");
    }
    server.stop().await;
}
