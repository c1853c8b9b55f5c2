//! Profiles are claimed by many, so their texts stand beside the index: searches and orders go by them all the same.

use crate::harness::client::Client;
use crate::harness::server::TestServer;

const CONTAINER: &str = r##"{"resourceType":"Observation","id":"o2","status":"final","code":{"text":"x"},
    "contained":[{"resourceType":"Patient","id":"in","meta":{"profile":["http://x/inner/one"]}}],
    "subject":{"reference":"#in"}}"##;

async fn patient(client: &Client, id: &str, profiles: &[&str]) {
    let profiles: Vec<String> = profiles.iter().map(|it| format!("{it:?}")).collect();
    let meta = if profiles.is_empty() {
        String::new()
    } else {
        format!(r#","meta":{{"profile":[{}]}}"#, profiles.join(","))
    };
    let body = format!(r#"{{"resourceType":"Patient","id":"{id}"{meta}}}"#);
    let answer = client.put(&format!("/Patient/{id}"), body).await;
    assert!([200, 201].contains(&answer.status), "{answer:?}");
}

async fn found(client: &Client, search: &str) -> String {
    let answer = client.get(&format!("/{search}")).await.expect(200);
    let count = answer.text().matches(r#""mode":"match""#).count();
    let ids = (0..count).filter_map(|at| answer.at(&format!("entry[{at}].resource.id")));
    ids.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_are_found_and_sorted_by_their_texts() {
    let settings = [("validation.level", "off"), ("definitions.readable", "false")];
    let server = TestServer::start_with(&settings).await;
    let client = &server.client;
    patient(client, "p1", &["http://x/core/a"]).await;
    patient(client, "p2", &["http://x/core/b|1.0", "http://y/z"]).await;
    patient(client, "p3", &["http://x/core/b|1.0.2"]).await;
    patient(client, "p4", &["urn:x:core"]).await;
    patient(client, "p5", &[]).await;
    client.put("/Observation/o2", CONTAINER).await.expect(201);
    let observation = r#"{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"x"},
        "subject":{"reference":"Patient/p3"}}"#;
    client.put("/Observation/o1", observation).await.expect(201);
    for (search, expected) in [
        ("Patient?_sort=_id&_profile:below=http://x/core", "p1 p2 p3"),
        ("Patient?_sort=_id&_profile:below=http://x/core/b", "p2 p3"),
        ("Patient?_sort=_id&_profile:below=http://x/core/b|1.0", "p2 p3"),
        ("Patient?_sort=_id&_profile:below=http://x/core/b|1.0.2", "p3"),
        ("Patient?_sort=_id&_profile:below=http://x/core/b|1.0.", "p3"),
        ("Patient?_sort=_id&_profile:below=http://nowhere,http://y", "p2"),
        ("Patient?_sort=_id&_profile:below=http://nowhere", ""),
        ("Patient?_sort=_id&_profile:below=urn:x", ""),
        ("Patient?_sort=_id&_profile=http://x/core/b", "p2 p3"),
        ("Patient?_sort=_id&_profile:missing=true", "p5"),
        // Its smallest and its largest; what has none comes last.
        ("Patient?_sort=_profile,_id", "p1 p2 p3 p4 p5"),
        ("Patient?_sort=-_profile,_id", "p4 p2 p3 p1 p5"),
        ("Patient?_id=p1,p3&_sort=-_profile", "p3 p1"),
        // What is contained is no resource of its own, but a chain leads to it.
        ("Patient?_profile:below=http://x/inner", ""),
        ("Observation?subject:Patient._profile:below=http://x/inner", "o2"),
        ("Observation?subject:Patient._profile:below=http://x/core/b", "o1"),
        ("Observation?_sort=_id&subject:Patient._profile:below=http://x", "o1 o2"),
        ("Patient?_contained=true&_profile:below=http://x/inner", "o2"),
        ("Patient?_has:Observation:subject:_profile:below=http://x", ""),
    ] {
        assert_eq!(found(client, search).await, expected, "{search}");
    }
    let texts = "SELECT count(*) FROM str WHERE v LIKE 'http://%'";
    assert_eq!(server.database.number(texts).await, 1, "that of what is contained alone");
    // What is claimed no more is found no more, and what is added at once.
    patient(client, "p3", &["http://z"]).await;
    let tagged = r#"{"resourceType":"Parameters","parameter":[
        {"name":"meta","valueMeta":{"profile":["http://x/core/c"]}}]}"#;
    client.post("/Patient/p5/$meta-add", tagged).await.expect(200);
    for (search, expected) in [
        ("Patient?_sort=_id&_profile:below=http://x/core", "p1 p2 p5"),
        ("Patient?_sort=-_profile", "p4 p3 p2 p5 p1"),
    ] {
        assert_eq!(found(client, search).await, expected, "{search}");
    }
    server.stop().await;
}
