//! What the metrics of a server tell of its messages.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::harness::process::Process;
use crate::hl7v2::carry::with_feed;
use crate::hl7v2::feed::{Sender, adt, value};

/// The value of a metric.
async fn gauge(process: &Process, name: &str) -> Option<f64> {
    let url = format!("{}/metrics", process.client.root());
    let told = process.client.call("GET", &url).send().await.text();
    told.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Waits until a metric is at least this; its value then.
async fn until(process: &Process, name: &str, least: f64) -> f64 {
    let mut seen = None;
    for _ in 0..300 {
        seen = gauge(process, name).await;
        if let Some(value) = seen.filter(|value| *value >= least) {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} is {seen:?}");
}

/// v2 M12: how much waits and has failed is told, with whose it is and how old the oldest is. Servers of one process
/// share their metrics, so this one has a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_has_failed_is_counted_with_its_age() {
    const NOBODY: &str = "hl7v2.workers=0";
    let (mut process, address) = with_feed(&[NOBODY]).await;
    let began = Instant::now();
    let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
    for (application, id) in [("LAB", "1"), ("LAB", "2"), ("LAB", "3"), ("XRAY", "4")] {
        let message = adt("A28", id, id).replace("|LAB|", &format!("|{application}|"));
        let message = message.replace("|2.5.1\r", "|2.5.1|||AL|NE\r");
        assert_eq!(value(&sender.send(&message).await, "MSA-1"), "CA");
    }
    assert!((until(&process, "kiln_v2_waiting", 4.0).await - 4.0).abs() < 0.1);
    let of = |name: &str, state: &str, site: &str| {
        format!("kiln_v2_{name}{{state=\"{state}\",site=\"{site}|STM\"}}")
    };
    for (site, count) in [("LAB", 3.0), ("XRAY", 1.0)] {
        let found = until(&process, &of("messages", "received", site), count).await;
        assert!((found - count).abs() < 0.1, "{site}: {found}");
    }
    // It grows with the time that has gone by, and is never more.
    let age = until(&process, &of("oldest_message_age_seconds", "received", "LAB"), 9.0).await;
    assert!(age <= began.elapsed().as_secs_f64() + 1.0, "{age} s after {:?}", began.elapsed());
    drop(sender);
    assert!(process.terminate().0);
    let listen: &'static str = format!("hl7v2.listen={address}").leak();
    process.restart_with(Vec::leak(vec![listen]));
    process.ready(Duration::from_mins(1)).await;
    let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
    for id in ["5", "6"] {
        let message = adt("A28", id, id).replace(&format!("|{id}^^^STM^MR|"), "||");
        assert_eq!(value(&sender.send(&message).await, "MSA-1"), "AE");
    }
    let found = until(&process, &of("messages", "failed", "LAB"), 2.0).await;
    assert!((found - 2.0).abs() < 0.1, "{found}");
    for _ in 0..100 {
        if gauge(&process, "kiln_v2_waiting").await == Some(0.0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("what waited is done and still counted");
}
