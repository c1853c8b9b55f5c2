//! A server with its private PostgreSQL as an operator runs it: start, stop, import, demo data.

use std::time::Duration;

use kiln::fhir::json::parse;

use crate::harness::process::{Process, kiln};

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","active":true}"#;

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_it_ends_with_its_database_and_comes_back_with_its_data() {
    let mut process = Process::start().await;
    process.client.put("/Patient/p", PATIENT).await.expect(201);
    let (well, took) = process.terminate();
    assert!(well, "it must end with success");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(!process.has_postgres(), "its PostgreSQL must end with it");
    process.restart();
    process.ready(Duration::from_secs(20)).await;
    process.client.get("/Patient/p").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_refused() {
    let process = Process::start().await;
    let output = process.beside("serve", &["--set", "http.listen=127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    let folder = process.data_dir.to_str().unwrap();
    assert!(said.contains("running Kiln") && said.contains(folder), "{said}");
    process.client.get("/metadata").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn import_loads_beside_a_running_server_and_names_what_fails() {
    let process = Process::start().await;
    let folder = process.data_dir.join("to-import");
    std::fs::create_dir(&folder).unwrap();
    let good = r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"resource":{"resourceType":"Patient","id":"i"},"request":{"method":"PUT","url":"Patient/i"}}]}"#;
    std::fs::write(folder.join("good.json"), good).unwrap();
    std::fs::write(folder.join("lines.ndjson"), format!("{PATIENT}\n")).unwrap();
    let output = process.beside("import", &[folder.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    process.client.get("/Patient/i").await.expect(200);
    process.client.get("/Patient/p").await.expect(200);

    let bad = r#"{"resourceType":"Patient","id":"bad","nope":1}"#;
    std::fs::write(folder.join("bad.ndjson"), format!("{bad}\n")).unwrap();
    let output = process.beside("import", &[folder.join("bad.ndjson").to_str().unwrap()]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("bad.ndjson") && said.contains("nope"), "{said}");
    process.client.get("/Patient/bad").await.expect(404);
}

#[test]
fn demo_data_is_the_same_each_time_and_well_formed() {
    let make = || kiln(&["demo", "--patients", "3", "--out", "-"]).stdout;
    let (once, again) = (make(), make());
    assert!(once == again, "the seed is fixed");
    let text = String::from_utf8(once).unwrap();
    let mut patients = 0;
    for line in text.lines() {
        let value = parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {line}"));
        let entries = value.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
        let resources: Vec<_> = entries.chain(std::iter::once(&value)).collect();
        patients +=
            resources.iter().filter(|of| of.str_at("resourceType") == Some("Patient")).count();
    }
    assert_eq!(patients, 3);
}
