//! What the server labels by itself: by codes and value sets, on every write and when rules change.

use std::time::Duration;

use kiln::app::server::Server;

use super::super::world::{asked, body, fresh};
use crate::harness::client::{Answer, Client};
use crate::harness::database::{Database, connect, temporary};
use crate::harness::grants::Token;
use crate::harness::server::{TestServer, config};

const FIRST: &str = r#"
version = "1"
[[rule]]
label = "R"
codes = ["urn:c|hiv"]
[[rule]]
label = "V"
value_sets = ["urn:vs:psy"]
"#;

const CLERKS: &str = r#"
[roles.clerk]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "N"
second_factor = false
"#;

fn observation(code: &str) -> String {
    format!(
        r#""status":"final","code":{{"coding":[{{"system":"urn:c","code":"{code}"}}]}},"subject":{{"reference":"Patient/a"}}"#
    )
}

/// The codes of labels, those that rules have put with a star, and the version of the rules.
fn labels(answer: &Answer) -> String {
    let value = answer.json();
    let of = |list: &str, system: &str| {
        let meta = value.get("meta").map_or(&[][..], |meta| meta.items_at(list));
        let own =
            meta.iter().filter(|it| it.str_at("system").unwrap_or_default().starts_with(system));
        own.filter_map(|it| it.str_at("code").map(str::to_owned)).collect::<Vec<_>>()
    };
    let marked = of("tag", "urn:kiln:labelled-by-rule");
    let star = |label: String| {
        let is_marked = marked.iter().any(|mark| mark.ends_with(&format!("|{label}")));
        if is_marked { format!("{label}*") } else { label }
    };
    let all: Vec<String> = of("security", "").into_iter().map(star).collect();
    format!("{}|{}", all.join(" "), of("tag", "urn:kiln:labelling").join(" "))
}

async fn labels_at(client: &Client, path: &str) -> String {
    labels(&client.get(&format!("/{path}")).await.expect(200))
}

/// Waits until a resource has labels.
async fn until(client: &Client, path: &str, expected: &str) {
    for _ in 0..600 {
        if labels_at(client, path).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path}: {} and not {expected}", labels_at(client, path).await);
}

/// What was stored before there were rules.
async fn store(client: &Client) {
    for (path, content) in [
        ("Patient/a", r#""active":true"#.to_owned()),
        ("Observation/corrected", observation("hiv")),
        ("Observation/old", observation("hiv")),
        ("Observation/old-psy", observation("psy")),
        ("Observation/fine", observation("ok")),
        (
            "ValueSet/psy",
            r#""url":"urn:vs:psy","status":"active","compose":{"include":[{"system":"urn:c","concept":[{"code":"psy"},{"code":"hiv2"}]}]}"#.to_owned(),
        ),
    ] {
        client.put(&format!("/{path}"), body(path, &content)).await.expect(201);
    }
    // A version that is not current any more when rules come, and one of a resource that is gone.
    let path = "Observation/corrected";
    client.put(&format!("/{path}"), body(path, &observation("ok"))).await.expect(200);
}

/// By every way to write.
async fn by_every_way_to_write(client: &Client) {
    let made = client.post("/Observation", fresh("Observation", &observation("hiv"))).await;
    assert_eq!(labels_at(client, &format!("Observation/{}", made.expect(201).id())).await, "R*|1");
    for (code, expected) in [("ok", "|"), ("hiv", "R*|1"), ("hiv2", "V*|1"), ("psy", "V*|1")] {
        let put = client.put("/Observation/put", body("Observation/put", &observation(code))).await;
        assert!([200, 201].contains(&put.status), "{put:?}");
        assert_eq!(labels_at(client, "Observation/put").await, expected, "{code}");
    }
    client.put("/Observation/patched", body("Observation/patched", &observation("ok"))).await;
    let patch = r#"[{"op":"replace","path":"/code/coding/0/code","value":"psy"}]"#;
    let call = client.call("PATCH", "/Observation/patched");
    call.header("Content-Type", "application/json-patch+json").body(patch).send().await.expect(200);
    assert_eq!(labels_at(client, "Observation/patched").await, "V*|1");
    let entry = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{},"request":{{"method":"PUT","url":"Observation/entry"}}}}]}}"#,
        body("Observation/entry", &observation("hiv"))
    );
    client.post("/", entry).await.expect(200);
    assert_eq!(labels_at(client, "Observation/entry").await, "R*|1");
}

