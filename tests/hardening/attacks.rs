//! Requests made to do harm: each is refused or served as what it says, the server goes on, and what is
//! stored stays as it was.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::client::Answer;
use crate::harness::database::connect;
use crate::harness::server::TestServer;

/// No single attack may take longer, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);

const PATIENT: &str =
    r#"{"resourceType":"Patient","id":"p","name":[{"family":"F"}],"gender":"female"}"#;

/// Names for which a backtracking search takes longer than the world will last.
fn long_name() -> String {
    format!("{}!", "a".repeat(5_000))
}

/// Waits for an answer, for some seconds at most.
async fn soon(what: &str, answer: impl Future<Output = Answer>) -> Answer {
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// A patch that asks for one expression.
fn patch(path: &str) -> String {
    let part =
        |name: &str, kind: &str, value: &str| format!(r#"{{"name":"{name}","{kind}":{value}}}"#);
    let parts = [
        part("type", "valueCode", "\"replace\""),
        part("path", "valueString", &serde_json::to_string(path).unwrap()),
        part("value", "valueString", "\"x\""),
    ];
    let parts = parts.join(",");
    format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"operation","part":[{parts}]}}]}}"#
    )
}

/// Covers: security H9, V27.
#[tokio::test(flavor = "multi_thread")]
async fn a_costly_expression_ends_by_its_budget() {
    let server = TestServer::start().await;
    let client = &server.client;
    let wide: Vec<_> = (0..400).map(|n| format!(r#"{{"given":["g{n}","h{n}"]}}"#)).collect();
    let names = format!(r#"{{"family":"{}"}},{}"#, long_name(), wide.join(","));
    let patient = format!(r#"{{"resourceType":"Patient","id":"p","name":[{names}]}}"#);
    client.put("/Patient/p", patient.clone()).await.expect(201);
    let descendants = format!("Patient.{}", ["descendants()"; 12].join("."));
    let squares = format!("Patient.{}.count()", "name.select(%resource.name)")
        + &".select(%resource.name.select(%resource.name.select(%resource.name)))".repeat(2);
    // Nothing is wrong with these but what they cost.
    let thrice = "Patient.name.select(%resource.name.select(%resource.name.family)).first()";
    for path in [squares.as_str(), thrice] {
        let call = client.call("PATCH", "/Patient/p");
        let answer = soon(path, call.json(patch(path)).send()).await.expect(400);
        let budgets = ["takes too many steps", "takes longer than"];
        let is_told = budgets.iter().any(|it| answer.text().contains(it));
        assert!(is_told, "{path:.60}: {answer:?}");
    }
    for path in [
        descendants.as_str(),
        "Patient.name.repeat(%resource.name | $this)",
        "Patient.name.where(family.matches('(a+)+$')).family",
        "Patient.name.where(family.matches('(a{1000}){1000}')).family",
        "Patient.name.family.replaceMatches('(a|aa)+$', 'x').where(false)",
        &"(".repeat(50_000),
        &format!("Patient.name{}", ".where(true)".repeat(50_000)),
    ] {
        let call = client.call("PATCH", "/Patient/p");
        let answer = soon(path, call.json(patch(path)).send()).await;
        assert!((400..=422).contains(&answer.status), "{path:.60}: {answer:?}");
    }
    // The same where the server itself asks each resource for an expression.
    let parameter = |code: &str, expression: &str| {
        let expression = serde_json::to_string(expression).unwrap();
        format!(
            r#"{{"resourceType":"SearchParameter","id":"{code}","url":"http://example.org/{code}",
                "name":"{code}","status":"active","description":"A costly one","code":"{code}",
                "base":["Patient"],"type":"string","expression":{expression}}}"#
        )
    };
    for (code, expression) in [
        ("slow-match", "Patient.name.where(family.matches('(a+)+$')).family"),
        ("slow-walk", descendants.as_str()),
    ] {
        let path = format!("/SearchParameter/{code}");
        let answer = soon(code, client.put(&path, parameter(code, expression))).await;
        assert!([201, 400, 422].contains(&answer.status), "{code}: {answer:?}");
        let answer =
            soon(code, client.put("/Patient/p", patient.replace("\"g1\"", &format!("\"{code}\""))))
                .await;
        assert!([200, 422].contains(&answer.status), "{code}: {answer:?}");
    }
    client.get("/Patient/p").await.expect(200);
    server.stop().await;
}

/// Covers: security H10, V26.
#[tokio::test(flavor = "multi_thread")]
async fn a_costly_search_is_capped_or_refused() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/Patient/p", PATIENT).await.expect(201);
    let values = |count: usize| (0..count).map(|n| format!("a{n}")).collect::<Vec<_>>().join(",");
    let chain = format!("/Observation?{}.name=F", vec!["subject:Patient.link"; 200].join("."));
    let has = format!("/Patient?{}name=F", "_has:Observation:subject:".repeat(200));
    let deep = format!("/Patient?_filter={}name eq F{}", "(".repeat(5_000), ")".repeat(5_000));
    let deep = deep.replace(' ', "%20");
    let parameters = format!("/Patient?{}", vec!["name=F"; 1_001].join("&"));
    for url in [&chain, &has, &deep, &parameters] {
        let answer = soon(&url[..40], client.get(url)).await;
        assert!([400, 403].contains(&answer.status), "{url:.60}: {answer:?}");
        assert!(answer.at("issue[0].code").is_some(), "{url:.60}: {answer:?}");
    }
    let form = client.call("POST", "/Patient/_search");
    let form = form.header("Content-Type", "application/x-www-form-urlencoded");
    let answer = form.body(format!("name={}", values(10_000))).send().await;
    assert!([400, 403].contains(&answer.status), "{answer:?}");
    assert_eq!(answer.at("issue[0].code").as_deref(), Some("too-costly"));
    // A page has an end, whatever is asked for; so have hops that go in circles.
    let entries = (0..40).map(|n| {
        let other = (n + 1) % 40;
        format!(
            r#"{{"resource":{{"resourceType":"Patient","id":"c{n}","link":[{{"type":"seealso",
                "other":{{"reference":"Patient/c{other}"}}}}]}},
                "request":{{"method":"PUT","url":"Patient/c{n}"}}}}"#
        )
    });
    let entries = entries.collect::<Vec<_>>().join(",");
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    client.post("/", bundle).await.expect(200);
    let page = client.get("/Patient?_count=1000000000").await.expect(200);
    assert!(page.at("link[0].url").unwrap().contains("_count=1000"), "{page:?}");
    let circle = "/Patient?_id=c0&_include:iterate=Patient:link&_revinclude:iterate=Patient:link";
    let found = soon("a circle", client.get(circle)).await.expect(200);
    let ids: Vec<_> = found
        .json()
        .items_at("entry")
        .iter()
        .filter_map(|entry| entry.get("fullUrl")?.as_str().map(str::to_owned))
        .collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{ids:?}");
    let contains = soon("contains", client.get("/Patient?name:contains=%25_%25")).await;
    contains.expect(200);
    server.stop().await;
}

