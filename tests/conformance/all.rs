//! Runs every case against a server.
//!
//! `KILN_CASE=text` runs only the cases whose path has the text.

use futures_util::stream::{self, StreamExt};

use super::coverage::KnownFailures;
use super::{case, coverage, run};

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
    let (open, smart) = tokio::join!(run::Place::start(false), run::Place::start(true));
    let outcomes = stream::iter(cases.iter().enumerate())
        .map(|(number, case)| {
            let shared = if case.smart { &smart } else { &open };
            async move {
                let unique = format!("c{number}");
                let outcome = if case.alone {
                    let own = run::Place::start(case.smart).await;
                    let outcome = run::run(case, &own, &unique).await;
                    own.stop().await;
                    outcome
                } else {
                    run::run(case, shared, &unique).await
                };
                (case.id.clone(), outcome)
            }
        })
        .buffer_unordered(AT_A_TIME)
        .collect::<Vec<_>>()
        .await;
    let faults = faults(outcomes, &known);
    let (count, all) = (faults.len(), cases.len());
    assert!(faults.is_empty(), "{count} of {all} cases:\n\n{}", faults.join("\n\n"));
}

/// What fails and is not known to, and what is known to fail and holds.
fn faults(outcomes: Vec<(String, Result<(), String>)>, known: &KnownFailures) -> Vec<String> {
    let mut faults: Vec<_> = outcomes
        .into_iter()
        .filter_map(|(id, outcome)| match (outcome, known.contains_key(&id)) {
            (Err(reason), false) => Some(reason),
            (Ok(()), true) => Some(format!("{id} holds now: take it off known-failures.toml")),
            _ => None,
        })
        .collect();
    faults.sort();
    faults
}

#[test]
fn a_known_failure_may_fail_and_may_not_hold() {
    let known = KnownFailures::from([("k".to_owned(), "why it fails for now".to_owned())]);
    for (id, holds, expected) in
        [("k", true, 1), ("k", false, 0), ("other", true, 0), ("other", false, 1)]
    {
        let outcome = if holds { Ok(()) } else { Err("differs".to_owned()) };
        let found = faults(vec![(id.to_owned(), outcome)], &known);
        assert_eq!(found.len(), expected, "{id} {holds}");
    }
}
