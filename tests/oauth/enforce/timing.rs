//! Time tells no more than answers do.

use std::time::Instant;

use futures_util::future::join_all;

use crate::harness::client::Client;
use crate::harness::grants::Token;
use crate::harness::shared::long;

use super::super::world::{body, filled};

/// Pairs of reads for each round, and as many as a difference shows by that is less than half as large.
const PAIRS: [usize; 2] = [1_000, 5_000];
/// Who reads at a time: an answer that hides something waits for its moment.
const AT_ONCE: usize = 8;
/// Of samples of the same, one in ten thousand is so many deviations apart.
const BOUND: f64 = 4.0;
/// As many rounds of five must say the same: their median then does, whatever the others would say.
///
/// A difference that is there is there in each round, to the same side, so a small one shows in most rounds
/// where it shows at all, and one round that misses it by luck no longer passes the test. Noise does not fail
/// it: within a round both kinds are read in turn, and which comes first changes, so that what slows the
/// machine down slows both. What is left of it pushes a round to either side, and three rounds of five would
/// have to be pushed over the bound to the same side.
const MOST: usize = 3;

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

/// What the median of the rounds says, once it can no longer change: whether they are alike.
fn verdict(told: &[f64]) -> Option<bool> {
    let many = |of: &dyn Fn(f64) -> bool| told.iter().filter(|apart| of(**apart)).count() >= MOST;
    if many(&|apart| apart >= BOUND) || many(&|apart| apart <= -BOUND) {
        return Some(false);
    }
    let within = many(&|apart| apart.abs() < BOUND);
    // Over the bound to both sides, and within it: the one in the middle is within.
    (within || told.len() >= 2 * MOST - 1).then_some(true)
}

/// The times of reads in turn: of what is hidden, and of what is not there.
async fn measured(client: &Client, paths: [&str; 2], pairs: usize) -> [Vec<u128>; 2] {
    let reader = async || {
        let mut times = [Vec::new(), Vec::new()];
        for at in 0..pairs / AT_ONCE {
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
    let pairs = PAIRS[usize::from(long())];
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
        let is_alike = loop {
            let times = measured(&client, [hidden, "/Observation/n-lab"], pairs).await;
            told.push(deviations(&times));
            if let Some(is_alike) = verdict(&told) {
                break is_alike;
            }
        };
        println!("{name}: {told:.1?} deviations apart, by {pairs} pairs each");
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

#[test]
fn most_rounds_decide() {
    for (told, expected) in [
        (&[][..], None),
        (&[0.5], None),
        (&[0.5, -1.0], None),
        (&[0.5, -1.0, 2.0], Some(true)),
        (&[9.0, 0.5, -1.0, 9.0], None),
        (&[9.0, 0.5, -1.0, 9.0, 3.9], Some(true)),
        // A small difference that is there each time, but for luck.
        (&[4.3, 3.8, 4.5], None),
        (&[4.3, 3.8, 4.5, 4.1], Some(false)),
        (&[-4.3, 3.8, -4.5, -4.1], Some(false)),
        (&[-4.0, -4.0, -4.0], Some(false)),
        // No steady difference goes both ways.
        (&[9.0, -9.0, 0.0, 9.0, -9.0], Some(true)),
    ] {
        assert_eq!(verdict(told), expected, "{told:?}");
    }
}
