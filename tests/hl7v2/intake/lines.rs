//! Lines of messages when something goes wrong in them: who is passed over, taken over, or one of many.

use std::time::Duration;

use kiln::audit::hex;
use kiln::hl7v2::frame::framed;

use super::super::feed::{Feed, Setup, adt, value};
use crate::harness::database::connect;

/// How many messages there are of which this holds.
async fn count(feed: &Feed, which: &str) -> i64 {
    let all = "SELECT m.control_id, COALESCE(o.attempts, m.attempts) AS attempts, \
           COALESCE(o.blocked, false) AS blocked, \
           COALESCE(o.state, CASE WHEN o.lease_until IS NOT NULL THEN 'processing' END, m.state) AS state \
         FROM v2_message m LEFT JOIN v2_open o ON o.message_id = m.id";
    let sql = format!("SELECT count(*) FROM ({all}) AS m WHERE {which}");
    feed.server.database.number(&sql).await
}

async fn until(feed: &Feed, which: &str, number: i64) {
    for _ in 0..600 {
        if count(feed, which).await == number {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} messages are {which}, not {number}", count(feed, which).await);
}

/// A message that is blocked by mistake is found behind thousands that are blocked rightly.
///
/// Covers: v2 M11.
#[tokio::test(flavor = "multi_thread")]
async fn a_missed_message_is_freed_behind_many_that_are_held() {
    let mut setup = Setup::default();
    setup.settings.holds_lines = true;
    let feed = Feed::start_with(setup).await;
    let mut sender = feed.sender().await;
    sender.send(&adt("Z02", "held", "1")).await;
    sender.send(&adt("A01", "other", "2")).await;
    // As it stands where the one before ended at the very moment when this one was stored.
    let database = &feed.server.database;
    let text = hex(adt("A01", "missed", "2").as_bytes());
    // Their texts are of a time when none were sealed.
    let waiting = "'state', 'received', 'ack', null, 'ack_code', null, 'processed_at', null, \
                   'attempts', 0, 'raw_key', null";
    database
        .run(&format!(
            "INSERT INTO v2_message \
               SELECT r.* FROM v2_message m CROSS JOIN generate_series(1, 3000) n \
                 CROSS JOIN LATERAL jsonb_populate_record(m, jsonb_build_object({waiting}, \
                   'id', 'f0000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))) r \
                WHERE m.control_id = 'held';\n\
             INSERT INTO v2_message \
               SELECT r.* FROM v2_message m \
                 CROSS JOIN LATERAL jsonb_populate_record(m, jsonb_build_object({waiting}, 'raw', '\\x{text}', \
                   'control_id', 'missed', 'id', 'f0000000-0000-7000-8000-ffffffffffff')) r \
                WHERE m.control_id = 'other';\n\
             BEGIN; \
             INSERT INTO v2_queue SELECT unnest(order_keys), id FROM v2_message \
               WHERE state = 'received' ON CONFLICT DO NOTHING; \
             INSERT INTO v2_open (message_id, site, received_at, order_keys, blocked) \
               SELECT id, site, received_at, order_keys, true FROM v2_message WHERE state = 'received'; \
             COMMIT"
        ))
        .await;
    until(&feed, "control_id = 'missed' AND state = 'processed'", 1).await;
    assert_eq!(count(&feed, "state = 'received' AND blocked").await, 3000, "the others stay held");
    assert_eq!(feed.patients().await, 2);
}

/// Another node takes over what a node is still at: one of them has the effect.
///
/// Covers: v2 M10.
#[tokio::test(flavor = "multi_thread")]
async fn work_whose_lease_was_taken_over_counts_once() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    sender.write(&framed(adt("Z05", "1", "1").as_bytes())).await;
    until(&feed, "state = 'processing'", 1).await;
    // As often as it says that it is at work, until another one has it.
    let over = "UPDATE v2_open SET lease_until = now() - interval '1 second' WHERE attempts = 1";
    while count(&feed, "attempts = 2").await == 0 {
        feed.server.database.run(over).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
    // The first try has ended too, and counts for nothing.
    assert_eq!(feed.states().await, ["processed"]);
    assert_eq!(count(&feed, "attempts = 2").await, 1);
    assert_eq!(feed.patients().await, 1);
    assert_eq!(feed.work.done.lock().unwrap().len(), 1);
}

/// Effects that share a statement: the one that was outrun has none, the others have theirs.
///
/// Covers: v2 M10.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_outrun_does_not_stop_those_that_share_its_statement() {
    let mut setup = Setup::default();
    setup.settings.workers = 8;
    let feed = Feed::start_with(setup).await;
    let lock = connect(&feed.server.database.superuser).await;
    lock.batch_execute("BEGIN; LOCK TABLE v2_effect IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut senders = Vec::new();
    for number in 1..=8 {
        let mut sender = feed.sender().await;
        sender
            .write(&framed(adt("A01", &number.to_string(), &number.to_string()).as_bytes()))
            .await;
        senders.push(sender);
        until(&feed, "state = 'processing'", number).await;
    }
    // The first two hold both lanes; the others wait for a statement together.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let taken = "UPDATE v2_open o SET attempts = o.attempts + 1, lease_until = now() + interval '2 seconds' \
         FROM v2_message m WHERE m.id = o.message_id AND m.control_id = '7'";
    feed.server.database.run(taken).await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    until(&feed, "state = 'processed'", 7).await;
    assert_eq!(count(&feed, "control_id = '7' AND state = 'processing'").await, 1);
    // Whoever had taken it is gone: it is done again, and once.
    for mut sender in senders {
        assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
    }
    assert_eq!(count(&feed, "control_id = '7' AND attempts = 3").await, 1);
    assert_eq!(feed.patients().await, 8);
    assert_eq!(feed.work.done.lock().unwrap().len(), 8);
}
