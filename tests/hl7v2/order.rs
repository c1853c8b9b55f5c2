//! The order of effects, and that each happens once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use kiln::hl7v2::frame::framed;

use super::feed::{Feed, Setup, adt, value};
use crate::audit::faults::{FREED, FULL};

/// Messages of a patient one after another, those of others side by side.
///
/// Covers: v2 M11.
#[tokio::test(flavor = "multi_thread")]
async fn each_patient_s_messages_keep_their_order() {
    let feed = Feed::start().await;
    let senders = (0..10).map(|patient| {
        let feed = &feed;
        async move {
            let mut sender = feed.sender().await;
            for n in 0..20 {
                let message = adt("A01", &format!("{patient}-{n}"), &patient.to_string());
                let message = message.replace("|2.5.1\r", "|2.5.1|||AL|NE\r");
                sender.write(&framed(message.as_bytes())).await;
                assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "CA");
            }
        }
    });
    join_all(senders).await;
    for _ in 0..1_200 {
        if feed.work.done.lock().unwrap().len() == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let done = feed.work.done.lock().unwrap().clone();
    assert_eq!(done.len(), 200);
    for patient in 0..10 {
        let own = done.iter().filter_map(|id| id.strip_prefix(&format!("{patient}-")));
        let own: Vec<u32> = own.map(|n| n.parse().unwrap()).collect();
        assert!(own.is_sorted(), "{patient}: {own:?}");
    }
    assert_eq!(feed.patients().await, 200);
}

/// v2 M9, v2 B39: a panic leaves a dead letter; what may go better later does.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_is_a_dead_letter_and_is_replayed() {
    let feed = Feed::start().await;
    let client = &feed.server.client;
    let mut sender = feed.sender().await;
    let answer = sender.send(&adt("Z01", "1", "1")).await;
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "ERR-3.1")), ("AE".into(), "207".into()));
    // Another try by itself.
    feed.work.failures.store(1, Ordering::SeqCst);
    assert_eq!(value(&sender.send(&adt("Z03", "2", "1")).await, "MSA-1"), "AA");
    // Mended, and replayed by a person.
    feed.work.failures.store(1, Ordering::SeqCst);
    let message = adt("Z04", "3", "1");
    assert_eq!(value(&sender.send(&message).await, "MSA-1"), "AE");
    assert_eq!(feed.states().await, ["failed", "processed", "failed"]);
    let url = format!("{}/v2/messages/$replay?state=failed", client.root());
    client.call("POST", &url).send().await.expect(202);
    for _ in 0..100 {
        if feed.states().await == ["failed", "processed", "processed"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(feed.states().await, ["failed", "processed", "processed"]);
    // Whoever sends it again hears how it ended.
    assert_eq!(value(&sender.send(&message).await, "MSA-1"), "AA");
    assert_eq!(feed.patients().await, 2);
}

/// v2 S20: a message that failed is tried anew when it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_that_comes_again_is_tried_again() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    feed.work.failures.store(1, Ordering::SeqCst);
    let message = adt("Z04", "1", "1");
    assert_eq!(value(&sender.send(&message).await, "MSA-1"), "AE");
    assert_eq!(value(&sender.send(&message).await, "MSA-1"), "AA");
    assert_eq!(feed.patients().await, 1);
}

