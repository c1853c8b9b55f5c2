//! `$reindex`: of everything, of types, of what a search parameter is about, and of one resource.

use std::time::{Duration, Instant};

use kiln::app::server::Server;

use crate::harness::client::{Answer, Client};
use crate::harness::server::{TestServer, config};

const PATIENCE: Duration = Duration::from_mins(1);

async fn when_completed(client: &Client, url: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.get(url).await;
        if answer.status == 200 {
            return answer;
        }
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(
            answer.header("x-progress").is_some_and(|it| it.contains("resources")),
            "{answer:?}"
        );
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn total(client: &Client, query: &str) -> String {
    let url = format!("/{query}&_summary=count&_total=accurate");
    client.get(&url).await.expect(200).at("total").unwrap()
}

/// Takes the rows away that the searches of these tests need.
const SPOIL: &str = "DELETE FROM tok WHERE true";

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_a_type_or_of_all_is_done_on_some_node_and_told_on_all() {
    let server = TestServer::start().await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let (here, there) = (server.client.clone(), Client::new(other.address()));
    for id in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"male"}}"#);
        here.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    let flag = r#"{"resourceType":"Device","id":"d","status":"active"}"#;
    here.put("/Device/d", flag).await.expect(201);
    let never = here.get("/Patient/$reindex").await.expect(200);
    assert_eq!(never.json().items_at("parameter").len(), 1, "none was asked for: {never:?}");
    server.database.run(SPOIL).await;
    assert_eq!(total(&here, "Patient?gender=male").await, "0");
    let asked = here.post("/Patient/$reindex", "").await.expect(202);
    let place = asked.header("content-location").expect("where to ask");
    assert!(place.ends_with("/fhir/Patient/$reindex"), "{place}");
    let done = when_completed(&there, "/Patient/$reindex").await;
    for text in [r#""valueCode":"Patient""#, r#""completed""#, r#""valueUnsignedInt":2"#] {
        assert!(done.text().contains(text), "{text}: {done:?}");
    }
    assert_eq!(total(&here, "Patient?gender=male").await, "2");
    assert_eq!(total(&here, "Device?status=active").await, "0", "it was not asked for");
    let types =
        r#"{"resourceType":"Parameters","parameter":[{"name":"type","valueCode":"Device"}]}"#;
    here.post("/$reindex", types).await.expect(202);
    when_completed(&there, "/Device/$reindex").await;
    assert_eq!(total(&there, "Device?status=active").await, "1");
    server.database.run(SPOIL).await;
    here.post("/$reindex", "").await.expect(202);
    let done = when_completed(&there, "/$reindex").await;
    assert_eq!(done.json().items_at("parameter").len(), 4, "two types and all: {done:?}");
    assert_eq!(total(&there, "Device?status=active").await, "1");
    assert_eq!(total(&there, "Patient?gender=male").await, "2");
    for body in [
        r#"{"resourceType":"Parameters","parameter":[{"name":"type","valueCode":"Nope"}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"x","valueCode":"Device"}]}"#,
        r#"{"resourceType":"Patient"}"#,
        "{",
    ] {
        here.post("/$reindex", body).await.expect(400);
    }
    here.post("/Patient/$reindex", types).await.expect(400);
    let twice = r#"{"resourceType":"Parameters","parameter":[{"name":"type","valueCode":"Device"},
        {"name":"type","valueCode":"Basic"},{"name":"type","valueCode":"Device"}]}"#;
    here.post("/$reindex", twice).await.expect(202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_resource_is_built_at_once() {
    let server = TestServer::start().await;
    let client = &server.client;
    for id in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"male"}}"#);
        client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    server.database.run(SPOIL).await;
    let answer = client.post("/Patient/a/$reindex", "").await.expect(200);
    assert!(answer.text().contains(r#""completed""#), "{answer:?}");
    assert_eq!(total(client, "Patient?gender=male").await, "1");
    client.post("/Patient/none/$reindex", "").await.expect(404);
    client.delete("/Patient/a").await.expect(204);
    client.post("/Patient/a/$reindex", "").await.expect(410);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_indexed_is_counted() {
    let server = TestServer::start().await;
    let client = &server.client;
    // More combinations than a composite keeps.
    let codings: Vec<String> = (0..40).map(|it| format!(r#"{{"code":"a{it}"}}"#)).collect();
    let concept = format!(r#"{{"coding":[{}]}}"#, codings.join(","));
    for (id, value) in [("many", concept.as_str()), ("one", r#"{"coding":[{"code":"a"}]}"#)] {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{concept},
                "valueCodeableConcept":{value}}}"#
        );
        client.put(&format!("/Observation/{id}"), body).await.expect(201);
    }
    client.post("/Observation/$reindex", "").await.expect(202);
    let done = when_completed(client, "/Observation/$reindex").await;
    for part in
        [r#""name":"done","valueUnsignedInt":2"#, r#""name":"skipped","valueUnsignedInt":1"#]
    {
        assert!(done.text().contains(part), "{done:?}");
    }
    let numbers = client.get(&format!("{}/metrics", client.root())).await.expect(200).text();
    let is_counted = |line: &str| {
        line.starts_with("kiln_index_skipped_total{")
            && line.contains(r#"type="Observation""#)
            && line.contains(r#"parameter="code-value-concept""#)
    };
    assert!(numbers.lines().any(is_counted), "{numbers}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_parameter_tells_how_far_it_is_and_is_built_again_when_asked() {
    let server = TestServer::start().await;
    let client = &server.client;
    let body = r#"{"resourceType":"Patient","id":"a","gender":"male"}"#;
    client.put("/Patient/a", body).await.expect(201);
    let sex = r#"{"resourceType":"SearchParameter","id":"sex","url":"http://example.org/sp/sex",
        "name":"sex","status":"active","description":"d","code":"sex","base":["Patient"],
        "type":"token","expression":"Patient.gender"}"#;
    client.put("/SearchParameter/sex", sex).await.expect(201);
    let began = Instant::now();
    while client.get("/SearchParameter/sex/$reindex").await.status == 422 {
        assert!(began.elapsed() < PATIENCE, "it never came into force");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let building = client.get("/SearchParameter/sex/$reindex").await.expect(202);
    assert!(building.text().contains(r#""in-progress""#), "{building:?}");
    when_completed(client, "/SearchParameter/sex/$reindex").await;
    assert_eq!(total(client, "Patient?sex=male").await, "1");
    server.database.run(SPOIL).await;
    client.post("/SearchParameter/sex/$reindex", "").await.expect(202);
    when_completed(client, "/SearchParameter/sex/$reindex").await;
    assert_eq!(total(client, "Patient?sex=male").await, "1");
    let draft = sex.replace("active", "draft").replace("sex", "later");
    client.put("/SearchParameter/later", draft).await.expect(201);
    let refused = client.post("/SearchParameter/later/$reindex", "").await.expect(422);
    assert!(refused.text().contains("is not in force"), "{refused:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_goes_on_where_a_node_that_ended_left_it() {
    let server = TestServer::start().await;
    for id in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"male"}}"#);
        server.client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    server.database.run(SPOIL).await;
    let database = server.database.clone();
    server.stop().await;
    // A node began the build, did the first resource and was killed.
    let left = "INSERT INTO reindex (rt, after_rid, done, total) SELECT rt, min(rid), 1, 2 FROM res \
                WHERE id IN ('a', 'b') GROUP BY rt";
    database.run(left).await;
    let again = Server::start(config(&database, &[])).await.unwrap();
    let client = Client::new(again.address());
    let done = when_completed(&client, "/Patient/$reindex").await;
    assert!(done.text().contains(r#""name":"done","valueUnsignedInt":2"#), "{done:?}");
    assert_eq!(total(&client, "Patient?gender=male").await, "1", "only the second was left to do");
    // Asked for again, it begins anew.
    client.post("/Patient/$reindex", "").await.expect(202);
    when_completed(&client, "/Patient/$reindex").await;
    assert_eq!(total(&client, "Patient?gender=male").await, "2");
    drop(client);
    again.stop().await;
}
