//! *import*: Bundles posted by several clients until all are in.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::connection::{Answer, Connection};
use super::floor::{BULK, Statement};
use super::load::{Interaction, Notes, measure};
use super::{Bench, BenchError};
use crate::app::demo::Generator;
use crate::app::import::{self, Away, Loaded, Options, Sink, Unit};
use crate::fhir::json::{Value, parse};

use bytes::Bytes;

/// Bodies sampled for the floor: as many as its bulks have.
const SAMPLE: usize = 8 * BULK;

pub(super) async fn run(bench: &mut Bench) -> Result<(), BenchError> {
    let given = if bench.args.data.is_empty() { None } else { Some(gather(bench).await?) };
    for (turn, count) in bench.clients.clone().into_iter().enumerate() {
        let bundles = match &given {
            Some(bundles) => bundles.clone(),
            None => demo(bench, turn as u64).await?,
        };
        let floor = match &bench.floor {
            Some(floor) => {
                let bodies = sample(&bundles);
                floor.prepare(&bodies, 1).await?;
                let seconds = bench.args.seconds;
                let rate = floor.measure(Statement::InsertBulk, &bodies, 1, count, seconds).await?;
                Some(rate * BULK as f64)
            }
            None => None,
        };
        let next = Cell::new(0);
        let entries: Vec<usize> = bundles.iter().map(entry_count).collect();
        let failed = RefCell::new(Vec::new());
        let clients: Vec<Connection> = (0..count).map(|_| Connection::new(&bench.target)).collect();
        let (measured, _) = measure(&bench.meter, clients, async |mut connection| {
            let mut notes = Notes::default();
            loop {
                let at = next.get();
                let Some(bundle) = bundles.get(at) else { return (connection, notes) };
                next.set(at + 1);
                let started = Instant::now();
                let answer = connection.send("POST", "", Some(bundle)).await;
                if notes.note(Interaction::Transaction, started, &answer) {
                    let refused = answer.map_or(0, |answer| refused(&answer));
                    notes.resources += entries[at].saturating_sub(refused) as u64;
                } else {
                    failed.borrow_mut().push(at);
                }
            }
        })
        .await;
        bench.report.add_import(count, &measured, floor);
        bench.report.add(count, "  its Bundles", Some(Interaction::Transaction), &measured, None);
        if let Some((now, highest)) = bench.meter.memory() {
            let note = format!("{count} clients: server memory {now} MiB, highest {highest} MiB");
            bench.report.note(note);
        }
        let failed = failed.borrow();
        if !failed.is_empty() {
            bench.report.note(format!("{count} clients: {} Bundles were refused", failed.len()));
        }
    }
    Ok(())
}

/// Demo Bundles that no other turn loads; the practices go in at once, unmeasured.
async fn demo(bench: &Bench, turn: u64) -> Result<Vec<Bytes>, BenchError> {
    let generator = Generator::new(bench.args.seed.wrapping_add(turn));
    let mut connection = Connection::new(&bench.target);
    let mut bundles = Vec::new();
    for bundle in generator.bundles(bench.args.patients) {
        let text = bundle.to_json();
        if matches!(bundle.part, crate::app::demo::Part::Practice(_)) {
            let answer = connection.send("POST", "", Some(&text)).await;
            let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
            if !answer.is_success() {
                return Err(BenchError::refused(&answer));
            }
        } else {
            bundles.push(Bytes::from(text));
        }
    }
    Ok(bundles)
}

/// Keeps the Bundles of an import in memory.
#[derive(Default)]
struct Shelf(Mutex<Vec<Bytes>>);

impl Sink for Shelf {
    async fn load(&self, unit: Unit) -> Result<Loaded, Away> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(unit.bytes);
        Ok(Loaded::default())
    }
}

/// All Bundles of the files named, unpacked beforehand so that it is not measured.
async fn gather(bench: &Bench) -> Result<Vec<Bytes>, BenchError> {
    let shelf = Arc::new(Shelf::default());
    let options = Options {
        paths: bench.args.data.clone(),
        workers: 1,
        is_quiet: true,
        ..Options::default()
    };
    let summary = import::run(&options, Arc::clone(&shelf)).await?;
    if let Some(failure) = summary.failures.first() {
        return Err(BenchError::Refused(format!("{}: {}", failure.file, failure.message)));
    }
    let bundles = std::mem::take(&mut *shelf.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(bundles)
}

fn entry_count(bundle: &Bytes) -> usize {
    parse(bundle).map_or(0, |bundle| bundle.items_at("entry").len())
}

/// Entries of a batch that the server did not take; a transaction has none.
fn refused(answer: &Answer<'_>) -> usize {
    let Ok(bundle) = parse(answer.body) else { return 0 };
    let is_refused = |entry: &&Value<'_>| {
        let status = entry.get("response").and_then(|response| response.str_at("status"));
        status.is_some_and(|status| !status.starts_with('2'))
    };
    bundle.items_at("entry").iter().filter(is_refused).count()
}

/// Bodies from all over the data.
fn sample(bundles: &[Bytes]) -> Vec<String> {
    let total: usize = bundles.iter().map(entry_count).sum();
    let step = (total / SAMPLE).max(1);
    let mut at = 0_usize;
    let mut bodies = Vec::with_capacity(SAMPLE.min(total));
    for bundle in bundles {
        let Ok(bundle) = parse(bundle) else { continue };
        for entry in bundle.items_at("entry") {
            at += 1;
            if at.is_multiple_of(step) && bodies.len() < SAMPLE {
                bodies.extend(entry.get("resource").map(Value::to_text));
            }
        }
    }
    bodies
}
