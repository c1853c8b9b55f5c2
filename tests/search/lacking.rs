//! What lacks a code or a value is found however many lack it: by what it has instead, and by a walk of
//! all where that is no longer kept.

use crate::harness::client::Client;
use crate::harness::server::TestServer;

/// As many codes of a parameter as are listed, and more.
const CODES: usize = 40;
/// More resources than may lack a parameter.
const PATIENTS: usize = 520;

async fn post(client: &Client, resources: impl Iterator<Item = String>) {
    let entry = |it: String| {
        let of = if it.contains("Patient") { "Patient" } else { "Observation" };
        format!(r#"{{"resource":{it},"request":{{"method":"POST","url":"{of}"}}}}"#)
    };
    let entries: Vec<String> = resources.map(entry).collect();
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
        entries.join(",")
    );
    client.post("/", bundle).await.expect(200);
}

async fn total(client: &Client, search: &str) -> u64 {
    let answer = client.get(&format!("/{search}&_summary=count")).await.expect(200);
    answer.at("total").and_then(|total| total.parse().ok()).expect("a total")
}

fn patient(number: usize) -> String {
    let birth = if number.is_multiple_of(100) { r#","birthDate":"1980""# } else { "" };
    let gender = match number % 3 {
        0 => r#","gender":"female""#,
        1 => r#","gender":"male""#,
        _ => "",
    };
    format!(r#"{{"resourceType":"Patient","active":true{gender}{birth}}}"#)
}

fn observation(code: &str) -> String {
    format!(r#"{{"resourceType":"Observation","status":"final","code":{{{code}}}}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lacks_a_value_is_found_before_and_after_it_is_kept() {
    let server = TestServer::start_with(&[("definitions.readable", "false")]).await;
    let client = &server.client;
    let kept = "SELECT count(*) FROM token_code WHERE h = 0";
    post(client, (0..30).map(patient)).await;
    assert_eq!(total(client, "Patient?birthdate:missing=true").await, 29);
    assert_eq!(total(client, "Patient?gender:not=male").await, 20);
    assert_eq!(total(client, "Patient?gender:not=male,female").await, 10);
    assert_eq!(server.database.number(kept).await, 0, "few lack it yet");
    for first in (30..PATIENTS).step_by(70) {
        post(client, (first..(first + 70).min(PATIENTS)).map(patient)).await;
    }
    assert!(server.database.number(kept).await > 0, "too many lack it");
    // What comes after that has no row that says so.
    post(client, (PATIENTS..PATIENTS + 30).map(patient)).await;
    assert_eq!(total(client, "Patient?birthdate:missing=true").await, 550 - 6);
    assert_eq!(total(client, "Patient?gender:missing=true").await, 183);
    assert_eq!(total(client, "Patient?gender:not=male").await, 550 - 183);
    assert_eq!(total(client, "Patient?active:not=true").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lacks_a_code_is_found_whatever_it_has_instead() {
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let client = &server.client;
    let coded = |system: &str, code: &str| {
        observation(&format!(r#""coding":[{{"system":"{system}","code":"{code}"}}]"#))
    };
    let some = [
        coded("http://x", "a"),
        coded("http://y", "a"),
        observation(r#""coding":[{"system":"http://x","code":"a"},{"code":"b"}]"#),
        observation(r#""text":"no code at all""#),
    ];
    post(client, some.into_iter()).await;
    let few = async || {
        for (search, expected) in [
            ("Observation?code:not=a", 1),
            ("Observation?code:not=http://x|a", 2),
            ("Observation?code:not=b", 3),
            ("Observation?code:not=http://x|a,http://y|a", 1),
            ("Observation?code:missing=true", 0),
            ("Observation?status:not=final", 0),
            ("Observation?status:not=amended&code:not=a", 1),
        ] {
            assert_eq!(total(client, search).await, expected, "{search}");
        }
    };
    few().await;
    // More codes than are listed.
    post(client, (0..CODES).map(|number| coded("http://z", &number.to_string()))).await;
    assert_eq!(total(client, "Observation?code:not=http://z|7").await, 4 + CODES as u64 - 1);
    assert_eq!(total(client, "Observation?code:not=a").await, 1 + CODES as u64);
    server.stop().await;
}
