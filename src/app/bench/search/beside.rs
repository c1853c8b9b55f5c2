//! Whether one client's costly searches hold back others: the mix of some clients by itself, then
//! beside a client that asks for what took longest, from another address where that can be had. The same
//! with the quick half of the mix alone, whose times those of slow searches do not hide.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use futures_util::future::join;

use super::super::Bench;
use super::super::connection::Connection;
use super::super::load::{Measured, Notes, measure};
use super::super::process::Used;
use super::super::sharing::Sharing;
use super::query::Query;
use super::{Asked, ask_until};

/// Its name for `--only`.
pub(super) const NAME: &str = "beside a costly client";
/// Clients of the mix.
const CLIENTS: usize = 8;
/// Searches that the costly client has.
const COSTLY: usize = 3;
/// How many times as long as alone 99 of a hundred searches may take at most.
const GOAL: f64 = 2.0;
/// What is asked before anything is measured.
const WARM: Duration = Duration::from_secs(1);

/// Measures it with those of the searches that are of the mix and hold.
pub(super) async fn run(bench: &mut Bench, all: &[Asked], mix: &[&str]) {
    let holds = |asked: &&Asked| asked.notes.failures == 0 && asked.notes.count(None) > 0;
    let mix: Vec<&Query> = all
        .iter()
        .filter(holds)
        .filter(|asked| mix.contains(&asked.query.name))
        .map(|asked| &asked.query)
        .collect();
    if mix.is_empty() {
        bench.report.note(format!("{NAME}: the base has nothing to ask for"));
        return;
    }
    let times = again(bench, all.iter().filter(holds)).await;
    let costly = costly(times.clone());
    let of_mix = times.into_iter().filter(|(_, query)| mix.iter().any(|it| it.name == query.name));
    let quick = quick(of_mix.collect());
    for (what, searches) in [("the mix", &mix), ("the quick half of the mix", &quick)] {
        if !searches.is_empty() {
            share(bench, (what, searches), &costly).await;
        }
    }
}

/// Measures some searches alone and beside the costly ones.
async fn share(bench: &mut Bench, (what, searches): (&'static str, &[&Query]), costly: &[&Query]) {
    let seconds = Duration::from_secs(bench.args.seconds.max(1));
    load(bench, searches, &[], WARM).await;
    let (alone, _) = load(bench, searches, &[], seconds).await;
    let (beside, apart) = load(bench, searches, costly, seconds).await;
    let [_, _, alone_p99_ms] = alone.notes.percentiles(None);
    let [_, _, beside_p99_ms] = beside.notes.percentiles(None);
    let report = &mut bench.report;
    report.add(CLIENTS, &format!("{what} alone"), None, &alone, None);
    report.add(CLIENTS, &format!("{what} beside a costly client"), None, &beside, None);
    report.add(1, &format!("the costly client beside {what}"), None, &apart, None);
    report.add_beside(Sharing {
        what,
        clients: CLIENTS,
        costly: costly.iter().map(|query| query.name.to_owned()).collect(),
        is_another_address: address(&bench.target.address).is_some(),
        alone_p99_ms,
        beside_p99_ms,
        failures: beside.notes.failures,
        times: if alone_p99_ms > 0.0 { beside_p99_ms / alone_p99_ms } else { 0.0 },
        goal: GOAL,
    });
}

/// How long each search takes when it is asked once more: the first time, much is read that stays in
/// memory.
async fn again<'a>(
    bench: &Bench,
    all: impl Iterator<Item = &'a Asked>,
) -> Vec<(Duration, &'a Query)> {
    let mut connection = Connection::new(&bench.target);
    let mut times = Vec::new();
    for Asked { query, .. } in all {
        let Some(path) = query.paths.first() else { continue };
        let started = Instant::now();
        if connection.send("GET", path, None).await.is_ok() {
            times.push((started.elapsed(), query));
        }
    }
    times
}

/// The searches that take longest.
fn costly(mut all: Vec<(Duration, &Query)>) -> Vec<&Query> {
    all.sort_by_key(|(took, _)| Reverse(*took));
    all.into_iter().take(COSTLY).map(|(_, query)| query).collect()
}

/// The half of the searches that takes less time.
fn quick(mut all: Vec<(Duration, &Query)>) -> Vec<&Query> {
    all.sort_by_key(|(took, _)| *took);
    let half = all.len().div_ceil(2);
    all.into_iter().take(half).map(|(_, query)| query).collect()
}

/// All clients of the mix, and one that asks for `costly` where there is such, for a time.
async fn load(
    bench: &Bench,
    mix: &[&Query],
    costly: &[&Query],
    time: Duration,
) -> (Measured, Measured) {
    let end = Instant::now() + time;
    let clients: Vec<(usize, Connection)> =
        (0..CLIENTS).map(|at| (at, Connection::new(&bench.target))).collect();
    let others = measure(&bench.meter, clients, async |(at, mut connection)| {
        // Each begins at another search.
        let notes = ask_until(end, &mut connection, at * mix.len() / CLIENTS, mix).await;
        ((at, connection), notes)
    });
    let apart = async {
        let began = Instant::now();
        let mut connection = Connection::new(&bench.target);
        connection.set_source(address(&bench.target.address));
        let notes = match costly {
            [] => Notes::default(),
            costly => ask_until(end, &mut connection, 0, costly).await,
        };
        Measured { notes, elapsed: began.elapsed(), used: Used::default() }
    };
    let ((measured, _), apart) = join(others, apart).await;
    (measured, apart)
}

/// Another address of this machine, for a server on it.
fn address(target: &str) -> Option<IpAddr> {
    target.starts_with("127.").then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costly_client_asks_for_what_took_longest_and_half_of_the_mix_is_quick() {
        let queries = ["a", "b", "c", "d"].map(|name| Query::one(name, "/x"));
        let times = [3, 9, 1, 5].map(Duration::from_millis);
        let all = times.into_iter().zip(&queries).collect();
        let found: Vec<&str> = costly(all).iter().map(|query| query.name).collect();
        assert_eq!(found, ["b", "d", "a"]);
        let all = times.into_iter().zip(&queries).collect();
        let found: Vec<&str> = quick(all).iter().map(|query| query.name).collect();
        assert_eq!(found, ["c", "a"]);
    }

    #[test]
    fn another_address_is_taken_on_this_machine_alone() {
        assert_eq!(address("127.0.0.1:8080"), "127.0.0.2".parse().ok());
        assert_eq!(address("server:8080"), None);
    }
}
