//! Events of the ledger go to a repository and to rules of alerts: none is lost, and none goes out early.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kiln::store::maintenance::{
    Place, Reached, add_outlet, move_outlet, outlet_reached, take_outlet,
};
use serde_json::Value;
use uuid::Uuid;

use super::receiver::Receiver;
use crate::harness::process::Process;
use crate::harness::server::TestServer;

/// How often each id of a request is among events.
fn requests<'a>(events: impl Iterator<Item = &'a Value>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        let entities = event["entity"].as_array().unwrap();
        let id = entities.iter().find(|it| it["type"]["code"] == "XrequestId").unwrap();
        let id = id["what"]["identifier"]["value"].as_str().unwrap();
        *counts.entry(id.to_owned()).or_default() += 1;
    }
    counts
}

fn entries(bundle: &Value) -> Vec<Value> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.into_iter().map(|mut entry| entry["resource"].take()).collect()
}

pub(super) async fn found(server: &TestServer, url: &str) -> Vec<Value> {
    let answer = server.client.get(url).await.expect(200);
    entries(&serde_json::from_slice(&answer.body).unwrap())
}

/// The same for who has a token.
pub(super) async fn found_by(server: &TestServer, token: &str, url: &str) -> Vec<Value> {
    let call = server.client.call("GET", url).header("Authorization", &format!("Bearer {token}"));
    entries(&serde_json::from_slice(&call.send().await.expect(200).body).unwrap())
}

