//! What a feed carries: many connections, large frames, repetitions, an absent database; and what it says
//! of it in its log.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kiln::hl7v2::frame::framed;
use tokio::net::TcpStream;

use crate::audit::faults::{FREED, FULL};
use crate::harness::process::Process;
use crate::harness::shared::long;

use super::feed::{Feed, Sender, Setup, adt, value};
use super::stories::Story;

/// The same bytes again: the same answer, no new version, and exactly one row in the ledger, of the receipt.
///
/// Covers: v2 B2.
#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_on_record_once() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    let message = adt("A01", "1", "12");
    let answer = sender.send(&message).await;
    let rows = |which: &str| format!("SELECT count(*) FROM ledger WHERE {which}");
    let versions = "SELECT count(*) FROM res WHERE vid > 0";
    let database = &feed.server.database;
    let (before, stored) = (database.number(&rows("true")).await, database.number(versions).await);
    assert_eq!(sender.send(&message).await, answer, "byte by byte");
    assert_eq!(database.number(&rows("true")).await, before + 1);
    assert_eq!(database.number(&rows("interaction = 65")).await, 2);
    assert_eq!(database.number(versions).await, stored);
    assert_eq!(database.number("SELECT count(*) FROM hist").await, 0);
}

/// Without a place to put it, a message is not answered; who sends it again has it answered.
///
/// Covers: v2 M9.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_not_answered() {
    let feed = Feed::start().await;
    feed.server.database.run(FULL).await;
    let message = adt("A01", "1", "12");
    for _ in 0..2 {
        let mut sender = feed.sender().await;
        sender.write(&framed(message.as_bytes())).await;
        assert_eq!(sender.read().await, None, "closed, and nothing said");
    }
    feed.server.database.run(FREED).await;
    assert_eq!(value(&feed.sender().await.send(&message).await, "MSA-1"), "AA");
    assert_eq!(feed.patients().await, 1);
    assert_eq!(feed.states().await, ["processed"]);
}

/// Release 2: what is not stored is refused by a NAK, and an answer of ours that is refused goes out again.
///
/// Covers: v2 M3.
#[tokio::test(flavor = "multi_thread")]
async fn frames_are_refused_and_sent_again_in_release_2() {
    let setup = Setup { door: |door| door.confirms = true, ..Setup::default() };
    let feed = Feed::start_with(setup).await;
    let message = adt("A01", "1", "12");
    feed.server.database.run(FULL).await;
    let mut sender = feed.sender().await;
    assert_eq!(&sender.send(&message).await[..], b"\x15", "NAK");
    assert_eq!(sender.read().await, None);
    feed.server.database.run(FREED).await;
    let mut sender = feed.sender().await;
    assert_eq!(&sender.send(&message).await[..], b"\x06", "ACK");
    let answer = sender.read().await.unwrap();
    assert_eq!(value(&answer, "MSA-1"), "AA");
    for _ in 0..2 {
        sender.write(b"\x0B\x15\x1C\r").await;
        assert_eq!(sender.read().await.unwrap(), answer, "the same again");
    }
    sender.write(b"\x0B\x06\x1C\r").await;
    assert!(sender.is_silent().await);
    // What is confirmed is not sent again.
    sender.write(b"\x0B\x15\x1C\r").await;
    assert!(sender.is_silent().await);
    assert_eq!(feed.patients().await, 1);
}

/// Those of different patients side by side: the slow one holds up nobody but its own patient.
///
/// Covers: v2 M11.
#[tokio::test(flavor = "multi_thread")]
async fn patients_do_not_wait_for_each_other() {
    let feed = Feed::start().await;
    let (mut slow, mut behind) = (feed.sender().await, feed.sender().await);
    slow.write(&framed(adt("Z05", "slow", "1").as_bytes())).await;
    while feed.states().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    behind.write(&framed(adt("A01", "behind", "1").as_bytes())).await;
    let mut other = feed.sender().await;
    let began = Instant::now();
    for n in 0..5 {
        assert_eq!(value(&other.send(&adt("A01", &format!("o{n}"), "2")).await, "MSA-1"), "AA");
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(!feed.work.done.lock().unwrap().iter().any(|id| id == "slow" || id == "behind"));
    assert_eq!(value(&slow.read().await.unwrap(), "MSA-1"), "AA");
    let answered = Instant::now();
    assert_eq!(value(&behind.read().await.unwrap(), "MSA-1"), "AA");
    assert!(
        answered.elapsed() < Duration::from_secs(2),
        "it begins when the one before it has ended"
    );
    let done = feed.work.done.lock().unwrap().clone();
    assert_eq!(&done[5..], ["slow", "behind"]);
}

/// Bytes between frames are dropped, a frame without its last byte is taken: both are counted.
///
/// Covers: v2 M1.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_framing_are_among_the_metrics() {
    let (process, address) = with_feed(&[]).await;
    let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
    let mut frame = b"noise\r\n".to_vec();
    frame.extend(framed(adt("A28", "1", "1").as_bytes()));
    sender.write(&frame).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
    // Nothing comes after FS, and then the next frame at once.
    let mut bare = framed(adt("A28", "2", "1").as_bytes()).to_vec();
    bare.pop();
    sender.write(&bare).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-2"), "2");
    let mut two = framed(adt("A28", "3", "1").as_bytes()).to_vec();
    two.pop();
    two.extend(framed(adt("A28", "4", "1").as_bytes()));
    sender.write(&two).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-2"), "3");
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-2"), "4");
    let url = format!("{}/metrics", process.client.root());
    let told = process.client.call("GET", &url).send().await;
    let line = |name: &str| {
        let told = told.text();
        let found = told.lines().find_map(|line| line.strip_prefix(name));
        found.map(|rest| rest.trim().to_owned())
    };
    assert_eq!(line("kiln_v2_noise_bytes_total").as_deref(), Some("5"));
    assert_eq!(line("kiln_v2_missing_cr_total").as_deref(), Some("2"));
}

