//! The search index after any series of writes is the one that would be built from the resources.

use kiln::store::maintenance::build_index;

use crate::harness::client::Client;
use crate::harness::server::{TestServer, config};

const TABLES: [&str; 6] = ["srow", "comp", "tok", "num", "dat", "str"];

/// How many rows each table has, and a number that depends on all of them.
async fn digest(server: &TestServer) -> Vec<(&'static str, i64, i64)> {
    let mut all = Vec::new();
    for table in TABLES {
        let count = server.database.number(&format!("SELECT count(*) FROM {table}")).await;
        let sum = format!(
            "SELECT coalesce(sum(hashtextextended(t::text, 0) % 1000000007), 0)::bigint FROM {table} t"
        );
        all.push((table, count, server.database.number(&sum).await));
    }
    all
}

fn observation(id: &str, patient: &str, date: &str, code: &str, value: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final",
        "code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},
        "subject":{{"reference":"Patient/{patient}"}},{date}
        "valueQuantity":{{"value":{value},"unit":"mg","system":"http://unitsofmeasure.org","code":"mg"}}}}"#
    )
}

/// Writes of every kind: what they leave exercises each difference between two versions.
async fn write(client: &Client) {
    for (id, name) in [("a", "Müller"), ("b", "Smith-Jones")] {
        let body = format!(
            r#"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"{name}","given":["X","Y"]}}],
            "birthDate":"1980-05","generalPractitioner":[{{"reference":"Practitioner/p"}}]}}"#
        );
        client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    let date = r#""effectiveDateTime":"2024-01-01","#;
    let later = r#""effectivePeriod":{"start":"2024-02-01"},"#;
    for (status, body) in [
        (201, observation("o", "a", date, "1", "5")),
        // The value, the code, the date and the patient change, one after the other.
        (200, observation("o", "a", date, "1", "6")),
        (200, observation("o", "a", date, "2", "6")),
        (200, observation("o", "a", later, "2", "6")),
        (200, observation("o", "b", later, "2", "6")),
        (200, observation("o", "b", "", "2", "6")),
    ] {
        client.put("/Observation/o", body).await.expect(status);
    }
    client.put("/Observation/gone", observation("gone", "a", date, "1", "1")).await.expect(201);
    client.delete("/Observation/gone").await.expect(204);
    client.put("/Observation/back", observation("back", "a", date, "1", "1")).await.expect(201);
    client.delete("/Observation/back").await.expect(204);
    client.put("/Observation/back", observation("back", "b", later, "3", "2")).await.expect(201);
    let meta = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":
        {"tag":[{"system":"http://example.org/tags","code":"t"}],"profile":["http://example.org/p"]}}]}"#;
    client.post("/Patient/a/$meta-add", meta).await.expect(200);
    client.post("/Patient/b/$meta-add", meta).await.expect(200);
    client.post("/Patient/b/$meta-delete", meta).await.expect(200);
    let entries = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[
        {{"request":{{"method":"PUT","url":"Observation/o"}},"resource":{}}},
        {{"request":{{"method":"POST","url":"Observation"}},"resource":{}}},
        {{"request":{{"method":"DELETE","url":"Patient/b"}}}}]}}"#,
        observation("o", "a", date, "4", "7.50"),
        observation("n", "a", later, "5", "8"),
    );
    client.post("/", entries).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_leave_the_index_that_would_be_built_anew() {
    let server = TestServer::start().await;
    write(&server.client).await;
    let written = digest(&server).await;
    assert!(written.iter().all(|(_, rows, _)| *rows > 0), "{written:?}");
    // A row that no build knows of would stay, and be counted on both sides.
    for table in TABLES {
        server.database.run(&format!("DELETE FROM {table}")).await;
    }
    let mut done = 0;
    build_index(server.store(), true, |count| done = count).await.expect("builds");
    assert!(done >= 4, "{done} resources");
    assert_eq!(digest(&server).await, written);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_builds_an_index_that_is_of_another_format() {
    let server = TestServer::start().await;
    write(&server.client).await;
    let written = digest(&server).await;
    for table in TABLES {
        server.database.run(&format!("DELETE FROM {table}")).await;
    }
    server.database.run("UPDATE index_build SET fingerprint = '\\x00'").await;
    let other = kiln::app::server::Server::start(config(&server.database, &[])).await;
    let other = other.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(digest(&server).await, written);
    other.stop().await;
    server.stop().await;
}