/// Covers: security A13.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_gets_each_event_once() {
    let repository = TestServer::start().await;
    let base = repository.client.base();
    let server = TestServer::start_with(&[
        ("auth.outbound_networks", "127.0.0.1/32"),
        ("atna.repository", &base),
        ("atna.batch", "3"),
    ])
    .await;
    let client = &server.client;
    for id in ["a", "b", "c"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    client.get("/Patient/a").await.expect(200);
    client.get("/Patient").await.expect(200);
    client.get("/Patient/nobody").await.expect(404);
    client.delete("/Patient/c").await.expect(204);
    let ours: Vec<Value> = found(&server, "/AuditEvent?_count=500").await;
    // Three writes, a read, a search with an event for each patient, a refusal, a delete.
    assert_eq!(ours.len(), 9, "{ours:#?}");
    let expected: BTreeMap<String, Value> = ours
        .into_iter()
        .map(|event| {
            let id = event["id"].as_str().unwrap();
            (format!("{}/AuditEvent/{id}", server.client.base()), event)
        })
        .collect();
    let began = Instant::now();
    let theirs = loop {
        let all = found(&repository, "/AuditEvent?_count=500").await;
        let of_ours = |event: &Value| {
            event["meta"]["source"].as_str().is_some_and(|it| expected.contains_key(it))
        };
        let theirs: Vec<Value> = all.into_iter().filter(of_ours).collect();
        if theirs.len() >= expected.len() {
            break theirs;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{} of them", theirs.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(theirs.len(), expected.len(), "each once");
    for event in theirs {
        let source = event["meta"]["source"].as_str().unwrap();
        let own = &expected[source];
        for part in
            ["type", "subtype", "action", "recorded", "outcome", "agent", "source", "entity"]
        {
            assert_eq!(event[part], own[part], "{part} of {source}");
        }
        assert_eq!(event["meta"]["profile"], own["meta"]["profile"], "{source}");
    }
    // What was not delivered yet cannot be noted as delivered.
    until_nothing_is_left(&server, "repository").await;
}

/// Covers: security A13.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_when_the_server_was_killed_is_sent_again() {
    let receiver = Receiver::start().await;
    let repository = format!("atna.repository=http://{}/fhir", receiver.address);
    // The settings of a process live as long as the test.
    let repository: &'static str = Box::leak(repository.into_boxed_str());
    let settings = vec!["auth.outbound_networks=127.0.0.1/32", repository, "atna.batch=1"];
    receiver.answer(false);
    let mut process = Process::start_with(Box::leak(settings.into_boxed_slice())).await;
    let ask = async |client: &crate::harness::client::Client, id: &str| {
        let call = client.call("GET", "/Patient/nobody").header("X-Request-Id", id);
        call.send().await.expect(404);
    };
    ask(&process.client, "first").await;
    ask(&process.client, "second").await;
    // It came, and was not answered: the place of the feed is still before it.
    let posted = receiver.until("the first event", |posted| !posted.is_empty()).await;
    assert_eq!(posted[0].0, "/fhir/AuditEvent");
    let unanswered = requests(posted.iter().map(|(_, event)| event));
    process.kill_and_restart();
    receiver.answer(true);
    process.ready(Duration::from_mins(1)).await;
    ask(&process.client, "third").await;
    let has_all = |posted: &Vec<(String, Value)>| {
        let seen = requests(posted.iter().map(|(_, event)| event));
        ["first", "second", "third"].iter().all(|id| seen.contains_key(*id))
    };
    let posted = receiver.until("all events", has_all).await;
    let seen = requests(posted.iter().map(|(_, event)| event));
    for (id, _) in unanswered {
        assert!(seen[&id] >= 2, "{id} comes again: {seen:?}");
    }
}

/// A row of the ledger, made as a server would.
pub(super) fn row(interaction: i16, outcome: i16, actor: &str, more: (&str, &str, &str)) -> String {
    let (source, purpose, patients) = more;
    let time = "lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')";
    format!(
        "INSERT INTO ledger (id, at, grp, tid, interaction, outcome, actor, source, purpose, request_id, \
         method, query, pats, entities) SELECT (substr(h, 1, 8) || '-' || substr(h, 9) || \
         substr(gen_random_uuid()::text, 14))::uuid, clock_timestamp(), gen_random_uuid(), 0, \
         {interaction}, {outcome}, '{actor}', {source}, {purpose}, 'r', 'GET', '/', '{patients}', '{{}}' \
         FROM (SELECT {time}) t (h)"
    )
}

/// Covers: security S8.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_told_to_an_address_and_stored() {
    let receiver = Receiver::start().await;
    let webhook = format!("http://{}/alerts", receiver.address);
    let server = TestServer::start_with(&[
        ("auth.outbound_networks", "127.0.0.1/32"),
        ("alerts.patients", "2"),
        ("alerts.failed_logins", "1"),
        ("alerts.break_glass", "true"),
        ("alerts.webhook", &webhook),
        ("alerts.communication", "true"),
    ])
    .await;
    // Two patients are allowed, three are too many.
    for id in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        server.client.put(&format!("/Patient/{id}"), body).await.expect(201);
        server.client.get(&format!("/Patient/{id}")).await.expect(200);
    }
    let address = "'192.0.2.7'";
    server.database.run(&row(40, 4, "user:eve", (address, "NULL", "{}"))).await;
    server.database.run(&row(40, 4, "user:eve", (address, "NULL", "{}"))).await;
    server.database.run(&row(12, 0, "user:ada", ("NULL", "'BTG'", "{7}"))).await;
    server.client.put("/Patient/c", r#"{"resourceType":"Patient","id":"c"}"#).await.expect(201);
    let posted = receiver.until("four alerts", |posted| posted.len() >= 4).await;
    let mut told: Vec<String> = posted
        .iter()
        .map(|(path, alert)| {
            assert_eq!(path, "/alerts");
            assert!(alert["event"].as_str().unwrap().starts_with(&server.client.base()), "{alert}");
            format!("{} {} {}", alert["rule"], alert["party"], alert["count"]).replace('"', "")
        })
        .collect();
    told.sort();
    let expected = [
        "break-glass user:ada 1",
        "failed-logins user:eve 2",
        "failed-logins-from 192.0.2.7 2",
        "many-patients anonymous 3",
    ];
    assert_eq!(told, expected);
    let stored = found(&server, "/Communication?category=alert&_count=50").await;
    assert_eq!(stored.len(), 4, "{stored:#?}");
    for communication in &stored {
        let text = communication["payload"][0]["contentString"].as_str().unwrap();
        assert!(posted.iter().any(|(_, alert)| alert["text"] == text), "{text}");
    }
    // The server's own writes are no cause of alerts.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.posted().len(), 4);
}

