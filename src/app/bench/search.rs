//! *search*: every kind of search, beside the least that its answers cost the database.
//!
//! The values asked for are learned from the base, so any server's data will do. Each form of a
//! search is asked once before anything is measured: a search that is refused or finds nothing is
//! counted as failed and not measured, and the bodies found make up the floor.

mod beside;
mod data;
mod floor;
mod kinds;
mod known;
mod mix;
mod query;
mod room;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::figures::{Bound, Figure};
use super::load::{Interaction, Measured, Notes, measure};
use super::{Bench, BenchError, Only};
use crate::fhir::json::{Value, parse};

use floor::{Floors, Least};
use known::{Known, matches, next};
use query::{Expects, Query, total};

/// How far the deep page lies behind the first, in pages.
const DEEP: usize = 200;
/// Bodies of a kind that the floor is made of.
const FLOOR_BODIES: usize = 500;

/// A search that was asked, and what came of it.
struct Asked {
    query: Query,
    notes: Notes,
    /// Resources in an answer, or its total, on average.
    found: f64,
    least: Least,
}

pub(super) async fn run(bench: &mut Bench) -> Result<(), BenchError> {
    data::ensure(bench).await?;
    let known = Known::learn(bench).await?;
    let mut queries = mix::queries(&known);
    let mix: Vec<&str> = queries.iter().map(|query| query.name).collect();
    queries.push(deep(bench).await?);
    queries.extend(kinds::queries(&known));
    queries.extend(mix::without_totals(&queries));
    let known = queries.iter().map(|query| query.name).chain([beside::NAME, room::NAME]);
    let only = Only::of(&bench.args.only, &known.collect::<Vec<_>>())?;
    // What is costly is found among all.
    if !only.wants(beside::NAME) {
        queries.retain(|query| only.names(query.name));
    }
    let mut connection = Connection::new(&bench.target);
    let (mut all, mut bodies) = (Vec::new(), BTreeMap::new());
    for query in queries {
        if query.paths.is_empty() {
            bench.report.note(format!("{}: the base has nothing to ask for", query.name));
            continue;
        }
        all.push(ask(&mut connection, query, &mut bodies).await);
    }
    let measured: Vec<&Asked> = all.iter().filter(|asked| only.wants(asked.query.name)).collect();
    let counted = all.iter().map(|asked| match asked.least {
        Least::Count(number) => number,
        Least::Fetch { .. } => 0,
    });
    let counted = counted.max().unwrap_or(0).max(1);
    let floor = bench.floor.take();
    let outcome = match &floor {
        Some(floor) => match Floors::new(floor, &bodies, counted).await {
            Ok(floors) => measure_all(bench, &measured, Some(floors)).await,
            Err(fault) => Err(fault),
        },
        None => measure_all(bench, &measured, None).await,
    };
    bench.floor = floor;
    outcome?;
    if let Some(floor) = bench.floor.as_ref().filter(|_| only.wants(room::NAME)) {
        let (lines, times) = room::told(floor).await?;
        for line in lines {
            bench.report.note(line);
        }
        if let Some(times) = times {
            let figure = Figure::new(room::WHAT, times, "times", Bound::AtMost(room::MOST));
            bench.report.bind(figure);
        }
    }
    if only.wants(beside::NAME) {
        beside::run(bench, &all, &mix).await;
    }
    Ok(())
}

/// Pages far from the first, found by following the links.
async fn deep(bench: &Bench) -> Result<Query, BenchError> {
    let mut connection = Connection::new(&bench.target);
    let mut paths = vec!["/Observation?_sort=-date&_count=20".to_owned()];
    while paths.len() < DEEP {
        let path = paths.last().map_or("", String::as_str);
        let answer = connection.send("GET", path, None).await;
        let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
        let bundle = parse(answer.body).ok();
        let Some(path) = bundle.and_then(|bundle| next(&bundle, &bench.target)) else { break };
        paths.push(path);
    }
    let first = paths.len().saturating_sub(10).max(1);
    let paths = paths.split_off(first.min(paths.len()));
    Ok(Query { name: "deep page", expects: Expects::Matches, paths })
}

