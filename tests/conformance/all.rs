//! Runs every case against a server.
//!
//! `KILN_CASE=text` runs only the cases whose path has the text.

use futures_util::stream::{self, StreamExt};

use super::{case, coverage, run};
use crate::harness::server::TestServer;

/// How many cases run at a time.
const AT_A_TIME: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_or_is_a_known_failure() {
    let known = coverage::known_failures();
    let filter = std::env::var("KILN_CASE").unwrap_or_default();
    let cases = case::all();
    let cases: Vec<_> =
        cases.iter().filter(|case| case.path.to_str().unwrap().contains(&filter)).collect();
    assert!(!cases.is_empty(), "no case has {filter:?} in its path");
    let server = TestServer::start().await;
    let outcomes = stream::iter(cases.iter().enumerate())
        .map(|(number, case)| {
            let client = server.client.clone();
            async move {
                let unique = format!("c{number}");
                let outcome = if case.alone {
                    let own = TestServer::start().await;
                    let outcome = run::run(case, &own.client, &unique).await;
                    own.stop().await;
                    outcome
                } else {
                    run::run(case, &client, &unique).await
                };
                (case.id.clone(), outcome)
            }
        })
        .buffer_unordered(AT_A_TIME)
        .collect::<Vec<_>>()
        .await;
    let mut faults = Vec::new();
    for (id, outcome) in outcomes {
        match (outcome, known.contains_key(&id)) {
            (Err(reason), false) => faults.push(reason),
            (Ok(()), true) => {
                faults.push(format!("{id} holds now: take it off known-failures.toml"));
            }
            _ => {}
        }
    }
    faults.sort();
    let (count, all) = (faults.len(), cases.len());
    assert!(faults.is_empty(), "{count} of {all} cases:\n\n{}", faults.join("\n\n"));
}