/// One that is found fault with is passed over; one that could not be taken comes again, and it alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_refused_keeps_no_other_back() {
    let receiver = Receiver::start().await;
    receiver.answer_with(&[422, 500]);
    let webhook = format!("http://{}/alerts", receiver.address);
    let server = TestServer::start_with(&[
        ("auth.outbound_networks", "127.0.0.1/32"),
        ("alerts.break_glass", "true"),
        ("alerts.webhook", &webhook),
    ])
    .await;
    let both = ["user:ada", "user:eve"].map(|user| row(12, 0, user, ("NULL", "'BTG'", "{7}")));
    server.database.run(&both.join(";")).await;
    receiver.until("three requests", |posted| posted.len() >= 3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let posted = receiver.posted();
    let parties: Vec<_> =
        posted.iter().map(|(_, alert)| alert["party"].as_str().unwrap()).collect();
    // Which of them comes first is chance: they are of one moment.
    assert_eq!(parties.len(), 3, "{parties:?}");
    assert!(parties[0] != parties[1] && parties[1] == parties[2], "{parties:?}");
    server.stop().await;
}

/// How far a destination is said to be, and how many rows of the ledger that leaves.
async fn left(server: &TestServer, name: &str) -> i64 {
    let left = format!(
        "SELECT count(*) FROM ledger l, audit_feed f WHERE f.name = '{name}' AND (l.xid, l.id) > (f.xid, f.id)"
    );
    server.database.number(&left).await
}

