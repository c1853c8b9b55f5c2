//! What the server labels by itself: by codes and value sets, on every write and when rules change.

use std::time::Duration;

use kiln::app::server::Server;

use super::super::world::{asked, body, fresh};
use crate::harness::client::{Answer, Client};
use crate::harness::database::temporary;
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

/// The codes of labels and tags.
fn labels(answer: &Answer) -> String {
    let value = answer.json();
    let all = |list: &str| {
        let meta = value.get("meta").map_or(&[][..], |meta| meta.items_at(list));
        meta.iter().filter_map(|it| it.str_at("code")).collect::<Vec<_>>().join(" ")
    };
    format!("{}|{}", all("security"), all("tag"))
}

async fn labels_at(client: &Client, path: &str) -> String {
    labels(&client.get(&format!("/{path}")).await.expect(200))
}

/// Waits until a resource has labels.
async fn until(client: &Client, path: &str, expected: &str) {
    for _ in 0..200 {
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
}

/// By every way to write.
async fn by_every_way_to_write(client: &Client) {
    let made = client.post("/Observation", fresh("Observation", &observation("hiv"))).await;
    assert_eq!(labels_at(client, &format!("Observation/{}", made.expect(201).id())).await, "R|1");
    for (code, expected) in [("ok", "|"), ("hiv", "R|1"), ("hiv2", "V|1"), ("psy", "V|1")] {
        let put = client.put("/Observation/put", body("Observation/put", &observation(code))).await;
        assert!([200, 201].contains(&put.status), "{put:?}");
        assert_eq!(labels_at(client, "Observation/put").await, expected, "{code}");
    }
    client.put("/Observation/patched", body("Observation/patched", &observation("ok"))).await;
    let patch = r#"[{"op":"replace","path":"/code/coding/0/code","value":"psy"}]"#;
    let call = client.call("PATCH", "/Observation/patched");
    call.header("Content-Type", "application/json-patch+json").body(patch).send().await.expect(200);
    assert_eq!(labels_at(client, "Observation/patched").await, "V|1");
    let entry = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{},"request":{{"method":"PUT","url":"Observation/entry"}}}}]}}"#,
        body("Observation/entry", &observation("hiv"))
    );
    client.post("/", entry).await.expect(200);
    assert_eq!(labels_at(client, "Observation/entry").await, "R|1");
}

/// Covers in part: security S7.
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
    until(&client, "Observation/old", "R|1").await;
    until(&client, "Observation/old-psy", "V|1").await;
    assert_eq!(labels_at(&client, "Observation/fine").await, "|");
    assert_eq!(labels_at(&client, "ValueSet/psy").await, "|");
    let changes = "SELECT count(*) FROM ledger WHERE interaction = 9 AND actor LIKE '%labelling' \
                   AND outcome = 0";
    assert_eq!(plain.database.number(changes).await, 2);
    let done = "SELECT coalesce(sum(changed), 0)::bigint FROM labelling WHERE version = '1'";
    for _ in 0..100 {
        if plain.database.number(done).await == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(plain.database.number(done).await, 2);

    by_every_way_to_write(&client).await;

    // They count as labels do.
    let token = Token::new(&plain, "user/*.cruds").roles(CLERKS);
    let (clerk, _stop) = token.user("Practitioner/c", &["clerk"]).client().await;
    clerk.get("/Observation/old").await.expect(404);
    clerk.get("/Observation/fine").await.expect(200);
    assert_eq!(asked(&clerk, "/Observation?code=urn:c|hiv,urn:c|psy").await, [""; 0]);
    server.stop().await;

    // Other rules are applied to what was stored before; a version that was done is not done again.
    let second =
        FIRST.replace("\"1\"", "\"2\"").replace("urn:c|hiv\"", "urn:c|hiv\", \"urn:c|ok\"");
    let server = start(&second).await;
    let client = Client::new(server.address());
    until(&client, "Observation/fine", "R|2").await;
    let rows = "SELECT count(*) FROM labelling";
    for _ in 0..100 {
        if plain.database.number(rows).await == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(plain.database.number(rows).await, 2);
    server.stop().await;
    let before = plain.database.number(changes).await;
    let server = start(&second).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.stop().await;
    assert_eq!(plain.database.number(changes).await, before);
    plain.stop().await;
}

/// Covers in part: security S7.
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
