//! What answers cost, spliced from what is kept; and what demo data costs.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::app::demo::Generator;
use kiln::fhir::json::Value;
use kiln::fhir::{Identity, Instant, Operation, ResourceType, Version, VersionId};

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

fn demo(criterion: &mut Criterion) {
    let generator = Generator::new(1);
    let mut group = criterion.benchmark_group("demo");
    group.throughput(Throughput::Elements(20));
    group.bench_function("twenty patients", |bencher| {
        bencher.iter(|| generator.bundles(20).map(|bundle| bundle.to_json().len()).sum::<usize>());
    });
    group.finish();
}

criterion_group!(benches, answer, demo);
criterion_main!(benches);
