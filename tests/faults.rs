//! SIGKILL of the server and of its PostgreSQL under write load: what was acknowledged is there.
//!
//! Three rounds each; twenty with `KILN_TEST_LONG=1`.
//!
//! Covers: rest 1.43.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

use crate::harness::client::{Answer, Client};
use crate::harness::database::connect;
use crate::harness::process::Process;
use crate::harness::shared::long;

/// Clients that write all the time.
const WRITERS: u64 = 6;
/// Longest time until the server serves again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// What the writers did.
#[derive(Default)]
struct Seen {
    /// Acknowledged versions: type, id, version and request id.
    written: Vec<(String, u64, String)>,
    /// Transactions that were sent: prefix of the three ids, and whether acknowledged.
    transactions: Vec<(String, bool)>,
    /// Answers that are neither success nor 503 with Retry-After.
    wrong: Vec<String>,
    refused: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Postgres,
    Server,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_it_acknowledged() {
    rounds(Victim::Server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres_loses_nothing_that_was_acknowledged() {
    rounds(Victim::Postgres).await;
}

async fn rounds(victim: Victim) {
    let mut process = Process::start().await;
    let count = if long() { 20 } else { 3 };
    let mut refused = 0;
    for round in 0..count {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = start_writers(&process.client, &stop, round);
        let moment = Duration::from_millis(400 + random() % 1200);
        tokio::time::sleep(moment).await;
        match victim {
            Victim::Postgres => process.kill_postgres(BACK_WITHIN).await,
            Victim::Server => process.kill_and_restart(),
        }
        // Of a database, this counts from its return.
        let took = process.ready(BACK_WITHIN).await;
        eprintln!("{victim:?} killed after {moment:?}, served again after {took:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            let seen = writer.await.unwrap();
            assert!(seen.wrong.is_empty(), "round {round}: {:#?}", seen.wrong);
            refused += seen.refused;
            check(&process, &seen).await;
        }
    }
    if victim == Victim::Postgres {
        assert!(refused > 0, "no writer ever saw the database gone");
    }
}

fn start_writers(client: &Client, stop: &Arc<AtomicBool>, round: u64) -> Vec<JoinHandle<Seen>> {
    (0..WRITERS)
        .map(|writer| {
            let (client, stop) = (client.clone(), stop.clone());
            tokio::spawn(async move {
                let mut seen = Seen::default();
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    write(&client, &format!("k{round}-{writer}-{number}"), &mut seen).await;
                    number += 1;
                }
                seen
            })
        })
        .collect()
}

/// One create, one update of it, and one transaction of three.
async fn write(client: &Client, name: &str, seen: &mut Seen) {
    let patient = |id: &str, active: bool| {
        format!(r#"{{"resourceType":"Patient","id":"{id}","active":{active}}}"#)
    };
    for (at, active) in [(0, false), (1, true)] {
        let url = format!("/Patient/{name}");
        let request = format!("{name}-{at}");
        let call = client.call("PUT", &url).header("X-Request-Id", &request);
        let answer = call.json(patient(name, active)).try_send().await;
        let Some(answer) = sort_out(answer, seen).await else { return };
        seen.written.push((format!("Patient/{name}"), answer.version(), request));
    }
    let entries: Vec<_> = (0..3)
        .map(|at| {
            let id = format!("{name}-t{at}");
            let request = format!(r#"{{"method":"PUT","url":"Patient/{id}"}}"#);
            format!(r#"{{"resource":{},"request":{request}}}"#, patient(&id, true))
        })
        .collect();
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
        entries.join(",")
    );
    let request = format!("{name}-t");
    let call = client.call("POST", "/").header("X-Request-Id", &request).json(bundle);
    let answer = call.try_send().await;
    let acknowledged = sort_out(answer, seen).await.is_some();
    seen.transactions.push((name.to_owned(), acknowledged));
}

/// The answer when the write is acknowledged; notes the others.
async fn sort_out(answer: Result<Answer, String>, seen: &mut Seen) -> Option<Answer> {
    match answer {
        Ok(answer) if (200..300).contains(&answer.status) => return Some(answer),
        Ok(answer) if answer.status == 503 && answer.header("Retry-After").is_some() => {
            seen.refused += 1;
        }
        Ok(answer) => seen.wrong.push(format!("{answer:?}")),
        Err(_) => {}
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    None
}

async fn check(process: &Process, seen: &Seen) {
    let database = connect(&process.database_url()).await;
    let ledger = database
        .prepare("SELECT count(*) FROM ledger WHERE request_id = $1 AND outcome = 0")
        .await
        .unwrap();
    for (identity, version, request) in &seen.written {
        let answer = process.client.get(&format!("/{identity}/_history/{version}")).await;
        assert_eq!(answer.status, 200, "{identity} {version} was acknowledged: {answer:?}");
        let rows: i64 = database.query_one(&ledger, &[request]).await.unwrap().get(0);
        assert_eq!(rows, 1, "ledger rows of {request}");
    }
    for (name, acknowledged) in &seen.transactions {
        let mut there = 0;
        for at in 0..3 {
            let answer = process.client.get(&format!("/Patient/{name}-t{at}")).await;
            there += usize::from(answer.status == 200);
        }
        assert!(there == 0 || there == 3, "{name}: {there} of 3 are there");
        assert!(there == 3 || !acknowledged, "{name} was acknowledged and is gone");
        if *acknowledged {
            let request = format!("{name}-t");
            let rows: i64 = database.query_one(&ledger, &[&request]).await.unwrap().get(0);
            assert_eq!(rows, 4, "ledger rows of {request}: the transaction and its entries");
        }
    }
    assert!(!seen.written.is_empty(), "a writer never wrote");
}

/// Some number; the moments of killing need not be repeatable.
fn random() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mixed = u64::from(now.subsec_nanos()) ^ (COUNT.fetch_add(1, Ordering::Relaxed) << 32);
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33
}
