//! Speed of validation by the base definitions and by a profile, in resources.
//!
//! `cargo bench --bench validate`. The documents are those of demo data, the same in every run;
//! `kiln bench validate` measures files.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::app::demo::Generator;
use kiln::fhir::Severity;
use kiln::fhir::json::Value;
use kiln::spec::structure::Library;
use kiln::spec::{R4_PACK, Spec};
use kiln::terminology::Image;
use kiln::validate::profile::{Claim, Options, Validator};

const PATIENTS: u64 = 5;

fn resources(criterion: &mut Criterion) {
    let spec = Spec::r4().expect("the embedded pack");
    let terminology = Image::new(R4_PACK, "").expect("the embedded pack");
    let validator = Validator::new(spec, Arc::new(Library::r4()), Arc::new(terminology));
    let bundles: Vec<Value<'static>> =
        Generator::new(1).bundles(PATIENTS).map(|bundle| bundle.value).collect();
    let resources: Vec<&Value<'static>> = bundles
        .iter()
        .flat_map(|bundle| bundle.items_at("entry"))
        .filter_map(|entry| entry.get("resource"))
        .collect();
    let options =
        Options { claims: &|_| Claim::Ignore, least: Severity::Error, ..Options::default() };
    let vital_signs = ["http://hl7.org/fhir/StructureDefinition/vitalsigns"];
    let mut group = criterion.benchmark_group("validate");
    group.throughput(Throughput::Elements(resources.len() as u64));
    for (name, profiles) in [("base", &[][..]), ("vital signs", &vital_signs[..])] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for resource in &resources {
                    let is_it = resource.str_at("resourceType") == Some("Observation");
                    let profiles = if is_it { profiles } else { &[] };
                    black_box(validator.validate(black_box(resource), profiles, &options));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, resources);
criterion_main!(benches);
