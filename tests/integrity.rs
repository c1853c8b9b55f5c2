//! Rules between resources that are switched on: identifiers of one resource each, references that lead
//! somewhere and hold what they lead to; whoever writes at the same time, on whatever node.
//!
//! Covers: rest 0.8, rest 2.79, rest 5.6, rest 7.12.

use futures_util::future::join_all;
use kiln::app::server::Server;

use crate::harness::client::{Answer, Client};
use crate::harness::server::{TestServer, config};

const UNIQUE: (&str, &str) = ("integrity.unique_identifiers", "Patient|urn:mrn,Organization");
const ENFORCED: (&str, &str) = ("integrity.references", "enforced");

fn patient(id: &str, value: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient"{},"identifier":[{{"system":"urn:mrn","value":"{value}"}}]}}"#,
        if id.is_empty() { String::new() } else { format!(r#","id":"{id}""#) }
    )
}

fn observation(id: &str, subject: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"x"}},
        "subject":{{"reference":"{subject}"}}}}"#
    )
}

fn transaction(entries: &[String]) -> String {
    let entries = entries.join(",");
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
}

fn entry(resource: &str, method: &str, url: &str) -> String {
    let request = format!(r#""request":{{"method":"{method}","url":"{url}"}}"#);
    match resource {
        "" => format!("{{{request}}}"),
        _ => format!(r#"{{"fullUrl":"urn:uuid:{url}","resource":{resource},{request}}}"#),
    }
}

/// Fails unless the answer is an OperationOutcome of this status and code that says `text`.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, text: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.at("issue[0].code").as_deref(), Some(code), "{answer:?}");
    assert!(answer.text().contains(text), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_under_a_rule_belongs_to_one_live_resource() {
    let server = TestServer::start_with(&[UNIQUE]).await;
    let client = &server.client;
    client.put("/Patient/a", patient("a", "1")).await.expect(201);
    let taken = "Patient/a carries Patient.identifier[0]";
    refused(&client.post("/Patient", patient("", "1")).await, 409, "duplicate", taken);
    refused(&client.put("/Patient/b", patient("b", "1")).await, 409, "duplicate", taken);
    client.put("/Patient/b", patient("b", "2")).await.expect(201);
    refused(&client.put("/Patient/b", patient("b", "1")).await, 409, "duplicate", taken);
    let patch =
        client.call("PATCH", "/Patient/b").header("Content-Type", "application/json-patch+json");
    let patch_body = r#"[{"op":"replace","path":"/identifier/0/value","value":"1"}]"#;
    refused(&patch.body(patch_body).send().await, 409, "duplicate", taken);
    let by = client.call("PATCH", "/Patient?identifier=urn:mrn|2");
    let by = by.header("Content-Type", "application/json-patch+json").body(patch_body);
    refused(&by.send().await, 409, "duplicate", taken);
    let updated = client.put("/Patient?_id=b", patient("b", "1")).await;
    refused(&updated, 409, "duplicate", taken);
    client.put("/Patient?_id=b", patient("b", "3")).await.expect(200);
    // Itself, another system, another type, no system, and what was deleted.
    client
        .put("/Patient/a", patient("a", "1").replace("}]}", r#"}],"active":true}"#))
        .await
        .expect(200);
    client.post("/Patient", patient("", "1").replace("urn:mrn", "urn:other")).await.expect(201);
    client
        .post("/Practitioner", patient("", "1").replace("Patient", "Practitioner"))
        .await
        .expect(201);
    client
        .post("/Patient", patient("", "1").replace(r#""system":"urn:mrn","#, ""))
        .await
        .expect(201);
    client.delete("/Patient/a").await.expect(204);
    client.post("/Patient", patient("", "1")).await.expect(201);
    client.put("/Patient/a", patient("a", "1")).await.expect(409);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_transaction_count_for_each_other() {
    let server = TestServer::start_with(&[UNIQUE, ENFORCED]).await;
    let client = &server.client;
    let twice = [
        entry(&patient("", "1"), "POST", "Patient"),
        entry(&patient("b", "1"), "PUT", "Patient/b"),
    ];
    refused(&client.post("/", transaction(&twice)).await, 409, "duplicate", "identifier[0]");
    client.put("/Patient/a", patient("a", "1")).await.expect(201);
    client.put("/Patient/b", patient("b", "2")).await.expect(201);
    // They change places, which neither could do alone.
    let swap = [
        entry(&patient("a", "2"), "PUT", "Patient/a"),
        entry(&patient("b", "1"), "PUT", "Patient/b"),
    ];
    client.post("/", transaction(&swap)).await.expect(200);
    // A reference to what the same Bundle makes, and one to what it deletes.
    let both = [
        entry(&observation("o", "urn:uuid:Patient"), "PUT", "Observation/o"),
        entry(&patient("", "9"), "POST", "Patient"),
    ];
    client.post("/", transaction(&both)).await.expect(200);
    let gone = [
        entry(&observation("p", "Patient/a"), "PUT", "Observation/p"),
        entry("", "DELETE", "Patient/a"),
    ];
    let answer = client.post("/", transaction(&gone)).await;
    refused(&answer, 422, "business-rule", "Bundle.entry[0].resource.subject");
    let alone = [entry(&patient("", "7"), "POST", "Patient"), entry("", "DELETE", "Patient/b")];
    client.put("/Observation/h", observation("h", "Patient/b")).await.expect(201);
    let answer = client.post("/", transaction(&alone)).await;
    refused(&answer, 409, "conflict", "Observation/h");
    assert_eq!(answer.at("issue[0].expression[0]").as_deref(), Some("Bundle.entry[1]"));
    client.delete("/Observation/h").await.expect(204);
    // Both go at once, though one refers to the other.
    client.put("/Observation/q", observation("q", "Patient/b")).await.expect(201);
    let all = [entry("", "DELETE", "Patient/b"), entry("", "DELETE", "Observation/q")];
    client.post("/", transaction(&all)).await.expect(200);
    client.get("/Patient/b").await.expect(410);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enforced_reference_leads_somewhere_and_holds_what_it_leads_to() {
    let server = TestServer::start_with(&[ENFORCED]).await;
    let client = &server.client;
    let statement = client.get("/metadata").await.expect(200);
    let policy = r#""referencePolicy":["literal","logical","enforced","local"]"#;
    assert!(statement.text().contains(policy), "{statement:?}");
    let dangling = client.put("/Observation/o", observation("o", "Patient/p")).await;
    refused(&dangling, 422, "business-rule", "Patient/p leads to no resource");
    assert_eq!(dangling.at("issue[0].expression[0]").as_deref(), Some("Observation.subject"));
    client.get("/Observation/o").await.expect(404);
    let absolute = format!("{}/Patient/p", client.base());
    let answer = client.put("/Observation/o", observation("o", &absolute)).await;
    refused(&answer, 422, "business-rule", "Patient/p");
    client
        .put("/Observation/x", observation("x", "http://else.example/fhir/Patient/p"))
        .await
        .expect(201);
    client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    client.put("/Observation/o", observation("o", "Patient/p")).await.expect(201);
    let held = client.delete("/Patient/p").await;
    refused(&held, 409, "conflict", "Patient/p is referred to by Observation/o");
    assert_eq!(held.header("retry-after"), None, "to try again is no use");
    let by = client.delete("/Patient?_id=p").await;
    refused(&by, 409, "conflict", "Observation/o");
    client.get("/Patient/p").await.expect(200);
    // An element that no search parameter knows holds it as well.
    client.delete("/Observation/o").await.expect(204);
    let goal = r#"{"resourceType":"Goal","id":"g","lifecycleStatus":"active","description":{"text":"x"},
        "subject":{"reference":"Patient/p"},"expressedBy":{"reference":"Patient/p"}}"#;
    let other = r#"{"resourceType":"Patient","id":"other"}"#;
    client.put("/Patient/other", other).await.expect(201);
    let goal = goal.replacen("Patient/p", "Patient/other", 1);
    client.put("/Goal/g", goal).await.expect(201);
    refused(&client.delete("/Patient/p").await, 409, "conflict", "Goal/g");
    // A reference to a version neither holds the resource nor ends with it.
    client.delete("/Goal/g").await.expect(204);
    client.put("/Observation/v", observation("v", "Patient/p/_history/1")).await.expect(201);
    client.delete("/Patient/p").await.expect(204);
    let again = observation("v", "Patient/p/_history/1").replace("final", "amended");
    client.put("/Observation/v", again).await.expect(200);
    client.put("/Observation/o", observation("o", "Patient/p")).await.expect(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_for_what_was_stored_before_the_switch_too() {
    let server = TestServer::start().await;
    let database = server.database.clone();
    server.client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    server.client.put("/Observation/o", observation("o", "Patient/p")).await.expect(201);
    server.client.put("/Observation/d", observation("d", "Patient/none")).await.expect(201);
    let statement = server.client.get("/metadata").await.expect(200);
    let policy = r#""referencePolicy":["literal","logical","local"]"#;
    assert!(statement.text().contains(policy), "{statement:?}");
    server.stop().await;
    let enforced = Server::start(config(&database, &[ENFORCED])).await.unwrap();
    let client = Client::new(enforced.address());
    refused(&client.delete("/Patient/p").await, 409, "conflict", "Observation/o");
    client.delete("/Observation/o").await.expect(204);
    client.delete("/Patient/p").await.expect(204);
    drop(client);
    enforced.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_clients_on_two_nodes_one_makes_what_has_an_identifier() {
    let server = TestServer::start_with(&[UNIQUE]).await;
    let other = Server::start(config(&server.database, &[UNIQUE])).await.unwrap();
    let nodes = [server.client.clone(), Client::new(other.address())];
    for round in 0..4 {
        let calls = (0..64).map(|number| {
            let client = &nodes[number % 2];
            let body = patient("", &format!("r{round}"));
            let call = client.call("POST", "/Patient").json(body);
            let criteria = format!("identifier=urn:mrn|r{round}");
            match number % 4 {
                0 | 1 => call.send(),
                _ => call.header("If-None-Exist", &criteria).send(),
            }
        });
        let answers = join_all(calls).await;
        let of = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!(of(201), 1, "round {round}");
        for (number, answer) in answers.iter().enumerate() {
            let others = if number % 4 < 2 { 409 } else { 200 };
            assert!([201, others].contains(&answer.status), "{number}: {answer:?}");
        }
        let count = format!("/Patient?identifier=urn:mrn|r{round}&_summary=count");
        assert_eq!(nodes[1].get(&count).await.expect(200).at("total").as_deref(), Some("1"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reference_dangles_when_its_target_goes_at_the_same_time() {
    let server = TestServer::start_with(&[ENFORCED]).await;
    let other = Server::start(config(&server.database, &[ENFORCED])).await.unwrap();
    let nodes = [server.client.clone(), Client::new(other.address())];
    let (mut kept, mut gone) = (0, 0);
    for round in 0..40 {
        let (target, referrer) = (format!("t{round}"), format!("o{round}"));
        let body = format!(r#"{{"resourceType":"Patient","id":"{target}"}}"#);
        nodes[0].put(&format!("/Patient/{target}"), body).await.expect(201);
        let url = format!("/Observation/{referrer}");
        let body = observation(&referrer, &format!("Patient/{target}"));
        // Now one, now the other has a little more time.
        let pause =
            |number: u64| tokio::time::sleep(std::time::Duration::from_micros(number * 300));
        let create = async {
            pause(round % 5).await;
            if round % 2 == 0 {
                return nodes[1].put(&url, body).await;
            }
            nodes[1].put(&format!("/Observation?_id={referrer}"), body).await
        };
        let delete = async {
            pause(round / 5 % 5).await;
            nodes[0].delete(&format!("/Patient/{target}")).await
        };
        let (created, deleted) = tokio::join!(create, delete);
        match (created.status, deleted.status) {
            (201, 409) => kept += 1,
            (422, 204) => gone += 1,
            _ => panic!("round {round}: {created:?}\n{deleted:?}"),
        }
    }
    assert!(kept > 0 && gone > 0, "always the same was faster: {kept} kept, {gone} gone");
    server.stop().await;
}
