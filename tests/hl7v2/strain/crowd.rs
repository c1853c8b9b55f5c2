//! Thousands of connections: most say nothing, and all are there.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;

use crate::harness::process::Process;
use crate::hl7v2::carry::with_feed;
use crate::hl7v2::feed::{Sender, adt, value};

/// Connections that are open at once.
const MANY: usize = 2_000;
/// One of so many sends a message.
const SHARE: usize = 5;
/// How many send at the same time.
const AT_ONCE: usize = 8;
/// The most memory that a connection may cost that has sent a message or none, in KiB.
const MOST_KB: u64 = 32;

/// Has this process, and those that it starts, keep so many files and connections open.
fn open_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let has_room = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if !has_room(limit.current) {
        assert!(has_room(limit.maximum), "the system lets {:?} files be open", limit.maximum);
        let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, all).unwrap();
    }
}

async fn send(sender: &mut Sender, id: &str) {
    let answer = sender.send(&adt("A28", id, id)).await;
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AA".into(), id.into()));
}

async fn connected(feed: SocketAddr) -> Sender {
    Sender::new(TcpStream::connect(feed).await.unwrap())
}

/// How many connections the server says there are.
async fn counted(process: &Process) -> usize {
    let url = format!("{}/metrics", process.client.root());
    let told = process.client.call("GET", &url).send().await.text();
    let found = told.lines().find_map(|line| line.strip_prefix("kiln_v2_connections "));
    found.and_then(|count| count.trim().parse::<f64>().ok()).unwrap_or_default() as usize
}

/// Waits until the server says that there are so many.
async fn until_counted(process: &Process, wanted: usize) {
    for _ in 0..600 {
        if counted(process).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(counted(process).await, wanted);
}

/// Two thousand connections are open at once, with a message on a fifth of them; those that say nothing cost no work
/// and little memory, one more is answered at once, and so is who was silent all the time.
///
/// Covers: v2 M1.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_stay_open_and_one_more_is_answered() {
    open_files(2 * MANY as u64);
    let (process, feed) = with_feed(&[
        "hl7v2.max_connections=2100",
        "hl7v2.max_connections_per_peer=2100",
        "http.max_connections=200",
    ])
    .await;
    // What all feeds need, and the work on as many messages, is there before it is measured.
    let mut first = Vec::new();
    while first.len() < AT_ONCE {
        first.push(connected(feed).await);
    }
    for round in 0..MANY / SHARE / AT_ONCE {
        let sent = first.iter_mut().enumerate().map(|(at, sender)| async move {
            send(sender, &format!("warm-{round}-{at}")).await;
        });
        join_all(sent).await;
    }
    drop(first);
    until_counted(&process, 0).await;
    let before = process.peak_kb();

    let mut senders = Vec::new();
    while senders.len() < MANY {
        senders.push(connected(feed).await);
    }
    until_counted(&process, MANY).await;
    let mut number = 0;
    let mut talkers: Vec<_> = senders.iter_mut().step_by(SHARE).collect();
    for some in talkers.chunks_mut(AT_ONCE) {
        let sent = some.iter_mut().map(|sender| {
            number += 1;
            let id = format!("talk-{number}");
            async move { send(sender, &id).await }
        });
        join_all(sent).await;
    }
    assert_eq!(number, MANY / SHARE);

    let mut more = connected(feed).await;
    send(&mut more, "one-more").await;
    until_counted(&process, MANY + 1).await;
    // Nobody was shut out for it: the other side has closed none, and said nothing to who said nothing.
    for (at, sender) in senders.iter().enumerate() {
        let read = sender.stream.try_read(&mut [0; 1]);
        assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "{at}");
    }
    let cost = process.peak_kb().saturating_sub(before);
    assert!(cost < MOST_KB * MANY as u64, "{cost} KiB for {MANY} connections");

    let worked = process.worked();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = process.worked().saturating_sub(worked);
    assert!(
        idle < Duration::from_secs(1),
        "{idle:?} of work in 3 s for connections that are silent"
    );
    for at in (1..MANY).step_by(MANY / 20) {
        send(&mut senders[at], &format!("late-{at}")).await;
    }
    drop(senders);
    until_counted(&process, 1).await;
    send(&mut more, "the-last").await;
}