/// The rows that names are looked for in are kept busy, which stands for a million of them.
///
/// Covers: security V26.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_takes_too_long_is_ended_and_others_are_answered_meanwhile() {
    let server = TestServer::start_with(&[("database.search_timeout_ms", "8000")]).await;
    let client = &server.client;
    client.put("/Patient/p", PATIENT).await.expect(201);
    let url = "/Patient?name:contains=%25_%25";
    client.get(url).await.expect(200);
    let busy = connect(&server.database.superuser).await;
    busy.batch_execute("BEGIN; LOCK TABLE str IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let others = async {
        server.database.until_waiting(1).await;
        for _ in 0..20 {
            let began = Instant::now();
            client.get("/Patient/p").await.expect(200);
            client.get("/Patient?_id=p").await.expect(200);
            assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        }
    };
    let (ended, ()) = tokio::join!(soon("contains", client.get(url)), others);
    ended.expect(504);
    // Its statement goes on nowhere.
    let waiting = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert_eq!(server.database.number(waiting).await, 0);
    busy.batch_execute("ROLLBACK").await.unwrap();
    client.get(url).await.expect(200);
    server.stop().await;
}

/// What ends a text, a statement or a comment in some database.
const QUOTES: &[&str] = &[
    "'",
    "''",
    "\"",
    "\\",
    "\\'",
    "';--",
    "' OR '1'='1",
    "') OR 1=1--",
    "1; DROP TABLE res",
    "'; SELECT pg_sleep(20)--",
    "$1",
    "$$",
    "%",
    "_",
    "*/",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "\u{2019}",
];

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").unwrap();
        text
    })
}

