//! Frames over a connection: cut, joined, broken and too long.

use std::time::Duration;

use kiln::hl7v2::frame::framed;
use kiln::hl7v2::judge::Binding;

use super::feed::{Feed, Setup, adt, value};

/// The same bytes get the same answer and have no effect again.
///
/// Covers: v2 B2.
/// Covers: v2 S20.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_get_the_same_answer() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    let message = adt("A01", "1", "12");
    let answer = sender.send(&message).await;
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AA".into(), "1".into()));
    for _ in 0..3 {
        assert_eq!(sender.send(&message).await, answer);
    }
    // Over another connection too.
    assert_eq!(feed.sender().await.send(&message).await, answer);
    assert_eq!(feed.patients().await, 1);
    let states = feed.states().await;
    assert_eq!(states.iter().filter(|state| *state == "duplicate").count(), 4, "{states:?}");
    assert_eq!(states[0], "processed");
}

/// v2 S20, v2 S56: what was rejected gets the same answer as long as it would be rejected, and is taken in as soon as it
/// would not: when the settings, or those of who may send, are mended.
///
/// Covers: v2 S20, v2 S56.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_is_taken_in_when_it_comes_again_after_a_mend() {
    fn bound() -> Setup {
        let mut setup = Setup::default();
        setup.settings.rules.bindings = vec![Binding::parse("lab.test=LAB|STM").unwrap()];
        setup
    }
    let open = || {
        let mut setup = Setup::default();
        setup.settings.rules.is_production = false;
        setup
    };
    let message = adt("A01", "1", "12").replace("|P|2.5.1", "|T|2.5.1");
    for (before, number) in [(Setup::default as fn() -> Setup, "202"), (bound, "207")] {
        let feed = Feed::start_with(before()).await;
        let mut sender = feed.sender().await;
        let refused = sender.send(&message).await;
        assert_eq!(value(&refused, "MSA-1"), "AR");
        assert_eq!(value(&refused, "ERR-3.1"), number);
        assert_eq!(sender.send(&message).await, refused);
        assert_eq!(feed.states().await, ["rejected", "duplicate"]);
        drop(sender);
        let feed = feed.again_with(open()).await;
        let mut sender = feed.sender().await;
        let taken = sender.send(&message).await;
        assert_eq!(value(&taken, "MSA-1"), "AA", "{number}");
        assert_eq!(sender.send(&message).await, taken);
        assert_eq!(feed.patients().await, 1, "{number}");
        let states = feed.states().await;
        assert_eq!(states, ["rejected", "duplicate", "duplicate", "processed", "duplicate"]);
    }
}

/// v2 P8, v2 S56: what was rejected is worked on again by somebody's wish, and rejected again as long as nothing is
/// mended; what was no message, or came in a name that is not its sender's, is not.
///
/// Covers: v2 S56.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_is_worked_on_again_on_request() {
    let mut setup = Setup::default();
    setup.settings.rules.bindings = vec![Binding::parse("lab.test=ADT|STM").unwrap()];
    let feed = Feed::start_with(setup).await;
    let mut sender = feed.sender().await;
    sender.send(&adt("A01", "1", "12")).await;
    drop(sender);
    let feed = feed.again_with(Setup::default()).await;
    let mut sender = feed.sender().await;
    sender.write(&framed(b"no message")).await;
    sender.read().await.unwrap();
    sender.send(&adt("A01", "2", "12").replace("|P|2.5.1", "|T|2.5.1")).await;
    assert_eq!(feed.states().await, ["rejected"; 3]);
    let ids = ids(&feed).await;
    let replay = async |feed: &Feed, id: &str, status: u16| {
        let client = &feed.server.client;
        let url = format!("{}/v2/messages/{id}/$replay", client.root());
        client.call("POST", &url).send().await.expect(status);
    };
    replay(&feed, &ids[0], 409).await;
    replay(&feed, &ids[1], 409).await;
    replay(&feed, &ids[2], 202).await;
    until(&feed, "rejected").await;
    assert_eq!(feed.patients().await, 0);
    drop(sender);
    let mut open = Setup::default();
    open.settings.rules.is_production = false;
    let feed = feed.again_with(open).await;
    replay(&feed, &ids[2], 202).await;
    until(&feed, "processed").await;
    assert_eq!(feed.patients().await, 1);
}

