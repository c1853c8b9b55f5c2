//! Speed of FHIRPath: every search expression of R4 that applies, over resources.
//!
//! `cargo bench --bench fhirpath`. The resources are Synthea's where the shared folder is at hand
//! (`KILN_SHARED` while it is built, or `../shared`), else demo data. One thread; what counts is elements, that is
//! resources, a second.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Read;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::read::GzDecoder;
use kiln::app::demo::Generator;
use kiln::fhir::ResourceType;
use kiln::fhir::json::{Value, parse};
use kiln::fhirpath::{Environment, Expression};
use kiln::spec::Spec;

const PATIENTS: usize = 10;

/// Bundles with the data of some patients.
fn bundles() -> Vec<Value<'static>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");
    let folder = PathBuf::from(option_env!("KILN_SHARED").unwrap_or(beside));
    let Ok(file) = std::fs::File::open(folder.join("suites/synthea-r4-100-patients.tar.gz")) else {
        println!("Synthea's patients are not there (set KILN_SHARED): demo data instead");
        return Generator::new(1).bundles(PATIENTS as u64).map(|bundle| bundle.value).collect();
    };
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let entries = archive.entries().expect("an archive");
    let texts = entries.filter_map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a file");
        entry.header().entry_type().is_file().then_some(bytes)
    });
    let values = texts.filter_map(|text| parse(&text).ok().map(Value::into_owned));
    values.take(PATIENTS).collect()
}

/// The search expressions of each resource type, parsed.
fn expressions(spec: &Spec) -> HashMap<&'static str, Vec<Expression>> {
    let of = |resource_type| {
        let parameters = spec.search_parameters.of(resource_type);
        let texts = parameters.filter_map(|parameter| parameter.expression.as_deref());
        texts.map(|text| Expression::parse(text).expect(text)).collect()
    };
    ResourceType::all().map(|it| (it.as_str(), of(it))).collect()
}

fn search_expressions(criterion: &mut Criterion) {
    let spec = Spec::r4().expect("the embedded pack");
    let expressions = expressions(&spec);
    let bundles = bundles();
    let entries = bundles.iter().flat_map(|bundle| bundle.items_at("entry"));
    let resources: Vec<_> = entries.filter_map(|entry| entry.get("resource")).collect();
    let mut group = criterion.benchmark_group("fhirpath");
    group.throughput(Throughput::Elements(resources.len() as u64));
    group.bench_function("search expressions", |bencher| {
        bencher.iter(|| {
            for resource in &resources {
                let environment = Environment::new(resource, &spec.schema);
                let name = resource.str_at("resourceType").unwrap_or_default();
                for expression in &expressions[name] {
                    let found = expression.evaluate(&environment);
                    assert!(black_box(found).is_ok(), "{}", expression.text());
                }
            }
        });
    });
    group.finish();
}

criterion_group!(benches, search_expressions);
criterion_main!(benches);