/// Questions by each parameter of each type: all quotes at one type, and at each other parameter one
/// after another.
fn of_parameters(capability: &serde_json::Value, all: &[String]) -> Vec<String> {
    let mut urls = Vec::new();
    for kind in capability["rest"][0]["resource"].as_array().unwrap() {
        let kind_name = kind["type"].as_str().unwrap();
        let parameters = kind["searchParam"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (at, parameter) in parameters.iter().enumerate() {
            let name = parameter["name"].as_str().unwrap();
            let quotes = if kind_name == "Patient" { all } else { &all[at % all.len()..][..1] };
            for quote in quotes {
                urls.push(format!("/{kind_name}?{name}={quote}"));
            }
        }
    }
    urls
}

/// Questions with quotes in every other place.
fn of_places(all: &[String]) -> Vec<String> {
    let mut urls = Vec::new();
    for quote in all {
        for place in [
            "name:exact",
            "name:contains",
            "identifier:of-type",
            "identifier:text",
            "name:text",
            "general-practitioner.name",
            "_has:Observation:subject:code",
            "_filter",
            "_sort",
            "_include",
            "_revinclude",
            "_elements",
            "_summary",
            "_count",
            "_total",
            "_type",
            "_list",
            "_since",
            "_has:Observation:subject:_id",
            "_content",
            "_text",
            "_lastUpdated",
        ] {
            urls.push(format!("/Patient?{place}={quote}"));
        }
        urls.push(format!("/Patient?name:{quote}=a"));
        urls.push(format!("/Patient?{quote}=a"));
        urls.push(format!("/Patient/{quote}"));
        urls.push(format!("/Patient/p/_history/{quote}"));
        urls.push(format!("/Patient/p/_history?_at={quote}"));
        urls.push(format!("/{quote}"));
    }
    urls
}

/// Covers: security H8, V30.
#[tokio::test(flavor = "multi_thread")]
async fn a_quote_in_a_parameter_is_a_character() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/Patient/p", PATIENT).await.expect(201);
    let capability = client.get("/metadata").await.expect(200).json().to_text();
    let capability: serde_json::Value = serde_json::from_str(&capability).unwrap();
    let all: Vec<String> = QUOTES.iter().map(|quote| escaped(quote)).collect();
    let mut asked = 0;
    let urls = of_parameters(&capability, &all).into_iter().chain(of_places(&all));
    for url in urls {
        let call = client.call("GET", &url).header("Prefer", "handling=strict");
        let answer = soon(&url, call.send()).await;
        assert!([200, 400, 403, 404].contains(&answer.status), "{url}: {answer:?}");
        asked += 1;
    }
    assert!(asked > 1_500, "{asked}");
    for quote in QUOTES {
        let call = client.call("POST", "/Patient").header("If-None-Exist", "identifier=x|1");
        let body = PATIENT.replace("\"F\"", &serde_json::to_string(quote).unwrap());
        call.json(body.replace("\"id\":\"p\",", "")).send().await.expect(201);
        let found = client.get(&format!("/Patient?family:exact={}", escaped(quote))).await;
        let expected = if quote.contains(['$', '\\']) { [200, 400] } else { [200, 200] };
        assert!(expected.contains(&found.status), "{quote}: {found:?}");
    }
    client.get("/Patient/p").await.expect(200);
    server.stop().await;
}