/// The ids of all messages, the oldest first.
async fn ids(feed: &Feed) -> Vec<String> {
    let client = &feed.server.client;
    let list = client.call("GET", &format!("{}/v2/messages", client.root())).send().await;
    let mut ids: Vec<_> = (0..9).map_while(|at| list.at(&format!("messages[{at}].id"))).collect();
    ids.reverse();
    ids
}

/// Waits until the newest message stands there.
async fn until(feed: &Feed, state: &str) {
    for _ in 0..200 {
        if feed.states().await.last().is_some_and(|last| last == state) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is not {state}");
}

/// v2 S21: a control id that is used again is another message, and this is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_id_may_come_again_with_other_content() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    sender.send(&adt("A01", "1", "12")).await;
    let answer = sender.send(&adt("A01", "1", "13")).await;
    assert_eq!(value(&answer, "MSA-1"), "AA");
    assert_eq!(feed.states().await, ["processed", "processed_with_issues"]);
    assert_eq!(feed.patients().await, 2);
}

/// Many frames in one write, and one byte in each.
///
/// Covers: v2 B3.
#[tokio::test(flavor = "multi_thread")]
async fn frames_are_answered_in_order_however_they_come() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    let messages: Vec<_> = (0..1_000).map(|n| adt("A01", &n.to_string(), &n.to_string())).collect();
    let all: Vec<u8> = messages.iter().flat_map(|message| framed(message.as_bytes())).collect();
    let (mut reading, mut writing) = tokio::io::split(sender.stream);
    let write = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writing, &all).await.unwrap();
        writing
    });
    let mut answers = super::feed::Sender::new(tokio::io::join(&mut reading, tokio::io::sink()));
    for n in 0..1_000 {
        let answer = answers.read().await.unwrap();
        assert_eq!(
            (value(&answer, "MSA-1"), value(&answer, "MSA-2")),
            ("AA".into(), n.to_string())
        );
    }
    drop(answers);
    sender = super::feed::Sender::new(reading.unsplit(write.await.unwrap()));
    for byte in framed(adt("A01", "x", "x").as_bytes()) {
        sender.write(&[byte]).await;
    }
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-2"), "x");
    assert_eq!(feed.patients().await, 1_001);
}

/// A frame that the next one cuts off is lost, the next one is not.
///
/// Covers: v2 B4.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_frame_costs_nobody_else_its_answer() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    let whole = framed(adt("A01", "2", "2").as_bytes());
    sender.write(b"noise\x0BMSH|^~\\&|LAB|STM|||2026||ADT^A01|1|P|2.5\rPID|").await;
    sender.write(&whole).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-2"), "2");
    // Without the byte after FS it is whole after a while.
    sender.write(&framed(adt("A01", "3", "3").as_bytes())[..]).await;
    sender.read().await.unwrap();
    let nearly = framed(adt("A01", "4", "4").as_bytes());
    sender.write(&nearly[..nearly.len() - 1]).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-2"), "4");
    assert_eq!(feed.patients().await, 3);
    let metrics = format!("{}/metrics", feed.server.client.root());
    let metrics = feed.server.client.call("GET", &metrics).send().await;
    assert!(metrics.text().contains("kiln_v2_truncated_total"), "the lost frame is counted");
}

/// More bytes than allowed are rejected, and the connection ends.
///
/// Covers: v2 B5.
/// Covers: v2 M1.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_limit_is_rejected() {
    let feed = Feed::start_with(Setup { max_message_bytes: 100_000, ..Setup::default() }).await;
    let mut sender = feed.sender().await;
    // More than the buffers between both sides hold: it is still being written when it is answered.
    let message = format!("{}NTE|1||{}", adt("A01", "1", "1"), "x".repeat(20_000_000));
    sender.write(&framed(message.as_bytes())).await;
    let answer = sender.read().await.expect("an answer that arrives");
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AR".into(), "1".into()));
    assert!(sender.read().await.is_none(), "the connection ends");
    assert_eq!(feed.states().await, ["rejected"]);
    assert_eq!(value(&feed.sender().await.send(&adt("A01", "2", "2")).await, "MSA-1"), "AA");
}

