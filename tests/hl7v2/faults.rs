//! SIGKILL of the server and of its PostgreSQL while messages come in: none is lost, none has its
//! effect twice, and each is answered as it was before.
//!
//! Three rounds each; thirty with `KILN_TEST_LONG=1`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::harness::client::Client;
use crate::harness::database::connect;
use crate::harness::process::Process;
use crate::harness::shared::long;

use super::feed::{adt, value};

/// Senders that send all the time.
const SENDERS: u32 = 6;
/// Longest time until the server serves again.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// Sends a message until it is accepted; the answer.
async fn deliver(client: &Client, message: &str) -> Bytes {
    for _ in 0..400 {
        let url = format!("{}/v2/messages", client.root());
        let call = client.call("POST", &url).header("Content-Type", "application/hl7-v2");
        if let Ok(answer) = call.body(message.to_owned()).try_send().await
            && answer.status == 200
            && value(&answer.body, "MSA-1") == "AA"
        {
            return answer.body;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a message was never accepted: {message}");
}

async fn rounds(kills_server: bool) {
    let mut process = Process::start().await;
    let mut count = 0;
    for round in 0..if long() { 30 } else { 3 } {
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (client, stop) = (process.client.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let id = format!("{round}-{sender}-{n}");
                        let message = adt("A28", &id, &id);
                        told.push((deliver(&client, &message).await, message));
                    }
                    told
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(700 + 130 * round)).await;
        if kills_server {
            process.kill_and_restart();
        } else {
            process.kill_postgres(BACK_WITHIN).await;
        }
        process.ready(BACK_WITHIN).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            for (answer, message) in sender.await.unwrap() {
                assert_eq!(deliver(&process.client, &message).await, answer, "the same answer");
                count += 1;
            }
        }
        let found = process.client.get("/Patient?_summary=count").await.expect(200);
        assert_eq!(found.at("total"), Some(count.to_string()), "round {round}: one effect each");
    }
    assert!(count > 30, "only {count} messages");
}

/// Between store and answer, and between effect and answer.
///
/// Covers: v2 B6, M10.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_message_and_applies_none_twice() {
    rounds(true).await;
}

/// Without a database nothing is accepted.
///
/// Covers: v2 M10.
/// Covers: v2 B7, v2 M9.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres_loses_no_message_and_applies_none_twice() {
    rounds(false).await;
}

/// How many messages have a control id, by the database.
async fn stored(process: &Process, control_id: &str) -> i64 {
    let client = connect(&process.database_url()).await;
    let sql = "SELECT count(*) FROM v2_message WHERE control_id = $1";
    client.query_one(sql, &[&control_id]).await.unwrap().get(0)
}

/// What a sender has heard of is on the disk, though the receipt of a message that is answered with its effect does not
/// wait for the disk by itself: one that comes again, and one whose effect is not there in time.
///
/// Covers: v2 B6, v2 M9.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_without_an_effect_is_on_the_disk() {
    let mut process = Process::start_with(&["hl7v2.ack_timeout_s=1"]).await;
    let url = format!("{}/v2/messages", process.client.root());
    let send = async |process: &Process, message: &str| {
        let call = process.client.call("POST", &url).header("Content-Type", "application/hl7-v2");
        call.body(message.to_owned()).try_send().await
    };
    // Nothing but a commit that waits has the disk take anything for the time of this test.
    let database = connect(&process.database_url()).await;
    database.batch_execute("ALTER SYSTEM SET wal_writer_delay = '10s'").await.unwrap();
    database.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let message = adt("A28", "once", "once");
    let answer = deliver(&process.client, &message).await;
    let again = send(&process, &message).await.unwrap();
    assert_eq!(again.body, answer);
    // A busy machine may take long enough for the first to be sent more than once.
    let told = stored(&process, "once").await;
    assert!(told >= 2, "{told}: the message and its repetition");
    process.kill_postgres(BACK_WITHIN).await;
    process.ready(BACK_WITHIN).await;
    assert_eq!(stored(&process, "once").await, told);
    let mut database = connect(&process.database_url()).await;
    let held = database.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE v2_watermark").await.unwrap();
    let late = adt("A28", "late", "late");
    let answer = send(&process, &late).await.unwrap();
    let told = (value(&answer.body, "MSA-1"), value(&answer.body, "ERR-3.1"));
    assert_eq!(told, ("AE".to_owned(), "206".to_owned()));
    process.kill_postgres(BACK_WITHIN).await;
    process.ready(BACK_WITHIN).await;
    assert_eq!(stored(&process, "late").await, 1);
    drop(held);
    deliver(&process.client, &late).await;
    let found = process.client.get("/Patient?_summary=count").await.expect(200);
    assert_eq!(found.at("total"), Some("2".to_owned()));
}
