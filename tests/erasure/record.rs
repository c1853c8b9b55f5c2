//! What is taken, what is left, and what is told of it.
//!
//! Covers: security G2.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use kiln::fhir::LogicalId;
use kiln::store::maintenance::Eraser;
use kiln::store::{Address, Tenant};

use super::{CANARY, World, observation, patient};

/// What is the patient's alone, whatever it lies in.
const OWN: [&str; 12] = [
    "Patient/p1",
    "Observation/o1",
    "Observation/gone",
    "Task/t1",
    "Task/t2",
    "Task/t6",
    "Provenance/pr1",
    "DocumentReference/d1",
    "DocumentReference/d3",
    "Binary/b1",
    "Binary/b3",
    "Bundle/doc1",
];

/// What names others too, or is nobody's alone.
const SHARED: [&str; 7] = [
    "Account/both",
    "Bundle/of-both",
    "Group/g1",
    "Observation/moved",
    "Provenance/of-both",
    "Provenance/of-tasks",
    "Task/t5",
];

const PATCH: &str = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.active"}]}]}"#;

/// What is the patient's, or somebody else's, in as many ways.
const MORE: &[(&str, &str)] = &[
    (
        "/Task/t1",
        r#"{"resourceType":"Task","id":"t1","status":"requested","intent":"order","description":"Canarystone","for":{"reference":"Patient/p1"}}"#,
    ),
    (
        "/Task/t2",
        r#"{"resourceType":"Task","id":"t2","status":"requested","intent":"order","description":"Canarystone","focus":{"reference":"Task/t1"}}"#,
    ),
    (
        "/Task/t3",
        r#"{"resourceType":"Task","id":"t3","status":"requested","intent":"order","for":{"reference":"Patient/p2"}}"#,
    ),
    (
        "/Task/t4",
        r#"{"resourceType":"Task","id":"t4","status":"requested","intent":"order","focus":{"reference":"Task/t3"}}"#,
    ),
    (
        "/Task/t5",
        r#"{"resourceType":"Task","id":"t5","status":"requested","intent":"order","for":{"reference":"Patient/p2"},"focus":{"reference":"Patient/p1"}}"#,
    ),
    (
        "/Task/t6",
        r#"{"resourceType":"Task","id":"t6","status":"requested","intent":"order","description":"Canarystone","for":{"reference":"Patient/p1"},"partOf":[{"reference":"Task/t5"}]}"#,
    ),
    (
        "/Binary/b1",
        r#"{"resourceType":"Binary","id":"b1","contentType":"text/plain","data":"Q2FuYXJ5c3RvbmU="}"#,
    ),
    (
        "/Binary/b2",
        r#"{"resourceType":"Binary","id":"b2","contentType":"text/plain","data":"T3RoZXI="}"#,
    ),
    (
        "/DocumentReference/d1",
        r#"{"resourceType":"DocumentReference","id":"d1","status":"current","subject":{"reference":"Patient/p1"},"content":[{"attachment":{"url":"Binary/b1"}},{"attachment":{"url":"Binary/b2"}}]}"#,
    ),
    (
        "/Binary/b3",
        r#"{"resourceType":"Binary","id":"b3","contentType":"text/plain","data":"Q2FuYXJ5c3RvbmU="}"#,
    ),
    (
        "/DocumentReference/d3",
        r#"{"resourceType":"DocumentReference","id":"d3","status":"current","subject":{"reference":"Patient/p1"},"content":[{"attachment":{"url":"Binary/b3"}}]}"#,
    ),
    (
        "/DocumentReference/d2",
        r#"{"resourceType":"DocumentReference","id":"d2","status":"current","subject":{"reference":"Patient/p2"},"content":[{"attachment":{"url":"Binary/b2"}}]}"#,
    ),
    (
        "/Bundle/doc1",
        r#"{"resourceType":"Bundle","id":"doc1","type":"collection","entry":[{"fullUrl":"urn:uuid:5b2f0b3a-2b0e-4b5e-9a55-111111111111","resource":{"resourceType":"Patient","id":"p1","name":[{"family":"Canarystone"}]}}]}"#,
    ),
    (
        "/Bundle/of-both",
        r#"{"resourceType":"Bundle","id":"of-both","type":"collection","entry":[{"fullUrl":"urn:uuid:5b2f0b3a-2b0e-4b5e-9a55-111111111112","resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/p1"}}},{"fullUrl":"urn:uuid:5b2f0b3a-2b0e-4b5e-9a55-111111111113","resource":{"resourceType":"Patient","id":"p2"}}]}"#,
    ),
    (
        "/Group/g1",
        r#"{"resourceType":"Group","id":"g1","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/p1"}},{"entity":{"reference":"Patient/p2"}}]}"#,
    ),
    (
        "/Account/both",
        r#"{"resourceType":"Account","id":"both","status":"active","subject":[{"reference":"Patient/p1"},{"reference":"Patient/p2"}]}"#,
    ),
];

