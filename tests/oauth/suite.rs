//! Our own suite (`kiln conformance smart`) against the server that it was written beside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use kiln::clock::SystemIds;
use kiln::fhir::Instant;
use kiln::oauth::client::{AppType, Client as App, ClientKind, with_secret};
use kiln::oauth::secret::{self, Fresh};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::browser::{PASSWORD, REDIRECT, SCOPES, app, register, server_with, store, user};
use crate::hardening::transport::Files;
use crate::harness::database::temporary;
use crate::harness::process::kiln_with;
use crate::harness::server::TestServer;

/// Categories that granular scopes tell apart, as (type, system, code).
const CATEGORIES: &[(&str, &str, &str)] = &[
    (
        "Condition",
        "http://terminology.hl7.org/CodeSystem/condition-category",
        "encounter-diagnosis",
    ),
    ("Condition", "http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item"),
    ("Condition", "http://hl7.org/fhir/us/core/CodeSystem/condition-category", "health-concern"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "laboratory"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs"),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", "survey"),
    ("Observation", "http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "sdoh"),
];

/// The patients of the group that is exported.
const MEMBERS: [&str; 2] = ["p1", "p2"];

/// Two patients, each with a resource of each category.
fn records() -> Vec<String> {
    let mut all = Vec::new();
    for patient in ["ada", "ben"] {
        let subject = json!({ "reference": format!("Patient/{patient}") });
        all.push(
            json!({ "resourceType": "Patient", "id": patient, "name": [{ "family": patient }] }),
        );
        for (of, system, code) in CATEGORIES {
            let mut resource = json!({
                "resourceType": of, "id": format!("{patient}-{code}"), "subject": subject,
                "category": [{ "coding": [{ "system": system, "code": code }] }],
                "code": { "text": code },
            });
            if *of == "Observation" {
                resource["status"] = json!("final");
            }
            all.push(resource);
        }
        all.push(json!({
            "resourceType": "Encounter", "id": format!("{patient}-visit"), "status": "finished",
            "class": { "code": "AMB" }, "subject": subject,
        }));
    }
    all.extend(group());
    all.iter().map(Value::to_string).collect()
}

/// A group of two, with what US Core asks of them.
fn group() -> Vec<Value> {
    let profile = |name: &str| json!({ "profile": [format!("http://hl7.org/fhir/us/core/StructureDefinition/{name}")] });
    let coded = |system: &str, code: &str| {
        let system = format!("http://terminology.hl7.org/CodeSystem/{system}");
        json!({ "coding": [{ "system": system, "code": code }] })
    };
    let mut all = Vec::new();
    for patient in MEMBERS {
        let subject = json!({ "reference": format!("Patient/{patient}") });
        all.push(json!({
            "resourceType": "Patient", "id": patient, "meta": profile("us-core-patient"),
            "identifier": [{ "system": "urn:n", "value": patient }],
            "name": [{ "family": patient }], "gender": "unknown",
        }));
        all.push(json!({
            "resourceType": "Condition", "id": format!("{patient}-own"),
            "meta": profile("us-core-condition-encounter-diagnosis"), "subject": subject,
            "clinicalStatus": coded("condition-clinical", "active"),
            "verificationStatus": coded("condition-ver-status", "confirmed"),
            "category": [coded("condition-category", "encounter-diagnosis")],
            "code": { "text": "x" },
        }));
        all.push(json!({
            "resourceType": "Observation", "id": format!("{patient}-own"),
            "meta": profile("us-core-observation-lab"), "subject": subject, "status": "final",
            "category": [coded("observation-category", "laboratory")],
            "code": { "text": "x" }, "effectiveDateTime": "2024-01-01", "valueString": "x",
        }));
    }
    let member = |id: &&str| json!({ "entity": { "reference": format!("Patient/{id}") } });
    let members: Vec<Value> = MEMBERS.iter().map(member).collect();
    all.push(json!({
        "resourceType": "Group", "id": "both", "type": "person", "actual": true, "member": members,
    }));
    all
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A client of each kind; gives the arguments that name them.
async fn clients(server: &TestServer, folder: &Path) -> Vec<String> {
    let web = |id: &str| App { origins: vec!["https://app.example".to_owned()], ..app(id, SCOPES) };
    register(server, &web("public")).await;
    let Fresh { text, hash } = Fresh::new(secret::CLIENT, &SystemIds::default());
    let secrets = with_secret("[]", &hash, Instant::from_micros(0));
    let symmetric = App { kind: ClientKind::Secret, secrets, ..web("symmetric") };
    register(server, &symmetric).await;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let point = pair.public_key_raw();
    let number = |bytes: &[u8]| BASE64_URL.encode(bytes);
    let jwks = json!({ "keys": [{
        "kty": "EC", "crv": "P-384", "kid": "k1", "alg": "ES384",
        "x": number(&point[1..49]), "y": number(&point[49..]),
    }] });
    let jwks = Some(jwks.to_string());
    let key = App { kind: ClientKind::Key, jwks: jwks.clone(), ..web("asymmetric") };
    register(server, &key).await;
    let backend = App {
        kind: ClientKind::Key,
        app_type: AppType::Backend,
        redirect_uris: Vec::new(),
        jwks,
        ..app("backend", "system/*.rs system/__launch")
    };
    register(server, &backend).await;
    let secret = file(folder, "secret", text.expose_secret());
    let key = file(folder, "key.pem", &pair.serialize_pem());
    let named = [
        ("--public-client", "public"),
        ("--secret-client", "symmetric"),
        ("--secret-file", &secret),
        ("--key-client", "asymmetric"),
        ("--key-file", &key),
        ("--key-id", "k1"),
        ("--backend-client", "backend"),
    ];
    named.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect()
}

/// The report of a suite that trusts the authority in a file.
fn checked(arguments: &[String], authority: &str) -> Value {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let output = kiln_with(&arguments, &[("SSL_CERT_FILE", authority)]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"))
}

/// Covers: security I0.1.1, I0.1.2, I0.1.3, I0.1.4, I0.1.7, I0.1.8, I0.1.9, I0.1.10, I0.1.11.
/// Covers: security I0.1.12, I0.1.14, I0.1.15, I0.2.1, I0.2.2, I0.2.3, I0.2.4, I0.2.5.
/// Covers: security I0.2.6, I0.2.7, I0.2.8, I0.2.9, I0.2.10, I0.2.11, I0.2.12, D8.
/// Covers: security I0.1.5, I0.1.6, I0.1.13.
/// Covers: security I0.2.13, I0.3.1.
#[tokio::test]
async fn every_check_of_the_smart_suite_passes() {
    let files = Files::new();
    let (certificate, key) = (files.path("certificate.pem"), files.path("key.pem"));
    let settings = [("tls.certificate", certificate.as_str()), ("tls.key", key.as_str())];
    let server = server_with(&settings).await;
    let root = server.client.root().replace("http://", "https://");
    let records = records();
    store(&server, &records.iter().map(String::as_str).collect::<Vec<_>>()).await;
    user(&server, "ada", "patient", Some("Patient/ada")).await;
    let folder: PathBuf = temporary("suite");
    std::fs::create_dir_all(&folder).unwrap();
    let mut arguments: Vec<String> = ["conformance", "smart", "--json"].map(str::to_owned).into();
    arguments.extend(clients(&server, &folder).await);
    let password = file(&folder, "password", PASSWORD);
    let launch = format!("{root}/auth/launch");
    let base = format!("{root}/fhir");
    let members = MEMBERS.join(",");
    for (name, value) in [
        ("--group", "both"),
        ("--group-patients", &members),
        ("--base", base.as_str()),
        ("--redirect-uri", REDIRECT),
        ("--user", "ada"),
        ("--password-file", &password),
        ("--patient", "ada"),
        ("--encounter", "ada-visit"),
        ("--launch-endpoint", &launch),
    ] {
        arguments.extend([name.to_owned(), value.to_owned()]);
    }
    // The server lives in this runtime, which must not wait for the suite.
    let authority = files.path("ca.pem");
    let report = tokio::task::spawn_blocking(move || checked(&arguments, &authority));
    let report = report.await.unwrap();
    let told: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["verdict"].as_str() != Some("pass"))
        .map(|check| {
            format!(
                "{} {} {}: {}",
                check["verdict"], check["item"], check["check"], check["reason"]
            )
        })
        .collect();
    assert!(told.is_empty(), "{told:#?}");
    assert!(report["passed"].as_u64() > Some(250), "{}", report["passed"]);
    let checks = report["checks"].as_array().unwrap().iter();
    let asked: BTreeSet<&str> = checks.filter_map(|check| check["item"].as_str()).collect();
    // Each sentence of section 0 has an item, and each item has been asked.
    let items = [("I0.1", 15), ("I0.2", 13), ("I0.3", 1)];
    let items = items.iter().flat_map(|(of, last)| (1..=*last).map(move |at| format!("{of}.{at}")));
    let missing: Vec<_> = items.filter(|item| !asked.contains(&**item)).collect();
    assert!(missing.is_empty(), "nothing was asked of {missing:?}");
    std::fs::remove_dir_all(&folder).unwrap();
    server.stop().await;
}
