//! The record as AuditEvents: read, searched, and valid by the patterns of BALP (A1, A2, A5, A13).
//!
//! Covers: security A1, security A2, security A5.
//! Covers: security A13.

use std::collections::BTreeSet;
use std::time::Duration;

use kiln::access::interaction::Kind;
use kiln::audit::balp::{Entry, PatientOf};
use kiln::audit::form::Form;
use serde_json::{Value, json};

use crate::harness::client::{Answer, Client};
use crate::harness::server::TestServer;
use crate::harness::shared::archive;

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text()).unwrap()
}

/// What is wrong with a resource by the profiles it claims, and by all rules.
pub(super) async fn faults(client: &Client, resource: &Value) -> Vec<String> {
    let mut faults = BTreeSet::new();
    let claimed = resource["meta"]["profile"].as_array().cloned().unwrap_or_default();
    let mut asked = vec![String::new()];
    asked.extend(claimed.iter().map(|it| format!("?profile={}", it.as_str().unwrap())));
    for profile in asked {
        let url = format!("/AuditEvent/$validate{profile}");
        let answer = client.call("POST", &url).json(resource.to_string()).send().await;
        let outcome = json_of(&answer.expect(200));
        for issue in outcome["issue"].as_array().unwrap() {
            if ["error", "fatal"].contains(&issue["severity"].as_str().unwrap()) {
                faults.insert(format!("{profile}: {issue}"));
            }
        }
    }
    faults.into_iter().collect()
}

