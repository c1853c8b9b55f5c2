//! What clients saw is on record, whatever is killed (A9).
//!
//! Three rounds; fifty with `KILN_TEST_LONG=1`. Where reads do not wait for the disk (`audit.reads`) the last
//! moments of answered ones before a crash of the database may be lost, as the setting says, and nothing else.
//!
//! Covers: security A9, V32.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::client::Client;
use crate::harness::database::connect;
use crate::harness::process::Process;
use crate::harness::shared::long;

const CLIENTS: usize = 6;
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// A request that was answered: its id, the status, and whether it only reads.
type Answered = (String, u16, bool);

/// Asks all the time; what was answered.
async fn ask(client: Client, stop: Arc<AtomicBool>, name: String) -> Vec<Answered> {
    let mut answered = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{name}-{number}");
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        let url = format!("/Patient/{id}");
        for (at, (method, url, body)) in [
            ("PUT", url.as_str(), body.as_str()),
            ("GET", &url, ""),
            ("GET", "/Patient/nobody", ""),
            ("GET", "/Patient?_count=2", ""),
            ("POST", "/Patient", r#"{"resourceType":"Patient"}"#),
            ("POST", "/Patient", r#"{"resourceType":"Patient","nope":1}"#),
            ("GET", "/Patient?birthdate=never", ""),
            ("GET", "/AuditEvent?_count=1", ""),
            ("PUT", &url, "{"),
            ("DELETE", "/AuditEvent/nobody", ""),
            ("DELETE", &url, ""),
        ]
        .into_iter()
        .enumerate()
        {
            let request = format!("{id}-{at}");
            let mut call = client.call(method, url).header("X-Request-Id", &request);
            if !body.is_empty() {
                call = call.json(body.to_owned());
            }
            match call.try_send().await {
                // Nothing was disclosed.
                Ok(answer) if answer.status == 503 => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(answer) => answered.push((request, answer.status, method == "GET")),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        number += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_that_was_given_before_a_kill_is_on_record() {
    let process = Process::start_with(&["audit.reads=flushed"]).await;
    kill(process, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_but_the_last_answered_reads_before_a_kill_are_on_record_by_default() {
    kill(Process::start().await, false).await;
}

/// Kills the server and its database in turn, and holds the record against what was answered.
async fn kill(mut process: Process, is_flushed: bool) {
    let rounds = if long() { 50 } else { 3 };
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let name = format!("k{round}-{number}");
                tokio::spawn(ask(process.client.clone(), stop.clone(), name))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(500 + round * 137 % 900)).await;
        let kills_database = round % 2 == 0;
        if kills_database {
            process.kill_postgres(BACK_WITHIN).await;
        } else {
            process.kill_and_restart();
        }
        process.ready(BACK_WITHIN).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.store(true, Ordering::Relaxed);
        let mut answered = Vec::new();
        for client in clients {
            answered.extend(client.await.unwrap());
        }
        let database = connect(&process.database_url()).await;
        // All of the round in one scan: an index by requests there is none.
        let sql = "SELECT request_id, outcome = 0, count(*) FROM ledger WHERE request_id LIKE $1 GROUP BY 1, 2";
        let rows = database.query(sql, &[&format!("k{round}-%")]).await.unwrap();
        let recorded: HashMap<(String, bool), i64> =
            rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
        for (request, status, is_get) in &answered {
            let rows = recorded.get(&(request.clone(), *status < 400)).copied();
            let may_be_lost = !is_flushed && kills_database && *is_get && *status < 400;
            if may_be_lost && rows.is_none() {
                continue;
            }
            assert_eq!(rows, Some(1), "round {round}: {request} was answered {status}");
        }
        let count = answered.len();
        assert!(count > 20, "round {round}: only {count} answers");
    }
    let verified = process.beside("audit", &["verify", "--quiet"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