/// Asks each form of a query once; the bodies found go to those of their kind.
async fn ask(
    connection: &mut Connection,
    query: Query,
    bodies: &mut BTreeMap<String, Vec<String>>,
) -> Asked {
    let mut notes = Notes::default();
    let (mut found, mut kind) = (0, None);
    for path in &query.paths {
        let started = Instant::now();
        let answer = connection.send("GET", path, None).await;
        let fault = match &answer {
            Ok(answer) if answer.is_success() => {
                query.expects.fault(answer.body).map(str::to_owned)
            }
            Ok(answer) => Some(answer.describe()),
            Err(fault) => Some(fault.to_string()),
        };
        if let Some(fault) = fault {
            notes.failure(format!("GET {path}: {fault}"));
            continue;
        }
        notes.success(Interaction::Search, started.elapsed());
        let Ok(answer) = answer else { continue };
        if query.expects == Expects::Total {
            found += total(answer.body).unwrap_or(0);
        } else if let Ok(bundle) = parse(answer.body) {
            let resources: Vec<&Value<'_>> = matches(&bundle).collect();
            found += resources.len() as u64;
            keep(query.name, &resources, &mut kind, bodies);
        }
    }
    let answers = notes.count(None);
    let found = if answers == 0 { 0.0 } else { found as f64 / answers as f64 };
    let rounded = found.round() as u64;
    let least = if query.expects == Expects::Total {
        Least::Count(rounded)
    } else {
        Least::Fetch { kind: kind.unwrap_or_default(), bodies: rounded }
    };
    Asked { query, notes, found, least }
}

/// Keeps bodies by type, those of answers with several types by the name of the query.
fn keep(
    name: &str,
    resources: &[&Value<'_>],
    kind: &mut Option<String>,
    bodies: &mut BTreeMap<String, Vec<String>>,
) {
    let Some(first) = resources.first().and_then(|resource| resource.str_at("resourceType")) else {
        return;
    };
    let is_one = resources.iter().all(|it| it.str_at("resourceType") == Some(first));
    let mine = if is_one { first } else { name };
    if kind.as_deref() != Some(name) {
        *kind = Some(mine.to_owned());
    }
    let kept = bodies.entry(mine.to_owned()).or_default();
    let room = FLOOR_BODIES.saturating_sub(kept.len());
    kept.extend(resources.iter().take(room).map(|resource| resource.to_text()));
}

async fn measure_all(
    bench: &mut Bench,
    all: &[&Asked],
    mut floors: Option<Floors<'_>>,
) -> Result<(), BenchError> {
    for count in bench.clients.clone() {
        for Asked { query, notes, found, least } in all {
            let goal = mix::goal(query.name);
            if notes.count(None) == 0 {
                let failed = notes.failed();
                let nothing = Measured::nothing(failed);
                bench.report.add_search(count, query.name, &nothing, (0.0, goal), None);
                continue;
            }
            let timing = match &mut floors {
                Some(floors) => floors.measure(least, count, bench.args.seconds).await?,
                None => None,
            };
            let mut measured = load(bench, query, count).await;
            measured.notes.merge(notes.failed());
            bench.report.add_search(count, query.name, &measured, (*found, goal), timing);
        }
    }
    if let Some((now, highest)) = bench.meter.memory() {
        bench.report.note(format!("server memory: {now} MiB, highest {highest} MiB"));
    }
    Ok(())
}

/// All clients ask the forms of a query in turn until the time is over.
async fn load(bench: &Bench, query: &Query, count: usize) -> Measured {
    let end = Instant::now() + Duration::from_secs(bench.args.seconds.max(1));
    let clients: Vec<(usize, Connection)> =
        (0..count).map(|at| (at, Connection::new(&bench.target))).collect();
    let (measured, _) = measure(&bench.meter, clients, async |(at, mut connection)| {
        let notes = ask_until(end, &mut connection, at, &[query]).await;
        ((at, connection), notes)
    })
    .await;
    measured
}

/// Asks the queries in turn, and the forms of each, from a place on, until the time is over.
async fn ask_until(
    end: Instant,
    connection: &mut Connection,
    from: usize,
    queries: &[&Query],
) -> Notes {
    let mut notes = Notes::default();
    for place in from.. {
        if Instant::now() >= end {
            break;
        }
        let query = queries[place % queries.len()];
        let path = &query.paths[place / queries.len() % query.paths.len()];
        let started = Instant::now();
        let answer = connection.send("GET", path, None).await;
        let fault = match &answer {
            Ok(answer) if answer.is_success() => query.expects.fault(answer.body),
            _ => None,
        };
        match fault {
            Some(fault) => notes.failure(format!("GET {path}: {fault}")),
            None => _ = notes.note(Interaction::Search, started, &answer),
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_several_types_are_kept_under_the_name() {
        let patient = parse(br#"{"resourceType":"Patient"}"#).unwrap();
        let other = parse(br#"{"resourceType":"Group"}"#).unwrap();
        let (mut kind, mut bodies) = (None, BTreeMap::new());
        keep("x", &[&patient], &mut kind, &mut bodies);
        assert_eq!(kind.as_deref(), Some("Patient"));
        keep("x", &[&patient, &other], &mut kind, &mut bodies);
        keep("x", &[&patient], &mut kind, &mut bodies);
        assert_eq!(kind.as_deref(), Some("x"));
        let sizes: Vec<_> = bodies.iter().map(|(kind, kept)| (&**kind, kept.len())).collect();
        assert_eq!(sizes, [("Patient", 2), ("x", 2)]);
    }
}