/// Every kind, with and without user, client, token and patients, failed and not; the last with a token that has no
/// name.
pub(super) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    let patient =
        |hash: i64, id: Option<&str>| PatientOf { hash, id: id.map(|id| id.parse().unwrap()) };
    for kind in Kind::ALL {
        for (number, outcome) in [0_i16, 0, 0, 4, 8, 0].into_iter().enumerate() {
            let has_user = matches!(number, 1 | 3 | 5);
            let token = match number {
                5 => "urn:kiln:token:0123456789abcdef0123456789abcdef",
                _ => "01990000-0000-4000-8000-00000000000b",
            };
            let has_client = number != 0;
            let is_of_type = !matches!(
                kind,
                Kind::Batch | Kind::Transaction | Kind::SearchSystem | Kind::HistorySystem
            ) && kind.number() < 40;
            let has_subject = is_of_type && !matches!(kind, Kind::SearchType | Kind::HistoryType);
            entries.push(Entry {
                id: "01990000-0000-7000-8000-00000000000a".parse().unwrap(),
                kind: *kind,
                outcome,
                resource_type: is_of_type.then(|| "Observation".parse().unwrap()),
                subject: has_subject.then(|| ("o".to_owned(), Some(2))),
                actor: if has_user { "user:ada" } else { "client:app" }.to_owned(),
                client: has_client.then(|| "app".to_owned()),
                token: has_client.then(|| token.to_owned()),
                person: has_user.then(|| "Practitioner/ada".to_owned()),
                purpose: has_user.then(|| "TREAT".to_owned()),
                source: (number != 4).then(|| "192.0.2.7".to_owned()),
                request_id: "r-1".to_owned(),
                method: "GET".to_owned(),
                query: "/fhir/Observation?patient=a&code=b".to_owned(),
                failure: (outcome != 0).then(|| "no scope covers the interaction".to_owned()),
                patients: match number {
                    2 => vec![patient(1, Some("a")), patient(2, None)],
                    1 | 4 | 5 => vec![patient(1, Some("a"))],
                    _ => Vec::new(),
                },
                entities: match kind {
                    Kind::ConsentDecision if number < 3 => {
                        vec!["Consent/c".to_owned(), "Organization/g".to_owned()]
                    }
                    Kind::ConsentDecision => vec!["Consent/c".to_owned(), "Consent/d".to_owned()],
                    Kind::Token => vec!["grant g token t".to_owned()],
                    _ => vec!["Observation/o/_history/2".to_owned(), "a text".to_owned()],
                },
            });
        }
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_every_kind_is_valid_by_its_pattern() {
    let server = TestServer::start().await;
    let mut wrong = Vec::new();
    let mut patterns = BTreeSet::new();
    for entry in entries() {
        for event in entry.events("http://127.0.0.1:8080/fhir") {
            let mut resource = event.body.clone();
            resource["resourceType"] = json!("AuditEvent");
            resource["id"] = json!(event.id.as_str());
            if !event.profiles.is_empty() {
                resource["meta"] = json!({ "profile": event.profiles });
            }
            patterns
                .extend(event.profiles.iter().map(|it| it.rsplit('.').next().unwrap().to_owned()));
            let found = faults(&server.client, &resource).await;
            if !found.is_empty() {
                wrong.push(format!("{:?} {}: {found:#?}\n{resource}", entry.kind, entry.outcome));
            }
        }
        let pattern = Form::of(entry.kind).pattern;
        assert!(pattern.is_none() || entry.outcome != 0 || entry.count() > 0);
    }
    assert!(wrong.is_empty(), "{} wrong, the first: {}", wrong.len(), wrong[0]);
    for pattern in [
        "Create",
        "Read",
        "Update",
        "Delete",
        "Query",
        "PatientCreate",
        "PatientRead",
        "PatientUpdate",
        "PatientDelete",
        "PatientQuery",
        "Opaque",
        "Minimal",
        "Comprehensive",
        "AuthZconsent",
        "Source",
        "71",
    ] {
        assert!(patterns.contains(pattern), "{pattern} of {patterns:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_examples_of_the_patterns_are_valid_here() {
    let Some(files) = archive("packages/ihe.iti.balp-differential.tgz") else { return };
    let server = TestServer::start().await;
    let mut count = 0;
    for (name, bytes) in files {
        if !name.contains("AuditEvent-ex-") {
            continue;
        }
        count += 1;
        let example: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(faults(&server.client, &example).await, [""; 0], "{name}");
    }
    assert_eq!(count, 26);
}

/// A server on which this and that was done, and its events, newest first.
async fn record() -> (TestServer, Vec<Value>) {
    let server = TestServer::start().await;
    let client = &server.client;
    for id in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"male"}}"#);
        client.put(&format!("/Patient/{id}"), body).await.expect(201);
        let body = format!(
            r#"{{"resourceType":"Observation","id":"o{id}","status":"final","code":{{"text":"x"}},
                "subject":{{"reference":"Patient/{id}"}}}}"#
        );
        client.put(&format!("/Observation/o{id}"), body).await.expect(201);
    }
    client.get("/Patient/a").await.expect(200);
    client.get("/Patient/a/_history/1").await.expect(200);
    client.get("/Observation?code:text=x").await.expect(200);
    let page = json_of(&client.get("/Patient?gender=male&_count=1").await.expect(200));
    let links = page["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next").unwrap();
    client.get(next["url"].as_str().unwrap()).await.expect(200);
    client.get("/Patient/nobody").await.expect(404);
    client.get("/Patient?birthdate=never").await.expect(400);
    client.get("/Patient/a/_history").await.expect(200);
    client.put("/Patient/b", r#"{"resourceType":"Patient","id":"b"}"#).await.expect(200);
    client.delete("/Observation/ob").await.expect(204);
    client.post("/Patient", r#"{"resourceType":"Patient"}"#).await.expect(201);
    let patch = client.call("PATCH", "/Patient/b");
    let patch = patch.header("Content-Type", "application/json-patch+json");
    let body = r#"[{"op":"add","path":"/active","value":true}]"#;
    patch.body(body).send().await.expect(200);
    let search = client.call("POST", "/Patient/_search?_count=1");
    let search = search.header("Content-Type", "application/x-www-form-urlencoded");
    search.body("active=true&access_token=canary").send().await.expect(200);
    let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"GET","url":"Patient/a"}},{"request":{"method":"GET","url":"Patient/c"}},
        {"request":{"method":"GET","url":"Patient?_id=a&access_token=canary"}}]}"#;
    client
        .call("POST", "/")
        .header("X-Request-Id", "of-the-batch")
        .json(batch)
        .send()
        .await
        .expect(200);
    // What is asked from here on is of a later millisecond than what is looked for.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let all = json_of(&client.get("/AuditEvent?_count=500").await.expect(200));
    let entries = all["entry"].as_array().unwrap().iter();
    let events = entries.map(|entry| entry["resource"].clone()).collect();
    (server, events)
}