/// Waits until a destination is said to have all.
async fn until_nothing_is_left(server: &TestServer, name: &str) {
    let began = Instant::now();
    while left(server, name).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(40), "{name}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What has been told is noted before the next is told: whoever goes on does not tell it again.
#[tokio::test(flavor = "multi_thread")]
async fn each_alert_is_noted_when_it_has_been_told() {
    let receiver = Receiver::start().await;
    receiver.answer_with(&[201, 500, 500, 500, 500, 500, 500]);
    let webhook = format!("http://{}/alerts", receiver.address);
    let server = TestServer::start_with(&[
        ("auth.outbound_networks", "127.0.0.1/32"),
        ("alerts.break_glass", "true"),
        ("alerts.webhook", &webhook),
    ])
    .await;
    let both = ["user:ada", "user:eve"].map(|user| row(12, 0, user, ("NULL", "'BTG'", "{7}")));
    server.database.run(&both.join(";")).await;
    receiver.until("the second is refused", |posted| posted.len() >= 2).await;
    let untold = "SELECT count(*) FROM audit_alert WHERE NOT posted";
    assert_eq!(server.database.number(untold).await, 1);
    server.stop().await;
}

/// What was found is told by whichever node has the turn, and stored once: also where the one that stored it
/// could not say so, and somebody has deleted the resource since.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_stored_once_whatever_becomes_of_it() {
    let receiver = Receiver::start().await;
    receiver.answer_with(&[500, 500, 500, 500, 500, 500, 500, 500]);
    let webhook = format!("http://{}/alerts", receiver.address);
    let server = TestServer::start_with(&[
        ("auth.outbound_networks", "127.0.0.1/32"),
        ("alerts.break_glass", "true"),
        ("alerts.webhook", &webhook),
        ("alerts.communication", "true"),
    ])
    .await;
    server.database.run(&row(12, 0, "user:ada", ("NULL", "'BTG'", "{7}"))).await;
    receiver.until("it is refused", |posted| !posted.is_empty()).await;
    let stored = found(&server, "/Communication").await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    let url = format!("/Communication/{}", stored[0]["id"].as_str().unwrap());
    server.client.delete(&url).await.expect(204);
    // As another node finds it that takes over.
    let forgotten = "UPDATE audit_alert SET stored = false, node = gen_random_uuid()";
    server.database.run(forgotten).await;
    let untold = "SELECT count(*) FROM audit_alert WHERE NOT (stored AND posted)";
    let began = Instant::now();
    while server.database.number(untold).await > 0 {
        assert!(began.elapsed() < Duration::from_mins(2));
        receiver.forget();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    receiver.forget();
    server.client.get(&url).await.expect(410);
    assert_eq!(found(&server, "/Communication").await.len(), 0);
    // What another node has found of the same party and patient is no news, another patient is.
    let other = "INSERT INTO audit_alert VALUES (gen_random_uuid(), 'break-glass', 'user:eve', 9, 1, 1, \
         gen_random_uuid(), now() + interval '1 hour', true, true)";
    server.database.run(other).await;
    let both = ["{9}", "{8}"].map(|whose| row(12, 0, "user:eve", ("NULL", "'BTG'", whose)));
    server.database.run(&both.join(";")).await;
    let receiver_has = |posted: &Vec<(String, Value)>| !posted.is_empty();
    receiver.until("the other patient", receiver_has).await;
    until_nothing_is_left(&server, "alerts").await;
    let told = "SELECT sum(patient)::bigint FROM audit_alert";
    assert_eq!(server.database.number(told).await, 7 + 9 + 8);
    server.stop().await;
}

/// A repository, and a server that has sent to it what there was of its start, so many events in a request.
async fn sending(batch: &str) -> (Receiver, TestServer) {
    let receiver = Receiver::start().await;
    let repository = format!("http://{}/fhir", receiver.address);
    let server = TestServer::start_with(&[
        ("auth.outbound_networks", "127.0.0.1/32"),
        ("atna.repository", &repository),
        ("atna.batch", batch),
    ])
    .await;
    until_nothing_is_left(&server, "repository").await;
    (receiver, server)
}

/// Many rows go in requests as large as the settings say, also to who fails between them.
#[tokio::test(flavor = "multi_thread")]
async fn many_rows_go_in_full_batches_and_few_go_twice() {
    const ROWS: usize = 330;
    let (receiver, server) = sending("50").await;
    let before = receiver.posted().len();
    // The third request fails.
    receiver.answer_with(&[201, 201, 503]);
    let rows = row(12, 0, "user:ada", ("NULL", "NULL", "{7}"));
    let rows = rows.replace("'r'", "'many-' || i");
    server.database.run(&format!("{rows}, generate_series(1, {ROWS}) i")).await;
    let of = |posted: &Vec<(String, Value)>| -> Vec<Vec<Value>> {
        posted[before..]
            .iter()
            .map(|(_, body)| match body["resourceType"].as_str() {
                Some("Bundle") => entries(body),
                _ => vec![body.clone()],
            })
            .collect()
    };
    let has_all = |posted: &Vec<(String, Value)>| {
        requests(of(posted).concat().iter()).keys().filter(|id| id.starts_with("many-")).count()
            == ROWS
    };
    let posted = receiver.until("all events", has_all).await;
    let sizes: Vec<usize> = of(&posted).iter().map(Vec::len).collect();
    assert_eq!(sizes[..3], [50, 50, 50], "{sizes:?}");
    // After the failure far fewer, and then more again with each pass that goes well.
    assert_eq!(sizes[3..5], [6, 6], "{sizes:?}");
    let at = |size| sizes.iter().rposition(|it| *it == size);
    assert!(at(6) < at(12) && at(12) < at(24) && at(24) < at(48), "{sizes:?}");
    let twice = requests(of(&posted).concat().iter());
    let twice: Vec<_> = twice.iter().filter(|(_, count)| **count > 1).collect();
    assert_eq!(twice.len(), 50, "what failed, and nothing else, comes again: {twice:?}");
    until_nothing_is_left(&server, "repository").await;
    server.stop().await;
}

/// A row of very many events goes in requests of its own size, and what was taken of it is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_very_many_events_goes_out_in_parts() {
    let (receiver, server) = sending("50").await;
    let before = receiver.posted().len();
    receiver.answer_with(&[201, 201, 503]);
    let patients: Vec<String> = (1..=330).map(|patient| patient.to_string()).collect();
    let patients = format!("{{{}}}", patients.join(","));
    server.database.run(&row(17, 0, "user:ada", ("NULL", "NULL", &patients))).await;
    let sent = |posted: &Vec<(String, Value)>| sources(&posted[before..]);
    let all = |posted: &Vec<(String, Value)>| {
        sent(posted).concat().into_iter().collect::<BTreeSet<_>>().len() == 330
    };
    let posted = receiver.until("all events", all).await;
    let sizes: Vec<usize> = sent(&posted).iter().map(Vec::len).collect();
    assert_eq!(sizes[..4], [50, 50, 50, 6], "{sizes:?}");
    assert_eq!(sent(&posted).concat().len(), 380, "what failed, and nothing else, comes again");
    until_nothing_is_left(&server, "repository").await;
    server.stop().await;
}

/// What events are in each request, by where they are from.
fn sources(posted: &[(String, Value)]) -> Vec<Vec<String>> {
    let source = |event: &Value| event["meta"]["source"].as_str().unwrap().to_owned();
    posted
        .iter()
        .map(|(_, body)| match body["resourceType"].as_str() {
            Some("Bundle") => entries(body).iter().map(source).collect(),
            _ => vec![source(body)],
        })
        .collect()
}

