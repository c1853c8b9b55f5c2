//! *audit*: what the ledger costs, and what it holds.
//!
//! Beside the server stands one without a ledger, which only a build with the feature `bench-without-ledger`
//! can be (`kiln serve --without-ledger`), on a database of its own with the same data; both are asked in
//! turn, and one client is held to the time of a flush to the disk, which is measured in `--database`. There the
//! ledger of the first is then filled with copies of its own rows, at other times and of many users, and its
//! events are compared with its seal as `kiln audit verify` does, searched for as a client does, and asked for as
//! `kiln audit who` does, in the database that the settings name. `--only` names some of cost, seal, search and who.

pub(super) mod cost;
mod flush;
mod held;
mod who;

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::load::{Interaction, Measured, Notes, measure, scattered};
use super::process::Meter;
use super::target::Target;
use super::{Bench, BenchError, Only, Origin, read};
use crate::config::{Config, ReadAudit};
use cost::{Budget, Round, Sums, tell};

/// A load that both servers can bear.
const PACE: u64 = 1_000;
/// Its parts: what needs `--without`, and what needs `--database`.
const COST: &str = "cost";
const HELD: [&str; 3] = [held::SEAL, held::SEARCH, held::WHO];
/// Times that each is measured: the order changes, so that what changes meanwhile hits both.
const ROUNDS: usize = 5;

pub(super) async fn run(bench: &mut Bench, settings: (&Config, &Origin)) -> Result<(), BenchError> {
    let only = asked(bench)?;
    let with = bench.target.clone();
    let (paths, bodies) = read::load(bench).await?;
    let waits = waits(settings.0.audit.reads);
    bench.report.note(format!(
        "measured with {waits}, as the settings of this command say: the server does not tell, and must have the same"
    ));
    let without = bench.args.without.clone().filter(|_| only.wants(COST));
    if let Some(without) = without {
        let without = Target::parse(&without, &bench.args.header).map_err(BenchError::Arguments)?;
        bench.target = without.clone();
        read::load(bench).await?;
        let targets = [with.clone(), without];
        let clients = bench.clients.clone();
        let flush = if clients.contains(&1) { flush::measure(bench).await? } else { None };
        for count in clients {
            let most = Budget::of_reads(count, flush);
            // What the many rows of reads leave to be done behind (VACUUM, ANALYZE) is not the writes'.
            writes(bench, &targets, &bodies, (count, Budget::of_writes(count, flush))).await;
            reads(bench, &targets, &paths, (count, most, waits)).await?;
        }
        paced(bench, &targets, &paths, waits).await;
        bench.target = with;
    } else if only.wants(COST) {
        bench.report.note("no --without: what the ledger costs was not measured");
    }
    if bench.floor.is_some() && HELD.iter().any(|name| only.wants(name)) {
        Box::pin(held::run(bench, &paths, &only, settings)).await?;
    }
    Ok(())
}

/// When reads are answered, as figures are told by it.
fn waits(reads: ReadAudit) -> &'static str {
    match reads {
        ReadAudit::Committed => "audit.reads=committed",
        ReadAudit::Flushed => "audit.reads=flushed",
    }
}

/// The parts that are asked for, before anything is loaded for them.
fn asked(bench: &Bench) -> Result<Only, BenchError> {
    let known: Vec<&str> = [COST].into_iter().chain(HELD).collect();
    let only = Only::of(&bench.args.only, &known)?;
    let lacks =
        |name: &str, option| Err(BenchError::Arguments(format!("--only {name} needs {option}")));
    if only.names(COST) && bench.args.without.is_none() {
        return lacks(COST, "--without");
    }
    match HELD.into_iter().find(|name| only.names(name)) {
        Some(name) if bench.floor.is_none() => lacks(name, "--database"),
        _ => Ok(only),
    }
}

/// Two ways to be served that are measured in turn.
pub(super) struct Turns<'t> {
    pub(super) targets: &'t [Target; 2],
    pub(super) names: [&'static str; 2],
    /// Times that each is measured.
    pub(super) rounds: usize,
}

impl<'t> Turns<'t> {
    /// The server with a ledger and that without.
    fn of_ledger(targets: &'t [Target; 2]) -> Self {
        Self { targets, names: ["with a ledger", "without"], rounds: ROUNDS }
    }
}

