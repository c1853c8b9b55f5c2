//! The endpoint as a whole: its public base, its failures, its health.
//!
//! Covers: rest 1.8, rest 1.98, rest 5.12, rest 5.22.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kiln::spec::Spec;
use kiln::validate::form;

use crate::harness::json::at;
use crate::harness::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn links_use_the_configured_base_whatever_the_host_header_says() {
    let server = TestServer::start_with(&[("http.base_url", "https://fhir.example.org/r4")]).await;
    let call = server.client.call("POST", "/Patient").header("Host", "evil.example");
    let call = call.header("X-Forwarded-Host", "evil.example").header("X-Forwarded-Proto", "http");
    let answer = call.json(r#"{"resourceType":"Patient"}"#).send().await.expect(201);
    let location = answer.header("Location").unwrap();
    assert!(location.starts_with("https://fhir.example.org/r4/Patient/"), "{location}");
    let history = server.client.get("/Patient/_history").await.expect(200);
    assert!(!history.text().contains("evil"), "{history:?}");
    let own = history.at("entry[0].fullUrl").unwrap();
    assert!(own.starts_with("https://fhir.example.org/r4/Patient/"), "{own}");
    let metadata = server.client.get("/metadata").await.expect(200);
    assert_eq!(metadata.at("implementation.url").as_deref(), Some("https://fhir.example.org/r4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_error_tells_nothing_of_the_inside() {
    let server = TestServer::start().await;
    server.client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    server.database.run("ALTER TABLE res RENAME TO elsewhere").await;
    for (method, url) in
        [("GET", "/Patient/p"), ("PUT", "/Patient/p"), ("GET", "/Patient/_history")]
    {
        let call = server.client.call(method, url);
        let answer = call.json(r#"{"resourceType":"Patient","id":"p","active":true}"#).send().await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("exception"));
        for inside in ["SELECT", "relation", "res\"", "panicked", "src/", "postgres", "sqlx"] {
            assert!(!answer.text().contains(inside), "{inside} in {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_answers_fast_enough_to_be_asked_each_time() {
    let server = TestServer::start().await;
    server.client.get("/metadata").await.expect(200);
    let began = Instant::now();
    for _ in 0..5 {
        server.client.get("/metadata").await.expect(200);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// What each declared interaction answers about an id that nobody has.
const PROBES: &[(&str, &str, &str, u16)] = &[
    ("read", "GET", "/nobody", 404),
    ("vread", "GET", "/nobody/_history/1", 404),
    ("update", "PUT", "/nobody", 400),
    ("patch", "PATCH", "/nobody", 404),
    ("delete", "DELETE", "/nobody", 204),
    ("history-instance", "GET", "/nobody/_history", 404),
    ("history-type", "GET", "/_history", 200),
    ("create", "POST", "", 400),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_declared_interaction_of_every_type_is_served() {
    let server = TestServer::start().await;
    let metadata = server.client.get("/metadata").await.expect(200).json();
    let resources = at(&metadata, "rest[0].resource").unwrap().as_array().unwrap();
    assert!(resources.len() > 140, "only {} types", resources.len());
    let mut faults = Vec::new();
    let mut types = BTreeSet::new();
    for resource in resources {
        let of = resource.str_at("type").unwrap();
        assert!(types.insert(of), "{of} is declared twice");
        let declared: Vec<_> = resource
            .items_at("interaction")
            .iter()
            .filter_map(|item| item.str_at("code"))
            .collect();
        for code in &declared {
            let found = PROBES.iter().find(|probe| probe.0 == *code);
            let (_, method, path, status) =
                found.unwrap_or_else(|| panic!("{of}: {code} has no probe"));
            let call = server.client.call(method, &format!("/{of}{path}"));
            let answer = match *method {
                "PATCH" => {
                    let operations = r#"[{"op":"add","path":"/language","value":"en"}]"#;
                    call.header("Content-Type", "application/json-patch+json")
                        .body(operations)
                        .send()
                }
                "PUT" | "POST" => call.json("{}").send(),
                _ => call.send(),
            };
            let answer = answer.await;
            if answer.status != *status || answer.text().contains("not-supported") {
                faults.push(format!("{of} {code}: {}", answer.status));
            }
        }
        for (code, method, path, _) in PROBES.iter().filter(|probe| !declared.contains(&probe.0)) {
            let call = server.client.call(method, &format!("/{of}{path}"));
            let answer = call.json("{}").send().await;
            if ![400, 404, 405].contains(&answer.status) {
                faults.push(format!("{of} {code} is served and not declared: {}", answer.status));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_capability_statement_has_the_form_of_one() {
    let server = TestServer::start().await;
    let metadata = server.client.get("/metadata").await.expect(200).json();
    let spec = Spec::r4().unwrap();
    let verdict = form::check(&metadata, &spec.schema);
    assert!(verdict.is_sound(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_tell_how_it_does() {
    let server = TestServer::start().await;
    let at = |path: &str| format!("{}{path}", server.client.root());
    server.client.get(&at("/health/live")).await.expect(200);
    server.client.get(&at("/health/ready")).await.expect(200);
    server.client.get("/Patient/some-id").await.expect(404);
    let metrics = server.client.get(&at("/metrics")).await.expect(200).text();
    assert!(metrics.contains("# TYPE"), "{metrics}");
    assert!(!metrics.contains("some-id"), "an id is in the metrics");
}
