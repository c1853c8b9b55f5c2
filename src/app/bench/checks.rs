//! *checks*: what it costs a create that the base definitions are checked, not its form alone.
//!
//! The server runs with `validation.create = "off"`: a client may always ask for more, so both are
//! measured on one server, on the same data and in turn. Before that, a resource that only the base
//! definitions refuse is sent both ways, so that nothing is compared with itself.

use std::time::{Duration, Instant};

use super::audit::cost::Sums;
use super::audit::{Turns, in_turn};
use super::connection::Connection;
use super::linked::{TYPES, bodies, linked_sets};
use super::load::{Interaction, Measured, Notes, measure};
use super::target::Target;
use super::{Bench, BenchError};

/// Different sets of nine.
const SETS: usize = 8;
/// Times that each is measured: many short ones, so that what else the machine does hits both.
const ROUNDS: usize = 3;
/// What has to be left of the throughput at eight clients.
const LEFT: f64 = 0.9;
/// Sound in form; no value set has such a gender.
const ODD: &[u8] = br#"{"resourceType":"Patient","gender":"robot"}"#;

/// A body and where it goes.
type Post = (String, String);

pub(super) async fn run(bench: &mut Bench) -> Result<(), BenchError> {
    let plain = bench.target.clone();
    let targets = [plain.with("Prefer: validation=base"), plain];
    look(&targets).await?;
    let sets = linked_sets(bench.args.seed, SETS);
    let of_set = |set| TYPES.iter().map(|of| format!("/{of}")).zip(bodies(set));
    let posts: Vec<Post> = sets.iter().flat_map(of_set).collect();
    let size = posts.iter().map(|(_, body)| body.len()).sum::<usize>() / posts.len().max(1);
    bench.report.note(format!("bodies have {size} bytes on average"));
    let turns =
        Turns { targets: &targets, names: ["base definitions", "form alone"], rounds: ROUNDS };
    for count in bench.clients.clone() {
        let work = async |bench: &Bench| creates(bench, &posts, count).await;
        let rounds = in_turn(bench, &turns, ("create", count), work).await;
        let [base, form] = Sums::over(&rounds);
        let left = base.per_second() / form.per_second().max(0.001);
        let mark = if left < LEFT && count == 8 { " !" } else { "" };
        bench.report.note(format!(
            "{count} clients: with base definitions {left:.3} of the creates of form alone \
             (at 8 clients at least {LEFT}){mark}"
        ));
    }
    Ok(())
}

/// Makes sure that one way checks more than the other.
async fn look(targets: &[Target; 2]) -> Result<(), BenchError> {
    for (target, expected) in targets.iter().zip([422, 201]) {
        let mut connection = Connection::new(target);
        let answer = connection.send("POST", "/Patient", Some(ODD)).await;
        let answer = answer.map_err(BenchError::io(target.address.clone()))?;
        if answer.status != expected {
            return Err(BenchError::Arguments(format!(
                "a create that breaks a binding has to be {expected} here, as by a server with \
                 validation.create = \"off\", and is {}",
                answer.describe()
            )));
        }
    }
    Ok(())
}

/// What as many clients as `count` create until the time is up.
async fn creates(bench: &Bench, posts: &[Post], count: usize) -> Measured {
    let end = Instant::now() + Duration::from_secs(bench.args.seconds.max(1));
    let clients = (0..count).map(|at| (at, Connection::new(&bench.target))).collect();
    let client = async |(at, mut connection): (usize, Connection)| {
        let (mut notes, mut number) = (Notes::default(), at);
        while Instant::now() < end {
            let (path, body) = &posts[number % posts.len()];
            number += 1;
            let started = Instant::now();
            let answer = connection.send("POST", path, Some(body.as_bytes())).await;
            notes.note(Interaction::Create, started, &answer);
        }
        ((at, connection), notes)
    };
    measure(&bench.meter, clients, client).await.0
}
