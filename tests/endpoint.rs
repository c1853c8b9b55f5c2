//! The endpoint as a whole: its public base, its failures, its health.
//!
//! Covers: rest 0.6, rest 1.8, rest 1.98.

mod compression;
mod history;

use std::str::FromStr as _;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hyper::header::HeaderMap;
use kiln::access::Principal;
use kiln::error::Error;
use kiln::http::Authenticator;
use uuid::Uuid;

use crate::harness::endpoint::endpoint_by;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn links_use_the_configured_base_whatever_the_host_header_says() {
    let server = TestServer::start_with(&[("http.base_url", "https://fhir.example.org/r4")]).await;
    let call = server.client.call("POST", "/Patient").header("Host", "evil.localhost");
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
async fn links_use_the_base_that_a_proxy_tells() {
    let server = TestServer::start().await;
    for (sent, base) in [
        (
            &[
                ("X-Forwarded-Host", "a.example"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Prefix", "/r4"),
            ][..],
            "https://a.example/r4/fhir",
        ),
        (
            &[("Forwarded", "for=10.0.0.1;host=\"b.example:8443\";proto=https")],
            "https://b.example:8443/fhir",
        ),
    ] {
        let call = |method, url| {
            let call = server.client.call(method, url);
            sent.iter().fold(call, |call, (name, value)| call.header(name, value))
        };
        let created = call("POST", "/Patient").json(r#"{"resourceType":"Patient"}"#);
        let created = created.send().await.expect(201);
        let location = created.header("Location").unwrap();
        assert_eq!(location, format!("{base}/Patient/{}/_history/1", created.id()));
        server.client.post("/Patient", r#"{"resourceType":"Patient"}"#).await.expect(201);
        let history = call("GET", "/Patient/_history?_count=1").send().await.expect(200);
        for path in ["link[relation=self].url", "link[relation=next].url", "entry[0].fullUrl"] {
            let url = history.at(path).unwrap();
            assert!(url.starts_with(&format!("{base}/Patient/")), "{path}: {url}");
        }
        let metadata = call("GET", "/metadata").send().await.expect(200);
        assert_eq!(metadata.at("implementation.url").as_deref(), Some(base));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_neither_writes_nor_reads_where_nobody_is_asked_who_they_are() {
    let server = TestServer::start_with(&[("http.cors_origins", "https://app.example.org")]).await;
    let evil = "https://evil.example";
    for (id, method, url, name, value, status) in [
        ("form", "POST", "/Binary", "Origin", evil, 403),
        ("opaque", "POST", "/Binary", "Origin", "null", 403),
        ("script", "GET", "/Binary", "Sec-Fetch-Site", "cross-site", 403),
        ("rebound", "GET", "/Binary", "Host", "evil.example:8080", 403),
        ("listed", "POST", "/Binary", "Origin", "https://app.example.org", 201),
        ("named", "GET", "/Binary", "Host", "localhost:8080", 200),
        ("own", "GET", "/Binary", "Sec-Fetch-Site", "same-origin", 200),
    ] {
        let call = server.client.call(method, url).header(name, value).header("X-Request-Id", id);
        let answer = call.header("Content-Type", "text/plain").body("x").send().await;
        assert_eq!(answer.status, status, "{id}: {answer:?}");
        let rows = format!("SELECT count(*) FROM ledger WHERE request_id = '{id}' AND outcome = 4");
        assert_eq!(server.database.number(&rows).await, i64::from(status == 403), "{id}");
        if status == 403 {
            assert_eq!(answer.at("issue[0].code").as_deref(), Some("forbidden"), "{answer:?}");
        }
    }
    assert_eq!(server.database.number("SELECT count(*) FROM res").await, 1);
    let preflight = server.client.call("OPTIONS", "/Patient").header("Origin", evil);
    let preflight = preflight.header("Access-Control-Request-Method", "PUT").send().await;
    assert_eq!(preflight.header("Access-Control-Allow-Origin"), None);
}

/// Where callers need tokens, ids are random unless the operator says otherwise.
///
/// Covers: security X6.
#[tokio::test(flavor = "multi_thread")]
async fn ids_do_not_tell_when_they_were_made() {
    for (mode, order, version) in [
        ("smart", None, '4'),
        ("smart", Some("random"), '4'),
        ("smart", Some("time"), '7'),
        ("off", None, '7'),
        ("off", Some("random"), '4'),
    ] {
        let mut settings = vec![("auth.mode", mode)];
        settings.extend(order.map(|order| ("ids", order)));
        let server = TestServer::start_with(&settings).await;
        let (client, _stop) = Token::new(&server, "system/*.cruds").client().await;
        let mut made = Vec::new();
        for _ in 0..20 {
            let answer = client.post("/Patient", r#"{"resourceType":"Patient"}"#).await;
            made.push(answer.expect(201).id());
        }
        let entry = r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#;
        let bundle =
            format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entry}]}}"#);
        let answer = client.post("/", bundle).await.expect(200);
        let location = answer.at("entry[0].response.location").unwrap();
        made.push(location.split('/').nth(1).unwrap().to_owned());
        for id in &made {
            assert_eq!(id.chars().nth(14), Some(version), "{mode} {order:?}: {id}");
        }
        assert_eq!(made.is_sorted(), version == '7', "{mode} {order:?}: {made:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_the_server_are_lower_case_uuids() {
    let server = TestServer::start().await;
    for order in ["time", "random"] {
        let server = TestServer::start_with(&[("ids", order)]).await;
        let id = server.client.post("/Patient", r#"{"resourceType":"Patient"}"#).await.id();
        assert_eq!(Uuid::from_str(&id).map(|uuid| uuid.to_string()).ok(), Some(id), "{order}");
    }
    let entry =
        r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#;
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entry}]}}"#);
    let answer = server.client.post("/", bundle).await.expect(200);
    let location = answer.at("entry[0].response.location").unwrap();
    let id = location.split('/').nth(1).unwrap();
    assert_eq!(Uuid::from_str(id).map(|uuid| uuid.to_string()).as_deref(), Ok(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_and_its_provenance_are_one_unit_of_work() {
    let server = TestServer::start().await;
    let provenance = concat!(
        r#"{"resourceType":"Provenance","recorded":"2024-01-01T00:00:00Z","#,
        r#""agent":[{"who":{"display":"a tester"}}]}"#
    );
    for (method, url, body) in [
        ("POST", "/Patient", r#"{"resourceType":"Patient"}"#),
        ("PUT", "/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#),
        ("PUT", "/Patient/p", r#"{"resourceType":"Patient","id":"p","active":true}"#),
    ] {
        let before = server.database.number("SELECT count(DISTINCT xid) FROM feed").await;
        let rows = server.database.number("SELECT count(*) FROM feed").await;
        let call = server.client.call(method, url).header("X-Provenance", provenance);
        let answer = call.json(body).send().await;
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        let after = server.database.number("SELECT count(DISTINCT xid) FROM feed").await;
        assert_eq!(after - before, 1, "{method} {url}: more than one transaction");
        let made = server.database.number("SELECT count(*) FROM feed").await - rows;
        assert_eq!(made, 2, "{method} {url}");
    }
    // Both are in the ledger, as what one request did.
    let groups = server.database.number("SELECT count(DISTINCT grp) FROM ledger").await;
    assert_eq!((groups, server.database.number("SELECT count(*) FROM ledger").await), (3, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_binary_takes_it_gives_back() {
    let server = TestServer::start().await;
    for (data, content) in [
        ("YQ==", Some("a")),
        ("YR==", Some("a")),
        ("YWJj\\n", Some("abc")),
        ("YWJj\\r\\nYWJj", Some("abcabc")),
        ("YW Jj", None),
        ("YQ", None),
    ] {
        let body =
            format!(r#"{{"resourceType":"Binary","contentType":"text/plain","data":"{data}"}}"#);
        let answer = server.client.post("/Binary", body).await;
        let Some(content) = content else {
            assert_eq!(answer.status, 400, "{data}: {answer:?}");
            continue;
        };
        let url = format!("/Binary/{}", answer.expect(201).id());
        let call = server.client.call("GET", &url).header("Accept", "text/plain");
        assert_eq!(call.send().await.expect(200).text(), content, "{data}");
    }
    // A patch that comes in a Binary is read alike: "[]  " with bits behind its last byte.
    server.client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    for data in ["W10gIA==", "W10gIB=="] {
        let binary = format!(
            r#"{{"resourceType":"Binary","contentType":"application/json-patch+json","data":"{data}"}}"#
        );
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{binary},
                "request":{{"method":"PATCH","url":"Patient/p"}}}}]}}"#
        );
        server.client.post("/", bundle).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_whether_something_changed_hears_of_labels_too() {
    let server = TestServer::start().await;
    let put = async |active: bool| {
        let body = format!(r#"{{"resourceType":"Patient","id":"p","active":{active}}}"#);
        server.client.put("/Patient/p", body).await
    };
    put(true).await.expect(201);
    put(false).await.expect(200);
    let ask = async |url: &str, version: u32| {
        let call = server.client.call("GET", url);
        call.header("If-None-Match", &format!("W/\"{version}\"")).send().await
    };
    let entry = async || {
        let request = r#"{"method":"GET","url":"Patient/p","ifNoneMatch":"W/\"2\""}"#;
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"request":{request}}}]}}"#
        );
        let answer = server.client.post("/", bundle).await.expect(200);
        answer.at("entry[0].response.status").unwrap()[..3].to_owned()
    };
    let meta = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"security":[{"system":"urn:x","code":"R"}]}}]}"#;
    let old = "/Patient/p/_history/1";
    for url in ["/Patient/p", "/Patient/p/_history/2"] {
        ask(url, 2).await.expect(304);
    }
    ask(old, 1).await.expect(304);
    assert_eq!(entry().await, "304");
    let now = server.client.get("/Patient/p").await;
    for change in ["add", "delete"] {
        for (url, version) in [("/Patient/p", 2), (old, 1)] {
            server.client.post(&format!("{url}/$meta-{change}"), meta).await.expect(200);
            let answer = ask(url, version).await.expect(200);
            assert_eq!(answer.text().contains("urn:x"), change == "add", "{answer:?}");
            assert_eq!(answer.version(), u64::from(version));
            let caching = answer.header("Cache-Control").unwrap();
            assert!(caching.contains("no-cache") && !caching.contains("immutable"), "{caching}");
        }
        assert_eq!(entry().await, "200");
        let since = server.client.call("GET", "/Patient/p");
        let since = since.header("If-Modified-Since", &now.header("Last-Modified").unwrap());
        since.send().await.expect(200);
    }
    // What made the versions is told as before, and the next one is as any other.
    let history = server.client.get("/Patient/p/_history").await.expect(200);
    assert_eq!(history.at("entry[0].request.method").as_deref(), Some("PUT"), "{history:?}");
    assert_eq!(history.at("entry[1].response.status").as_deref(), Some("201 Created"));
    put(true).await.expect(200);
    ask("/Patient/p", 3).await.expect(304);
    ask("/Patient/p/_history/2", 2).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_error_tells_nothing_of_the_inside() {
    let server = TestServer::start().await;
    server.client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    server.database.run("ALTER TABLE res RENAME COLUMN body TO elsewhere").await;
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
async fn health_and_metrics_tell_how_it_does() {
    let server = TestServer::start().await;
    let at = |path: &str| format!("{}{path}", server.client.root());
    server.client.get(&at("/health/live")).await.expect(200);
    server.client.get(&at("/health/ready")).await.expect(200);
    server.client.get("/Patient/some-id").await.expect(404);
    server.client.put("/Patient/some-id", r#"{"resourceType":"Patient","id":"some-id"}"#).await;
    let metrics = server.client.get(&at("/metrics")).await.expect(200).text();
    for name in [
        "kiln_http_request_duration_seconds_bucket{method=\"GET\",route=\"/fhir/{type}/{id}\"",
        "kiln_database_connections{state=\"open\"}",
        "kiln_database_commit_duration_seconds_bucket",
        "kiln_ledger_commit_duration_seconds_bucket",
        "kiln_ledger_rows_total",
    ] {
        assert!(metrics.contains(name), "no {name} in:\n{metrics}");
    }
    assert!(!metrics.contains("some-id"), "an id is in the metrics");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_where_the_operator_wants_them() {
    let server = TestServer::start_with(&[("admin.metrics_on_http", "false")]).await;
    let at = |path: &str| format!("{}{path}", server.client.root());
    server.client.get(&at("/metrics")).await.expect(404);
    server.client.get(&at("/health/ready")).await.expect(200);
}

/// Knows everybody, and fails at the next thing that it is asked.
struct Panicking;

impl Authenticator for Panicking {
    fn authenticate<'a>(&'a self, _: &'a HeaderMap) -> BoxFuture<'a, Result<Principal, Error>> {
        Box::pin(std::future::ready(Ok(Principal::open())))
    }

    fn is_open(&self) -> bool {
        panic!("planted")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_ends_in_a_panic_is_on_record() {
    let server = TestServer::start().await;
    let (client, _stop) = endpoint_by(&server, Arc::new(Panicking)).await;
    let answer = client.get("/Patient/p").await.expect(500);
    assert!(!answer.text().contains("planted"), "{answer:?}");
    let id = answer.header("X-Request-Id").unwrap();
    let rows = format!("SELECT count(*) FROM ledger WHERE request_id = '{id}' AND outcome <> 0");
    assert_eq!(server.database.number(&rows).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_at_the_root_leads_to_what_is_there() {
    for (admin, links) in [(&[][..], 4), (&[("admin.listen", "127.0.0.1:0")], 3)] {
        let server = TestServer::start_with(admin).await;
        let page = server.client.get(&format!("{}/", server.client.root())).await.expect(200);
        assert!(page.header("Content-Type").unwrap().starts_with("text/html"), "{page:?}");
        let text = page.text();
        let urls: Vec<_> =
            text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(urls.len(), links, "{text}");
        for url in urls {
            let url = format!("{}/{}", server.client.root(), url.replace("&amp;", "&"));
            server.client.get(&url).await.expect(200);
        }
    }
}
