//! Speed of index extraction, in resources.
//!
//! `cargo bench --bench extract`. The resources are those of the Synthea suite beside the project
//! (`KILN_SHARED`, or `../shared`); without it, demo data. At the end the rate is set beside the one that is
//! wanted, with a mark where it is less.

#![expect(clippy::disallowed_methods, reason = "a bench reads where the suite is")]

use std::hint::black_box;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::read::GzDecoder;
use kiln::app::demo::Generator;
use kiln::fhir::ResourceType;
use kiln::fhir::datetime::Zone;
use kiln::fhir::json::{Limits, Value, parse_with};
use kiln::search::extract::{Extractor, Settings};
use kiln::search::values::quantity::Ucum;
use kiln::spec::Spec;
use kiln::spec::codes::Codes;

const LIMITS: Limits = Limits { depth: 400, values: 20_000_000 };
/// Every so many files of the suite: all of them take long to warm up.
const STEP: usize = 10;
/// Resources a second of one core that are wanted.
const WANTED: f64 = 60_000.0;
/// Passes over all resources, of which the one in the middle counts.
const PASSES: usize = 7;

fn bundles() -> Vec<Value<'static>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");
    let folder = std::env::var("KILN_SHARED").unwrap_or_else(|_| beside.to_owned());
    let path = format!("{folder}/suites/synthea-r4-100-patients.tar.gz");
    let Ok(file) = std::fs::File::open(path) else {
        return Generator::new(1).with_narratives(true).bundles(20).map(|it| it.value).collect();
    };
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let entries = archive.entries().expect("an archive").step_by(STEP);
    let bundle = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut bytes = Vec::new();
        entry.expect("an entry").read_to_end(&mut bytes).expect("bytes");
        (!bytes.is_empty()).then(|| parse_with(&bytes, LIMITS).expect("JSON").into_owned())
    };
    entries.filter_map(bundle).collect()
}

fn extract(criterion: &mut Criterion) {
    let spec = Spec::r4().expect("the embedded pack");
    let codes = || Codes::r4().expect("the pack");
    let settings = || Settings {
        base: "http://localhost/fhir".into(),
        units: Box::new(Ucum),
        zone: Zone::UTC,
    };
    let paths = Extractor::new(Arc::clone(&spec), codes(), settings()).expect("compiles");
    let evaluator = Extractor::by_evaluator(spec, codes(), settings()).expect("compiles");
    let bundles = bundles();
    let entries = bundles.iter().flat_map(|bundle| bundle.items_at("entry"));
    let resources: Vec<(ResourceType, &Value<'_>)> = entries
        .filter_map(|entry| {
            let resource = entry.get("resource")?;
            Some((resource.str_at("resourceType")?.parse().ok()?, resource))
        })
        .collect();
    let mut group = criterion.benchmark_group("extract");
    group.throughput(Throughput::Elements(resources.len() as u64));
    for (name, extractor) in [("compiled paths", &paths), ("evaluator", &evaluator)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for &(of, resource) in &resources {
                    black_box(extractor.extract(of, black_box(resource)));
                }
            });
        });
    }
    group.finish();
    let pass = || {
        let began = Instant::now();
        for &(of, resource) in &resources {
            black_box(paths.extract(of, black_box(resource)));
        }
        began.elapsed()
    };
    let mut times: Vec<Duration> = (0..PASSES).map(|_| pass()).collect();
    times.sort_unstable();
    let rate = resources.len() as f64 / times[PASSES / 2].as_secs_f64();
    let mark = if rate < WANTED { " !" } else { "" };
    println!("extract: {rate:.0} resources a second, at least {WANTED:.0} are wanted{mark}");
}

criterion_group!(benches, extract);
criterion_main!(benches);
