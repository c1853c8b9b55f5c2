//! Time tells no more than answers do.

use std::time::Instant;

use crate::harness::grants::Token;
use crate::harness::shared::long;

use super::super::world::filled;

/// Pairs of reads: fewer in a usual run.
fn pairs() -> usize {
    if long() { 5_000 } else { 400 }
}

/// How many standard deviations the ranks of the first are from where they would be by chance.
fn deviations(times: &[Vec<u128>; 2]) -> f64 {
    let mut all: Vec<(u128, bool)> = Vec::new();
    for (kind, of) in times.iter().enumerate() {
        all.extend(of.iter().map(|time| (*time, kind == 0)));
    }
    all.sort_unstable();
    let (mut sum, n) = (0.0, times[0].len() as f64);
    for (rank, _) in all.iter().enumerate().filter(|(_, (_, is_first))| *is_first) {
        sum += rank as f64 + 1.0;
    }
    let m = times[1].len() as f64;
    (sum - n * (n + m + 1.0) / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

/// What is out of reach and what is not there take the same time, by reads in turn. Of samples of the same,
/// one in ten thousand is four deviations apart.
///
/// Covers in part: security X5.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_takes_as_long_as_what_is_not_there() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let mut times = [Vec::new(), Vec::new()];
    for at in 0..pairs() {
        for turn in 0..2 {
            let kind = (at + turn) % 2;
            let path = ["/Observation/b-lab", "/Observation/n-lab"][kind];
            let began = Instant::now();
            let answer = own.get(path).await;
            let took = began.elapsed().as_nanos();
            assert_eq!(answer.status, 404, "{answer:?}");
            if at >= 20 {
                times[kind].push(took);
            }
        }
    }
    server.stop().await;
    let apart = deviations(&times);
    println!("{} pairs: {apart:.1} deviations apart", pairs());
    assert!(apart.abs() < 4.0, "{apart:.1} deviations apart");
}

#[test]
fn a_difference_is_seen() {
    let scattered = |from: u128| (0..400).map(|at| from + at * 7 % 100).collect::<Vec<_>>();
    assert!(deviations(&[scattered(100), scattered(101)]).abs() < 1.0);
    assert!(deviations(&[scattered(120), scattered(100)]) > 4.0);
}
