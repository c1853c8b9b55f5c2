//! Events that came from outside and those of the ledger are one record: sorted by time they are one list,
//! whichever way it is paged through.
//!
//! Covers: security A13.

use std::collections::BTreeSet;
use std::time::Duration;

use kiln::fhir::Instant;
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

const OUTSIDE: &str = "outside";

async fn bundle(client: &Client, url: &str) -> Value {
    serde_json::from_str(&client.get(url).await.expect(200).text()).unwrap()
}

fn resources(bundle: &Value, mode: &str) -> Vec<Value> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let is_it = |entry: &Value| entry["search"]["mode"] == mode;
    entries.into_iter().filter(is_it).map(|mut entry| entry["resource"].take()).collect()
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().unwrap();
    let link = links.iter().find(|link| link["relation"] == relation)?;
    Some(link["url"].as_str().unwrap().to_owned())
}

fn id(event: &Value) -> String {
    event["id"].as_str().unwrap().to_owned()
}

fn is_outside(event: &Value) -> bool {
    event["source"]["observer"]["display"] == OUTSIDE
}

fn time(event: &Value, pointer: &str) -> Instant {
    Instant::parse(event.pointer(pointer).unwrap().as_str().unwrap()).unwrap()
}

/// A server whose record has events of both kinds at turns, and some of the same moment; and all of them,
/// what came from outside first.
async fn record() -> (TestServer, Vec<Value>) {
    let server = TestServer::start().await;
    for patient in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{patient}"}}"#);
        server.client.put(&format!("/Patient/{patient}"), body).await.expect(201);
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(3)).await;
        server.client.get("/Patient/a").await.expect(200);
    }
    let own = resources(&bundle(&server.client, "/AuditEvent?_count=500").await, "match");
    let mut times: Vec<&str> = own.iter().map(|it| it["recorded"].as_str().unwrap()).collect();
    times.dedup();
    // Two in a row between those of the ledger, one of its moment, and one before all of them.
    let between =
        |at: &str| time(&json!({ "recorded": at }), "/recorded").plus_millis(1).to_string();
    let outside = [
        between(times[1]),
        times[2].to_owned(),
        between(times[3]),
        times[3].to_owned(),
        "2020-01-01T00:00:00Z".to_owned(),
        "2020-01-01T00:00:00.001Z".to_owned(),
        "2020-01-01T00:00:00.002Z".to_owned(),
    ];
    for recorded in outside {
        let event = json!({
            "resourceType": "AuditEvent", "type": { "code": "rest" }, "recorded": recorded,
            "agent": [{ "requestor": true }], "source": { "observer": { "display": OUTSIDE } },
            "entity": [{ "what": { "reference": "Patient/b" } }],
        });
        server.client.post("/AuditEvent", event.to_string()).await.expect(201);
        server.client.get("/Patient/nobody").await.expect(404);
    }
    // What is asked from here on is of a later millisecond than what is looked for.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let all = resources(&bundle(&server.client, "/AuditEvent?_count=500").await, "match");
    assert_eq!(all.iter().filter(|it| is_outside(it)).count(), 7);
    assert!(all.len() > 20, "{}", all.len());
    (server, all)
}

/// The pages from an address on, in the way of a relation.
async fn pages(client: &Client, url: &str, relation: &str) -> Vec<(String, Value)> {
    let (mut url, mut pages) = (Some(url.to_owned()), Vec::new());
    while let Some(here) = url {
        let page = bundle(client, &here).await;
        url = link(&page, relation);
        pages.push((here, page));
    }
    pages
}

