//! How a summary is asked for, what is refused, and what is on record of it.

use crate::harness::client::Client;

use super::world::filled;
use super::{PROFILE, URL, is_document};

const NOTHING: &str = r#"{"resourceType":"Parameters"}"#;

fn parameters(all: &str) -> String {
    format!(r#"{{"resourceType":"Parameters","parameter":[{all}]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_summary_it_is_stands_in_the_url_or_is_identified() {
    let server = filled().await;
    let (client, base) = (&server.client, server.client.base());
    let identifier =
        parameters(r#"{"name":"identifier","valueIdentifier":{"system":"urn:n","value":"a|1"}}"#);
    let profile = parameters(&format!(r#"{{"name":"profile","valueUri":"{PROFILE}"}}"#));
    let form = "application/x-www-form-urlencoded";
    let by_form = client.call("POST", "/Patient/$summary").header("Content-Type", form);
    for answer in [
        client.get(URL).await,
        client.get(&format!("{URL}?profile={PROFILE}|1.1.0")).await,
        client.post(URL, NOTHING).await,
        client.post(URL, profile).await,
        client.call("POST", URL).send().await,
        client.get(r"/Patient/$summary?identifier=urn:n|a\|1").await,
        client.get(r"/Patient/$summary?identifer=urn:n|a\|1").await,
        client.post("/Patient/$summary", identifier).await,
        by_form.body(r"identifier=urn:n|a%5C|1").send().await,
    ] {
        let answer = answer.expect(200);
        is_document(&answer, &base);
        assert_eq!(answer.at("entry[1].resource.id").as_deref(), Some("a"), "{answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_offered_is_refused() {
    let server = filled().await;
    let client = &server.client;
    client.put("/Patient/gone", r#"{"resourceType":"Patient","id":"gone"}"#).await.expect(201);
    client.delete("/Patient/gone").await.expect(204);
    for (url, status, told) in [
        ("/Patient/nobody/$summary", 404, "Patient/nobody"),
        ("/Patient/bad_id/$summary", 404, "Patient"),
        ("/Patient/gone/$summary", 410, "Patient/gone"),
        ("/Patient/$summary", 400, "identifier"),
        ("/Patient/$summary?identifier=urn:n|nobody", 404, "identifier"),
        ("/Patient/$summary?identifier=urn:n|twin", 412, "identifier"),
        ("/Patient/$summary?identifier=urn:n|twin&identifier=urn:n|twin", 400, "identifier"),
        ("/Patient/a/$summary?identifier=urn:n|twin", 400, "identifier"),
        ("/Patient/a/$summary?profile=http://x.example/p", 400, "profile"),
        ("/Patient/a/$summary?graph=http://x.example/g", 400, "graph"),
        ("/Patient/a/$summary?_elements=id", 400, "_elements"),
        ("/Patient/a/$summary?_summary=true", 400, "_summary"),
        ("/Observation/a-part/$summary", 404, ""),
        ("/$summary", 404, ""),
    ] {
        let answer = client.get(url).await.expect(status);
        let text = answer.at("issue[0].diagnostics").unwrap_or_default();
        assert!(text.contains(told), "{url}: {answer:?}");
    }
    let unknown = format!("{URL}?other=1");
    client.get(&unknown).await.expect(200);
    client.call("GET", &unknown).header("Prefer", "handling=strict").send().await.expect(400);
    for bad in [
        r#"{"resourceType":"Patient"}"#.to_owned(),
        "odd".to_owned(),
        parameters(r#"{"name":"graph","valueUri":"urn:g"}"#),
        parameters(r#"{"name":"profile"}"#),
    ] {
        client.post(URL, bad).await.expect(400);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_bundle_asks_for_a_summary() {
    let server = filled().await;
    let entry = |method: &str, url: &str, more: &str| {
        format!(r#"{{{more}"request":{{"method":"{method}","url":"{url}"}}}}"#)
    };
    let bundle = |of: &str, entries: &[String]| {
        let entries = entries.join(",");
        format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entries}]}}"#)
    };
    let batch = bundle(
        "batch",
        &[
            entry("GET", "Patient/a/$summary", ""),
            entry("POST", "Patient/a/$summary", &format!(r#""resource":{NOTHING},"#)),
            entry("GET", "Patient/nobody/$summary", ""),
            entry("GET", "Patient/a/$summary?graph=x", ""),
        ],
    );
    let answer = server.client.post("/", batch).await.expect(200);
    let text = |path: &str| answer.at(path).unwrap_or_default();
    for number in [0, 1] {
        assert_eq!(text(&format!("entry[{number}].resource.type")), "document");
        assert_eq!(text(&format!("entry[{number}].resource.entry[1].resource.id")), "a");
    }
    assert!(text("entry[2].response.status").starts_with("404"), "{answer:?}");
    assert!(text("entry[3].response.status").starts_with("400"), "{answer:?}");
    // In a transaction it sees what that has written.
    let new = r#""resource":{"resourceType":"Condition","id":"c-new","code":{"text":"New"},"subject":{"reference":"Patient/c"}},"#;
    let transaction = bundle(
        "transaction",
        &[entry("GET", "Patient/c/$summary", ""), entry("PUT", "Condition/c-new", new)],
    );
    let answer = server.client.post("/", transaction).await.expect(200).text();
    assert!(answer.contains("<li>New</li>") && !answer.contains("no-problem-info"), "{answer}");
    server.stop().await;
}

/// How many events there are of operations with a patient's data.
async fn events(client: &Client, patient: &str) -> usize {
    let url = format!("/AuditEvent?subtype=operation&_count=100&patient=Patient/{patient}");
    client.get(&url).await.expect(200).json().items_at("entry").len()
}

/// Covers: security A6.
#[tokio::test(flavor = "multi_thread")]
async fn each_summary_is_on_record_as_a_read_of_the_patient() {
    let server = filled().await;
    let client = &server.client;
    client.get(URL).await.expect(200);
    assert_eq!((events(client, "a").await, events(client, "b").await), (1, 0));
    let url = "/AuditEvent?subtype=operation&patient=Patient/a";
    let told = client.get(url).await.expect(200);
    for (path, expected) in [
        ("action", "R"),
        ("outcome", "0"),
        ("type.code", "rest"),
        ("subtype[0].code", "operation"),
        ("agent[0].type.coding[0].code", "110152"),
        ("entity[0].what.reference", "Patient/a/_history/1"),
        ("entity[1].description", "GET /fhir/Patient/a/$summary"),
        ("entity[2].what.reference", "Patient/a"),
    ] {
        let found = told.at(&format!("entry[0].resource.{path}"));
        assert_eq!(found.as_deref(), Some(expected), "{path}: {told:?}");
    }
    // Who was identified is who it is of.
    client.get(r"/Patient/$summary?identifier=urn:n|a\|1").await.expect(200);
    assert_eq!(events(client, "a").await, 2);
    client.get("/Patient/nobody/$summary").await.expect(404);
    let refused = client.get("/AuditEvent?subtype=operation&outcome=4").await.expect(200);
    assert_eq!(refused.json().items_at("entry").len(), 1);
    // An entry of a Bundle is on record by what it asks for itself.
    for (number, of) in ["batch", "transaction"].into_iter().enumerate() {
        let entry = r#"{"request":{"method":"GET","url":"Patient/c/$summary"}}"#;
        let bundle = format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entry}]}}"#);
        client.post("/", bundle).await.expect(200);
        let url = "/AuditEvent?subtype=operation&patient=Patient/c&_count=100";
        let told = client.get(url).await.expect(200).text();
        assert_eq!(told.matches("GET /fhir/Patient/c/$summary").count(), number + 1, "{of}");
    }
    server.stop().await;
}