/// Covers: security S7.
#[tokio::test(flavor = "multi_thread")]
async fn codes_become_labels_on_every_write_and_when_the_rules_change() {
    let plain = TestServer::start().await;
    store(&plain.client).await;
    assert_eq!(labels_at(&plain.client, "Observation/old").await, "|");
    let file = temporary("labels");
    let start = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        let settings = [("auth.labels", file.to_str().unwrap())];
        Server::start(config(&plain.database, &settings)).await.unwrap()
    };
    let server = start(FIRST).await;
    let client = Client::new(server.address());
    // What was there is labelled, each on record as a change of labels.
    until(&client, "Observation/old", "R*|1").await;
    until(&client, "Observation/old-psy", "V*|1").await;
    until(&client, "Observation/corrected/_history/1", "R*|1").await;
    assert_eq!(labels_at(&client, "Observation/corrected").await, "|");
    assert_eq!(labels_at(&client, "Observation/fine").await, "|");
    assert_eq!(labels_at(&client, "ValueSet/psy").await, "|");
    let changes = "SELECT count(*) FROM ledger WHERE interaction = 9 AND actor LIKE '%labelling' \
                   AND outcome = 0";
    assert_eq!(plain.database.number(changes).await, 3);
    let done = "SELECT coalesce(sum(changed), 0)::bigint FROM labelling WHERE version = '1'";
    for _ in 0..600 {
        if plain.database.number(done).await == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(plain.database.number(done).await, 3);

    by_every_way_to_write(&client).await;

    // They count as labels do.
    let token = Token::new(&plain, "user/*.cruds").roles(CLERKS);
    let (clerk, _stop) = token.user("Practitioner/c", &["clerk"]).client().await;
    clerk.get("/Observation/old").await.expect(404);
    clerk.get("/Observation/corrected").await.expect(200);
    clerk.get("/Observation/corrected/_history/1").await.expect(404);
    clerk.get("/Observation/fine").await.expect(200);
    assert_eq!(asked(&clerk, "/Observation?code=urn:c|hiv,urn:c|psy").await, [""; 0]);
    server.stop().await;

    // Other rules are applied to what was stored before; a version that was done is not done again.
    let second =
        FIRST.replace("\"1\"", "\"2\"").replace("urn:c|hiv\"", "urn:c|hiv\", \"urn:c|ok\"");
    let server = start(&second).await;
    let client = Client::new(server.address());
    until(&client, "Observation/fine", "R*|2").await;
    let rows = "SELECT count(*) FROM labelling WHERE digest <> 'begun'";
    for _ in 0..600 {
        if plain.database.number(rows).await == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(plain.database.number(rows).await, 2);
    server.stop().await;
    not_again_but_for_other_codes(&plain, (&start, &second), changes).await;
    plain.stop().await;
}

/// Rules that were applied are applied again when a value set has other codes, and not before.
async fn not_again_but_for_other_codes(
    plain: &TestServer,
    (start, rules): (&impl AsyncFn(&str) -> Server, &str),
    changes: &str,
) {
    // What was done is not done again: a label that somebody took away beside the rules shows it, for the
    // server would put it back.
    let taken = "UPDATE res SET meta = NULL WHERE id = 'old'";
    connect(&plain.database.superuser).await.execute(taken, &[]).await.unwrap();
    let before = plain.database.number(changes).await;
    let looked = "SELECT count(*) FROM ledger WHERE actor LIKE '%labelling'";
    let looks = plain.database.number(looked).await;
    let server = start(rules).await;
    let client = Client::new(server.address());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(labels_at(&client, "Observation/old").await, "|");
    assert_eq!(plain.database.number(looked).await, looks, "everything was looked at again");
    assert_eq!(plain.database.number(changes).await, before);
    // With other codes in a value set it is: what holds one of them is labelled, and what held one is not.
    let psy = r#""url":"urn:vs:psy","status":"active","compose":{"include":[{"system":"urn:c","concept":[{"code":"flu"}]}]}"#;
    let flu = client.put("/Observation/flu", body("Observation/flu", &observation("flu"))).await;
    flu.expect(201);
    assert_eq!(labels_at(&client, "Observation/flu").await, "|");
    assert_eq!(labels_at(&client, "Observation/old-psy").await, "V*|2");
    client.put("/ValueSet/psy", body("ValueSet/psy", psy)).await.expect(200);
    until(&client, "Observation/flu", "V*|2").await;
    until(&client, "Observation/old-psy", "|").await;
    until(&client, "Observation/old", "R*|2").await;
    server.stop().await;
}

/// A clerk corrects a code: the label that came of it goes, and no other one does.
///
/// Covers: security S7.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_of_a_rule_goes_with_its_cause() {
    let file = temporary("labels-of-rules");
    std::fs::write(&file, FIRST).unwrap();
    let server = TestServer::start_with(&[("auth.labels", file.to_str().unwrap())]).await;
    let admin = &server.client;
    admin.put("/Patient/a", body("Patient/a", r#""active":true"#)).await.expect(201);
    let psy = r#""url":"urn:vs:psy","status":"active","compose":{"include":[{"system":"urn:c","concept":[{"code":"psy"}]}]}"#;
    admin.put("/ValueSet/psy", body("ValueSet/psy", psy)).await.expect(201);
    let roles = CLERKS.replace(r#""N""#, r#""R""#);
    let token = Token::new(&server, "user/*.cruds").roles(Box::leak(roles.into_boxed_str()));
    let (clerk, _stop) = token.user("Practitioner/c", &["clerk"]).client().await;
    let put = async |client: &Client, content: &str| {
        client.put("/Observation/o", body("Observation/o", content)).await.status
    };
    let label = r#""system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R""#;
    let labelled =
        |code: &str| format!(r#""meta":{{"security":[{{{label}}}]}},{}"#, observation(code));
    assert_eq!(put(&clerk, &observation("hiv")).await, 404);
    assert_eq!(put(admin, &observation("hiv")).await, 201);
    assert_eq!(labels_at(admin, "Observation/o").await, "R*|1");
    // As it was read, and without the label: it stays as long as the code does.
    for content in [observation("hiv"), labelled("hiv")] {
        assert_eq!(put(&clerk, &content).await, 200);
        assert_eq!(labels_at(admin, "Observation/o").await, "R*|1");
    }
    // Nor does an administrator take it away, where rules ask for it.
    let parameters = format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"meta","valueMeta":{{"security":[{{{label}}}]}}}}]}}"#
    );
    admin.post("/Observation/o/$meta-delete", parameters.clone()).await.expect(200);
    assert_eq!(labels_at(admin, "Observation/o").await, "R*|1");
    for content in [labelled("ok"), observation("ok")] {
        assert_eq!(put(admin, &observation("hiv")).await, 200);
        assert_eq!(labels_at(admin, "Observation/o").await, "R*|1");
        assert_eq!(put(&clerk, &content).await, 200);
        assert_eq!(labels_at(admin, "Observation/o").await, "|");
    }
    // What somebody put stays, whatever marks a client sends.
    let marked = format!(
        r#""meta":{{"security":[{{{label}}}],"tag":[{{"system":"urn:kiln:labelled-by-rule","code":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R"}}]}},{}"#,
        observation("ok")
    );
    assert_eq!(put(&clerk, &marked).await, 200);
    assert_eq!(labels_at(admin, "Observation/o").await, "R|");
    assert_eq!(put(&clerk, &observation("ok")).await, 403);
    assert_eq!(put(&clerk, &observation("hiv")).await, 200);
    assert_eq!(labels_at(admin, "Observation/o").await, "R|1");
    assert_eq!(put(&clerk, &observation("ok")).await, 403);
    clerk.post("/Observation/o/$meta-delete", parameters.clone()).await.expect(200);
    assert_eq!(put(admin, &observation("ok")).await, 200);
    assert_eq!(labels_at(admin, "Observation/o").await, "|");
    // Said besides what a rule asks for, it is said.
    assert_eq!(put(admin, &observation("hiv")).await, 200);
    clerk.post("/Observation/o/$meta-add", parameters).await.expect(200);
    assert_eq!(labels_at(admin, "Observation/o").await, "R|1");
    assert_eq!(put(&clerk, &observation("ok")).await, 403);
    server.stop().await;
}

