//! Speed of the JSON and XML readers and writers, in bytes of their own format.
//!
//! `cargo bench --bench codec`. The documents are Bundles of demo data with narratives, the
//! same in every run.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::app::demo::Generator;
use kiln::fhir::codec::xml;
use kiln::fhir::json::{Limits, Value, parse};
use kiln::spec::Spec;

const PATIENTS: u64 = 10;

fn formats(criterion: &mut Criterion) {
    let spec = Spec::r4().expect("the embedded pack");
    let schema = &spec.schema;
    let bundles = Generator::new(1).with_narratives(true).bundles(PATIENTS);
    let values: Vec<Value<'static>> = bundles.map(|bundle| bundle.value).collect();
    let jsons: Vec<Vec<u8>> = values.iter().map(|value| value.to_text().into_bytes()).collect();
    let to_xml = |value: &Value<'_>, out: &mut Vec<u8>| {
        xml::write(value, schema, out, false).expect("demo data has its form");
    };
    let as_xml = |value| {
        let mut out = Vec::new();
        to_xml(value, &mut out);
        out
    };
    let xmls: Vec<Vec<u8>> = values.iter().map(as_xml).collect();
    let size =
        |texts: &[Vec<u8>]| Throughput::Bytes(texts.iter().map(Vec::len).sum::<usize>() as u64);
    let mut out = Vec::new();

    let mut group = criterion.benchmark_group("json");
    group.throughput(size(&jsons));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            for text in &jsons {
                black_box(parse(text).expect("JSON"));
            }
        });
    });
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            for value in &values {
                out.clear();
                value.write(&mut out);
                black_box(&out);
            }
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("xml");
    group.throughput(size(&xmls));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            for text in &xmls {
                black_box(xml::read(text, schema, Limits::default()).expect("XML"));
            }
        });
    });
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            for value in &values {
                out.clear();
                to_xml(value, &mut out);
                black_box(&out);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, formats);
criterion_main!(benches);