fn ids(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|it| it["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_access_is_an_event_that_is_read_and_found_the_same_each_time() {
    let (server, events) = record().await;
    let client = &server.client;
    // One for each patient of a page, else one for each interaction.
    let rows = server
        .database
        .number(
            "SELECT sum(greatest(cardinality(pats), 1)) FROM ledger \
        WHERE query NOT LIKE '%/AuditEvent%'",
        )
        .await;
    assert_eq!(events.len() as i64, rows);
    for event in &events {
        assert_eq!(faults(client, event).await, [""; 0], "{event}");
        let url = format!("/AuditEvent/{}", event["id"].as_str().unwrap());
        assert_eq!(json_of(&client.get(&url).await.expect(200)), *event);
        assert_eq!(json_of(&client.get(&format!("{url}/_history/1")).await.expect(200)), *event);
        client.get(&format!("{url}/_history/2")).await.expect(404);
    }
    for id in ["01990000-0000-7000-8000-00000000000a", "x"] {
        client.get(&format!("/AuditEvent/{id}")).await.expect(404);
    }
    let times: Vec<_> = events.iter().map(|event| event["recorded"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|one, other| one >= other), "{times:?}");
    let query = events.iter().find(|event| event["subtype"][0]["code"] == "search-type").unwrap();
    assert!(query["entity"][0]["query"].is_string(), "{query}");
    patterns_are_claimed(&events);
    pages_and_forms_are_told(&events);
    // To read the record is on record too.
    let reads = client.get("/AuditEvent?entity-type=2&subtype=search-type&_count=1").await;
    assert_eq!(ids(&json_of(&reads.expect(200))).len(), 1);
}

/// Each pattern is that of an event that was caused, and failures claim none.
fn patterns_are_claimed(events: &[Value]) {
    let profiles = |event: &Value| -> Vec<String> {
        let all = event["meta"]["profile"].as_array().cloned().unwrap_or_default();
        all.iter().map(|it| it.as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect()
    };
    for (subtype, pattern) in [
        ("create", "PatientCreate"),
        ("read", "PatientRead"),
        ("vread", "PatientRead"),
        ("update", "PatientUpdate"),
        ("patch", "PatientUpdate"),
        ("delete", "PatientDelete"),
        ("search-type", "PatientQuery"),
    ] {
        let is_it = |event: &&Value| has(event, "subtype", "/code", subtype);
        let all: BTreeSet<_> = events.iter().filter(is_it).flat_map(profiles).collect();
        assert!(all.contains(pattern), "{subtype}: {all:?}");
    }
    let failed = events.iter().filter(|event| event["outcome"] != "0");
    let failed: Vec<_> =
        failed.map(|event| (profiles(event), event["outcomeDesc"].is_string())).collect();
    assert!(failed.len() >= 3 && failed.iter().all(|it| it.0.is_empty() && it.1), "{failed:?}");
}

/// A search is told with what its body asked, without secrets.
fn pages_and_forms_are_told(events: &[Value]) {
    use base64::Engine as _;
    let queries = events.iter().filter_map(|event| event["entity"][0]["query"].as_str());
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let queries: Vec<_> = queries.map(|text| String::from_utf8(decode(text)).unwrap()).collect();
    for part in [
        "POST /fhir/Patient/_search?_count=1&active=true&access_token=***",
        "GET /fhir/Patient?_id=a&access_token=***",
        "_cursor=",
    ] {
        assert!(queries.iter().any(|query| query.contains(part)), "{part}: {queries:?}");
    }
    assert!(!queries.iter().any(|query| query.contains("canary")), "{queries:?}");
}

/// Whether an event has a coding with a code at a path.
fn has(event: &Value, list: &str, path: &str, wanted: &str) -> bool {
    let items = event[list].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().any(|item| item.pointer(path).and_then(Value::as_str) == Some(wanted))
}

/// A query, and whether an event is to be found by it.
type Asked = (String, Box<dyn Fn(&Value) -> bool>);

fn asked(query: &str, holds: impl Fn(&Value) -> bool + 'static) -> Asked {
    (query.to_owned(), Box::new(holds))
}

fn about(event: &Value, what: &str) -> bool {
    has(event, "entity", "/what/reference", what)
}

fn by_codes() -> Vec<Asked> {
    vec![
        asked("action=R", |it| it["action"] == "R"),
        asked("action=http://hl7.org/fhir/audit-event-action|E", |it| it["action"] == "E"),
        asked("outcome=4", |it| it["outcome"] == "4"),
        asked("outcome:not=0", |it| it["outcome"] != "0"),
        asked("type=rest", |it| it["type"]["code"] == "rest"),
        asked("type=nothing", |_| false),
        asked("subtype=vread,delete", |it| {
            has(it, "subtype", "/code", "vread") || has(it, "subtype", "/code", "delete")
        }),
        asked("entity-type=1", |it| has(it, "entity", "/type/code", "1")),
        asked("entity-role=24", |it| has(it, "entity", "/role/code", "24")),
        asked("entity-role=4", |it| has(it, "entity", "/role/code", "4")),
        asked("altid=anonymous", |it| has(it, "agent", "/altId", "anonymous")),
        asked("altid=nobody", |_| false),
        asked("altid:not=anonymous", |it| !has(it, "agent", "/altId", "anonymous")),
        asked("altid:not=nobody", |_| true),
        asked("agent-role=x", |_| false),
    ]
}

fn by_names() -> Vec<Asked> {
    vec![
        asked("patient=Patient/a", |it| about(it, "Patient/a")),
        asked("patient=Observation/ob", |_| false),
        asked("patient=a&action=U", |it| about(it, "Patient/a") && it["action"] == "U"),
        asked("patient:missing=true", |it| !has(it, "entity", "/type/code", "1")),
        asked("entity=Observation/ob", |it| {
            let versions = ["", "/_history/1", "/_history/2"];
            versions.iter().any(|version| about(it, &format!("Observation/ob{version}")))
        }),
        asked("address=127.0.0.1", |it| has(it, "agent", "/network/address", "127.0.0.1")),
        asked("policy=urn:ietf:params:oauth:jti:x", |_| false),
        asked("agent=Practitioner/x", |_| false),
        asked("agent-name=a", |it| has(it, "agent", "/name", "a")),
        asked("entity-name=x", |_| false),
    ]
}

fn by_times(middle: &str, first: &str) -> Vec<Asked> {
    let time = |it: &Value| it["recorded"].as_str().unwrap().to_owned();
    let middle = || middle.to_owned();
    let (before, from, same, after) = (middle(), middle(), middle(), middle());
    let id = first.to_owned();
    vec![
        asked(&format!("date=lt{before}"), move |it| time(it) < before),
        asked(&format!("date=ge{from}"), move |it| time(it) >= from),
        asked(&format!("date={same}"), move |it| time(it) == same),
        asked(&format!("_lastUpdated=gt{after}"), move |it| time(it) > after),
        asked(&format!("_id={first}"), move |it| it["id"] == *id),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_parameter_finds_what_its_element_says() {
    let (server, events) = record().await;
    let middle = events[events.len() / 2]["recorded"].as_str().unwrap();
    let base = events[0]["source"]["site"].as_str().unwrap();
    let mut cases = by_times(middle, events[3]["id"].as_str().unwrap());
    cases.push(asked(&format!("site={}", base.replace(':', "%3A")), |_| true));
    cases.extend(by_codes().into_iter().chain(by_names()));
    let known: BTreeSet<&str> = events.iter().map(|it| it["id"].as_str().unwrap()).collect();
    for (query, holds) in &cases {
        let url = format!("/AuditEvent?_count=500&{query}");
        let bundle = json_of(&server.client.get(&url).await.expect(200));
        // Searches until now are events too.
        let found: Vec<_> = ids(&bundle).into_iter().filter(|id| known.contains(&**id)).collect();
        let expected: Vec<_> = events
            .iter()
            .filter(|it| holds(it))
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, expected, "{query}");
    }
    let compartment =
        json_of(&server.client.get("/Patient/a/AuditEvent?_count=500").await.expect(200));
    let expected = events.iter().filter(|it| about(it, "Patient/a")).count();
    assert_eq!(ids(&compartment).iter().filter(|id| known.contains(&***id)).count(), expected);
}

/// From the last page at `url` back to the first one are the same events, `expected` among them.
async fn back_again(client: &Client, url: &str, expected: &[String]) {
    let mut url = url.to_owned();
    let mut found = Vec::new();
    loop {
        let page = json_of(&client.get(&url).await.expect(200));
        let mut on_page = ids(&page);
        assert!((1..=3).contains(&on_page.len()), "{url}: {on_page:?}");
        on_page.reverse();
        found.extend(on_page.into_iter().filter(|id| expected.contains(id)));
        let links = page["link"].as_array().unwrap();
        let link = |of: &str| {
            let link = links.iter().find(|link| link["relation"] == of)?;
            Some(link["url"].as_str().unwrap().to_owned())
        };
        let Some(previous) = link("previous") else { break };
        // Forth again from there one comes to this page.
        let before = json_of(&client.get(&previous).await.expect(200));
        let next = before["link"].as_array().unwrap().iter().find(|it| it["relation"] == "next");
        let next = next.unwrap()["url"].as_str().unwrap();
        assert_eq!(ids(&json_of(&client.get(next).await.expect(200))), ids(&page), "{url}");
        url = previous;
    }
    found.reverse();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_every_event_once_in_both_orders() {
    let (server, events) = record().await;
    let all: Vec<_> = events.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let last = events[0]["recorded"].as_str().unwrap();
    for (sort, is_ascending) in [("-date", false), ("date", true), ("-_lastUpdated", false)] {
        let mut url = format!("/AuditEvent?_count=3&_sort={sort}&date=le{last}");
        let mut found = Vec::new();
        loop {
            let page = json_of(&server.client.get(&url).await.expect(200));
            let on_page = ids(&page);
            assert!(on_page.len() <= 3);
            // What was asked for these pages may be of the same millisecond.
            found.extend(on_page.into_iter().filter(|id| all.contains(id)));
            let links = page["link"].as_array().unwrap();
            let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
            url = next["url"].as_str().unwrap().to_owned();
        }
        back_again(&server.client, &url, &found).await;
        let mut expected = all.clone();
        if is_ascending {
            // Events of one row keep their order.
            expected.sort_by(|one, other| one[..36].cmp(&other[..36]));
        }
        assert_eq!(found, expected, "{sort}");
    }
    let count = server.client.get(&format!("/AuditEvent?_summary=count&date=le{last}")).await;
    assert_eq!(json_of(&count.expect(200))["total"], all.len());
    let link = "/AuditEvent?_count=3&_cursor=events.nonsense";
    server.client.get(link).await.expect(400);
}
