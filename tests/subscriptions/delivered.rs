//! What is told, how, in which order, and what is not.

use std::time::Duration;

use kiln::fhir::ResourceType;

use super::{CRITERIA, Wish, observation, put, served, subscribed, until};
use crate::harness::process::Process;
use crate::subscriptions::receiver::Receiver;

/// Covers: rest 8.1, 8.2, 8.3.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_asked_for_and_the_server_makes_it_active() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    for status in ["requested", "active", "error"] {
        let wish = Wish { status, ..Wish::new(receiver.url("/hook")) };
        let asked = client.post("/Subscription", wish.body(None)).await.expect(201);
        assert_eq!(asked.at("status").as_deref(), Some("requested"), "{status}");
        assert_eq!(asked.at("criteria").as_deref(), Some(CRITERIA), "{status}");
        let active = until(client, &asked.id(), "active").await;
        assert_eq!(active.version(), 2, "{status}");
        // It is found by its status, and the version before is there still.
        let url = format!("/Subscription?status=active&_id={}", asked.id());
        assert_eq!(client.get(&url).await.at("total").as_deref(), Some("1"), "{status}");
        let before = client.get(&format!("/Subscription/{}/_history/1", asked.id())).await;
        assert_eq!(before.at("status").as_deref(), Some("requested"), "{status}");
    }
    let off = Wish { status: "off", ..Wish::new(receiver.url("/off")) };
    let off = client.post("/Subscription", off.body(None)).await.expect(201);
    put(client, "o", "k").await;
    receiver.until(3).await;
    assert!(receiver.taken().iter().all(|taken| taken.path == "/hook"), "{:?}", receiver.taken());
    until(client, &off.id(), "off").await;
    server.stop().await;
}