/// Covers: security S7.
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_cannot_be_used_keep_the_server_from_starting() {
    let plain = TestServer::start().await;
    let file = temporary("bad-labels");
    for text in ["", "version = \"1\"\n[[rule]]\nlabel = \"R\"", "version = 1"] {
        std::fs::write(&file, text).unwrap();
        let settings = [("auth.labels", file.to_str().unwrap())];
        let refused = Server::start(config(&plain.database, &settings)).await;
        let told = refused.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(told.contains("auth.labels"), "{text}: {told}");
    }
    plain.stop().await;
}

/// A server on `database` with rules of this text, in a file of its own.
async fn node(database: &Database, rules: &str) -> (Server, Client) {
    let file = temporary("labels-of-a-node");
    std::fs::write(&file, rules).unwrap();
    let settings = [("auth.labels", file.to_str().unwrap()), ("fulltext.enabled", "false")];
    let server = Server::start(config(database, &settings)).await.unwrap();
    let client = Client::new(server.address());
    (server, client)
}

/// Waits until the database counts so many.
async fn until_number(database: &Database, query: &str, expected: i64) {
    for _ in 0..600 {
        if database.number(query).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{query}: {} and not {expected}", database.number(query).await);
}

/// Nodes get new rules one after another: what one of them wrote by the old ones, after all was labelled by the
/// new ones, is labelled anew.
///
/// Covers: security S7.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_wrote_by_older_rules_is_labelled_by_the_new_ones() {
    let database = Database::migrated().await;
    let second =
        FIRST.replace("\"1\"", "\"2\"").replace("urn:c|hiv\"", "urn:c|hiv\", \"urn:c|late\"");
    let (one, first) = node(&database, FIRST).await;
    first.put("/Patient/a", body("Patient/a", r#""active":true"#)).await.expect(201);
    // Where a value set is not known everything may be of it.
    let set = r#""url":"urn:vs:psy","status":"active","compose":{"include":[{"system":"urn:c","concept":[{"code":"psy"}]}]}"#;
    first.put("/ValueSet/psy", body("ValueSet/psy", set)).await.expect(201);
    let seed = body("Observation/seed", &observation("late"));
    first.put("/Observation/seed", seed).await.expect(201);
    let (two, other) = node(&database, FIRST).await;
    let (three, third) = node(&database, &second).await;
    until(&third, "Observation/seed", "R*|2").await;
    let done = "SELECT count(*) FROM labelling WHERE version = '2' AND digest <> 'begun'";
    until_number(&database, done, 1).await;
    let late = body("Observation/late", &observation("late"));
    other.put("/Observation/late", late).await.expect(201);
    assert_eq!(labels_at(&third, "Observation/late").await, "|", "the old rules do not know it");
    // As long as somebody writes by the old rules it would be in vain.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(labels_at(&third, "Observation/late").await, "|");
    one.stop().await;
    two.stop().await;
    three.stop().await;
    let (four, fourth) = node(&database, &second).await;
    until(&fourth, "Observation/late", "R*|2").await;
    four.stop().await;
}

/// A value set is changed and changed back at once: what was written in between is labelled by what it is now.
///
/// Covers: security S7.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_by_codes_of_a_moment_is_labelled_by_those_that_stayed() {
    let database = Database::migrated().await;
    let (server, client) = node(&database, FIRST).await;
    let set = |code: &str| {
        let content = format!(
            r#""url":"urn:vs:psy","status":"active","compose":{{"include":[{{"system":"urn:c","concept":[{{"code":"{code}"}}]}}]}}"#
        );
        body("ValueSet/psy", &content)
    };
    let done = "SELECT count(*) FROM labelling WHERE digest <> 'begun'";
    until_number(&database, done, 1).await;
    client.put("/Patient/a", body("Patient/a", r#""active":true"#)).await.expect(201);
    client.put("/ValueSet/psy", set("psy")).await.expect(201);
    until_number(&database, done, 2).await;
    // What was before it is over and settled, and gives no cause to look again.
    let others = "SELECT count(*) FROM labelled_by b, labelling l WHERE b.digest <> l.digest \
                  AND l.ended = (SELECT max(ended) FROM labelling) \
                  AND b.seen > l.ended - interval '8 seconds'";
    until_number(&database, others, 0).await;
    client.put("/ValueSet/psy", set("flu")).await.expect(200);
    for (id, code) in [("psy", "psy"), ("flu", "flu")] {
        let path = format!("Observation/{id}");
        client.put(&format!("/{path}"), body(&path, &observation(code))).await.expect(201);
    }
    client.put("/ValueSet/psy", set("psy")).await.expect(200);
    assert_eq!(labels_at(&client, "Observation/psy").await, "|");
    assert_eq!(labels_at(&client, "Observation/flu").await, "V*|1");
    until(&client, "Observation/psy", "V*|1").await;
    until(&client, "Observation/flu", "|").await;
    server.stop().await;
}
