//! SIGKILL of the server and of its PostgreSQL while messages come in: none is lost, none has its
//! effect twice, and each is answered as it was before: over HTTP, and over MLLP in both modes.
//!
//! Three rounds each; thirty with `KILN_TEST_LONG=1`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kiln::hl7v2::frame::framed;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::client::Client;
use crate::harness::database::connect;
use crate::harness::process::Process;
use crate::harness::shared::long;

use super::carry::with_feed;
use super::feed::{Sender, adt, value};

/// Senders that send all the time.
const SENDERS: u32 = 6;
/// Longest time until the server serves again.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// How a message is sent.
#[derive(Clone)]
pub(super) enum Way {
    Http(Box<Client>),
    /// Over MLLP, with one answer.
    Original(SocketAddr),
    /// Over MLLP, with an answer to the receipt and one to the work.
    Enhanced(SocketAddr),
}

impl Way {
    /// What a message is to be answered with.
    pub(super) fn codes(&self) -> &'static [&'static str] {
        match self {
            Self::Http(_) | Self::Original(_) => &["AA"],
            Self::Enhanced(_) => &["CA", "AA"],
        }
    }

    pub(super) fn message(&self, id: &str) -> String {
        let message = adt("A28", id, id);
        match self {
            Self::Http(_) | Self::Original(_) => message,
            Self::Enhanced(_) => message.replace("|2.5.1\r", "|2.5.1|||AL|AL\r"),
        }
    }

    /// Sends a message once; what answers there are.
    async fn send(&self, message: &str) -> Vec<Bytes> {
        match self {
            Self::Http(client) => {
                let url = format!("{}/v2/messages", client.root());
                let call = client.call("POST", &url).header("Content-Type", "application/hl7-v2");
                let answer = call.body(message.to_owned()).try_send().await.ok();
                answer.filter(|it| it.status == 200).map(|it| it.body).into_iter().collect()
            }
            Self::Original(feed) | Self::Enhanced(feed) => {
                let mut answers = Vec::new();
                let Ok(stream) = TcpStream::connect(feed).await else { return answers };
                let mut sender = Sender::new(stream);
                if sender.stream.write_all(&framed(message.as_bytes())).await.is_err() {
                    return answers;
                }
                for code in self.codes() {
                    let Some(answer) = sender.read().await else { break };
                    let is_expected = value(&answer, "MSA-1") == *code;
                    answers.push(answer);
                    // After a refusal there may be nothing more.
                    if !is_expected {
                        break;
                    }
                }
                answers
            }
        }
    }

    /// Sends a message until it is accepted; its answers.
    pub(super) async fn deliver(&self, message: &str) -> Vec<Bytes> {
        let mut receipt: Option<Bytes> = None;
        for _ in 0..400 {
            let answers = self.send(message).await;
            let codes: Vec<_> = answers.iter().map(|answer| value(answer, "MSA-1")).collect();
            if codes.first().is_some_and(|code| code == "CA") {
                // Whatever was killed since: once it was said, it is said again.
                let known = receipt.get_or_insert_with(|| answers[0].clone());
                assert_eq!(*known, answers[0], "the same receipt");
            }
            if codes == self.codes() {
                return answers;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a message was never accepted: {message}");
    }
}

/// Sends a message over HTTP until it is accepted; the answer.
async fn deliver(client: &Client, message: &str) -> Bytes {
    Way::Http(Box::new(client.clone())).deliver(message).await.swap_remove(0)
}

async fn rounds(kills_server: bool) {
    let (mut process, feed) = with_feed(&[]).await;
    let ways =
        [Way::Http(Box::new(process.client.clone())), Way::Original(feed), Way::Enhanced(feed)];
    let mut count = 0;
    for round in 0..if long() { 30 } else { 3 } {
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (way, stop) = (ways[sender as usize % ways.len()].clone(), stop.clone());
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let id = format!("{round}-{sender}-{n}");
                        let message = way.message(&id);
                        told.push((way.deliver(&message).await, message));
                    }
                    (way, told)
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
            let (way, told) = sender.await.unwrap();
            for (answers, message) in told {
                assert_eq!(way.deliver(&message).await, answers, "the same answers");
                count += 1;
            }
        }
        let found = process.client.get("/Patient?_summary=count").await.expect(200);
        assert_eq!(found.at("total"), Some(count.to_string()), "round {round}: one effect each");
    }
    assert!(count > 30, "only {count} messages");
}

/// Between store and answer, and between effect and answer; in enhanced mode the answer to the receipt and that to the
/// work are both the same again.
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