/// Exports that have ended: of Tasks (140), which no file says of whom they are, and of HealthcareServices (60).
const EXPORTS: &str = "INSERT INTO export_job (id, actor, request, asked, types, needs, state, asked_at) \
     SELECT id, 'x', '', '{}', '{}', '{}', 'completed', now() FROM unnest(ARRAY[ \
       '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002']::uuid[]) j(id);\n\
     INSERT INTO export_file (job, number, kind, rt, lines, bytes, parts) VALUES \
       ('00000000-0000-0000-0000-000000000001', 1, 'o', 140, 1, 1, 1), \
       ('00000000-0000-0000-0000-000000000002', 1, 'o', 60, 1, 1, 1)";

/// A record with everything that a record can have, beside that of somebody else.
async fn fill(world: &World) {
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    world.put("/Patient/p1", &patient("p1", &format!("{CANARY}-Smith"))).await;
    world.put("/Patient/p2", &patient("p2", "Other")).await;
    let contained = r##","contained":[{"resourceType":"Practitioner","id":"c","name":[{"family":"Canarystone"}]}],"performer":[{"reference":"#c"}]}"##;
    let with_contained = observation("o1", "p1", CANARY);
    let with_contained = format!("{}{contained}", &with_contained[..with_contained.len() - 1]);
    world.put("/Observation/o1", &with_contained).await;
    world.put("/Observation/gone", &observation("gone", "p1", CANARY)).await;
    world.server.client.delete("/Observation/gone").await.expect(204);
    world.put("/Observation/q1", &observation("q1", "p2", "of p2")).await;
    world.put("/Observation/q1", &observation("q1", "p2", "of p2 still")).await;
    // It was written into the wrong record first.
    world.put("/Observation/moved", &observation("moved", "p1", CANARY)).await;
    world.put("/Observation/moved", &observation("moved", "p2", "of p2")).await;
    for (path, body) in MORE {
        world.put(path, body).await;
    }
    for (id, targets) in [
        ("pr1", r#"{"reference":"Observation/o1"}"#),
        ("of-both", r#"{"reference":"Observation/o1"},{"reference":"Observation/q1"}"#),
        ("of-tasks", r#"{"reference":"Observation/o1"},{"reference":"Task/t4"}"#),
    ] {
        let body = format!(
            r#"{{"resourceType":"Provenance","id":"{id}","target":[{targets}],"recorded":"2026-01-01T00:00:00Z","agent":[{{"who":{{"display":"somebody"}}}}]}}"#
        );
        world.put(&format!("/Provenance/{id}"), &body).await;
    }
    // What is deleted is still there, in its versions.
    world.server.client.delete("/Binary/b3").await.expect(204);
    world.server.database.run(EXPORTS).await;
}

/// How many a search finds.
async fn total(world: &World, query: &str) -> String {
    let found = world.server.client.get(&format!("/{query}")).await.expect(200);
    found.at("total").unwrap_or_else(|| panic!("{query}: {}", found.text()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_erased_whole_and_what_is_others_stays() {
    let world = World::new().await;
    fill(&world).await;
    assert!(world.dumped(CANARY) > 10, "it is there before");
    let told = world.place.erase("p1", "1");
    // Nothing of it is left anywhere in the database, be it a version, a row of an index or a text.
    assert_eq!(world.dumped(CANARY), 0);
    assert_eq!(world.dumped("Q2FuYXJ5c3RvbmU"), 0);
    let client = &world.server.client;
    for path in OWN {
        for url in [format!("/{path}"), format!("/{path}/_history"), format!("/{path}/_history/1")]
        {
            let gone = client.get(&url).await.expect(410);
            assert!(gone.text().contains("was erased"), "{url}: {}", gone.text());
        }
        assert!(!told.contains(&format!("\n  {path}\n")), "{path}: {told}");
    }
    client.get("/Patient/p1/$everything").await.expect(410);
    for path in SHARED {
        client.get(&format!("/{path}")).await.expect(200);
        // What no longer names the patient is not told of.
        let names =
            !matches!(path, "Observation/moved" | "Provenance/of-both" | "Provenance/of-tasks");
        assert_eq!(told.contains(&format!("\n  {path}\n")), names, "{path}: {told}");
    }
    client.get("/Observation/moved/_history/1").await.expect(404);
    for path in
        ["Patient/p2", "Observation/q1", "Observation/q1/_history/1", "Task/t3", "Binary/b2"]
    {
        client.get(&format!("/{path}")).await.expect(200);
    }
    for (query, expected) in [
        ("Patient?name=canarystone", "0"),
        ("Patient?identifier=urn:mrn%7CCanarystone-p1", "0"),
        ("Observation?subject=Patient/p1", "0"),
        ("Observation?value-string=canarystone", "0"),
        ("Patient?_id=p1", "0"),
        ("Observation?subject=Patient/p2", "2"),
        ("Patient?name=other", "1"),
        ("Task?_total=accurate", "3"),
        ("Provenance?_total=accurate", "2"),
    ] {
        assert_eq!(total(&world, query).await, expected, "{query}");
    }
    let files = "SELECT coalesce(sum(rt), 0)::bigint FROM export_file";
    assert_eq!(world.server.database.number(files).await, 60, "who asks finds no Tasks any more");
    no_words(&world).await;
}

/// Words go by way of the feed.
async fn no_words(world: &World) {
    let began = Instant::now();
    loop {
        let call = world.server.client.call("GET", &format!("/Patient?_content={CANARY}"));
        let found = call.header("kiln-fulltext", "wait").send().await.expect(200);
        if found.at("entry[0].resource.id").is_none() {
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{}", found.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_id_is_used_again_and_the_record_tells_what_was_done() {
    let world = World::new().await;
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    world.put("/Observation/o1", &observation("o1", "p1", CANARY)).await;
    let hash = "(SELECT hash FROM patient_name WHERE id = 'p1')";
    world.place.erase("p1", "1");
    let client = &world.server.client;
    for (method, path, body) in [
        ("PUT", "/Patient/p1", patient("p1", "New")),
        ("PUT", "/Observation/o1", observation("o1", "p2", "new")),
        ("PATCH", "/Patient/p1", PATCH.to_owned()),
    ] {
        let refused = client.call(method, path).json(body).send().await.expect(410);
        assert!(refused.text().contains("was erased"), "{method} {path}: {}", refused.text());
    }
    let entry = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"PUT","url":"Patient/p1"},"resource":{"resourceType":"Patient","id":"p1"}}]}"#;
    client.post("/", entry).await.expect(410);
    client.delete("/Patient/p1").await.expect(204);
    client.get("/Patient/p1").await.expect(410);
    // Who comes by the same number is somebody new.
    let call = client
        .call("POST", "/Patient")
        .header("If-None-Exist", "identifier=urn:mrn|Canarystone-p1");
    let made = call.json(patient("x", CANARY).replace(r#""id":"x","#, "")).send().await.expect(201);
    assert_ne!(made.id(), "p1");

    let list = world.place.folder.join("erasures.jsonl");
    assert_eq!(std::fs::metadata(&list).unwrap().permissions().mode() & 0o777, 0o600);
    let lines = std::fs::read_to_string(&list).unwrap();
    assert!(lines.lines().count() == 1 && lines.contains(r#""patient":"p1""#), "{lines}");
    assert!(!lines.contains("grace") && !lines.contains("request 1"), "no names: {lines}");
    let shown = world.place.done(&["erase", "show", "1", "--json"]);
    for needle in [
        r#""askedBy": "ada""#,
        r#""approvedBy": "grace""#,
        r#""patient": "Patient/p1""#,
        "erasure.backup_days",
        r#""store": "ledger""#,
    ] {
        assert!(shown.contains(needle), "{needle}: {shown}");
    }
    let erased = "SELECT count(*) FROM ledger WHERE interaction = 76 AND outcome = 0 AND actor = 'user:grace'";
    assert_eq!(world.server.database.number(erased).await, 1);
    let of_patient = format!(
        "SELECT count(*) FROM ledger WHERE method = 'OTHER' AND {hash} = ANY (pats) AND actor LIKE 'user:%'"
    );
    let began = Instant::now();
    // The sealer keeps names by and by.
    while world.server.database.number(&of_patient).await < 2 {
        assert!(began.elapsed() < Duration::from_mins(1), "both acts are about the patient");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let verified = world.place.done(&["audit", "verify", "--quiet"]);
    assert!(verified.contains("are as they were sealed"), "{verified}");
}

/// A message of version 2 about somebody.
pub(super) fn message(control: &str, event: &str) -> String {
    format!(
        "MSH|^~\\&|LAB|STM|K|H|20260101120000||ADT^{event}|{control}|P|2.5\rEVN|{event}|20260101120000\r\
         PID|1||77^^^STM^MR||{CANARY}^Zebedia||19700101|F\rPV1|1|I\r"
    )
}

pub(super) async fn send(world: &World, message: &str) {
    let url = format!("{}/v2/messages", world.server.client.root());
    let call = world.server.client.call("POST", &url).header("Content-Type", "application/hl7-v2");
    call.body(message.to_owned()).send().await.expect(200);
}

/// The patient whom a message made, once it has.
pub(super) async fn made(world: &World) -> String {
    let began = Instant::now();
    loop {
        let found = world.server.client.get("/Patient?identifier=77").await.expect(200);
        if let Some(id) = found.at("entry[0].resource.id") {
            return id;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{}", found.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Has a message wait that was worked on, as one that has just come: it did nothing yet.
pub(super) async fn put_back(world: &World, control: &str) {
    let database = &world.server.database;
    let done = format!(
        "SELECT count(*) FROM v2_message WHERE control_id = '{control}' AND state LIKE 'processed%'"
    );
    let began = Instant::now();
    while database.number(&done).await == 0 {
        assert!(began.elapsed() < Duration::from_mins(1), "{control} is not worked on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let own = format!("(SELECT id FROM v2_message WHERE control_id = '{control}')");
    let back = format!(
        "DELETE FROM v2_effect WHERE message_id IN {own};\n\
         UPDATE v2_message SET state = 'received' WHERE id IN {own};\n\
         INSERT INTO v2_open (message_id, site, received_at, order_keys, next_try) \
         SELECT id, site, received_at, order_keys, now() + interval '1 day' FROM v2_message WHERE id IN {own}"
    );
    database.run(&back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_lose_their_texts_and_later_ones_make_another_record() {
    let world = World::new().await;
    send(&world, &message("c1", "A01")).await;
    let before = made(&world).await;
    let texts = "SELECT count(*) FROM v2_message WHERE raw IS NOT NULL";
    assert_eq!(world.server.database.number(texts).await, 1);
    world.place.erase(&before, "1");
    assert_eq!(world.server.database.number(texts).await, 0);
    assert_eq!(
        world
            .server
            .database
            .number("SELECT count(*) FROM v2_key WHERE resource_type = 'Patient'")
            .await,
        0
    );
    assert_eq!(world.dumped(CANARY), 0);
    // The same once more is known, and changes nothing.
    send(&world, &message("c1", "A01")).await;
    assert_eq!(total(&world, "Patient?identifier=77").await, "0");
    send(&world, &message("c2", "A08")).await;
    let after = made(&world).await;
    assert_ne!(before, after);
    world.server.client.get(&format!("/Patient/{before}")).await.expect(410);
}

/// Whether it came after it was looked for, or is known by what it did: it is worked on first.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_keeps_its_text_and_has_the_erasure_wait() {
    let world = World::new().await;
    let (place, database) = (&world.place, &world.server.database);
    send(&world, &message("c1", "A01")).await;
    let before = made(&world).await;
    place.by("ada", &["erase", "request", "--patient", &before, "--reason", "x"]).unwrap();
    send(&world, &message("c2", "A08")).await;
    put_back(&world, "c2").await;
    let owner = Address::new(database.owner.clone()).of(Tenant::ONLY);
    let eraser = Eraser::connect(&owner, world.server.store().hasher()).await.unwrap();
    let id: LogicalId = before.parse().unwrap();
    let whose = eraser.whose(&id, "http://localhost").await.unwrap();
    let by = ("grace", kiln::fhir::Instant::from_micros(0));
    let done = eraser.execute(1, by, &whose, |_| String::new()).await.unwrap();
    assert!(done.is_none(), "it came after nothing had been found that waits: {done:?}");

    let effect = format!(
        "UPDATE v2_open SET order_keys = '{{}}';\n\
         INSERT INTO v2_effect (message_id, n, action, resource_type, resource_id, version, map_rule) \
         SELECT message_id, 9, 'update', 'Patient', '{before}', 1, '' FROM v2_open"
    );
    database.run(&effect).await;
    let refused = place.by("grace", &["erase", "approve", "1"]).unwrap_err();
    assert!(refused.contains("messages about the patient wait"), "{refused}");
    let texts = "SELECT count(*) FROM v2_message WHERE raw IS NOT NULL";
    assert_eq!(database.number(texts).await, 2);
    database.run("DELETE FROM v2_open").await;
    place.by("grace", &["erase", "approve", "1"]).unwrap();
    assert_eq!(database.number(texts).await, 0);
}

/// A message about the patient of a number in two parts, each with its control id.
fn parts(number: &str, controls: [&str; 2]) -> [String; 2] {
    let [one, two] = controls.map(|control| message(control, "A01"));
    let (head, _) = two.split_once("EVN|").unwrap();
    let (_, last) = two.split_once("PV1|").unwrap();
    let (one, _) = one.split_once("PV1|").unwrap();
    let one = format!("{}DSC|C1|F\r", one.replace("|77^", &format!("|{number}^")));
    let two = format!("{}PV1|{last}", head.replace("|P|2.5\r", "|P|2.5||C1\r"));
    [one, two]
}

/// Names of parts come again: a part goes with the message that went on from it.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_messages_about_others_keep_their_texts() {
    let world = World::new().await;
    for part in parts("77", ["a1", "a2"]) {
        send(&world, &part).await;
    }
    let before = made(&world).await;
    for part in parts("78", ["b1", "b2"]) {
        send(&world, &part).await;
    }
    let began = Instant::now();
    while total(&world, "Patient?identifier=78").await != "1" {
        assert!(began.elapsed() < Duration::from_mins(1), "the other one comes too");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let database = &world.server.database;
    let texts = "SELECT count(*) FROM v2_message WHERE raw IS NOT NULL";
    assert_eq!(database.number(texts).await, 4);
    world.place.erase(&before, "1");
    assert_eq!(database.number(texts).await, 2);
    let others = format!("{texts} AND control_id IN ('b1', 'b2')");
    assert_eq!(database.number(&others).await, 2);
}

/// A part waits for the next one: a day, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_waits_keeps_its_text_and_has_the_erasure_wait() {
    let world = World::new().await;
    let (place, database) = (&world.place, &world.server.database);
    send(&world, &message("c1", "A01")).await;
    let before = made(&world).await;
    let [part, _] = parts("77", ["a1", "a2"]);
    send(&world, &part).await;
    place.by("ada", &["erase", "request", "--patient", &before, "--reason", "x"]).unwrap();
    let refused = place.by("grace", &["erase", "approve", "1"]).unwrap_err();
    assert!(refused.contains("messages about the patient wait"), "{refused}");
    let texts = "SELECT count(*) FROM v2_message WHERE raw IS NOT NULL";
    assert_eq!(database.number(texts).await, 2);
    let late =
        "UPDATE v2_open SET received_at = received_at - interval '2 days' WHERE state = 'fragment'";
    database.run(late).await;
    place.by("grace", &["erase", "approve", "1"]).unwrap();
    assert_eq!(database.number(texts).await, 0);
}
