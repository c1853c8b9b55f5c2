//! The endpoint as a whole: its public base, its failures, its health.
//!
//! Covers: rest 1.8, rest 1.98, rest 5.22.

use std::time::{Duration, Instant};

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
