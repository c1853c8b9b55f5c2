//! What holds of every row of the route table: HEAD, OPTIONS, preflights, and no way past a caller
//! who is not known.
//!
//! Covers: rest 1.33, rest 1.34, rest 1.36, rest 5.1, rest 5.15.

use std::collections::BTreeSet;

use hyper::header::{HeaderMap, HeaderName};
use kiln::http::routes;
use kiln::http::table::{Audit, Route};

use crate::harness::client::Answer;
use crate::harness::endpoint::endpoint_of;
use crate::harness::server::TestServer;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","active":true}"#;

/// A URL for the path of a row: that of a Patient which is there.
fn url(root: &str, path: &str) -> String {
    let path = path.replace("{type}", "Patient").replace("{id}", "p");
    let path = path.replace("{vid}", "1").replace("{member}", "Observation");
    format!("{root}{path}")
}

/// Headers that tell the time, the request or the connection.
const PASSING: &[&str] = &["date", "x-request-id", "content-length", "transfer-encoding"];

fn lasting(answer: &Answer) -> HeaderMap {
    let mut headers = answer.headers.clone();
    for name in PASSING {
        headers.remove(HeaderName::from_static(name));
    }
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_as_get_does_without_the_body() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/Patient/p", PATIENT).await.expect(201);
    let mut urls: Vec<_> = routes::all(true)
        .iter()
        .filter(|route| route.method == "GET")
        .map(|route| url(client.root(), route.path))
        .collect();
    assert!(urls.len() > 12, "only {urls:?}");
    let failing = ["/Patient/unknown", "/Patient/p?_format=foo", "/Patient/p/_history?_count=x"];
    urls.extend(failing.map(|url| format!("{}{url}", client.base())));
    for url in &urls {
        for (name, value) in [
            ("X-Nothing", "x"),
            ("Accept", "application/fhir+xml"),
            ("Accept-Encoding", "gzip, identity;q=0"),
            ("If-None-Match", "*"),
        ] {
            let get = client.call("GET", url).header(name, value).send().await;
            let head = client.call("HEAD", url).header(name, value).send().await;
            assert_eq!(head.status, get.status, "{url} {name}");
            assert_eq!(lasting(&head), lasting(&get), "{url} {name}");
            assert!(head.body.is_empty(), "{url} {name}: {head:?}");
            // Where the length is known beforehand, it is that of GET; metrics grow meanwhile.
            let length = head.header("Content-Length");
            if let Some(length) = length.filter(|_| !url.ends_with("/metrics")) {
                assert_eq!(length, get.body.len().to_string(), "{url} {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_tells_the_methods_of_every_path() {
    let server = TestServer::start().await;
    let table = routes::all(true);
    let paths: BTreeSet<_> = table.iter().map(|route| route.path).collect();
    for path in paths {
        let rows = table.iter().filter(|route| route.path == path);
        let mut expected: BTreeSet<_> = rows.map(|route| route.method.as_str()).collect();
        if expected.contains("GET") {
            expected.insert("HEAD");
        }
        expected.insert("OPTIONS");
        let answer = server.client.call("OPTIONS", &url(server.client.root(), path)).send().await;
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
        assert!(answer.body.is_empty(), "{path}");
        let allow = answer.header("Allow").unwrap();
        assert_eq!(allow.split(", ").collect::<BTreeSet<_>>(), expected, "{path}");
    }
    // What is not there has no method; a page of another origin must still be able to see that.
    let nothing = server.client.call("OPTIONS", "/Nothing/1/2/3").send().await.expect(204);
    assert_eq!(nothing.header("Allow").as_deref(), Some("OPTIONS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_known_reaches_what_is_public_and_nothing_else() {
    let server = TestServer::start().await;
    server.client.put("/Patient/p", PATIENT).await.expect(201);
    let (client, _stop) = endpoint_of(&server, None).await;
    for Route { method, path, audit, .. } in routes::all(true) {
        let url = url(client.root(), path);
        let answer = client.call(method.as_str(), &url).json(PATIENT).send().await;
        if audit == Audit::Public {
            assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
            continue;
        }
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        assert!(answer.header("WWW-Authenticate").is_some(), "{method} {path}: {answer:?}");
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("login"), "{method} {path}");
        for secret in ["active", "\"p\"", "Patient/p"] {
            assert!(!answer.text().contains(secret), "{method} {path}: {answer:?}");
        }
    }
    let metadata = client.get("/metadata").await.expect(200);
    assert_eq!(metadata.at("resourceType").as_deref(), Some("CapabilityStatement"));
    let unchanged = server.client.get("/Patient/p").await.expect(200);
    assert_eq!(unchanged.version(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_no_credentials() {
    let server = TestServer::start().await;
    let (client, _stop) = endpoint_of(&server, None).await;
    let paths: BTreeSet<_> = routes::all(false).iter().map(|route| route.path).collect();
    let known = paths.iter().map(|path| url(client.root(), path));
    for url in known.chain([format!("{}/Patient/_search", client.base())]) {
        let preflight = |origin| {
            let call = client.call("OPTIONS", &url).header("Origin", origin);
            let call = call.header("Access-Control-Request-Method", "PUT");
            call.header("Access-Control-Request-Headers", "authorization, if-match").send()
        };
        let answer = preflight("https://app.example.org").await.expect(204);
        let header = |name| answer.header(name).unwrap_or_default();
        assert_eq!(header("Access-Control-Allow-Origin"), "https://app.example.org", "{url}");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert!(header("Access-Control-Allow-Methods").contains(method), "{url} {method}");
        }
        assert!(header("Access-Control-Allow-Headers").contains("Authorization"), "{url}");
        assert!(header("Access-Control-Max-Age").parse::<u32>().is_ok(), "{url}");
        assert_eq!(answer.header("WWW-Authenticate"), None, "{url}");
        // Another page learns nothing that lets it go on.
        let other = preflight("https://evil.example.org").await.expect(204);
        assert_eq!(other.header("Access-Control-Allow-Origin"), None, "{url}");
    }
}
