//! SIGKILL of the server and of its PostgreSQL at a moment that is known, not hit by chance.
//!
//! | moment | how it is held | how it is known |
//! |---|---|---|
//! | between store and answer | the commit of the receipt waits for a standby that does not exist | its connection waits for `SyncRep`, which begins when the commit is on the disk; the server hears of it afterwards |
//! | between store and effect | what the effect writes is locked by the test | the message is seen by others, and the connection of the effect waits for that lock |
//! | between effect and answer | the commit of the effect waits for that standby | as for the receipt |
//!
//! An answer is given when the server has heard of the commit, so at each of these moments there is none, and the
//! sender has read nothing. After a kill of the server alone the database is asked, while no server runs, whether
//! what should be there is there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kiln::hl7v2::frame::framed;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::harness::database::connect;
use crate::harness::process::Process;
use crate::hl7v2::carry::with_feed;
use crate::hl7v2::faults::Way;
use crate::hl7v2::feed::{Sender, value};

/// Longest time until the server serves again, and until something is seen in the database: a message is taken up again
/// when the lease of who was killed has run out.
const WITHIN: Duration = Duration::from_secs(30);

/// Where a message is when something is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    StoreAndAnswer,
    StoreAndEffect,
    EffectAndAnswer,
}

impl Moment {
    const ALL: [Self; 3] = [Self::StoreAndAnswer, Self::StoreAndEffect, Self::EffectAndAnswer];

    /// What is written by the transaction alone that is held.
    fn table(self) -> &'static str {
        match self {
            Self::StoreAndAnswer => "v2_dedupe",
            Self::StoreAndEffect | Self::EffectAndAnswer => "v2_watermark",
        }
    }

    /// A receipt has an answer of its own in enhanced mode.
    fn way(self, feed: SocketAddr) -> Way {
        match self {
            Self::StoreAndAnswer => Way::Enhanced(feed),
            Self::StoreAndEffect | Self::EffectAndAnswer => Way::Original(feed),
        }
    }

    fn id(self) -> String {
        format!("{self:?}")
    }

    /// The state of the message, as others see it.
    fn seen(self) -> String {
        format!("SELECT state FROM v2_message WHERE control_id = '{}'", self.id())
    }

    fn done(self) -> String {
        format!("{} AND state LIKE 'processed%'", self.seen())
    }
}

/// One text that the database answers.
async fn asked(client: &Client, sql: &str) -> Option<String> {
    client.query_opt(sql, &[]).await.unwrap().and_then(|row| row.get(0))
}

