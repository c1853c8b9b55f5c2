//! What answers cost, spliced from what is kept; the last look at them, by a part of each document or by
//! the whole; and what demo data costs.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::access::Restriction;
use kiln::access::judge::{Purpose, Subject};
use kiln::access::restriction::{Clause, Limits, Members};
use kiln::app::demo::Generator;
use kiln::fhir::datetime::Zone;
use kiln::fhir::json::{Value, parse};
use kiln::fhir::{Identity, Instant, LogicalId, Operation, ResourceType, Version, VersionId};
use kiln::search::extract::{Extractor, Settings};
use kiln::search::values::quantity::Ucum;
use kiln::spec::Spec;
use kiln::spec::codes::Codes;

fn answer(criterion: &mut Criterion) {
    let bundle = Generator::new(1).patient(0).value;
    let entry = bundle.items_at("entry").get(5).and_then(|entry| entry.get("resource"));
    let text = entry.map(Value::to_text).unwrap_or_default();
    let Ok(id) = "0194f3c2-7c1e-7a55-9f00-000000000001".parse() else { return };
    let version = Version {
        identity: Identity { resource_type: ResourceType::PATIENT, id },
        version: VersionId(1),
        last_updated: Instant::from_micros(1_750_000_000_000_000),
        operation: Operation::Created,
        is_relabeled: false,
        meta: None,
        body: Some(Bytes::from(text)),
    };
    let mut out = Vec::with_capacity(4 << 10);
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Elements(1));
    group.bench_function("Version::write_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&version).write_json(&mut out);
            out.len()
        });
    });
    group.finish();
}

/// The number of every patient.
const PATIENT: i64 = 7;

/// Observations as they are stored.
fn observations() -> Vec<Version> {
    let bundle = Generator::new(1).patient(0).value;
    let entries = bundle.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
    let own = entries.filter(|it| it.str_at("resourceType") == Some("Observation"));
    let stored = own.filter_map(|resource| {
        let mut body = resource.as_object()?.clone();
        let meta = body.remove("meta").map(|meta| meta.to_text().into());
        let id = body.remove("id")?.as_str()?.parse().ok()?;
        body.remove("resourceType");
        // As a transaction leaves it.
        let text = Value::Object(body).to_text().replace("\"urn:uuid:", "\"Patient/");
        Some(Version {
            identity: Identity { resource_type: ResourceType::OBSERVATION, id },
            version: VersionId(1),
            last_updated: Instant::from_micros(1_750_000_000_000_000),
            operation: Operation::Created,
            is_relabeled: false,
            meta,
            body: Some(text.into()),
        })
    });
    stored.collect()
}

fn is_shown(of: &Restriction, version: &Version, value: &Value<'_>, known: &Extractor) -> bool {
    let identity = &version.identity;
    let found = known.spec().patient_compartment(identity.resource_type, value, known.base());
    let patients: Vec<i64> = found.iter().map(|_| PATIENT).collect();
    let hash = |_: &LogicalId| PATIENT;
    let subject =
        Subject { identity, value, patients: &patients, about: &[], hash: &hash, extractor: known };
    of.admits(&subject, Purpose::Shown)
}

fn judge(criterion: &mut Criterion) {
    let spec = Spec::r4().expect("the embedded pack");
    let codes = Codes::r4().expect("the pack");
    let settings =
        Settings { base: "http://localhost/fhir".into(), units: Box::new(Ucum), zone: Zone::UTC };
    let known = Extractor::new(spec, codes, settings).expect("compiles");
    let members = Members::Patients([PATIENT].into());
    let clauses = vec![Clause { members, criteria: Arc::default() }];
    let limits = Limits { clauses, withheld: Vec::new() };
    let of = Restriction::Limited(Arc::new(limits));
    let versions = observations();
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(versions.len() as u64));
    group.bench_function("the whole document", |bencher| {
        bencher.iter(|| {
            let shown = versions.iter().filter(|version| {
                let text = version.to_json();
                let value = parse(&text).expect("JSON");
                is_shown(&of, version, &value, &known)
            });
            assert_eq!(shown.count(), versions.len());
        });
    });
    group.bench_function("what decides", |bencher| {
        bencher.iter(|| {
            let shown = versions.iter().filter(|version| {
                let glimpse = of.glimpse(version.identity.resource_type, &known);
                let seen = glimpse.of(version).expect("a part decides");
                is_shown(&of, version, &seen, &known)
            });
            assert_eq!(shown.count(), versions.len());
        });
    });
    group.finish();
}

fn demo(criterion: &mut Criterion) {
    let generator = Generator::new(1);
    let mut group = criterion.benchmark_group("demo");
    group.throughput(Throughput::Elements(20));
    group.bench_function("twenty patients", |bencher| {
        bencher.iter(|| generator.bundles(20).map(|bundle| bundle.to_json().len()).sum::<usize>());
    });
    group.finish();
}

criterion_group!(benches, answer, judge, demo);
criterion_main!(benches);
