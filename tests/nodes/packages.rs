//! Packages that are installed while servers run, and definitions that clients store: they count at
//! once, on every node.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln::app::server::Server;
use kiln::app::{definitions, package};
use kiln::spec::structure::StructureFault;

use crate::harness::client::{Answer, Client};
use crate::harness::database::temporary;
use crate::harness::server::{TestServer, config};

/// Longest time until a node has what another one installed.
const PATIENCE: Duration = Duration::from_secs(30);

const PROFILE: &str = "http://example.org/StructureDefinition/shod";

fn structure(id: &str, min: u32) -> String {
    format!(
        r#"{{"resourceType":"StructureDefinition","id":"{id}","url":"{PROFILE}","version":"{min}",
        "name":"Shod","status":"active","kind":"resource","abstract":false,"type":"Patient",
        "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Patient",
        "derivation":"constraint","differential":{{"element":[
        {{"id":"Patient.name","path":"Patient.name","min":{min}}}]}}}}"#
    )
}

/// A package of one definition of each kind that a server uses.
fn package(version: &str) -> Vec<u8> {
    let manifest =
        format!(r#"{{"name":"example.shoes","version":"{version}","fhirVersions":["4.0.1"]}}"#);
    let files = [
        ("package.json", manifest),
        ("StructureDefinition-shod.json", structure("shod", 1)),
        (
            "CodeSystem-shoes.json",
            r#"{"resourceType":"CodeSystem","url":"http://example.org/shoes","status":"active",
            "content":"complete","concept":[{"code":"boot"},{"code":"clog"}]}"#
                .to_owned(),
        ),
        (
            "ValueSet-shoes.json",
            r#"{"resourceType":"ValueSet","url":"http://example.org/all-shoes","status":"active",
            "compose":{"include":[{"system":"http://example.org/shoes"}]}}"#
                .to_owned(),
        ),
        (
            "SearchParameter-shoe.json",
            r#"{"resourceType":"SearchParameter","url":"http://example.org/shoe","name":"shoe",
            "status":"active","description":"d","code":"shoe","base":["Patient"],"type":"token",
            "expression":"Patient.extension.where(url='http://example.org/shoe').value"}"#
                .to_owned(),
        ),
    ];
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("package/{name}"), text.as_bytes()).unwrap();
    }
    tar.into_inner().and_then(GzEncoder::finish).unwrap()
}

/// A file of its own for one test, gone afterwards.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = temporary(name);
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn install(server: &TestServer, bytes: &[u8]) -> String {
    let file = TemporaryFile::new("shoes.tgz", bytes);
    let mut out = Vec::new();
    package::install(&file.0, &config(&server.database, &[]), &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

async fn listed(server: &TestServer, settings: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    package::list(&config(&server.database, settings), &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

/// Asks strictly until the answer is one.
async fn when_known(client: &Client, url: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.call("GET", url).header("Prefer", "handling=strict").send().await;
        if answer.status == 200 {
            return answer;
        }
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a node says of a patient without a name, once it knows the profile.
async fn when_judged(client: &Client) -> String {
    let url = format!("/Patient/$validate?profile={PROFILE}");
    let body = r#"{"resourceType":"Patient","active":true}"#;
    let began = Instant::now();
    loop {
        let said = client.post(&url, body).await.expect(200).text();
        if !said.contains("not known") {
            return said;
        }
        assert!(began.elapsed() < PATIENCE, "{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn total(answer: &Answer) -> String {
    let value = answer.json();
    value.get("total").and_then(|total| total.as_number()).unwrap_or("none").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_package_defines_counts_on_every_node_without_a_restart() {
    let server = TestServer::start().await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let there = Client::new(other.address());
    let patient = r#"{"resourceType":"Patient","id":"p","extension":[{"url":"http://example.org/shoe",
        "valueCoding":{"system":"http://example.org/shoes","code":"boot"}}]}"#;
    server.client.put("/Patient/p", patient).await.expect(201);
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"coding":[
        {"system":"http://example.org/shoes","code":"clog"}]}}"#;
    server.client.put("/Observation/o", observation).await.expect(201);
    let in_set = "/Observation?code:in=http://example.org/all-shoes&_total=accurate";
    there.get(in_set).await.expect(400);
    assert!(install(&server, &package("1.0")).await.starts_with("installed example.shoes 1.0\n"));
    for client in [&server.client, &there] {
        assert_eq!(total(&client.get(in_set).await.expect(200)), "1");
        let by_shoe = "/Patient?shoe=http://example.org/shoes|boot&_total=accurate";
        assert_eq!(total(&when_known(client, by_shoe).await), "1");
    }
    for client in [&server.client, &there] {
        let said = when_judged(client).await;
        assert!(said.contains("Patient.name"), "{said}");
    }
    let said = listed(&server, &[("definitions.without", "hl7.fhir.uv.ips")]).await;
    assert!(said.contains("example.shoes 1.0 (installed)\n      1 profiles\n"), "{said}");
    assert!(said.contains("hl7.fhir.uv.ips 1.1.0 (in the program, does not count)\n"), "{said}");
    assert!(said.contains("hl7.fhir.us.core 6.1.0 (in the program)\n"), "{said}");
    // The same package again takes the place of what it was.
    install(&server, &package("1.0")).await;
    assert_eq!(server.database.number("SELECT count(*) FROM package").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn structures_are_those_of_the_moment_and_stored_ones_win() {
    let server = TestServer::start().await;
    let keeper = definitions::Keeper::new(server.store().clone(), Vec::new()).unwrap();
    let min = async |canonical: &str| {
        let structure = keeper.library().await.unwrap().structure(canonical)?;
        let name = structure.elements.iter().find(|element| &*element.id == "Patient.name");
        Ok::<_, StructureFault>(name.unwrap().min)
    };
    let unknown = |canonical: &str| Err(StructureFault::Unknown(canonical.to_owned()));
    assert_eq!(min(PROFILE).await, unknown(PROFILE));
    install(&server, &package("1.0")).await;
    assert_eq!(min(PROFILE).await, Ok(1));
    server.client.put("/StructureDefinition/shod", structure("shod", 2)).await.expect(201);
    assert_eq!(min(PROFILE).await, Ok(2));
    let first = format!("{PROFILE}|1");
    assert_eq!(min(&first).await, Ok(1), "the package's is there by its version");
    server.client.put("/StructureDefinition/shod", structure("shod", 3)).await.expect(200);
    assert_eq!(min(PROFILE).await, Ok(3));
    server.client.delete("/StructureDefinition/shod").await.expect(204);
    assert_eq!(min(PROFILE).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_names_no_guide_is_refused() {
    let server = TestServer::start().await;
    let settings = [("definitions.without", "hl7.fhir.us.cor")];
    let refused = Server::start(config(&server.database, &settings)).await;
    let reason = refused.err().expect("it must not start").to_string();
    assert!(reason.contains("hl7.fhir.us.cor\", the program has"), "{reason}");
}
