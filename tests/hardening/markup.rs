//! XML that wants to be more than elements: declarations, entities, inclusions, other encodings.
//!
//! Covers: security H3, V23.

use crate::harness::client::Answer;
use crate::harness::server::TestServer;

use super::outbound::Sink;

/// A text in UTF-16 with a byte order mark.
fn utf16(text: &str, is_big: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(|unit| if is_big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

/// Documents of a root element with declarations, or entities, in front of it or in it.
fn hostile(root: &str, sink: &str) -> Vec<(&'static str, Vec<u8>)> {
    let open = format!("<{root} xmlns=\"http://hl7.org/fhir\">");
    let close = format!("</{root}>");
    let plain = format!("{open}{close}");
    let language = "<language value=\"&x;\"/>";
    let declared = |inside: &str| format!("<!DOCTYPE {root} [{inside}]>{open}{language}{close}");
    let laughs: Vec<String> = (1..12)
        .map(|at| {
            let ten = format!("&e{};", at - 1).repeat(10);
            format!("<!ENTITY e{at} \"{ten}\">")
        })
        .collect();
    let laughs = laughs.concat();
    let declarations = [
        ("nothing but a declaration", format!("<!DOCTYPE {root}>{plain}")),
        ("a file", declared("<!ENTITY x SYSTEM \"file:///etc/passwd\">")),
        ("an address", declared(&format!("<!ENTITY x SYSTEM \"{sink}/x\">"))),
        ("a public name", declared(&format!("<!ENTITY x PUBLIC \"-//x\" \"{sink}/x\">"))),
        (
            "parameter entities",
            declared(&format!(
                "<!ENTITY % f SYSTEM \"file:///etc/hostname\"><!ENTITY % d SYSTEM \"{sink}/d.dtd\">%d;"
            )),
        ),
        ("laughs", declared(&format!("<!ENTITY e0 \"ha\">{laughs}<!ENTITY x \"&e11;\">"))),
        ("one long entity", declared(&format!("<!ENTITY x \"{}\">", "x".repeat(100_000)))),
        ("an outside definition", format!("<!DOCTYPE {root} SYSTEM \"{sink}/x.dtd\">{plain}")),
        ("in small letters", format!("<!doctype {root} SYSTEM \"{sink}/x.dtd\">{plain}")),
        ("behind a comment", format!("<!-- a --><?a b?>\n<!DOCTYPE {root}>{plain}")),
        ("an entity of nobody", format!("{open}{language}{close}")),
    ];
    let address = declared(&format!("<!ENTITY x SYSTEM \"{sink}/x\">"));
    let mut all: Vec<_> =
        declarations.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    all.push(("big units", utf16(&address, true)));
    all.push(("small units", utf16(&address, false)));
    let told = format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{address}");
    all.push(("units and a declaration", utf16(&told, true)));
    let seven = address.replace('<', "+ADw-").replace('>', "+AD4-").replace('&', "+ACY-");
    let seven = format!("<?xml version=\"1.0\" encoding=\"UTF-7\"?>{seven}");
    all.push(("seven bits", seven.into_bytes()));
    all
}

/// Documents without a declaration that must not be read all the same.
fn odd(root: &str, sink: &str) -> Vec<(&'static str, Vec<u8>)> {
    let open = format!("<{root} xmlns=\"http://hl7.org/fhir\">");
    let close = format!("</{root}>");
    let texts = [
        (
            "an inclusion",
            format!(
                "{open}<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"{sink}/i\"/>{close}"
            ),
        ),
        (
            "a schema",
            format!(
                "<{root} xmlns=\"http://hl7.org/fhir\" xmlns:s=\"http://www.w3.org/2001/XMLSchema-instance\" s:schemaLocation=\"http://hl7.org/fhir {sink}/s.xsd\"><nothing/></{root}>"
            ),
        ),
        ("another namespace", format!("<{root} xmlns=\"urn:hl7-org:v3\"></{root}>")),
        ("no namespace", format!("<{root}></{root}>")),
        ("a style sheet of itself", format!("<?xml-stylesheet href=\"{sink}/x.xsl\"?><{root}/>")),
        ("deep", format!("{open}{}", "<extension url=\"urn:x\">".repeat(20_000))),
        ("said to be of IBM", format!("<?xml version=\"1.0\" encoding=\"IBM037\"?>{open}{close}")),
    ];
    texts.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
}

/// Every way in for XML: method, path, root element.
const ENTRIES: &[(&str, &str, &str)] = &[
    ("POST", "/Patient", "Patient"),
    ("PUT", "/Patient/xml", "Patient"),
    ("PATCH", "/Patient/known", "Parameters"),
    ("POST", "/", "Bundle"),
    ("POST", "/Patient/$validate", "Parameters"),
    ("POST", "/Patient/$validate", "Patient"),
    ("POST", "/Patient/known/$meta-add", "Parameters"),
    ("POST", "/ValueSet/$expand", "Parameters"),
    ("POST", "/ValueSet/$validate-code", "Parameters"),
    ("POST", "/CodeSystem/$lookup", "Parameters"),
    ("POST", "/ConceptMap/$translate", "Parameters"),
    ("POST", "/$hl7v2-convert", "Parameters"),
];

fn told(answer: &Answer) -> String {
    format!("{}{:?}", answer.text(), answer.headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_xml_is_more_than_elements_wherever_it_comes_in() {
    let server = TestServer::start().await;
    let sink = Sink::start().await;
    server
        .client
        .put("/Patient/known", r#"{"resourceType":"Patient","id":"known"}"#)
        .await
        .expect(201);
    let mut faults = Vec::new();
    for (method, path, root) in ENTRIES {
        for (name, body) in hostile(root, &sink.url).into_iter().chain(odd(root, &sink.url)) {
            let call = server.client.call(method, path);
            let call = call.header("Content-Type", "application/fhir+xml;charset=utf-8");
            let answer = call.body(body).send().await;
            // What $validate looks at is its answer.
            let is_validated = path.ends_with("$validate") && answer.status == 200;
            let is_refused = [400, 422].contains(&answer.status)
                || is_validated && told(&answer).contains("\"error\"");
            let leaks = ["root:", "/bin/", "127.0.0.1"].iter().any(|it| answer.text().contains(it));
            if !is_refused || leaks {
                faults.push(format!("{method} {path} {root}, {name}: {answer:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(sink.visits().await, 0);
    server.stop().await;
}
