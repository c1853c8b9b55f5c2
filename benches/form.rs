//! Speed of form validation, in bytes of compact JSON.
//!
//! `cargo bench --bench form`. The documents are transaction Bundles of demo data, with and
//! without narratives, the same in every run.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::app::demo::Generator;
use kiln::fhir::json::Value;
use kiln::spec::Spec;
use kiln::validate::form;

const PATIENTS: u64 = 10;

fn bundles(criterion: &mut Criterion) {
    let spec = Spec::r4().expect("the embedded pack");
    let mut group = criterion.benchmark_group("form");
    for (name, with_narratives) in [("with narratives", true), ("without narratives", false)] {
        let bundles = Generator::new(1).with_narratives(with_narratives).bundles(PATIENTS);
        let values: Vec<Value<'static>> = bundles.map(|bundle| bundle.value).collect();
        let size: usize = values.iter().map(|value| value.to_text().len()).sum();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for value in &values {
                    assert!(form::check(black_box(value), &spec.schema).is_sound());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bundles);
criterion_main!(benches);
