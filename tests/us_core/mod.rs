//! The demo data through the eyes of those who test US Core servers: what the server says of itself,
//! then for each profile search, read, vread, Provenance, validation, must-support, references.
//!
//! What must be supported comes from the snapshots of the published packages.
//!
//! Covers: rest 9.1, rest 9.25, rest 9.26, rest 9.27, rest 9.28, rest 9.29.

mod absent;
mod notes;
mod presence;
mod profile;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use kiln::app::demo::Generator;
use serde_json::Value;

use crate::harness::server::TestServer;
use crate::harness::shared::archive;

use profile::{Profile, slicing_value_sets};
use run::Run;

/// Patients of the default demo data.
const PATIENTS: u64 = 20;

/// The versions of US Core, the one that the data was made for first.
const VERSIONS: &[&str] = &["6.1.0", "3.1.1", "7.0.0"];

/// No child of the general profile of vital signs, whose category it has.
const MEAN: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-average-blood-pressure";

/// Profiles whose resources claim a stricter one, with a code of their category.
const PARENTS: &[(&str, Option<&str>)] =
    &[("us-core-condition", None), ("us-core-vital-signs", Some("vital-signs"))];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_data_passes_for_a_us_core_server() {
    let Some(definitions) = published() else { return };
    // Each claim is enforced, by the newest version.
    let server = TestServer::start_with(&[("validation.profiles", "enforce")]).await;
    for bundle in Generator::new(1).bundles(PATIENTS) {
        server.client.post("/", bundle.to_json()).await.expect(200);
    }
    let mut run = Run::new(server.client.clone());
    run.metadata(&definitions["6.1.0"]).await;
    run.collect().await;
    for version in VERSIONS {
        let codes = run.expand(&definitions[version]).await;
        let profiles: Vec<Profile> =
            definitions[version].iter().map(|it| Profile::new(it, &codes)).collect();
        for profile in &profiles {
            run.profile(version, profile).await;
        }
    }
    run.unknown();
    run.vital_signs();
    run.notes().await;
    let faults = run.faults();
    drop(run);
    server.stop().await;
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The profiles of resources in each version.
fn published() -> Option<BTreeMap<&'static str, Vec<Value>>> {
    let mut found = BTreeMap::new();
    for version in VERSIONS {
        let mut definitions = Vec::new();
        for (name, bytes) in archive(&format!("packages/hl7.fhir.us.core-{version}.tgz"))? {
            if !name.starts_with("package/StructureDefinition-") {
                continue;
            }
            let definition: Value = serde_json::from_slice(&bytes).unwrap();
            if definition["kind"] == "resource" && definition["derivation"] == "constraint" {
                definitions.push(definition);
            }
        }
        assert!(definitions.len() > 20, "{version}: {}", definitions.len());
        found.insert(*version, definitions);
    }
    Some(found)
}

/// The value sets that tell slices apart.
fn value_sets(definitions: &[Value]) -> BTreeSet<String> {
    definitions.iter().flat_map(slicing_value_sets).collect()
}

/// The systems and codes of an expansion.
fn codes_of(expansion: &Value) -> BTreeSet<(String, String)> {
    let contains = expansion["expansion"]["contains"].as_array().into_iter().flatten();
    let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    contains.map(|it| (text(it, "system"), text(it, "code"))).collect()
}
