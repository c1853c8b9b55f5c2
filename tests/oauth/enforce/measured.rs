//! Criteria of dates, numbers and quantities: what a token with them shows is what a search with the same
//! parameter finds, whatever the prefix. Searches go by the index; old versions, and once more whatever is
//! shown, by the document alone: both must say the same.
//!
//! Covers: security L10.

use std::collections::BTreeSet;

use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::world::{asked, body};

const EVERY: [&str; 9] = ["", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"];

/// When observations were made.
const TIMES: [&str; 10] = [
    r#""effectiveDateTime":"2024""#,
    r#""effectiveDateTime":"2024-05""#,
    r#""effectiveDateTime":"2023-12-31T23:59:59.500Z""#,
    r#""effectiveInstant":"2024-01-01T00:00:00Z""#,
    r#""effectiveInstant":"2025-01-01T00:00:00Z""#,
    r#""effectivePeriod":{"start":"2023-06","end":"2024-06"}"#,
    r#""effectivePeriod":{"start":"2024-06"}"#,
    r#""effectivePeriod":{"end":"2023"}"#,
    r#""effectiveTiming":{"event":["2022-03-04","2025-03-04"]}"#,
    r#""note":[{"text":"nobody knows when"}]"#,
];

/// What was measured.
const VALUES: [&str; 9] = [
    r#""valueQuantity":{"value":5,"system":"http://unitsofmeasure.org","code":"mg","unit":"milligrams"}"#,
    r#""valueQuantity":{"value":0.0054,"system":"http://unitsofmeasure.org","code":"g"}"#,
    r#""valueQuantity":{"value":5.5,"system":"http://unitsofmeasure.org","code":"mg"}"#,
    r#""valueQuantity":{"value":4.6,"comparator":"<","system":"http://unitsofmeasure.org","code":"mg"}"#,
    r#""valueQuantity":{"value":5,"comparator":">=","unit":"mg"}"#,
    r#""valueQuantity":{"value":5,"system":"urn:units","code":"drop"}"#,
    r#""valueQuantity":{"value":5}"#,
    r#""valueQuantity":{"unit":"mg"}"#,
    r#""valueString":"5 mg""#,
];

/// How likely something is.
const CHANCES: [&str; 6] = [
    r#""probabilityDecimal":0.5"#,
    r#""probabilityDecimal":0.54"#,
    r#""probabilityDecimal":0.45"#,
    r#""probabilityRange":{"low":{"value":0.4,"system":"http://unitsofmeasure.org","code":"%"},"high":{"value":0.6,"system":"http://unitsofmeasure.org","code":"%"}}"#,
    r#""probabilityRange":{"low":{"value":0.7,"system":"http://unitsofmeasure.org","code":"%"}}"#,
    r#""outcome":{"text":"unlikely"}"#,
];

async fn stored(server: &TestServer, paths: &mut Vec<String>, path: String, content: &str) {
    let content = format!(r#""status":"final","subject":{{"reference":"Patient/a"}},{content}"#);
    server.client.put(&format!("/{path}"), body(&path, &content)).await.expect(201);
    paths.push(path);
}

/// Holds a token with a criterion against a search by it: how many of `paths` it reaches.
async fn compared(server: &TestServer, paths: &[String], of: &str, criterion: &str) -> usize {
    let escaped = criterion.replace('|', "%7C");
    let found = asked(&server.client, &format!("/{of}?{escaped}&_count=100")).await;
    let scope = format!("patient/{of}.rs?{criterion}");
    let (client, stop) = Token::new(server, &scope).patient("a").client().await;
    let shown = asked(&client, &format!("/{of}?_count=100")).await;
    assert_eq!(shown, found, "{scope}");
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    for path in paths {
        let expected = if found.contains(path.as_str()) { 200 } else { 404 };
        for way in ["", "/_history/1"] {
            let answer = client.get(&format!("/{path}{way}")).await;
            assert_eq!(answer.status, expected, "{scope}: {path}{way} {answer:?}");
        }
    }
    drop(stop);
    found.len()
}

/// The same for each prefix; something is found and something is not.
async fn with_each(
    server: &TestServer,
    paths: &[String],
    (of, name): (&str, &str),
    (prefixes, values): (&[&str], &[&str]),
) {
    for value in values {
        let mut sum = 0;
        for prefix in prefixes {
            let criterion = format!("{name}={prefix}{value}");
            sum += compared(server, paths, of, &criterion).await;
        }
        assert!(sum > 0 && sum < paths.len() * prefixes.len(), "{of} {name} {value}: {sum}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_as_a_criterion_reaches_what_a_search_by_it_finds() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", body("Patient/a", r#""active":true"#)).await.expect(201);
    let mut paths = Vec::new();
    for (at, time) in TIMES.iter().enumerate() {
        let content = format!(r#""code":{{"text":"t"}},{time}"#);
        stored(&server, &mut paths, format!("Observation/t{at}"), &content).await;
    }
    let values = ["2024", "2024-01-01T00:00:00.000Z", "2024-05"];
    // What is about a date hangs on the day.
    let prefixes = &EVERY[..8];
    with_each(&server, &paths, ("Observation", "date"), (prefixes, &values)).await;
    // Several criteria hold together, values of one are alternatives.
    let both = compared(&server, &paths, "Observation", "date=ge2024&date=lt2024-06").await;
    let either = compared(&server, &paths, "Observation", "date=eb2024,sa2024").await;
    assert!(both > 0 && either > 0, "{both} {either}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quantity_as_a_criterion_reaches_what_a_search_by_it_finds() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", body("Patient/a", r#""active":true"#)).await.expect(201);
    let mut paths = Vec::new();
    for (at, value) in VALUES.iter().enumerate() {
        let content = format!(r#""code":{{"text":"q"}},{value}"#);
        stored(&server, &mut paths, format!("Observation/q{at}"), &content).await;
    }
    let values = ["5", "5|http://unitsofmeasure.org|mg", "5.0||mg", "5|urn:units|drop"];
    with_each(&server, &paths, ("Observation", "value-quantity"), (&EVERY, &values)).await;
    let values = ["0.005|http://unitsofmeasure.org|g", "5|http://unitsofmeasure.org|"];
    with_each(&server, &paths, ("Observation", "value-quantity"), (&["", "le"], &values)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_as_a_criterion_reaches_what_a_search_by_it_finds() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", body("Patient/a", r#""active":true"#)).await.expect(201);
    let mut paths = Vec::new();
    for (at, chance) in CHANCES.iter().enumerate() {
        let content = format!(r#""prediction":[{{{chance}}}]"#);
        stored(&server, &mut paths, format!("RiskAssessment/r{at}"), &content).await;
    }
    let values = ["0.5", "0.50", "7e-1"];
    with_each(&server, &paths, ("RiskAssessment", "probability"), (&EVERY, &values)).await;
    server.stop().await;
}
