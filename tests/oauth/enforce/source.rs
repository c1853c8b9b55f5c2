//! `meta.source`, versions and times where they are not for clients to say.

use crate::harness::client::{Answer, Client};
use crate::harness::grants::Token;
use crate::harness::process::Process;
use crate::harness::server::TestServer;

/// Settings under which `meta.source` of clients is ignored.
const IGNORED: &[(&str, &str)] =
    &[("http.client_source", "ignore"), ("http.transaction_provenance", "true")];

/// An Observation with this `meta.source` and value.
fn lab(source: &str, value: u8) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"lab","meta":{{"source":"{source}","_source":{{"id":"said"}},"tag":[{{"code":"t"}}],"versionId":"77","lastUpdated":"2001-01-01T00:00:00Z"}},"status":"final","code":{{"text":"k"}},"subject":{{"reference":"Patient/a"}},"valueInteger":{value}}}"#
    )
}

/// What `meta` says in an answer about one resource; it has its tag, and nothing that was said of times.
fn source(answer: &Answer) -> Option<String> {
    assert_eq!(answer.at("meta.tag[0].code").as_deref(), Some("t"), "{answer:?}");
    assert!(!answer.text().contains("2001-01-01") && !answer.text().contains("\"77\""));
    assert_eq!(answer.at("meta.source").is_some(), answer.at("meta._source.id").is_some());
    answer.at("meta.source")
}

fn transaction(method: &str, url: &str, resource: &str) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{resource},"request":{{"method":"{method}","url":"{url}"}}}}]}}"#
    )
}

/// Whatever way `client` takes to write over a version, its source stays `stays`.
async fn changes_nothing(client: &Client, stays: Option<&str>) {
    let read = async |what: &str| {
        let answer = client.get("/Observation/lab").await.expect(200);
        assert_eq!(source(&answer).as_deref(), stays, "{what}");
        answer.version()
    };
    let before = read("before").await;
    let patch = |operation: &str| {
        format!(
            r#"[{{"op":"{operation}","path":"/meta/source","value":"urn:patched"}},{{"op":"replace","path":"/valueInteger","value":4}}]"#
        )
    };
    let fhirpath = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Observation.meta.source"}]},{"name":"operation","part":[{"name":"type","valueCode":"replace"},{"name":"path","valueString":"Observation.value"},{"name":"value","valueInteger":6}]}]}"#;
    let send = async |method: &str, path: &str, media: &str, body: String| {
        let call = client.call(method, path).header("Content-Type", media);
        call.body(body).send().await.expect(200)
    };
    let json = "application/fhir+json";
    send("PUT", "/Observation/lab", json, lab("urn:put", 2)).await;
    read("PUT").await;
    send("PUT", "/Observation?_id=lab", json, lab("urn:criteria", 3)).await;
    read("PUT by criteria").await;
    send("PATCH", "/Observation/lab", "application/json-patch+json", patch("add")).await;
    read("JSON patch").await;
    send("PATCH", "/Observation/lab", json, fhirpath.to_owned()).await;
    let after = read("FHIRPath patch").await;
    assert_eq!(after, before + 4, "what else was changed counts");
    send("PUT", "/Observation/lab", json, lab("urn:again", 6)).await;
    assert_eq!(read("the same").await, after, "nothing that counts was changed");
    let put = lab("urn:entry", 7);
    for kind in ["transaction", "batch"] {
        let bundle = transaction("PUT", "Observation/lab", &put).replace("transaction", kind);
        send("POST", "/", json, bundle).await;
        read(kind).await;
    }
    let add = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"source":"urn:added","tag":[{"code":"more"}]}}]}"#;
    send("POST", "/Observation/lab/$meta-add", json, add.to_owned()).await;
    read("$meta-add").await;
}

/// Where the settings say so, no client says where a version comes from, by whatever way it writes and
/// whatever it may; what versions and times it says count nowhere.
///
/// Covers: security W9.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_version_comes_from_is_not_for_clients_to_say() {
    let server = TestServer::start_with(IGNORED).await;
    let json = r#"{"resourceType":"Patient","id":"a"}"#;
    server.client.put("/Patient/a", json).await.expect(201);
    let patient = Token::new(&server, "patient/*.cruds").patient("a");
    let (patient, _stop) = patient.client().await;
    let (service, _other) = Token::new(&server, "system/*.cruds").client().await;
    for client in [&server.client, &patient, &service] {
        server.client.put("/Observation/lab", lab("urn:new", 1)).await;
        changes_nothing(client, None).await;
        let provenance = r#"{"resourceType":"Provenance","meta":{"source":"urn:along"},"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"display":"x"}}]}"#;
        let fresh = lab("urn:created", 9);
        let created = client.post("/Observation", fresh.clone()).await.expect(201);
        assert_eq!(source(&created), None);
        let call = client.call("POST", "/").header("X-Provenance", provenance);
        let call = call.header("Prefer", "return=representation");
        call.json(transaction("POST", "Observation", &fresh)).send().await.expect(200);
        server.client.delete("/Observation/lab").await.expect(204);
    }
    // Brought back to life, it is as new.
    server.client.put("/Observation/lab", lab("urn:back", 1)).await.expect(201);
    changes_nothing(&server.client, None).await;
    for said in ["created", "new", "put", "entry", "along", "back"] {
        for path in ["Observation", "Provenance"] {
            let found = server.client.get(&format!("/{path}?_source=urn:{said}")).await.expect(200);
            assert_eq!(found.at("total").as_deref(), Some("0"), "{path} {said}");
        }
    }
    let provenances = server.client.get("/Provenance").await.expect(200);
    assert_eq!(provenances.at("total").as_deref(), Some("3"), "{provenances:?}");
    assert!(!provenances.text().contains("urn:along"), "{provenances:?}");
    server.stop().await;
}

/// What the operator's import brings in keeps its source, and clients do not change that.
///
/// Covers: security W9.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_keeps_where_it_comes_from() {
    let process = Process::start_with(&["http.client_source=ignore"]).await;
    let file = process.data_dir.join("lab.ndjson");
    std::fs::write(&file, lab("urn:imported", 1)).unwrap();
    let output = process.beside("import", &[file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    let found = process.client.get("/Observation?_source=urn:imported").await.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("1"), "{found:?}");
    changes_nothing(&process.client, Some("urn:imported")).await;
    let found = process.client.get("/Observation?_source=urn:imported").await.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("1"), "{found:?}");
}
