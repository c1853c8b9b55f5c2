//! Line ends in what clients send: they end no line of the log.
//!
//! Covers: security H6.
//! Covers: security V29.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::process::Process;

/// What a line of the log must not begin with.
const FORGED: &str = "FORGED";

/// Bytes as they are, to a server that then ends the connection or answers.
async fn raw(server: &Process, bytes: &str) -> String {
    let address = server.client.root().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn forged(server: &Process) {
    let client = &server.client;
    for url in [
        "/Patient/a%0d%0aFORGED",
        "/Patient/a%0aFORGED/_history/1%0aFORGED",
        "/Patient?name=%0d%0aFORGED",
        "/Patient?%0aFORGED=x",
        "/Patient?_sort=%0aFORGED",
        "/Patient?_format=%0aFORGED",
        "/FORGED%0d%0aFORGED",
        "/Patient?birthdate=%e2%80%a8FORGED%c2%85FORGED%1b%5b2J",
        "/Observation?code:in=http://x/%0aFORGED",
    ] {
        let answer = client.get(url).await;
        assert!(answer.status < 500, "{url}: {answer:?}");
    }
    for body in [
        r#"{"resourceType":"Patient\nFORGED"}"#,
        r#"{"resourceType":"Patient","id":"a\r\nFORGED"}"#,
        r#"{"resourceType":"Patient","\nFORGED":"\nFORGED"}"#,
        r#"{"resourceType":"Patient","meta":{"profile":["http://x/\nFORGED"]}}"#,
        "{\n\"FORGED\nFORGED",
    ] {
        let answer = client.post("/Patient", body).await;
        assert!(answer.status < 500, "{body}: {answer:?}");
    }
    for header in ["X-Request-Id", "If-None-Exist", "Prefer", "User-Agent", "X-Provenance"] {
        let call = client.call("POST", "/Patient").header(header, "x=1\tFORGED \u{fffd}");
        call.json(r#"{"resourceType":"Patient"}"#).send().await;
        let head =
            format!("GET /fhir/Patient HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}:");
        // The rest of a value after a bare CR, a bare LF or NUL is no value, and no other header.
        for end in ["\r", "\0", "\n "] {
            let answer = raw(server, &format!("{head} a{end}Set-Cookie: FORGED=1\r\n\r\n")).await;
            assert!(!answer.to_lowercase().contains("set-cookie"), "{header} {end:?}: {answer}");
            assert!(!answer.starts_with("HTTP/1.1 5"), "{header} {end:?}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_writes_a_line_of_the_log() {
    let mut server = Process::start_with(&["log.filter=warn,kiln=trace"]).await;
    forged(&server).await;
    assert!(server.terminate().0);
    let log = server.whole_log();
    assert!(log.lines().count() > 20, "{log}");
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line:?}");
    }
    let mut server =
        Process::start_with(&["log.format=pretty", "log.filter=warn,kiln=trace"]).await;
    forged(&server).await;
    assert!(server.terminate().0);
    let log = server.whole_log();
    assert!(!log.contains('\u{1b}') || !log.contains("\u{1b}[2J"), "a screen is cleared");
    let ends = |it: char| it == '\n' || it == '\r' || it == '\u{85}' || it == '\u{2028}';
    let first = log.split(ends).find(|line| line.trim_start().starts_with(FORGED));
    assert_eq!(first, None);
}