/// Release 2: the answer to the work waits until the other side has the one to the receipt.
///
/// Covers: v2 M3.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_waits_for_the_first_in_release_2() {
    let setup = Setup { door: |door| door.confirms = true, ..Setup::default() };
    let feed = Feed::start_with(setup).await;
    let mut sender = feed.sender().await;
    let enhanced = |id: &str| adt("A01", id, id).replace("|2.5.1\r", "|2.5.1|||AL|AL\r");
    assert_eq!(&sender.send(&enhanced("1")).await[..], b"\x06", "the frame is stored");
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "CA");
    assert!(sender.is_silent().await, "the other answer waits");
    sender.write(b"\x0B\x06\x1C\r").await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
    // A message that comes before that is confirmed is stored, and its answers wait behind.
    assert_eq!(&sender.send(&enhanced("2")).await[..], b"\x06");
    assert!(sender.is_silent().await);
    for code in ["CA", "AA"] {
        sender.write(b"\x0B\x06\x1C\r").await;
        let answer = sender.read().await.unwrap();
        assert_eq!(
            (value(&answer, "MSA-1").as_str(), value(&answer, "MSA-2").as_str()),
            (code, "2")
        );
    }
    assert_eq!(feed.patients().await, 2);
}

/// A hundred connections for a minute: nothing is lost, and each patient's messages have their effect in their
/// order. Each sends three messages at once, which wait for each other, and rests, so that other tests get
/// their turn; with `KILN_TEST_LONG=1` nobody rests.
///
/// Covers: v2 B43.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_connections_lose_nothing() {
    const AT_ONCE: u32 = 3;
    let settings: &[(&str, &str)] = &[
        ("hl7v2.listen", "127.0.0.1:0"),
        ("hl7v2.max_connections", "200"),
        ("hl7v2.max_connections_per_peer", "200"),
    ];
    let story = Story::begin_with(settings).await;
    let end = Instant::now() + Duration::from_mins(1);
    let senders = (0..100).map(|patient| {
        let address = story.server.feed();
        tokio::spawn(async move {
            let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
            let mut count = 0;
            while Instant::now() < end {
                let mut frames = Vec::new();
                for _ in 0..AT_ONCE {
                    count += 1;
                    let message = adt("A08", &format!("{patient}-{count}"), &patient.to_string());
                    let message = message.replace("Muster^Anna", &format!("Muster^N{count}"));
                    let message = message.replace("|2.5.1\r", "|2.5.1|||AL|NE\r");
                    frames.extend_from_slice(&framed(message.as_bytes()));
                }
                sender.write(&frames).await;
                for before in (0..AT_ONCE).rev() {
                    let answer = sender.read().await.unwrap();
                    let told = (value(&answer, "MSA-1"), value(&answer, "MSA-2"));
                    assert_eq!(told, ("CA".to_owned(), format!("{patient}-{}", count - before)));
                }
                if !long() {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            }
            count
        })
    });
    let counts = join_all(senders).await;
    let open = "SELECT count(*) FROM v2_message WHERE state NOT LIKE 'processed%'";
    let begun = Instant::now();
    while story.server.database.number(open).await > 0 {
        assert!(begun.elapsed() < Duration::from_mins(3), "something waits for ever");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (patient, count) in counts.into_iter().enumerate() {
        let count: u32 = count.unwrap();
        let id = story.of(&format!("/Patient?identifier={patient}&"), "id").await;
        let history = story.get(&format!("/Patient/{id}/_history?_count=1000")).await;
        assert_eq!(history.at("total"), Some(count.to_string()), "{patient}");
        // The newest first.
        for (at, number) in (1..=count).rev().take(1000).enumerate() {
            let name = history.at(&format!("entry[{at}].resource.name[0].given[0]"));
            assert_eq!(name, Some(format!("N{number}")), "{patient}");
        }
    }
}

/// A frame beyond the limit costs less memory than twice the limit.
///
/// Covers: v2 B5.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_beyond_the_limit_costs_little_memory() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let (process, address) = with_feed(&[]).await;
    let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
    // What all feeds need is there before it is measured, and so is what the index of words needs.
    for n in 0..10 {
        assert_eq!(value(&sender.send(&adt("A08", &format!("s{n}"), "1")).await, "MSA-1"), "AA");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // The server has work of its own when it starts.
    let mut before = process.peak_kb();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match process.peak_kb() {
            now if now == before => break,
            now => before = now,
        }
    }
    let mut message = adt("A01", "2", "1").into_bytes();
    message.extend(b"NTE|1||");
    message.resize(LIMIT + LIMIT / 16, b'x');
    let frame = framed(&message);
    sender.write(&frame).await;
    let answer = sender.read().await.expect("an answer that arrives");
    let after = process.peak_kb();
    assert_eq!(value(&answer, "MSA-1"), "AR");
    let more = after.saturating_sub(before);
    assert!(more < 2 * LIMIT as u64 / 1024, "{more} KiB more");
    let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
    assert_eq!(value(&sender.send(&adt("A08", "3", "1")).await, "MSA-1"), "AA");
}