/// A strict feed holds what comes after a failed message, until it is set aside.
///
/// Covers: v2 M11.
#[tokio::test(flavor = "multi_thread")]
async fn a_strict_feed_holds_the_line_of_a_failed_message() {
    let mut setup = Setup::default();
    setup.settings.holds_lines = true;
    setup.settings.deadline = Duration::from_secs(1);
    let feed = Feed::start_with(setup).await;
    let client = &feed.server.client;
    let mut sender = feed.sender().await;
    sender.send(&adt("Z02", "1", "1")).await;
    let held = sender.send(&adt("A01", "2", "1")).await;
    assert_eq!((value(&held, "MSA-1"), value(&held, "ERR-3.1")), ("AE".into(), "206".into()));
    // Others go on.
    assert_eq!(value(&sender.send(&adt("A01", "3", "2")).await, "MSA-1"), "AA");
    assert_eq!(feed.states().await, ["failed", "received", "processed"]);
    let list =
        client.call("GET", &format!("{}/v2/messages?state=failed", client.root())).send().await;
    let list = String::from_utf8(list.body.to_vec()).unwrap();
    let id = list.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let discard = format!("{}/v2/messages/{id}/$discard", client.root());
    client.call("POST", &discard).send().await.expect(400);
    // Without its row in the ledger nothing is done.
    let replay = format!("{}/v2/messages/{id}/$replay", client.root());
    feed.server.database.run(FULL).await;
    for url in [&discard, &replay] {
        client.call("POST", url).body("sent twice by mistake").send().await.expect(503);
        let failed = "SELECT count(*) FROM v2_message WHERE state = 'failed' AND reason <> ''";
        assert_eq!(feed.server.database.number(failed).await, 1, "{url}");
    }
    feed.server.database.run(FREED).await;
    client.call("POST", &discard).body("sent twice by mistake").send().await.expect(204);
    for _ in 0..100 {
        if feed.states().await == ["discarded", "processed", "processed"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(feed.states().await, ["discarded", "processed", "processed"]);
    client.call("POST", &discard).body("again").send().await.expect(409);
}

/// v2 B6, v2 M7: what was begun and not ended, because its node died, is done by another, once.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_had_is_taken_over() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    sender.send(&adt("A01", "1", "1")).await;
    // As it stands when a node died between its commit of the message and that of its effect.
    let client = crate::harness::database::connect(&feed.server.database.superuser).await;
    client
        .batch_execute(
            "UPDATE v2_message SET state = 'received', ack = NULL, ack_code = NULL; \
             INSERT INTO v2_open (message_id, site, received_at, order_keys, attempts, lease_until) \
               SELECT id, site, received_at, order_keys, 1, now() - interval '1 second' FROM v2_message; \
             INSERT INTO v2_queue SELECT unnest(order_keys), id FROM v2_message; \
             DELETE FROM v2_effect; DELETE FROM v2_key",
        )
        .await
        .unwrap();
    let answer = sender.send(&adt("A01", "1", "1")).await;
    assert_eq!(value(&answer, "MSA-1"), "AA");
    assert_eq!(feed.patients().await, 2, "the effect was undone by hand, and is done again");
    assert_eq!(feed.states().await[0], "processed");
}

/// A message that could not be read when it came has its turn in the lines of its patients once it can: what came after
/// it waits for it.
///
/// Covers: v2 M11.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_read_later_has_its_turn_among_those_of_its_patient() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    // It takes its time, and has a letter that is none in UTF-8.
    let text = adt("Z05", "1", "77").replace("Muster", "M\u{FC}ller");
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
    sender.write(&framed(&bytes)).await;
    let answer = sender.read().await.unwrap();
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "ERR-3.1")), ("AE".into(), "102".into()));
    drop(sender);
    let mut setup = Setup::default();
    setup.settings.rules.replaces_undecodable = true;
    let feed = feed.again_with(setup).await;
    let (mut first, mut second) = (feed.sender().await, feed.sender().await);
    first.write(&framed(&bytes)).await;
    for _ in 0..100 {
        if feed.server.database.number("SELECT count(*) FROM v2_queue").await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(feed.work.done.lock().unwrap().is_empty(), "it takes seconds");
    let answer = second.send(&adt("A01", "2", "77")).await;
    assert_eq!(value(&answer, "MSA-1"), "AA");
    assert_eq!(*feed.work.done.lock().unwrap(), ["1", "2"]);
    assert_eq!(value(&first.read().await.unwrap(), "MSA-1"), "AA");
    assert_eq!(feed.server.database.number("SELECT count(*) FROM v2_queue").await, 0);
}