fn ids<'p>(pages: impl Iterator<Item = &'p (String, Value)>) -> Vec<String> {
    pages.flat_map(|(_, page)| resources(page, "match")).map(|it| id(&it)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_one_list_in_the_order_of_time() {
    let (server, all) = record().await;
    let last = all
        .iter()
        .map(|it| it["recorded"].as_str().unwrap())
        .max_by_key(|text| Instant::parse(text).unwrap());
    let last = last.unwrap();
    for (sort, pointer) in [
        ("-date", "/recorded"),
        ("date", "/recorded"),
        ("-_lastUpdated", "/meta/lastUpdated"),
        ("_lastUpdated", "/meta/lastUpdated"),
    ] {
        let is_descending = sort.starts_with('-');
        let mut expected = all.clone();
        if is_descending {
            expected.sort_by_key(|it| std::cmp::Reverse(time(it, pointer)));
        } else {
            // Events of one row keep their order, and rows of a millisecond that of their ids.
            expected.sort_by_key(|it| (!is_outside(it), id(it)[..36].to_owned()));
            expected.sort_by_key(|it| time(it, pointer));
        }
        let expected: Vec<String> = expected.iter().map(id).collect();
        let url = format!("/AuditEvent?_count=2&_sort={sort}&_total=accurate&date=le{last}");
        let forth = pages(&server.client, &url, "next").await;
        assert_eq!(ids(forth.iter()), expected, "{sort}");
        for (at, (here, page)) in forth.iter().enumerate() {
            let count = resources(page, "match").len();
            let is_last = at + 1 == forth.len();
            assert!(count == 2 || (is_last && count == 1), "{sort} {here}: {count}");
            assert_eq!(page["total"], all.len(), "{sort} {here}");
            assert_eq!(link(page, "previous").is_some(), at > 0, "{sort} {here}");
        }
        let back = pages(&server.client, &forth.last().unwrap().0, "previous").await;
        assert_eq!(ids(back.iter().rev()), expected, "{sort}, backwards");
        for two in back.windows(2) {
            let again = bundle(&server.client, &link(&two[1].1, "next").unwrap()).await;
            let again = [(String::new(), again)];
            assert_eq!(ids(again.iter()), ids(two[..1].iter()), "{sort}, forth again");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_of_its_search_and_its_caller() {
    let (server, _) = record().await;
    let first = bundle(&server.client, "/AuditEvent?_count=2&_sort=-date").await;
    let next = link(&first, "next").unwrap();
    server.client.get(&next).await.expect(200);
    let (other, _stop) = Token::new(&server, "system/AuditEvent.rs").client().await;
    let (_, query) = next.split_once("/AuditEvent?").unwrap();
    other.get(&format!("/AuditEvent?{query}")).await.expect(400);
    let turned = query.replace("_sort=-date", "_sort=date");
    assert_ne!(turned, query);
    server.client.get(&format!("/AuditEvent?{turned}")).await.expect(400);
    for cursor in ["nonsense", "events.nonsense"] {
        let url = format!("/AuditEvent?_count=2&_sort=-date&_cursor={cursor}");
        server.client.get(&url).await.expect(400);
    }
    server.stop().await;
}

/// What comes along is what the matches of the page refer to, not those of the page after it.
#[tokio::test(flavor = "multi_thread")]
async fn each_page_brings_along_what_its_own_events_refer_to() {
    let (server, all) = record().await;
    let url = "/AuditEvent?_count=2&_sort=-date&_include=AuditEvent:patient&date=lt2100";
    let mut seen = BTreeSet::new();
    let mut url = Some(url.to_owned());
    for _ in 0..all.len() {
        let Some(here) = url else { break };
        let page = bundle(&server.client, &here).await;
        let mut referred = BTreeSet::new();
        for event in resources(&page, "match") {
            for entity in event["entity"].as_array().cloned().unwrap_or_default() {
                let what = entity["what"]["reference"].as_str().unwrap_or_default().to_owned();
                let what = what.split("/_history").next().unwrap().strip_prefix("Patient/");
                referred.extend(what.filter(|it| ["a", "b"].contains(it)).map(str::to_owned));
            }
        }
        let along: BTreeSet<String> = resources(&page, "include").iter().map(id).collect();
        assert_eq!(along, referred, "{here}");
        seen.extend(along);
        url = link(&page, "next");
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    server.stop().await;
}
