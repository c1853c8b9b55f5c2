//! *read*: resources by id, picked at random among many.

use std::sync::Arc;

use super::connection::Connection;
use super::floor::Statement;
use super::load::{Interaction, scattered};
use super::{Bench, BenchError};
use crate::app::demo::Generator;
use crate::app::progress::Progress;
use crate::fhir::json::Value;

/// Bodies that the floor's table is made of.
const FLOOR_BODIES: usize = 500;

pub(super) async fn run(bench: &mut Bench) -> Result<(), BenchError> {
    let (paths, bodies) = load(bench).await?;
    let size = bodies.iter().map(String::len).sum::<usize>() / bodies.len().max(1);
    bench.report.note(format!("{} resources, {size} bytes on average", paths.len()));
    if let Some(floor) = &bench.floor {
        floor.prepare(&bodies, paths.len()).await?;
    }
    for count in bench.clients.clone() {
        let floor = match &bench.floor {
            Some(floor) => {
                let seconds = bench.args.seconds;
                Some(floor.measure(Statement::Select, &[], paths.len(), count, seconds).await?)
            }
            None => None,
        };
        let measured = scattered(bench, &paths, count, Interaction::Read).await;
        bench.report.add(count, "read", None, &measured, floor);
        if count > 1 && measured.used.own.as_secs_f64() > measured.elapsed.as_secs_f64() * 0.9 {
            bench.report.note(format!("{count} clients: the generator's processor was full"));
        }
    }
    if let Some((now, highest)) = bench.meter.memory() {
        bench.report.note(format!("server memory: {now} MiB, highest {highest} MiB"));
    }
    Ok(())
}

/// Loads demo patients until there are enough resources; their paths, and some bodies.
pub(super) async fn load(bench: &Bench) -> Result<(Arc<Vec<String>>, Vec<String>), BenchError> {
    let mut connection = Connection::new(&bench.target);
    let (mut paths, mut bodies) = (Vec::new(), Vec::new());
    let wanted = bench.args.resources.max(1);
    let mut progress = Progress::new("bench", wanted as u64, false);
    for bundle in Generator::new(bench.args.seed).bundles(u64::MAX) {
        if paths.len() >= wanted {
            break;
        }
        progress.show(paths.len() as u64, &format!("{} resources", paths.len()));
        let answer = connection.send("POST", "", Some(&bundle.to_json())).await;
        let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
        if !answer.is_success() {
            return Err(BenchError::refused(&answer));
        }
        for entry in bundle.value.items_at("entry") {
            let url = entry.get("request").and_then(|request| request.str_at("url"));
            paths.extend(url.map(|url| format!("/{url}")));
            if bodies.len() < FLOOR_BODIES {
                bodies.extend(entry.get("resource").map(Value::to_text));
            }
        }
    }
    progress.finish(&format!("bench: {} resources are loaded", paths.len()));
    Ok((Arc::new(paths), bodies))
}
