//! Time tells no more than answers do.

use std::time::Instant;

use futures_util::future::join_all;

use crate::harness::client::Client;
use crate::harness::grants::Token;

use super::super::world::{body, filled};

/// Pairs of reads for each grant.
const PAIRS: usize = 5_000;
/// Who reads at a time: an answer that hides something waits for its moment.
const AT_ONCE: usize = 8;
/// Of samples of the same, one in ten thousand is so many deviations apart.
const BOUND: f64 = 4.0;
/// How often grants are measured that seem apart: what else a machine does is not there each time, a
/// difference is.
const ROUNDS: usize = 3;

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

/// The times of reads in turn: of what is hidden, and of what is not there.
async fn measured(client: &Client, paths: [&str; 2]) -> [Vec<u128>; 2] {
    let reader = async || {
        let mut times = [Vec::new(), Vec::new()];
        for at in 0..PAIRS / AT_ONCE {
            for turn in 0..2 {
                let kind = (at + turn) % 2;
                let began = Instant::now();
                let answer = client.get(paths[kind]).await;
                let took = began.elapsed().as_nanos();
                assert_eq!(answer.status, 404, "{answer:?}");
                times[kind].push(took);
            }
        }
        times
    };
    let all = join_all((0..AT_ONCE).map(|_| reader())).await;
    let of = |kind: usize| all.iter().flat_map(|times| times[kind].iter().copied()).collect();
    [of(0), of(1)]
}

/// What is out of reach and what is not there take the same time, whatever keeps it out of reach: whose it is,
/// the criteria of a scope, or a consent.
///
/// Covers: security X5.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_takes_as_long_as_what_is_not_there() {
    let server = filled().await;
    let deny = r#""status":"active","scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"text":"privacy"}],"patient":{"reference":"Patient/b"},"policyRule":{"text":"ours"},"provision":{"type":"deny"}"#;
    server.client.put("/Consent/b-no", body("Consent/b-no", deny)).await.expect(201);
    let laboratory = "patient/Observation.rs?category=urn:cat|laboratory";
    let doctor = Token::new(&server, "user/*.rs").user("Practitioner/doc", &["practitioner"]);
    for (name, token, hidden) in [
        ("of another", Token::new(&server, "patient/*.rs").patient("a"), "/Observation/b-lab"),
        ("criteria", Token::new(&server, laboratory).patient("a"), "/Observation/a-vital"),
        ("consent", doctor.with_what_is_stored().await, "/Observation/b-lab"),
    ] {
        let (client, _stop) = token.client().await;
        client.get("/Observation/a-lab").await.expect(200);
        let mut told = Vec::new();
        for _ in 0..ROUNDS {
            let times = measured(&client, [hidden, "/Observation/n-lab"]).await;
            told.push(deviations(&times));
            if told.iter().any(|apart| apart.abs() < BOUND) {
                break;
            }
        }
        println!("{name}: {told:.1?} deviations apart, by {PAIRS} pairs");
        let is_alike = told.iter().any(|apart| apart.abs() < BOUND);
        assert!(is_alike, "{name}: {told:.1?} deviations apart");
    }
    server.stop().await;
}

#[test]
fn a_difference_is_seen() {
    let scattered = |from: u128| (0..400).map(|at| from + at * 7 % 100).collect::<Vec<_>>();
    assert!(deviations(&[scattered(100), scattered(101)]).abs() < 1.0);
    assert!(deviations(&[scattered(120), scattered(100)]) > 4.0);
}
