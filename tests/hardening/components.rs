//! The list of what the server is built from.
//!
//! Covers: security H23.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_list_of_components_has_each_crate_with_its_version_hash_and_licence() {
    let maker = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/components");
    let output = Command::new(maker).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&list["bomFormat"], &list["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(list["metadata"]["component"]["name"], "kiln");
    assert_eq!(list["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let components = list["components"].as_array().unwrap();
    let lock = include_str!("../../Cargo.lock");
    let mut names = BTreeSet::new();
    for component in components {
        let text = |name: &str| component[name].as_str().unwrap().to_owned();
        let (name, version) = (text("name"), text("version"));
        assert_eq!(text("purl"), format!("pkg:cargo/{name}@{version}"));
        let locked = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&locked), "{name} {version} is not what is locked");
        let digest = component["hashes"][0]["content"].as_str().unwrap_or_default();
        assert!(digest.len() == 64 && lock.contains(digest), "{name}: {digest}");
        let licence = component["licenses"][0]["expression"].as_str().unwrap_or_default();
        assert!(!licence.is_empty(), "{name} has no licence");
        names.insert(name);
    }
    for name in ["ring", "rustls", "sqlx", "tokio", "tokio-postgres", "hyper"] {
        assert!(names.contains(name), "{name} is not listed");
    }
    // Of tests alone, and so not in the program.
    for name in ["criterion", "proptest", "rcgen"] {
        assert!(!names.contains(name), "{name} is listed");
    }
    let of = |reference: &Value| components.iter().any(|it| it["bom-ref"] == *reference);
    for dependency in list["dependencies"].as_array().unwrap() {
        for needed in dependency["dependsOn"].as_array().unwrap() {
            assert!(of(needed), "{needed} is needed and not listed");
        }
    }
}
