//! Texts of messages at rest: they are sealed, are read again as they came, and are of no use without their key.

use std::time::{Duration, Instant as Stopwatch};

use kiln::app::server::Server;
use kiln::clock::{Clock as _, SystemClock};
use kiln::fhir::Instant;

use super::super::feed::{Feed, adt, value};
use crate::harness::client::Client;
use crate::harness::database::{Database, temporary};
use crate::harness::process::Process;
use crate::harness::server::config;

/// How many messages have something of their text in the table.
const READABLE: &str = "SELECT count(*) FROM v2_message m WHERE m::text LIKE '%Muster%' \
     OR position(convert_to('Muster', 'UTF8') IN m.raw) > 0";

/// The ids of all messages, the oldest first.
async fn ids(client: &Client) -> Vec<String> {
    let url = format!("{}/v2/messages?_count=1000", client.root());
    let list = client.call("GET", &url).send().await.expect(200).text();
    let parts = list.split("\"id\":\"").skip(1);
    let mut ids: Vec<_> = parts.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    ids.reverse();
    ids
}

/// What is told of a message.
async fn view(client: &Client, id: &str) -> (u16, String) {
    let url = format!("{}/v2/messages/{id}", client.root());
    let answer = client.call("GET", &url).send().await;
    (answer.status, answer.text())
}

async fn post(client: &Client, message: &str) -> u16 {
    let post = client.call("POST", &format!("{}/v2/messages", client.root()));
    post.header("Content-Type", "application/hl7-v2").body(message.to_owned()).send().await.status
}