/// Covers: rest 8.5.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_gets_an_empty_post_or_the_resource_as_an_update() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    let headers = vec![
        "Authorization: Bearer canary".to_owned(),
        "X-Key:a b:c".to_owned(),
        "X-No:".to_owned(),
    ];
    let empty = Wish { headers: headers.clone(), ..Wish::new(receiver.url("/empty?a=b")) };
    subscribed(client, &empty).await;
    put(client, "a", "k").await;
    receiver.until(1).await;
    let taken = &receiver.taken()[0];
    assert_eq!((&*taken.method, &*taken.path, &*taken.body), ("POST", "/empty?a=b", ""));
    for (name, value) in [
        ("authorization", "Bearer canary"),
        ("x-key", "a b:c"),
        ("x-no", ""),
        ("content-length", "0"),
    ] {
        assert_eq!(taken.header(name).as_deref(), Some(value), "{name}: {taken:?}");
    }
    assert_eq!(taken.header("content-type"), None);
    for (payload, form, begin) in [
        (
            "application/fhir+json",
            "application/fhir+json",
            r#"{"resourceType":"Observation","id":"b""#,
        ),
        (
            "application/fhir+xml",
            "application/fhir+xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Observation ",
        ),
        ("application/json; fhirVersion=4.0", "application/fhir+json", "{"),
    ] {
        let receiver = Receiver::start().await;
        let wish = Wish { payload: Some(payload), ..Wish::full(receiver.url("/fhir/")) };
        let id = subscribed(client, &wish).await;
        put(client, "b", "k").await;
        assert_eq!(receiver.until(1).await, ["PUT /fhir/Observation/b"], "{payload}");
        let taken = &receiver.taken()[0];
        assert_eq!(taken.header("content-type").as_deref(), Some(form));
        assert!(taken.body.starts_with(begin), "{payload}: {}", taken.body);
        client.delete(&format!("/Subscription/{id}")).await.expect(204);
        client.delete("/Observation/b").await.expect(204);
    }
    server.stop().await;
    let (server, receiver) = served(&[("subscriptions.update_method", "post")]).await;
    subscribed(&server.client, &Wish::full(receiver.url("/take"))).await;
    put(&server.client, "c", "k").await;
    assert_eq!(receiver.until(1).await, ["POST /take"]);
    assert!(receiver.taken()[0].body.contains(r#""id":"c""#));
    server.stop().await;
}

/// Covers: rest 8.8.
#[tokio::test(flavor = "multi_thread")]
async fn what_matches_after_a_change_is_told_and_nothing_else() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    subscribed(client, &Wish::full(receiver.url(""))).await;
    // One after the other, however fast they come: each is judged by itself.
    for code in ["p", "k", "k2", "k", "p"] {
        put(client, "o", code).await;
    }
    put(client, "other", "p").await;
    client.put("/Patient/o", r#"{"resourceType":"Patient","id":"o"}"#).await.expect(201);
    receiver.until(2).await;
    client.delete("/Observation/o").await.expect(204);
    let meta = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"code":"t"}]}}]}"#;
    client.post("/Observation/other/$meta-add", meta).await.expect(200);
    put(client, "last", "k").await;
    let told = receiver.until(3).await;
    let own = "PUT /Observation/o";
    assert_eq!(told, [own, own, "PUT /Observation/last"]);
    let versions: Vec<bool> = [2, 4]
        .iter()
        .zip(receiver.taken())
        .map(|(version, taken)| taken.body.contains(&format!(r#""versionId":"{version}""#)))
        .collect();
    assert_eq!(versions, [true, true], "{:?}", receiver.taken());
    server.stop().await;
}

/// Covers: rest 8.11.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_in_their_order_whatever_fails_between() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    subscribed(client, &Wish::full(receiver.url(""))).await;
    receiver.answer_next(&[200, 503, 200, 500, 404, 200, 200, 429]);
    let names: Vec<String> = (0..40).map(|number| format!("o{number}")).collect();
    for name in &names {
        put(client, name, "k").await;
    }
    let told = receiver.until(names.len()).await;
    let expected: Vec<_> = names.iter().map(|name| format!("PUT /Observation/{name}")).collect();
    assert_eq!(told, expected);
    assert_eq!(receiver.taken().len(), names.len() + 4);
    server.stop().await;
}

/// Covers: rest 8.11.
#[tokio::test(flavor = "multi_thread")]
async fn what_matches_is_told_however_much_else_comes_before_it() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    subscribed(client, &Wish::full(receiver.url(""))).await;
    client.put("/Patient/o", r#"{"resourceType":"Patient","id":"o"}"#).await.expect(201);
    // More than is looked through at once.
    let more = format!(
        "INSERT INTO feed (at, rid, dk, vid, rt, op) SELECT f.at, f.rid, f.dk, f.vid, f.rt, f.op \
         FROM (SELECT * FROM feed WHERE rt = {} LIMIT 1) f, generate_series(1, 60000)",
        ResourceType::PATIENT.code()
    );
    server.database.run(&more).await;
    server.database.run(&more).await;
    put(client, "late", "k").await;
    assert_eq!(receiver.until(1).await, ["PUT /Observation/late"]);
    server.stop().await;
}

/// Covers: rest 8.13.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_told_of_once_it_is_committed() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    subscribed(client, &Wish::full(receiver.url(""))).await;
    put(client, "there", "p").await;
    let bundle = |ids: &[&str], condition: &str| {
        let entries: Vec<_> = ids
            .iter()
            .map(|id| {
                let body = observation(id, "k");
                format!(r#"{{"resource":{body},"request":{{"method":"PUT","url":"Observation/{id}"{condition}}}}}"#)
            })
            .collect();
        let entries = entries.join(",");
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
    };
    // The second entry cannot be: nothing of the first is told.
    client.post("/", bundle(&["a", "there"], r#","ifMatch":"W/\"7\"""#)).await.expect(412);
    client.post("/", bundle(&["b", "c"], "")).await.expect(200);
    put(client, "last", "k").await;
    let mut told = receiver.until(3).await;
    assert_eq!(told.pop().as_deref(), Some("PUT /Observation/last"));
    told.sort();
    assert_eq!(told, ["PUT /Observation/b", "PUT /Observation/c"]);
    server.stop().await;
}

/// Covers: rest 8.11.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_told_when_the_server_was_killed_is_told_then() {
    let mut server =
        Process::start_with(&["subscriptions.networks=127.0.0.1/32", "subscriptions.retry_ms=50"])
            .await;
    let receiver = Receiver::start().await;
    subscribed(&server.client, &Wish::full(receiver.url(""))).await;
    let names: Vec<String> = (0..30).map(|number| format!("o{number:02}")).collect();
    for (at, name) in names.iter().enumerate() {
        if at == 10 {
            receiver.until(5).await;
            receiver.answer(503);
        }
        put(&server.client, name, "k").await;
    }
    server.kill_and_restart();
    server.ready(Duration::from_mins(1)).await;
    receiver.answer(200);
    let last = "PUT /Observation/o29".to_owned();
    let began = std::time::Instant::now();
    while !receiver.told().contains(&last) {
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", receiver.told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // At least once, and in order: what comes again is what came last.
    let mut told = receiver.told();
    told.dedup();
    let expected: Vec<_> = names.iter().map(|name| format!("PUT /Observation/{name}")).collect();
    assert_eq!(told, expected);
}

/// Each delivery is on record before it leaves, with whose data are in it, and that it failed as well.
///
/// Covers: security A7.
#[tokio::test(flavor = "multi_thread")]
async fn each_delivery_is_on_record() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    let id = subscribed(client, &Wish::full(receiver.url("/x?secret=canary"))).await;
    receiver.answer_next(&[500]);
    let body = observation("o", "k")
        .replace(r#""status""#, r#""subject":{"reference":"Patient/p"},"status""#);
    client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    client.put("/Observation/o", body).await.expect(201);
    receiver.until(1).await;
    // Tried twice, with a row before each, and one of the failure.
    for (outcome, count) in [(0, 2), (8, 1)] {
        let rows = format!(
            "SELECT count(*) FROM ledger WHERE interaction = 140 AND outcome = {outcome} \
             AND logical_id = 'o' AND vid = 1 AND cardinality(pats) = 1 AND actor = 'anonymous' \
             AND 'Subscription/{id}' = ANY (entities)"
        );
        assert_eq!(server.database.number(&rows).await, count, "{outcome}");
    }
    let secret = "SELECT count(*) FROM ledger WHERE interaction = 140 \
         AND (query LIKE '%canary%' OR array_to_string(entities, ' ') LIKE '%canary%')";
    assert_eq!(server.database.number(secret).await, 0);
    // The record tells it as a disclosure, of the patient.
    let events = client.get("/AuditEvent?patient=Patient/p&subtype=disclose").await.expect(200);
    assert!(events.text().contains("Observation/o/_history/1"), "{events:?}");
    // What is weighed and not told is nowhere.
    put(client, "p", "p").await;
    put(client, "q", "k").await;
    receiver.until(2).await;
    let all = "SELECT count(*) FROM ledger WHERE interaction = 140 AND logical_id = 'p'";
    assert_eq!(server.database.number(all).await, 0);
    server.stop().await;
}