/// Measures both in turn.
pub(super) async fn in_turn(
    bench: &mut Bench,
    turns: &Turns<'_>,
    (what, count): (&str, usize),
    work: impl AsyncFn(&Bench) -> Measured,
) -> Vec<Round> {
    let mut rounds = Vec::with_capacity(turns.rounds);
    // Each server's processor time is its own, and that of the PostgreSQL that it started.
    let first = bench.meter.clone();
    let meters = turns.targets.each_ref().map(|target| Meter::of(target.port(), &first));
    for round in 0..turns.rounds {
        let mut sums = Round::default();
        for turn in 0..2 {
            let kind = (round + turn) % 2;
            bench.target = turns.targets[kind].clone();
            bench.meter = meters[kind].clone();
            let measured = work(bench).await;
            let name = format!("{what}, {}", turns.names[kind]);
            bench.report.add(count, &name, None, &measured, None);
            sums[kind] = Sums::of(&measured);
        }
        rounds.push(sums);
    }
    bench.meter = first;
    rounds
}

async fn reads(
    bench: &mut Bench,
    targets: &[Target; 2],
    paths: &[String],
    (count, most, waits): (usize, Budget, &str),
) -> Result<(), BenchError> {
    let work = async |bench: &Bench| scattered(bench, paths, count, Interaction::Read).await;
    let rounds = in_turn(bench, &Turns::of_ledger(targets), ("read", count), work).await;
    if Sums::over(&rounds).iter().any(|sums| sums.requests == 0) {
        return Err(BenchError::Refused("reads".to_owned()));
    }
    tell(&mut bench.report, &format!("read, {waits}"), count, &rounds, most);
    Ok(())
}

async fn writes(
    bench: &mut Bench,
    targets: &[Target; 2],
    bodies: &[String],
    (count, most): (usize, Budget),
) {
    // What refers to nothing that the other server lacks.
    let is_plain = |body: &&String| body.contains(r#""resourceType":"Patient""#);
    let bodies: Vec<&String> = bodies.iter().filter(is_plain).collect();
    if bodies.is_empty() {
        return;
    }
    let work = async |bench: &Bench| {
        let end = Instant::now() + Duration::from_secs(bench.args.seconds.max(1));
        let clients = (0..count).map(|at| (at, Connection::new(&bench.target))).collect();
        let client = async |(at, mut connection): (usize, Connection)| {
            let (mut notes, mut number) = (Notes::default(), at);
            while Instant::now() < end {
                let body = bodies[number % bodies.len()].as_bytes();
                number += count;
                let started = Instant::now();
                let answer = connection.send("POST", "/Patient", Some(body)).await;
                notes.note(Interaction::Create, started, &answer);
            }
            ((at, connection), notes)
        };
        measure(&bench.meter, clients, client).await.0
    };
    let rounds = in_turn(bench, &Turns::of_ledger(targets), ("create", count), work).await;
    tell(&mut bench.report, "create", count, &rounds, most);
}

/// Reads at a pace that is given, by eight clients.
async fn paced(bench: &mut Bench, targets: &[Target; 2], paths: &[String], waits: &str) {
    const CLIENTS: usize = 8;
    let work = async |bench: &Bench| {
        let length = Duration::from_secs(bench.args.seconds.max(1));
        let began = tokio::time::Instant::now();
        let clients = (0..CLIENTS).map(|at| (at, Connection::new(&bench.target))).collect();
        let client = async |(at, mut connection): (usize, Connection)| {
            let (mut notes, mut number) = (Notes::default(), at as u64);
            loop {
                let due = began + Duration::from_micros(number * 1_000_000 / PACE);
                if due >= began + length {
                    return ((at, connection), notes);
                }
                tokio::time::sleep_until(due).await;
                let path = &paths[(number as usize).wrapping_mul(104_729) % paths.len()];
                number += CLIENTS as u64;
                let started = Instant::now();
                let answer = connection.send("GET", path, None).await;
                notes.note(Interaction::Read, started, &answer);
            }
        };
        measure(&bench.meter, clients, client).await.0
    };
    let what = format!("read at {PACE} a second");
    let rounds = in_turn(bench, &Turns::of_ledger(targets), (&what, CLIENTS), work).await;
    tell(&mut bench.report, &format!("{what}, {waits}"), CLIENTS, &rounds, Budget::PACED);
}
