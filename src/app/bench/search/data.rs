//! What there is to search: loaded when the base has nothing.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::super::connection::Connection;
use super::super::{Bench, BenchError};
use super::query::total;
use crate::app::demo::{Generator, Part};
use crate::app::import::{self, Away, Failure, Loaded, Options, Sink, Unit};

/// Clients that load.
const LOADERS: usize = 4;
/// Resources of each kind that demo data lacks.
const EXTRA: usize = 100;

/// Loads data unless there are patients: what neither files nor demo data have, the files named,
/// and demo data until there is enough.
///
/// # Errors
/// [`BenchError`] when the base does not answer or refuses the data.
pub(super) async fn ensure(bench: &Bench) -> Result<(), BenchError> {
    let mut connection = Connection::new(&bench.target);
    let answer = connection.send("GET", "/Patient?_summary=count", None).await;
    let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
    if !answer.is_success() {
        return Err(BenchError::refused(&answer));
    }
    if total(answer.body) != Some(0) {
        return Ok(());
    }
    let mut clients: Vec<Connection> =
        (0..LOADERS).map(|_| Connection::new(&bench.target)).collect();
    post(bench, &mut clients, vec![extras().into_bytes()]).await?;
    if !bench.args.data.is_empty() {
        files(bench).await?;
    }
    let answer = connection.send("GET", "/?_summary=count", None).await;
    let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
    let loaded = total(answer.body).and_then(|loaded| usize::try_from(loaded).ok());
    demo(bench, clients, loaded.unwrap_or(EXTRA)).await
}

/// Demo patients until there are enough resources.
async fn demo(
    bench: &Bench,
    mut clients: Vec<Connection>,
    mut loaded: usize,
) -> Result<(), BenchError> {
    let mut waiting = Vec::new();
    for bundle in Generator::new(bench.args.seed).bundles(u64::MAX) {
        if loaded >= bench.args.resources {
            break;
        }
        loaded += bundle.len();
        waiting.push(bundle.to_json());
        // The practice before its patients.
        if waiting.len() == LOADERS || matches!(bundle.part, Part::Practice(_)) {
            post(bench, &mut clients, std::mem::take(&mut waiting)).await?;
        }
    }
    post(bench, &mut clients, waiting).await
}

/// Posts up to as many Bundles as there are clients, at the same time.
async fn post(
    bench: &Bench,
    clients: &mut [Connection],
    bundles: Vec<Vec<u8>>,
) -> Result<(), BenchError> {
    let sent = clients.iter_mut().zip(&bundles).map(async |(client, bundle)| {
        let answer = client.send("POST", "", Some(bundle)).await;
        let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
        if answer.is_success() { Ok(()) } else { Err(BenchError::refused(&answer)) }
    });
    join_all(sent).await.into_iter().collect()
}

/// Posts the Bundles of an import.
struct Poster(Vec<Mutex<Connection>>);

impl Sink for Poster {
    async fn load(&self, unit: Unit) -> Result<Loaded, Away> {
        // There is one for each worker, so one is free.
        let free = self.0.iter().find_map(|client| client.try_lock().ok());
        let Some(mut client) = free else {
            let failures = vec![Failure::whole("no client is free")];
            return Ok(Loaded { failures, ..<_>::default() });
        };
        let failure = match client.send("POST", "", Some(&unit.bytes)).await {
            Ok(answer) if answer.is_success() => return Ok(Loaded::default()),
            Ok(answer) => answer.describe(),
            Err(fault) => fault.to_string(),
        };
        Ok(Loaded { failures: vec![Failure::whole(failure)], ..<_>::default() })
    }
}

/// The files named, those that others refer to first.
async fn files(bench: &Bench) -> Result<(), BenchError> {
    let clients = (0..LOADERS).map(|_| Mutex::new(Connection::new(&bench.target))).collect();
    let options = Options {
        paths: bench.args.data.clone(),
        workers: LOADERS,
        is_quiet: true,
        ..Options::default()
    };
    let summary = import::run(&options, Arc::new(Poster(clients))).await?;
    match summary.failures.first() {
        Some(failure) => Err(BenchError::Refused(format!("{}: {}", failure.file, failure.message))),
        None => Ok(()),
    }
}

/// A transaction of what demo data has no kind of: numbers, URLs, positions, labels, a list.
fn extras() -> String {
    let mut entries = Vec::new();
    let mut put = |of: &str, id: &str, rest: &str| {
        entries.push(format!(
            r#"{{"resource":{{"resourceType":"{of}","id":"{id}",{rest}}},"request":{{"method":"PUT","url":"{of}/{id}"}}}}"#
        ));
    };
    put("Patient", "kiln-bench", r#""active":true"#);
    let list = r#""status":"current","mode":"working","entry":[{"item":{"reference":"Patient/kiln-bench"}}]"#;
    put("List", "kiln-bench", list);
    for at in 0..EXTRA {
        let id = format!("kiln-bench-{at}");
        let risk = format!(
            r#""meta":{{"source":"urn:kiln:bench:{at}","profile":["http://bench.example.org/profile/{part}"],
            "tag":[{{"system":"urn:kiln:bench:tag","code":"{part}"}}],
            "security":[{{"system":"urn:kiln:bench:label","code":"{part}"}}]}},
            "text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">estimate {at}</div>"}},
            "status":"final","subject":{{"reference":"Patient/kiln-bench"}},
            "prediction":[{{"probabilityDecimal":0.{at:03}}}]"#,
            part = at % 10,
        );
        put("RiskAssessment", &id, &risk);
        let group = at % 10;
        let set =
            format!(r#""status":"active","url":"http://bench.example.org/{group}/ValueSet/{at}""#);
        put("ValueSet", &id, &set);
        let place = format!(
            r#""name":"Place {at}","position":{{"latitude":{}.5,"longitude":-{}.25}}"#,
            30 + at % 20,
            70 + at % 30
        );
        put("Location", &id, &place);
    }
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#, entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    #[test]
    fn what_demo_data_lacks_is_a_transaction() {
        let text = extras();
        let bundle = parse(text.as_bytes()).unwrap();
        let entries = bundle.items_at("entry");
        assert_eq!(entries.len(), 2 + 3 * EXTRA);
        for entry in entries {
            let resource = entry.get("resource").unwrap();
            let of = resource.str_at("resourceType").unwrap();
            let url = format!("{of}/{}", resource.str_at("id").unwrap());
            assert_eq!(entry.get("request").unwrap().str_at("url"), Some(&*url));
        }
    }
}