/// A server of its own with a feed, and where that listens.
pub(super) async fn with_feed(more: &[&'static str]) -> (Process, std::net::SocketAddr) {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen: &'static str = format!("hl7v2.listen={address}").leak();
    let settings: &'static [&'static str] = [&[listen], more].concat().leak();
    (Process::start_with(settings).await, address)
}

/// The database is killed while messages come in: what is not stored is not answered, what is answered is
/// there, once.
///
/// Covers: v2 B7.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_no_feed_is_answered() {
    let (mut process, address) = with_feed(&[]).await;
    let deliver = move |patient: u32, n: u32| async move {
        let message = adt("A28", &format!("{patient}-{n}"), &format!("{patient}-{n}"));
        let message = framed(message.as_bytes());
        for _ in 0..600 {
            let Ok(stream) = TcpStream::connect(address).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let mut sender = Sender::new(stream);
            sender.write(&message).await;
            match sender.read().await {
                Some(answer) if value(&answer, "MSA-1") == "AA" => return,
                // It goes on by itself; what it came to is told to who asks again.
                Some(answer) => assert_eq!(value(&answer, "ERR-3.1"), "206"),
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{patient}-{n} was never accepted");
    };
    let senders = (0..4).map(|patient| {
        tokio::spawn(async move {
            for n in 0..20 {
                deliver(patient, n).await;
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        process.kill_postgres(Duration::from_secs(20)).await;
        process.ready(Duration::from_secs(20)).await;
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let found = process.client.get("/Patient?_summary=count").await.expect(200);
    assert_eq!(found.at("total"), Some("80".to_owned()));
}

/// Whatever becomes of messages, the log holds nothing of their patients.
///
/// Covers: v2 B41.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_nothing_of_a_patient() {
    let (process, address) = with_feed(&["log.filter=kiln=trace,info"]).await;
    let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
    let canary = |event: &str, id: &str| {
        adt(event, id, "Canarynumber").replace("Muster^Anna", "Canaryname^Canarygiven")
    };
    let whole = canary("A01", "1");
    let broken = canary("A01", "2").replace("|Canarynumber^^^STM^MR|", "||");
    let date = canary("A08", "3").replace("Canarygiven", "Canarygiven||Canarydate|Canarysex");
    let unknown = canary("A99", "4");
    let result = "MSH|^~\\&|LAB|STM|KILN|H|20260704120000||ORU^R01^ORU_R01|5|P|2.5.1\r\
         PID|1||Canarynumber^^^STM^MR||Canaryname^Canarygiven\rOBR|1||Canaryfiller|Canarycode^Canarytext^99C\r\
         OBX|1|NM|Canarycode^Canarytext^99C||Canaryvalue|Canaryunit||||Canarystatus\r";
    let document = result.replace("|5|P|", "|6|P|").replace("|NM|", "|ED|");
    let mut answers = Vec::new();
    for message in [&whole, &whole, &broken, &date, &unknown, result, &document] {
        answers.extend_from_slice(&sender.send(message).await);
    }
    // What is no message, and what is cut.
    answers.extend_from_slice(&sender.send("Canaryname is no message").await);
    sender.write(b"\x0BMSH|^~\\&|Canaryname|\x0B").await;
    drop(sender);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answers = String::from_utf8_lossy(&answers);
    // MSA-2 and the like tell what the sender called the message, nothing of whom it is about.
    assert!(!answers.contains("Canary"), "{answers}");
    let log = process.whole_log();
    assert!(log.contains("a message had no effect"), "something is logged of what failed");
    let told: Vec<_> = log.lines().filter(|line| line.contains("Canary")).collect();
    assert!(told.is_empty(), "{told:#?}");
}
