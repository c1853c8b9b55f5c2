//! Panics around the work on messages: a feed goes on, and nothing is lost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kiln::hl7v2::frame::framed;

use super::super::feed::{Feed, Setup, adt, value};

/// What panics behind the work keeps nobody waiting, and the message is tried again.
///
/// Covers: v2 M8, M9.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_around_which_something_panics_is_tried_again() {
    let mut setup = Setup::default();
    // A seat that is not given back would be missed at once.
    setup.settings.workers = 1;
    let feed = Feed::start_with(setup).await;
    let (mut sender, mut other) = (feed.sender().await, feed.sender().await);
    feed.work.failures.store(1, Ordering::SeqCst);
    sender.write(&framed(adt("Z06", "1", "1").as_bytes())).await;
    assert_eq!(value(&other.send(&adt("A01", "2", "2")).await, "MSA-1"), "AA");
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
    let left = feed.work.failures.load(Ordering::SeqCst);
    assert!(left == 0 && feed.work.clock.has_broken(), "the panic was planted, and came");
    assert_eq!(feed.states().await, ["processed", "processed"]);
    assert_eq!(feed.patients().await, 2);
}

/// One around which something panics again and again becomes a dead letter as others do.
///
/// Covers: v2 M9.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_around_which_something_always_panics_is_a_dead_letter() {
    let feed = Feed::start().await;
    let (mut sender, mut behind) = (feed.sender().await, feed.sender().await);
    let receipt = |message: String| message.replace("|2.5.1\r", "|2.5.1|||AL|NE\r");
    assert_eq!(value(&sender.send(&receipt(adt("Z05", "1", "1"))).await, "MSA-1"), "CA");
    feed.work.failures.store(1, Ordering::SeqCst);
    sender.write(&framed(adt("Z06", "2", "1").as_bytes())).await;
    // It waits for the one before it, and its next try is the last one.
    let tried = "SELECT count(*) FROM v2_open WHERE blocked";
    for _ in 0..200 {
        if feed.server.database.number(tried).await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    feed.server.database.run("UPDATE v2_open SET attempts = 7 WHERE blocked").await;
    let answer = sender.read().await.unwrap();
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AE".into(), "2".into()));
    assert_eq!(value(&answer, "ERR-5.1"), "panic");
    assert_eq!(value(&behind.send(&adt("A01", "3", "1")).await, "MSA-1"), "AA");
    assert_eq!(feed.states().await, ["processed", "failed", "processed"]);
}

/// The task that works on what waits begins again when it panics.
///
/// Covers: v2 M8.
#[tokio::test(flavor = "multi_thread")]
async fn the_task_that_works_begins_again() {
    let feed = Feed::start().await;
    feed.work.clock.breaks(feed.working.id());
    for _ in 0..300 {
        if feed.work.clock.has_broken() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(feed.work.clock.has_broken());
    // Another try is begun by that task alone.
    feed.work.failures.store(1, Ordering::SeqCst);
    let mut sender = feed.sender().await;
    assert_eq!(value(&sender.send(&adt("Z03", "1", "1")).await, "MSA-1"), "AA");
    assert!(!feed.working.is_finished());
    let url = format!("{}/metrics", feed.server.client.root());
    let told = feed.server.client.call("GET", &url).send().await;
    assert!(told.text().contains("kiln_v2_panics_total{task=\"work\""), "{}", told.text());
}