/// The same, as soon as there is one.
async fn told(client: &Client, sql: &str) -> String {
    let began = Instant::now();
    loop {
        if let Some(found) = asked(client, sql).await {
            return found;
        }
        assert!(began.elapsed() < WITHIN, "nothing by {sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server with a message at a moment, and what holds it there.
struct Held {
    /// The connection that sent it, and has read nothing.
    sender: Sender,
    control: Client,
    /// Has the lock as long as it is in its transaction.
    lock: Client,
    /// Waits as all commits do.
    probe: Option<JoinHandle<()>>,
}

impl Held {
    /// Sends a message and returns when it is where it is to be.
    async fn at(moment: Moment, process: &Process, feed: SocketAddr) -> Self {
        let url = process.database_url();
        let (control, lock) = (connect(&url).await, connect(&url).await);
        let sender = Sender::new(TcpStream::connect(feed).await.unwrap());
        let mut held = Self { sender, control, lock, probe: None };
        let table = moment.table();
        // Others may read it.
        let locking = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE");
        held.lock.batch_execute(&locking).await.unwrap();
        let message = moment.way(feed).message(&moment.id());
        held.sender.write(&framed(message.as_bytes())).await;
        let blocked = format!(
            "SELECT min(pid)::text FROM pg_locks \
              WHERE relation = '{table}'::regclass AND NOT granted HAVING count(*) > 0"
        );
        let pid = told(&held.control, &blocked).await;
        let seen = asked(&held.control, &moment.seen()).await;
        assert_eq!(seen.is_some(), moment != Moment::StoreAndAnswer, "{moment:?}: {seen:?}");
        assert!(seen.is_none_or(|state| !state.starts_with("processed")), "{moment:?}");
        if moment != Moment::StoreAndEffect {
            held.hold_commits(&url).await;
            held.lock.batch_execute("ROLLBACK").await.unwrap();
            told(&held.control, &waiting(&pid)).await;
        }
        assert!(held.sender.is_silent().await, "{moment:?}: nothing is answered");
        held
    }

    /// From now on each commit that the disk must have waits for a standby that does not exist.
    async fn hold_commits(&mut self, url: &str) {
        let named = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
        self.control.batch_execute(named).await.unwrap();
        self.control.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // It counts when a commit of our own waits.
        let probe = connect(url).await;
        let pid = told(&probe, "SELECT pg_backend_pid()::text").await;
        self.probe = Some(tokio::spawn(async move {
            let commit = "SELECT pg_logical_emit_message(true, 'test', ''::text)";
            while probe.batch_execute(commit).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
        told(&self.control, &waiting(&pid)).await;
    }

    /// The next PostgreSQL, or this one when it reads its settings, holds nothing.
    async fn forget(&mut self) {
        let reset = "ALTER SYSTEM RESET synchronous_standby_names";
        self.control.batch_execute(reset).await.unwrap();
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }
}

/// Something where a connection waits for the standby.
fn waiting(pid: &str) -> String {
    format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'SyncRep'")
}

/// The message has had its one effect, and whoever sends it again hears what was answered before.
async fn once(process: &Process, feed: SocketAddr, moment: Moment) -> Vec<Bytes> {
    let way = moment.way(feed);
    let message = way.message(&moment.id());
    let answers = way.deliver(&message).await;
    assert_eq!(way.deliver(&message).await, answers, "{moment:?}");
    let found = process.client.get(&format!("/Patient?identifier={}", moment.id())).await;
    let found = found.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("1"), "{moment:?}: {found:?}");
    let version = found.at("entry[0].resource.meta.versionId");
    assert_eq!(version.as_deref(), Some("1"), "{moment:?}");
    answers
}

/// The server is killed where it has stored a message and not answered, where the effect is about to be written, and
/// where it is committed and not answered. The database says so while no server runs. The message is worked on though
/// nobody sends it again.
///
/// Covers: v2 B6, M10.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_at_a_known_moment_applies_a_message_once() {
    let (mut process, feed) = with_feed(&[]).await;
    for moment in Moment::ALL {
        let mut held = Held::at(moment, &process, feed).await;
        held.forget().await;
        process.kill();
        held.control.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        if moment == Moment::EffectAndAnswer {
            // The commit is seen as soon as it waits no longer.
            told(&held.control, &moment.done()).await;
        } else {
            let state = told(&held.control, &moment.seen()).await;
            assert!(!state.starts_with("processed"), "{moment:?}: {state}");
        }
        if moment == Moment::StoreAndEffect {
            held.lock.batch_execute("ROLLBACK").await.unwrap();
        }
        assert_eq!(held.sender.read().await, None, "{moment:?}: it was never answered");
        process.restart();
        process.ready(WITHIN).await;
        told(&held.control, &moment.done()).await;
        once(&process, feed, moment).await;
    }
}

/// The same where PostgreSQL is killed under a server that lives on: what that says afterwards is what it says again.
///
/// Covers: v2 M10.
/// Covers: v2 B7.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_at_a_known_moment_loses_nothing_and_doubles_nothing() {
    let (mut process, feed) = with_feed(&[]).await;
    for moment in Moment::ALL {
        let mut held = Held::at(moment, &process, feed).await;
        held.forget().await;
        process.kill_postgres(WITHIN).await;
        process.ready(WITHIN).await;
        let control = connect(&process.database_url()).await;
        match moment {
            // Nothing but its effect would have had the disk take this one, and there was no answer.
            Moment::StoreAndEffect => {}
            Moment::StoreAndAnswer => drop(told(&control, &moment.done()).await),
            Moment::EffectAndAnswer => {
                let state = asked(&control, &moment.seen()).await;
                assert!(state.is_some_and(|state| state.starts_with("processed")), "{moment:?}");
            }
        }
        let answers = once(&process, feed, moment).await;
        let late = tokio::time::timeout(Duration::from_secs(1), held.sender.read()).await;
        if let Ok(Some(late)) = late
            && value(&late, "MSA-1") == moment.way(feed).codes()[0]
        {
            assert_eq!(late, answers[0], "{moment:?}");
        }
    }
}