/// Where too much waits, nothing more is read until there is room; how much waits is told.
///
/// Covers: v2 M12.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_full_reads_no_more() {
    let mut setup = Setup::default();
    setup.settings.most_waiting = 1;
    setup.settings.workers = 1;
    let feed = Feed::start_with(setup).await;
    let (mut first, mut second) = (feed.sender().await, feed.sender().await);
    let receipt = |message: String| message.replace("|2.5.1\r", "|2.5.1|||AL|NE\r");
    let answer = first.send(&receipt(adt("Z05", "1", "1"))).await;
    assert_eq!(value(&answer, "MSA-1"), "CA");
    // The node counts what waits every second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    second.write(&framed(receipt(adt("A01", "2", "2")).as_bytes())).await;
    assert!(second.is_silent().await, "it is not even stored");
    assert_eq!(feed.states().await.len(), 1);
    assert_eq!(value(&second.read().await.unwrap(), "MSA-1"), "CA");
    first.send(&adt("Z02", "3", "3")).await;
    let url = format!("{}/metrics", feed.server.client.root());
    for _ in 0..40 {
        let told = feed.server.client.call("GET", &url).send().await;
        let has = |part: &str| told.text().contains(part);
        let is_told = has("kiln_v2_waiting ")
            && has("kiln_v2_messages{state=\"failed\",site=\"LAB|STM\"}")
            && has("kiln_v2_oldest_message_age_seconds{state=\"failed\"");
        if is_told {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("the queue is not among the metrics");
}

/// What takes too long is answered so, and goes on: whoever sends it again hears how it ended.
///
/// Covers: v2 M9.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_wait_says_so_and_the_work_goes_on() {
    let mut setup = Setup::default();
    setup.settings.deadline = Duration::from_secs(1);
    let feed = Feed::start_with(setup).await;
    let mut sender = feed.sender().await;
    let message = adt("Z05", "1", "1");
    let told = |answer: &[u8]| (value(answer, "MSA-1"), value(answer, "ERR-3.1"));
    assert_eq!(told(&sender.send(&message).await), ("AE".into(), "206".into()));
    for _ in 0..100 {
        if feed.states().await[0] == "processed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(value(&sender.send(&message).await, "MSA-1"), "AA");
    assert_eq!(feed.patients().await, 1);
}

/// Who stops a feed does not wait for those who wait: what is not read yet is not stored and stays with its sender,
/// what is not begun is answered as what takes too long, and what is at work comes to its end.
///
/// Covers: v2 M12.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_feed_stops_without_waiting_for_room() {
    let mut setup = Setup::default();
    setup.settings.most_waiting = 2;
    setup.settings.workers = 1;
    let mut feed = Feed::start_with(setup).await;
    let (mut first, mut second, mut third) =
        (feed.sender().await, feed.sender().await, feed.sender().await);
    for (sender, event, id, count) in [(&mut first, "Z05", "1", 1), (&mut second, "A01", "2", 2)] {
        sender.write(&framed(adt(event, id, "1").as_bytes())).await;
        for _ in 0..100 {
            if feed.states().await.len() == count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    third.write(&framed(adt("A01", "3", "1").as_bytes())).await;
    assert!(third.is_silent().await, "it is not even stored");
    assert_eq!(feed.states().await.len(), 2);
    feed.stop.send(true).unwrap();
    assert_eq!(third.read().await, None, "neither stored nor answered");
    let answer = second.read().await.unwrap();
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "ERR-3.1")), ("AE".into(), "206".into()));
    assert!(feed.work.done.lock().unwrap().is_empty(), "what is at work goes on for seconds");
    assert_eq!(value(&first.read().await.unwrap(), "MSA-1"), "AA");
    let ended = async { tokio::join!(&mut feed.working, &mut feed.listening) };
    let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
    assert!(ended.is_ok(), "nothing else is waited for");
    assert_eq!(feed.states().await, ["processed", "received"]);
}