/// A request that is too much is halved until it fits; an event that is refused keeps none back but itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_halved_until_it_fits() {
    for (statuses, refused) in [(&[413][..], None), (&[], Some(("many-77\"", 422)))] {
        let (receiver, server) = sending("40").await;
        let before = receiver.posted().len();
        receiver.answer_with(statuses);
        receiver.refuse(refused);
        let rows = row(12, 0, "user:ada", ("NULL", "NULL", "{7}"));
        let rows = rows.replace("'r'", "'many-' || i");
        server.database.run(&format!("{rows}, generate_series(1, 120) i")).await;
        until_nothing_is_left(&server, "repository").await;
        let posted = receiver.posted();
        let sizes: Vec<usize> = sources(&posted[before..]).iter().map(Vec::len).collect();
        let counts =
            requests(posted[before..].iter().flat_map(|(_, body)| match body["type"].as_str() {
                Some("batch") => {
                    body["entry"].as_array().unwrap().iter().map(|it| &it["resource"]).collect()
                }
                _ => vec![body],
            }));
        assert_eq!(counts.len(), 120, "{counts:?}");
        match refused {
            None => {
                // The first was too large, so none as large comes after it.
                assert_eq!(sizes, [40, 20, 20, 20, 20, 20, 20]);
            }
            Some(_) => {
                assert!(sizes.contains(&1) && sizes.len() < 25, "{sizes:?}");
            }
        }
        server.stop().await;
    }
}

/// Who is slow loses the turn, and cannot note what the next one sends meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_goes_to_another_node_and_never_back_in_the_order() {
    const NAME: &str = "repository";
    let server = TestServer::start().await;
    let store = server.store();
    let place = |number| Reached::through(Place { xid: i64::MAX - 10 + number, id: Uuid::nil() });
    let part =
        |number, row, taken| Reached { part: Some((Uuid::from_u128(row), taken)), ..place(number) };
    let (slow, next) = (Uuid::from_u128(1), Uuid::from_u128(2));
    add_outlet(store, NAME).await.unwrap();
    let start = outlet_reached(store, NAME).await.unwrap().unwrap();
    assert!(take_outlet(store, NAME, slow, start, 0.3).await.unwrap());
    assert!(!take_outlet(store, NAME, next, start, 60.0).await.unwrap(), "it is somebody's turn");
    assert!(!move_outlet(store, NAME, next, place(1), 60.0).await.unwrap());
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(take_outlet(store, NAME, next, start, 60.0).await.unwrap(), "the turn was over");
    assert!(!move_outlet(store, NAME, slow, place(1), 60.0).await.unwrap(), "too late");
    assert!(move_outlet(store, NAME, next, place(2), 60.0).await.unwrap());
    assert!(!move_outlet(store, NAME, next, place(1), 60.0).await.unwrap(), "backwards");
    // Who does not know the place has no turn, whosever it is.
    assert!(!take_outlet(store, NAME, next, start, 60.0).await.unwrap());
    assert!(!take_outlet(store, NAME, slow, place(2), 60.0).await.unwrap());
    assert_eq!(outlet_reached(store, NAME).await.unwrap(), Some(place(2)));
    // So it is within a row.
    assert!(move_outlet(store, NAME, next, part(2, 7, 50), 60.0).await.unwrap());
    assert!(!take_outlet(store, NAME, next, place(2), 60.0).await.unwrap());
    assert!(take_outlet(store, NAME, next, part(2, 7, 50), 60.0).await.unwrap());
    assert!(!move_outlet(store, NAME, next, part(2, 7, 40), 60.0).await.unwrap(), "backwards");
    assert!(!move_outlet(store, NAME, slow, part(2, 7, 60), 60.0).await.unwrap(), "not its turn");
    assert!(move_outlet(store, NAME, next, place(3), 60.0).await.unwrap());
    assert!(!move_outlet(store, NAME, next, part(2, 7, 60), 60.0).await.unwrap(), "backwards");
    assert_eq!(outlet_reached(store, NAME).await.unwrap(), Some(place(3)));
    server.stop().await;
}

/// Without settings nothing goes out.
#[tokio::test(flavor = "multi_thread")]
async fn by_default_nobody_is_told() {
    let server = TestServer::start().await;
    server.client.get("/Patient/nobody").await.expect(404);
    assert_eq!(server.database.number("SELECT count(*) FROM audit_feed").await, 0);
}
