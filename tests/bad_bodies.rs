//! Bodies that mean harm or make no sense: 4xx, for a second's work at most, and nothing is stored.
//!
//! Covers: rest 1.11, rest 1.32, rest 3.53, rest 7.21, rest 7.26, security H4, V25, security H1, security H2, security H3, security V23.

use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::harness::database::connect;
use crate::harness::process::Process;
use crate::harness::server::TestServer;

/// Most work of processors that refusing one may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Longest time that it may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(1);

/// Bodies of `POST /Patient` as JSON: name and bytes.
fn json_corpus() -> Vec<(String, Vec<u8>)> {
    let sound =
        br#"{"resourceType":"Patient","name":[{"family":"F","given":["a","b"]}],"active":true}"#;
    let mut corpus: Vec<(String, Vec<u8>)> =
        (0..sound.len()).map(|end| (format!("cut at {end}"), sound[..end].to_vec())).collect();
    let patient = |inner: &str| format!(r#"{{"resourceType":"Patient",{inner}}}"#).into_bytes();
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}{}", open.repeat(depth), close.repeat(depth))
    };
    let texts = [
        ("arrays 100,000 deep", nested("[", "]", 100_000)),
        ("objects 100,000 deep", nested("{\"a\":", "}", 100_000)),
        ("arrays never closed", "[".repeat(5_000_000)),
        (
            "a number of a million digits",
            format!("\"multipleBirthInteger\":{}", "9".repeat(1_000_000)),
        ),
        ("a huge exponent", "\"multipleBirthInteger\":1e999999999".to_owned()),
        (
            "an exponent of a million digits",
            format!("\"multipleBirthInteger\":1e{}", "9".repeat(1_000_000)),
        ),
        (
            "a million duplicate names",
            format!("\"active\":true{}", ",\"active\":true".repeat(1_000_000)),
        ),
        (
            "a million unknown names",
            (0..200_000).map(|n| format!("\"n{n}\":1")).collect::<Vec<_>>().join(","),
        ),
        ("a hundred thousand errors", format!("\"name\":[{}]", vec!["1"; 100_000].join(","))),
        ("an unclosed string of 8 MB", format!("\"gender\":\"{}", "a".repeat(8_000_000))),
        ("a lone surrogate", r#""gender":"\ud800""#.to_owned()),
        ("an escaped NUL", r#""gender":"\u0000""#.to_owned()),
        (
            "a string over its limit",
            format!("\"name\":[{{\"family\":\"{}\"}}]", "a".repeat(1_100_000)),
        ),
    ];
    for (name, text) in texts {
        let bare = text.starts_with(['[', '{']);
        corpus.push((name.to_owned(), if bare { text.into_bytes() } else { patient(&text) }));
    }
    corpus.extend(decimals());
    corpus.extend(byte_corpus());
    corpus
}

/// Decimals that no database keeps.
fn decimals() -> Vec<(String, Vec<u8>)> {
    [
        ("a decimal beyond every database", "1e999999999".to_owned()),
        ("a decimal smaller than any", "1e-999999999".to_owned()),
        ("a decimal of a million digits", "1".repeat(1_000_000)),
        ("a million decimals", format!("0.{}", "1".repeat(1_000_000))),
    ]
    .map(|(name, digits)| {
        let extension = format!(r#"[{{"url":"urn:e","valueDecimal":{digits}}}]"#);
        let text = format!(r#"{{"resourceType":"Patient","extension":{extension}}}"#);
        (name.to_owned(), text.into_bytes())
    })
    .into()
}

/// Bodies as large as the server takes, that want to become far larger trees.
fn large_corpus() -> Vec<(String, Vec<u8>)> {
    let patient = |inner: String| format!(r#"{{"resourceType":"Patient","name":[{inner}]}}"#);
    [
        ("eight million numbers", vec!["0"; 8_000_000].join(",")),
        ("six million objects", vec!["{}"; 6_000_000].join(",")),
        ("six million arrays", vec!["[]"; 6_000_000].join(",")),
        ("a million large exponents", vec!["1e300"; 1_000_000].join(",")),
        ("a text of 12 MB", format!("\"{}\"", "\\u00e9".repeat(2_000_000))),
    ]
    .map(|(name, inner)| (name.to_owned(), patient(inner).into_bytes()))
    .into()
}

/// Bodies that are not even text.
fn byte_corpus() -> Vec<(String, Vec<u8>)> {
    let bytes: [(&str, &[u8]); 7] = [
        ("a NUL", b"{\"resourceType\":\"Patient\"\0}"),
        ("a NUL in a string", b"{\"resourceType\":\"Patient\",\"gender\":\"a\0\"}"),
        ("only NULs", &[0; 1000]),
        ("broken UTF-8", b"{\"resourceType\":\"Patient\",\"gender\":\"\xff\xfe\"}"),
        ("an overlong encoding", b"{\"resourceType\":\"Patient\",\"gender\":\"\xc0\xaf\"}"),
        ("UTF-16", b"\xff\xfe{\0\"\0r\0"),
        ("two byte order marks", b"\xef\xbb\xbf\xef\xbb\xbf{\"resourceType\":\"Patient\"}"),
    ];
    bytes.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into()
}

/// Bodies of `POST /Patient` as XML.
fn xml_corpus() -> Vec<(String, Vec<u8>)> {
    let open = "<Patient xmlns=\"http://hl7.org/fhir\">";
    let sound = format!("{open}<name><family value=\"F\"/></name></Patient>");
    let mut corpus: Vec<(String, Vec<u8>)> = (0..sound.len())
        .map(|end| (format!("xml cut at {end}"), sound.as_bytes()[..end].to_vec()))
        .collect();
    let lol = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;\">]>";
    for (name, text) in [
        ("billion laughs", format!("{lol}{open}<name><family value=\"&c;\"/></name></Patient>")),
        (
            "an outside entity",
            format!("<!DOCTYPE l [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>{open}&a;</Patient>"),
        ),
        (
            "an outside definition",
            format!("<!DOCTYPE l SYSTEM \"http://127.0.0.1:9/x.dtd\">{open}</Patient>"),
        ),
        ("elements 100,000 deep", format!("{open}{}", "<extension url=\"urn:x\">".repeat(100_000))),
        (
            "a million attributes",
            format!(
                "<Patient {}/>",
                (0..200_000).map(|n| format!("a{n}=\"\"")).collect::<Vec<_>>().join(" ")
            ),
        ),
        ("a NUL reference", format!("{open}<name><family value=\"a&#0;\"/></name></Patient>")),
        ("a control character", format!("{open}<name><family value=\"a&#7;\"/></name></Patient>")),
        (
            "another declared encoding",
            format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{open}</Patient>"),
        ),
        (
            "an inclusion",
            format!(
                "{open}<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\"/></Patient>"
            ),
        ),
    ] {
        corpus.push((name.to_owned(), text.into_bytes()));
    }
    corpus
}

/// Most bytes of a body, as sent and as decoded.
const MOST: usize = 10 * 1024 * 1024;

/// The status of a body that is nothing, by its size.
fn status_of(body: &[u8]) -> u16 {
    if body.len() > MOST { 413 } else { 400 }
}

/// What is wrong with how the server answers `body`: not with the status `expected` and an outcome whose
/// code goes with it, costly, or wordy.
async fn fault(
    server: &Process,
    headers: &[(&str, &str)],
    (name, expected): (&str, u16),
    body: &[u8],
) -> Option<String> {
    let mut tries = 0;
    let (answer, took) = loop {
        let call = server.client.call("POST", "/Patient");
        let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
        let before = server.worked();
        let answer = tokio::time::timeout(PATIENCE, call.body(body.to_vec()).send()).await;
        let Ok(answer) = answer else { return Some(format!("{name}: no answer")) };
        let took = server.worked().saturating_sub(before);
        tries += 1;
        // The server has other work as well, now and then.
        if took < LIMIT || tries == 3 {
            break (answer, took);
        }
    };
    let short: String = answer.text().chars().take(200).collect();
    let codes: &[&str] = match expected {
        413 => &["too-long"],
        415 => &["not-supported"],
        _ => &["structure", "value"],
    };
    // Not in the form that was asked for: the default is JSON.
    let code = (answer.status == expected).then(|| answer.at("issue[0].code")).flatten();
    if !code.is_some_and(|code| codes.contains(&code.as_str())) || took > LIMIT {
        return Some(format!("{name}: {}, not {expected}, after {took:?}: {short}", answer.status));
    }
    let length = answer.body.len();
    (length > 100_000).then(|| format!("{name}: the answer has {length} bytes"))
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_for_a_second_of_work() {
    // A process of its own: what is measured is the server, not this test.
    let server = Process::start().await;
    let json = json_corpus().into_iter().map(|case| ("application/fhir+json", case));
    let xml = xml_corpus().into_iter().map(|case| ("application/fhir+xml", case));
    let mut faults = Vec::new();
    for (content_type, (name, bytes)) in json.chain(xml) {
        let headers = [("Content-Type", content_type)];
        faults.extend(fault(&server, &headers, (&name, status_of(&bytes)), &bytes).await);
    }
    let sound = br#"{"resourceType":"Patient"}"#;
    for (content_type, status) in [
        ("text/plain", 415),
        ("text/html", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/octet-stream", 415),
        ("application/fhir+xml", 400),
        ("application/fhir+json;fhirVersion=5.0", 415),
        ("json", 415),
        ("", 415),
    ] {
        let headers = [("Content-Type", content_type)];
        faults.extend(fault(&server, &headers, (content_type, status), sound).await);
    }
    faults.extend(fault(&server, &[], ("no content type", 415), sound).await);
    assert!(faults.is_empty(), "{faults:#?}");
    server.client.get("/metadata").await.expect(200);
    let database = connect(&server.database_url()).await;
    let stored = database.query_one("SELECT count(*) FROM res", &[]).await.unwrap();
    assert_eq!(stored.get::<_, i64>(0), 0);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A Patient and 300 MB of spaces after it, as brotli at its best.
const BROTLI_BOMB: &str = "\
    z///f9CN1GLNGe6UIiB7xaIDDjlwOF9ai1SDDTiNOVx01YHe+tnr6BFFcUyXvP8P/v//wy8BEIcFALr3//z//4dfAi\
    AOiwB07//5//8PvwRAHBYA6N7/8///H34JgDgsANC9/+f//z/8EgBxWACge//P//9/+CUA4rAAQPf+n/////BLAMRh\
    AYDu/T/////hlwCIwwIA3ft//v//wy8BEIcFALr3//z//4dfAiAOCwB07//5//8PvwRAHBYA6N7/8///H34JgDgsAN\
    C9/+f//z/8EgBxWACge//P//9/+CUA4rAAQPf+n/////BLAMRhAYDu/T/////hlwCIwwIA3ft//v//wy8BEIcFALr3\
    //n//4tfAiAOCwB0738B";

/// Compressed bodies of 300 MB and more, and such as only claim to be compressed: name, coding, status,
/// bytes.
fn bombs() -> Vec<(&'static str, &'static str, u16, Vec<u8>)> {
    let mut spaces = b"{\"resourceType\":\"Patient\",\"active\":true".to_vec();
    spaces.resize(300 * 1024 * 1024, b' ');
    let single = gzip(&spaces);
    let twice = gzip(&single);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(&spaces).unwrap();
    let zlib = zlib.finish().unwrap();
    let zstd_bomb = zstd::encode_all(&spaces[..], 3).unwrap();
    spaces.truncate(1024 * 1024);
    let members = gzip(&spaces).repeat(300);
    drop(spaces);
    let brotli = STANDARD.decode(BROTLI_BOMB).unwrap();
    // A frame header that asks for a window of 2 GB.
    let window = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00".to_vec();
    vec![
        ("gzip", "gzip", 413, single.clone()),
        ("gzip by its old name", "x-gzip", 413, single.clone()),
        ("gzip of many members", "gzip", 413, members),
        ("gzip cut off", "gzip", 413, single[..single.len() / 2].to_vec()),
        ("deflate", "deflate", 413, zlib),
        ("brotli", "br", 413, brotli),
        ("zstd", "zstd", 413, zstd_bomb),
        ("zstd with a huge window", "zstd", 400, window),
        ("gzip in gzip, both told", "gzip, gzip", 415, twice.clone()),
        ("gzip in gzip, one told", "gzip", 400, twice),
        ("brotli that is gzip", "br", 400, single),
        ("no gzip at all", "gzip", 400, b"{\"resourceType\":\"Patient\"}".to_vec()),
        ("no deflate at all", "deflate", 400, b"{\"resourceType\":\"Patient\"}".to_vec()),
        ("no brotli at all", "br", 400, b"{\"resourceType\":\"Patient\"}".to_vec()),
        ("no zstd at all", "zstd", 400, b"{\"resourceType\":\"Patient\"}".to_vec()),
        ("an empty gzip", "gzip", 400, Vec::new()),
        ("an unknown coding", "compress", 415, b"x".to_vec()),
    ]
}

/// Most that the server's memory may grow by while it refuses bombs: a buffer that doubles up to
/// 32 MiB, old and new, and what the allocator and the decoders keep.
const BOMB_KB: u64 = 160 * 1024;
/// The same for the worst of plain bodies, which become trees of several times their size.
const BODY_KB: u64 = 400 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_bad_bodies_take_bounded_memory() {
    // A process of its own: what is measured is the server, not this test.
    let server = Process::start().await;
    let before = server.peak_kb();
    let mut faults = Vec::new();
    for (name, coding, status, bytes) in bombs() {
        let headers = [("Content-Type", "application/fhir+json"), ("Content-Encoding", coding)];
        faults.extend(fault(&server, &headers, (name, status), &bytes).await);
    }
    let bombed = server.peak_kb();
    let large = large_corpus();
    let bodies = json_corpus().into_iter().filter(|(name, _)| !name.starts_with("cut"));
    for (name, bytes) in bodies.chain(large) {
        let headers = [("Content-Type", "application/fhir+json")];
        faults.extend(fault(&server, &headers, (&name, status_of(&bytes)), &bytes).await);
    }
    let after = server.peak_kb();
    eprintln!("memory: {before} kB, after the bombs {bombed} kB, after the bodies {after} kB");
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(bombed - before < BOMB_KB, "the bombs took {} kB", bombed - before);
    assert!(after - before < BODY_KB, "the bodies took {} kB", after - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_said_to_be() {
    let server = TestServer::start_with(&[
        ("http.max_body_bytes", "100000"),
        ("http.max_bundle_entries", "10"),
    ])
    .await;
    let client = &server.client;
    let large = format!(r#"{{"resourceType":"Patient","id":"{}"}}"#, "a".repeat(200_000));
    let answer = client.post("/Patient", large).await.expect(413);
    assert_eq!(answer.at("issue[0].code").as_deref(), Some("too-long"));

    let url = format!("/Patient/x?_elements={}", "a".repeat(60_000));
    assert_eq!(client.get(&url).await.status, 414);
    let head = client.call("GET", "/metadata").header("X-Long", &"a".repeat(100_000));
    assert_eq!(head.send().await.status, 431);

    let entry =
        r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#;
    let bundle = |kind: &str, count: usize| {
        let entries = vec![entry; count].join(",");
        format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{entries}]}}"#)
    };
    for kind in ["batch", "transaction"] {
        client.post("/", bundle(kind, 10)).await.expect(200);
        let answer = client.post("/", bundle(kind, 11)).await.expect(400);
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("too-costly"), "{answer:?}");
        assert!(answer.text().contains("10"), "the limit is not named: {answer:?}");
    }
}