/// v2 M10: a message that begins and does not go on is waited for only so long.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_does_not_hold_a_connection() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    sender.write(b"\x0BMSH|^~\\&|LAB").await;
    let closed = tokio::time::timeout(Duration::from_secs(15), sender.read()).await;
    assert_eq!(closed.expect("is closed"), None);
}

/// Who says nothing for too long, comes too often or from elsewhere is not served.
///
/// Covers: v2 M2.
/// Covers: v2 M1.
#[tokio::test(flavor = "multi_thread")]
async fn a_door_has_its_limits() {
    let door: fn(&mut kiln::hl7v2::listener::Door) = |door| {
        door.idle = Some(Duration::from_secs(2));
        door.connections_per_peer = 1;
    };
    let feed = Feed::start_with(Setup { door, ..Setup::default() }).await;
    let mut first = feed.sender().await;
    assert_eq!(value(&first.send(&adt("A01", "1", "1")).await, "MSA-1"), "AA");
    assert_eq!(feed.sender().await.read().await, None, "one at a time from an address");
    let closed = tokio::time::timeout(Duration::from_secs(10), first.read()).await;
    assert_eq!(closed.expect("is closed"), None, "silence ends a connection");
    let elsewhere: fn(&mut kiln::hl7v2::listener::Door) =
        |door| door.allow = vec!["192.0.2.0/24".parse().unwrap()];
    let feed = Feed::start_with(Setup { door: elsewhere, ..Setup::default() }).await;
    assert_eq!(feed.sender().await.read().await, None, "not from here");
    assert_eq!(feed.states().await.len(), 0);
}

/// v2 B35, v2 S55: a batch is answered by a batch, in which each message has its answer.
///
/// Covers: security A7.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_as_one() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    let batch = |count: u32| {
        format!(
            "FHS|^~\\&|LAB|STM\rBHS|^~\\&|LAB|STM|KILN|H|2026||||B7\r{}{}{}BTS|{count}\rFTS|1\r",
            adt("A01", &format!("{count}a"), "1"),
            adt("Z02", &format!("{count}b"), "2"),
            adt("A01", &format!("{count}c"), "3")
        )
    };
    let answer = sender.send(&batch(3)).await;
    let text = str::from_utf8(&answer).unwrap();
    let codes: Vec<_> = text.split("\rMSA|").skip(1).map(|rest| &rest[..2]).collect();
    assert_eq!(codes, ["AA", "AE", "AA"]);
    assert!(text.starts_with("BHS|^~\\&|KILN|H|LAB|STM|"), "{text}");
    assert!(text.ends_with("BTS|3\r"), "{text}");
    let header = text.split('\r').next().unwrap();
    assert_eq!((header.split('|').nth(9), header.split('|').nth(11)), (Some(""), Some("B7")));
    let wrong = sender.send(&batch(4)).await;
    let header = str::from_utf8(&wrong).unwrap().split('\r').next().unwrap();
    assert_eq!(header.split('|').nth(9), Some("Segment sequence error: batch-count"));
    assert_eq!(feed.patients().await, 4);
    // What each message says of itself is on record, longer than the message is kept; a batch of none has a row, too.
    let rows = |of: &str| format!("SELECT count(*) FROM ledger WHERE interaction = 65 AND {of}");
    let said = rows("'message control id 3a, from LAB|STM' = ANY (entities)");
    assert_eq!(feed.server.database.number(&said).await, 1);
    // What was refused has why, beside that it came.
    let refused = "SELECT count(*) FROM ledger r JOIN ledger f ON f.entities = ARRAY['v2/messages/' || r.request_id] \
         WHERE r.interaction = 65 AND 'message control id 3b, from LAB|STM' = ANY (r.entities) \
         AND f.interaction = 92 AND f.outcome = 4 AND f.failure <> ''";
    assert_eq!(feed.server.database.number(refused).await, 1);
    let none = rows("cardinality(entities) = 0");
    assert_eq!(feed.server.database.number(&none).await, 0);
    sender.send("BHS|^~\\&|LAB|STM\rBTS|0\r").await;
    assert_eq!(feed.server.database.number(&none).await, 1);
}