/// Writes bytes to the server as they are and reads until it is silent.
async fn raw(server: &TestServer, pieces: &[&str]) -> String {
    let address = server.client.root().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    for piece in pieces {
        // A server that has hung up already has said what it has to say.
        if stream.write_all(piece.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_secs(2), stream.read(&mut buffer)).await {
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Covers: security V38.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_end() {
    let server = TestServer::start().await;
    let host = server.client.root().trim_start_matches("http://").to_owned();
    let hidden = format!("DELETE /fhir/Patient/p HTTP/1.1\r\nHost: {host}\r\n\r\n");
    server.client.put("/Patient/p", PATIENT).await.expect(201);
    let json = format!("Host: {host}\r\nContent-Type: application/fhir+json\r\n");
    for (name, head) in [
        ("length and chunks", format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n{json}")),
        ("chunks and length", format!("Transfer-Encoding: chunked\r\n{json}Content-Length: 4\r\n")),
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: 60\r\n{json}")),
        ("a list of lengths", format!("Content-Length: 0, 60\r\n{json}")),
        ("a signed length", format!("Content-Length: +0\r\n{json}")),
        ("a length of hex digits", format!("Content-Length: 0x0\r\n{json}")),
        ("a coding by another name", format!("Transfer-Encoding: xchunked\r\n{json}")),
        ("chunks are not last", format!("Transfer-Encoding: chunked, identity\r\n{json}")),
        ("a space before the colon", format!("Content-Length : 0\r\n{json}")),
        ("a folded header", format!("X-A: b\r\n Content-Length: 0\r\n{json}")),
        ("a line end of LF in a value", format!("X-A: b\nContent-Length: 0\r\n{json}")),
        ("a line end of CR in a value", format!("X-A: b\rContent-Length: 0\r\n{json}")),
    ] {
        let request = format!("POST /fhir/Patient HTTP/1.1\r\n{head}\r\n0\r\n\r\n{hidden}");
        let answer = raw(&server, &[&request]).await;
        let statuses: Vec<_> =
            answer.lines().filter(|line| line.starts_with("HTTP/1.1 ")).collect();
        let is_refused = statuses.iter().all(|status| status.starts_with("HTTP/1.1 4"));
        assert!(is_refused, "{name}: {answer}");
        let found = server.client.get("/Patient/p").await;
        assert_eq!(found.status, 200, "{name}: {answer}");
    }
    // HTTP/2 in plain text is not switched to by a header that a proxy passes on.
    let upgrade = format!(
        "GET /fhir/metadata?_summary=true HTTP/1.1\r\nHost: {host}\r\nUpgrade: h2c\r\n\
         Connection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
    );
    let answer = raw(&server, &[&upgrade]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.100}");
    // What all this is measured by: the hidden request, sent openly, does what it says.
    raw(&server, &[&hidden]).await;
    server.client.get("/Patient/p").await.expect(410);
    server.stop().await;
}

/// Covers: security H12.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_ends_by_the_time_of_a_request() {
    let server = TestServer::start_with(&[("http.request_timeout_s", "1")]).await;
    let host = server.client.root().trim_start_matches("http://");
    let head = format!(
        "POST /fhir/Patient HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/fhir+json\r\n\
         Content-Length: 100\r\n\r\n{{"
    );
    let began = Instant::now();
    let answer = timeout(PATIENCE, async {
        let mut answer = String::new();
        while answer.is_empty() {
            answer = raw(&server, &[&head]).await;
            assert!(began.elapsed() < PATIENCE, "no answer");
        }
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504") || answer.starts_with("HTTP/1.1 408"), "{answer}");
    server.client.get("/metadata").await.expect(200);
    server.stop().await;
}

/// Covers: security H26.
#[tokio::test(flavor = "multi_thread")]
async fn health_and_front_page_tell_nothing_of_the_inside() {
    let server = TestServer::start().await;
    let root = server.client.root().to_owned();
    for path in ["/health/live", "/health/ready", "/", "/metrics", "/nothing"] {
        let answer = server.client.get(&format!("{root}{path}")).await;
        let text = answer.text();
        for inside in ["postgres", "secret", "password", "/tmp/", "rustc"] {
            assert!(!text.contains(inside), "{path} tells {inside}: {text}");
        }
        // The servers of this binary share their metrics, and one tells its version to its operator.
        let version = env!("CARGO_PKG_VERSION");
        assert!(path == "/metrics" || !text.contains(version), "{path} tells it: {text}");
        assert!(answer.header("Server").is_none(), "{path}: {:?}", answer.headers);
    }
    server.stop().await;
}

/// Covers: security H1, H2.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_heads_are_bounded_as_installed() {
    let server = TestServer::start().await;
    let client = &server.client;
    let padded = |bytes: usize| format!("{PATIENT}{}", " ".repeat(bytes - PATIENT.len()));
    client.put("/Patient/p", padded(10 * 1024 * 1024)).await.expect(201);
    let refused = client.put("/Patient/p", padded(10 * 1024 * 1024 + 1)).await.expect(413);
    assert_eq!(refused.at("issue[0].code").as_deref(), Some("too-long"));
    let binary = client.call("POST", "/Binary").header("Content-Type", "application/octet-stream");
    binary.clone().body(vec![7; 12 * 1024 * 1024]).send().await.expect(201);
    binary.body(vec![7; 33 * 1024 * 1024]).send().await.expect(413);

    let url = |bytes: usize| format!("/Patient?_id={}", "a".repeat(bytes));
    client.get(&url(15 * 1024)).await.expect(200);
    client.get(&url(16 * 1024)).await.expect(414);
    let head = async |bytes: usize| {
        client.call("GET", "/Patient/p").header("X-Long", &"a".repeat(bytes)).send().await
    };
    head(31 * 1024).await.expect(200);
    head(32 * 1024).await.expect(431);

    // Each extension is an array and an object: with the Patient around them, 2n + 1 deep.
    let nested = |count: usize| {
        let mut extension = r#"{"url":"urn:e","valueString":"x"}"#.to_owned();
        for _ in 1..count {
            extension = format!(r#"{{"url":"urn:e","extension":[{extension}]}}"#);
        }
        format!(r#"{{"resourceType":"Patient","id":"p","extension":[{extension}]}}"#)
    };
    client.put("/Patient/p", nested(31)).await.expect(200);
    client.put("/Patient/p", nested(32)).await.expect(400);
    let many = |values: usize| {
        format!(r#"{{"resourceType":"Patient","multipleBirth":[{}0]}}"#, "0,".repeat(values))
    };
    let refused = client.post("/Patient", many(1_048_576)).await.expect(400);
    assert!(refused.text().contains("too many values"), "{refused:?}");
    client
        .post("/Patient", r#"{"resourceType":"Patient","active":true,"active":true}"#)
        .await
        .expect(400);
    let kept = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"c"},
        "valueQuantity":{"value":1.2300000000000000000000000000001}}"#;
    client.put("/Observation/o", kept).await.expect(201);
    let read = client.get("/Observation/o").await.expect(200);
    assert!(read.text().contains("1.2300000000000000000000000000001}"), "{read:?}");
    server.stop().await;
}