async fn until(database: &Database, sql: &str, number: i64) {
    for _ in 0..300 {
        if database.number(sql).await == number {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{sql}: {}, not {number}", database.number(sql).await);
}

/// Nothing of a text is in the table, whatever became of the message; it is shown and worked on as it came.
/// A text that stands in the place of another's is told from it, and holds nobody up.
///
/// Covers: v2 P6.
#[tokio::test(flavor = "multi_thread")]
async fn texts_are_sealed_and_read_as_they_came() {
    let feed = Feed::start().await;
    let (database, client) = (&feed.server.database, &feed.server.client);
    let mut sender = feed.sender().await;
    for (event, id) in [("A01", "1"), ("Z02", "2"), ("Q99", "3")] {
        sender.send(&adt(event, id, id)).await;
    }
    assert_eq!(feed.states().await, ["processed", "failed", "rejected"]);
    assert_eq!(database.number(READABLE).await, 0);
    let sealed = "SELECT count(*) FROM v2_message WHERE raw_key = 1";
    assert_eq!(database.number(sealed).await, 3);
    let all = ids(client).await;
    for id in &all {
        let (status, text) = view(client, id).await;
        assert!(status == 200 && text.contains("Muster^Anna"), "{status} {text}");
    }
    // Whoever claims it opens it; what it made is forgotten, so that it is made again.
    database.run("DELETE FROM v2_key").await;
    let replay = format!("{}/v2/messages/{}/$replay", client.root(), all[0]);
    client.call("POST", &replay).send().await.expect(202);
    until(database, "SELECT count(*) FROM v2_message WHERE state = 'processed'", 1).await;
    let began = Stopwatch::now();
    while feed.work.done.lock().unwrap().len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not done again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The text of one in the place of another.
    database
        .run(&format!(
            "UPDATE v2_message m SET raw = o.raw FROM v2_message o \
              WHERE m.id = '{}' AND o.id = '{}'",
            all[1], all[0]
        ))
        .await;
    let (status, text) = view(client, &all[1]).await;
    assert!(status == 409 && text.contains("was not sealed for this message"), "{status} {text}");
    let replay = format!("{}/v2/messages/{}/$replay", client.root(), all[1]);
    client.call("POST", &replay).send().await.expect(202);
    let waits = "SELECT count(*) FROM v2_open WHERE reason LIKE '%is sealed with data key 1%' \
         AND lease_until IS NULL AND next_try > now()";
    until(database, waits, 1).await;
    assert_eq!(value(&sender.send(&adt("A01", "4", "4")).await, "MSA-1"), "AA");
}

/// A data key is turned: new texts have the new one, those of before open as before, on other nodes too.
///
/// Covers: v2 P6.
#[tokio::test(flavor = "multi_thread")]
async fn another_data_key_is_used_and_the_ones_before_still_open() {
    let database = Box::pin(Database::migrated()).await;
    let start = || {
        Box::pin(Server::start(config(
            &database,
            &[("hl7v2.workers", "0"), ("hl7v2.ack", "stored")],
        )))
    };
    let (one, other) = (start().await.unwrap(), start().await.unwrap());
    let (client, elsewhere) = (Client::new(one.address()), Client::new(other.address()));
    assert_eq!(post(&client, &adt("A08", "1", "1")).await, 200);
    let now = SystemClock.now();
    let turn = async |before: Instant| one.store().turn_data_key(before, now).await.unwrap();
    assert!(!turn(now.plus_millis(-3_600_000)).await, "it is not old");
    assert!(turn(now.plus_millis(3_600_000)).await);
    assert_eq!(post(&client, &adt("A08", "2", "2")).await, 200);
    assert_eq!(post(&elsewhere, &adt("A08", "3", "3")).await, 200);
    let keys = "SELECT count(*) FROM v2_message WHERE raw_key = CASE control_id WHEN '2' THEN 2 ELSE 1 END";
    assert_eq!(database.number(keys).await, 3, "the other node learns of it when it reads");
    for client in [&client, &elsewhere] {
        for id in ids(client).await {
            let (status, text) = view(client, &id).await;
            assert!(status == 200 && text.contains("Muster^Anna"), "{status} {text}");
        }
    }
    drop((client, elsewhere));
    one.stop().await;
    other.stop().await;
}

/// Texts that were stored before are sealed in the background; where they are not to be sealed they are
/// stored as they come, and what is sealed is read on.
///
/// Covers: v2 P6.
#[tokio::test(flavor = "multi_thread")]
async fn texts_of_before_are_sealed_in_the_background() {
    let database = Box::pin(Database::migrated()).await;
    let start = |encrypt| {
        let settings =
            [("hl7v2.workers", "0"), ("hl7v2.ack", "stored"), ("hl7v2.encrypt", encrypt)];
        Box::pin(Server::start(config(&database, &settings)))
    };
    let open = "SELECT count(*) FROM v2_message WHERE raw_key IS NULL";
    for (round, count) in [(0, 0), (1, 700)] {
        let server = start("false").await.unwrap();
        let client = Client::new(server.address());
        let id = format!("open{round}");
        assert_eq!(post(&client, &adt("A08", &id, &id)).await, 200);
        assert_eq!(database.number(READABLE).await, 1, "{round}");
        // More of them than one step takes.
        let more = format!(
            "INSERT INTO v2_message SELECT r.* FROM v2_message m CROSS JOIN generate_series(1, {count}) n \
               CROSS JOIN LATERAL jsonb_populate_record(m, jsonb_build_object('id', \
                 left(m.id::text, 24) || lpad(to_hex(n), 12, '0'))) r WHERE m.control_id = 'open1'"
        );
        database.run(&more).await;
        drop(client);
        server.stop().await;
        let server = start("true").await.unwrap();
        let client = Client::new(server.address());
        until(&database, open, 0).await;
        assert_eq!(database.number(READABLE).await, 0, "{round}");
        for id in ids(&client).await {
            let (status, text) = view(&client, &id).await;
            assert!(status == 200 && text.contains("Muster^Anna"), "{status} {text}");
        }
        drop(client);
        server.stop().await;
    }
}

/// A database without the file that belongs to it is not served: it is said what is missing, and no other key
/// is made. With the file all is as before.
///
/// Covers: v2 P6.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_file_a_database_is_not_served() {
    let database = Box::pin(Database::migrated()).await;
    let folders = [temporary("keys"), temporary("keys")];
    let start = |at: usize| {
        let keys = folders[at].to_str().unwrap();
        let settings = [("hl7v2.workers", "0"), ("hl7v2.ack", "stored"), ("auth.keys_dir", keys)];
        Box::pin(Server::start(config(&database, &settings)))
    };
    let server = start(0).await.unwrap();
    assert_eq!(post(&Client::new(server.address()), &adt("A08", "1", "1")).await, 200);
    server.stop().await;
    let file = folders[0].join("messages.key");
    let mode = std::fs::metadata(&file).map(|it| std::os::unix::fs::MetadataExt::mode(&it));
    assert_eq!(mode.unwrap() & 0o777, 0o600);
    let said = start(1).await.err().expect("another folder").to_string();
    assert!(said.contains("messages.key: put the file there"), "{said}");
    assert!(!folders[1].join("messages.key").exists(), "a new key would open nothing");
    std::fs::create_dir_all(&folders[1]).unwrap();
    std::fs::write(folders[1].join("messages.key"), [7; 32]).unwrap();
    let said = start(1).await.err().expect("others can read it").to_string();
    assert!(said.contains("0600"), "{said}");
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folders[1].join("messages.key"), own).unwrap();
    let said = start(1).await.err().expect("another key").to_string();
    assert!(said.contains("messages.key: put the file there"), "{said}");
    std::fs::copy(&file, folders[1].join("messages.key")).unwrap();
    let server = start(1).await.unwrap();
    let client = Client::new(server.address());
    let (status, text) = view(&client, &ids(&client).await[0]).await;
    assert!(status == 200 && text.contains("Muster^Anna"), "{status} {text}");
    drop(client);
    server.stop().await;
    for folder in folders {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// The key file is replaced by a command: texts of before open with the new one, also where the command was cut
/// off before the file took its place. The old file is kept.
///
/// Covers: v2 P6.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_is_replaced_and_a_rotation_that_was_cut_off_is_completed() {
    let mut process = Process::start_with(&["hl7v2.workers=0", "hl7v2.ack=stored"]).await;
    assert_eq!(post(&process.client, &adt("A08", "1", "1")).await, 200);
    let keys = process.data_dir.join("keys");
    let (file, next) = (keys.join("messages.key"), keys.join("messages.key.new"));
    let first = std::fs::read(&file).unwrap();
    let output = process.beside("v2", &["rotate-key"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with("1 data keys"), "{said}");
    let second = std::fs::read(&file).unwrap();
    assert!(first != second && !next.exists());
    let kept: Vec<_> =
        std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(kept.iter().any(|path| std::fs::read(path).unwrap() == first), "{kept:?}");
    // As it stands when the command was cut off between the database and the file.
    std::fs::rename(&file, &next).unwrap();
    std::fs::write(&file, &first).unwrap();
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, own).unwrap();
    assert!(process.terminate().0);
    process.restart();
    process.ready(Duration::from_mins(1)).await;
    assert_eq!(std::fs::read(&file).unwrap(), second);
    assert!(!next.exists());
    let (status, text) = view(&process.client, &ids(&process.client).await[0]).await;
    assert!(status == 200 && text.contains("Muster^Anna"), "{status} {text}");
}
