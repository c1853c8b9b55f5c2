//! `$export`: from the kick-off to the files, and what is in them.

mod jobs;
mod members;
mod since;
mod us_core;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kiln::fhir::json::{Value, parse};

use crate::harness::client::{Answer, Call, Client};
use crate::harness::server::TestServer;

/// What is tried of each route, asynchronously, for the ratchet of the audit: route, url, body, status.
pub(crate) const ATTEMPTS: &[(&str, &str, &str, u16)] = &[
    ("GET /fhir/$export", "/$export?_type=Patient", "", 202),
    ("GET /fhir/$export", "/$export?_type=Nope", "", 400),
    ("POST /fhir/$export", "/$export?_type=Patient", NOTHING, 202),
    ("POST /fhir/$export", "/$export", r#"{"resourceType":"Patient"}"#, 400),
    ("GET /fhir/Patient/$export", "/Patient/$export?_type=Patient", "", 202),
    ("POST /fhir/Patient/$export", "/Patient/$export?_since=odd", NOTHING, 400),
    ("GET /fhir/Group/{id}/$export", "/Group/x/$export", "", 404),
    ("POST /fhir/Group/{id}/$export", "/Group/x/$export", NOTHING, 404),
    ("GET /fhir/$export/{id}", "/$export/00000000-0000-4000-8000-000000000000", "", 404),
    ("GET /fhir/$export/{id}", "/$export/odd", "", 404),
    ("DELETE /fhir/$export/{id}", "/$export/00000000-0000-4000-8000-000000000000", "", 404),
    (
        "GET /fhir/$export/{id}/{name}",
        "/$export/00000000-0000-4000-8000-000000000000/0.ndjson",
        "",
        404,
    ),
    ("GET /fhir/$export/{id}/{name}", "/$export/odd/odd", "", 404),
];

const NOTHING: &str = r#"{"resourceType":"Parameters"}"#;

const PATIENCE: Duration = Duration::from_mins(1);

/// Who exports, with a token where one is needed.
pub(crate) struct Exporter<'c> {
    pub(crate) client: &'c Client,
    pub(crate) token: Option<String>,
}

/// An export that is done.
pub(crate) struct Export {
    pub(crate) place: String,
    pub(crate) manifest: Answer,
    /// The lines of the files of resources, by type.
    pub(crate) output: BTreeMap<String, Vec<String>>,
    pub(crate) deleted: Vec<String>,
    pub(crate) error: Vec<String>,
}

impl<'c> Exporter<'c> {
    pub(crate) fn new(client: &'c Client) -> Self {
        Self { client, token: None }
    }

    pub(crate) fn with_token(client: &'c Client, token: &str) -> Self {
        Self { client, token: Some(token.to_owned()) }
    }

    pub(crate) fn call(&self, method: &str, url: &str) -> Call<'_> {
        let call = self.client.call(method, url);
        match &self.token {
            Some(token) => call.header("Authorization", &format!("Bearer {token}")),
            None => call,
        }
    }

    /// Asks for an export by GET.
    pub(crate) async fn ask(&self, url: &str) -> Answer {
        let call = self.call("GET", url).header("Prefer", "respond-async");
        call.header("Accept", "application/fhir+json").send().await
    }

    /// Where an export is asked for that was accepted.
    pub(crate) async fn place(&self, url: &str) -> String {
        let answer = self.ask(url).await.expect(202);
        answer.header("content-location").expect("where to ask")
    }

    /// The answer once the export has ended.
    pub(crate) async fn ended(&self, place: &str) -> Answer {
        let began = Instant::now();
        loop {
            let answer = self.call("GET", place).header("Accept", "application/json").send().await;
            if answer.status != 202 {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{answer:?}");
            let wait = answer.header("retry-after").expect("when to ask again");
            tokio::time::sleep(Duration::from_secs(wait.parse().unwrap())).await;
        }
    }

    /// A whole export.
    pub(crate) async fn export(&self, url: &str) -> Export {
        let place = self.place(url).await;
        self.taken(&place).await
    }

    /// All that an export has made.
    pub(crate) async fn taken(&self, place: &str) -> Export {
        let manifest = self.ended(place).await.expect(200);
        let told = manifest.json();
        let mut output: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in told.items_at("output") {
            let of = file.str_at("type").expect("a type").to_owned();
            output.entry(of).or_default().extend(self.file(file).await);
        }
        let (mut deleted, mut error) = (Vec::new(), Vec::new());
        for file in told.items_at("deleted") {
            deleted.extend(self.file(file).await);
        }
        for file in told.items_at("error") {
            error.extend(self.file(file).await);
        }
        Export { place: place.to_owned(), manifest, output, deleted, error }
    }

    /// The lines of a file, which are as many as its entry says and of the type that it names.
    async fn file(&self, file: &Value<'_>) -> Vec<String> {
        let url = file.str_at("url").expect("an address");
        let call = self.call("GET", url).header("Accept", "application/fhir+ndjson");
        let answer = call.send().await.expect(200);
        let kind = answer.header("content-type").expect("a type");
        assert!(kind.starts_with("application/fhir+ndjson"), "{kind}");
        let text = answer.text();
        assert!(text.ends_with('\n'), "the last line ends too");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let count = file.get("count").and_then(|count| count.as_number().map(str::to_owned));
        assert_eq!(count, Some(lines.len().to_string()), "{file:?}");
        for line in &lines {
            let value = parse(line.as_bytes()).expect(line);
            assert_eq!(value.str_at("resourceType"), file.str_at("type"), "{line}");
        }
        lines
    }
}

impl Export {
    /// Type and id of each resource, sorted; one that comes twice stands twice.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (of, lines) in &self.output {
            for line in lines {
                let value = parse(line.as_bytes()).unwrap();
                all.push(format!("{of}/{}", value.str_at("id").expect("an id")));
            }
        }
        all.sort_unstable();
        all
    }

    /// The line of a resource.
    pub(crate) fn line(&self, of: &str, id: &str) -> &str {
        let sign = format!(r#""id":"{id}""#);
        let found =
            self.output.get(of).and_then(|lines| lines.iter().find(|it| it.contains(&sign)));
        found.unwrap_or_else(|| panic!("no {of}/{id} in {:?}", self.names()))
    }
}

/// Stores a resource under its id.
pub(crate) async fn put(client: &Client, path: &str, content: &str) -> Answer {
    let (of, id) = path.split_once('/').unwrap();
    let comma = if content.is_empty() { "" } else { "," };
    let body = format!(r#"{{"resourceType":"{of}","id":"{id}"{comma}{content}}}"#);
    let answer = client.put(&format!("/{path}"), body).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer
}

/// Covers: rest 6.54, 6.55.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_asked_for_asynchronously_and_as_json() {
    let server = TestServer::start().await;
    let client = &server.client;
    put(client, "Patient/p", "").await;
    put(client, "Group/g", r#""type":"person","actual":true"#).await;
    for path in ["/$export", "/Patient/$export", "/Group/g/$export"] {
        for method in ["GET", "POST"] {
            let call = || client.call(method, path).header("Accept", "application/fhir+json");
            let asked = call().header("Prefer", "respond-async");
            let asked = if method == "POST" { asked.json(NOTHING) } else { asked };
            let accepted = asked.send().await.expect(202);
            let place = accepted.header("content-location").expect("where to ask");
            assert!(place.starts_with(&format!("{}/$export/", client.base())), "{place}");
            client.delete(&place).await.expect(202);
            let sync = call().send().await.expect(400);
            assert_eq!(sync.at("resourceType").as_deref(), Some("OperationOutcome"));
            for other in ["application/fhir+xml", "text/csv", "application/fhir+ndjson"] {
                let call = client.call(method, path).header("Prefer", "respond-async");
                call.header("Accept", other).send().await.expect(406);
            }
        }
        client.call("DELETE", path).send().await.expect(405);
    }
    let exporter = Exporter::new(client);
    exporter.ask("/Group/none/$export").await.expect(404);
    client.delete("/Group/g").await.expect(204);
    exporter.ask("/Group/g/$export").await.expect(410);
    for path in ["/Observation/$export", "/Patient/p/$export", "/Group/$export"] {
        exporter.ask(path).await.expect(404);
    }
    // What is sent must be Parameters.
    let call = client.call("POST", "/$export").header("Prefer", "respond-async");
    call.json(r#"{"resourceType":"Patient"}"#).send().await.expect(400);
    server.stop().await;
}

/// Covers: rest 6.61, 6.64.
#[tokio::test(flavor = "multi_thread")]
async fn a_completed_export_tells_its_files_and_each_has_its_lines() {
    let server = TestServer::start_with(&[("export.file_resources", "2")]).await;
    let client = &server.client;
    for id in ["a", "b", "c", "d", "e"] {
        // Larger than a part of a file together.
        let text = "x".repeat(300_000);
        put(client, &format!("Patient/{id}"), &format!(r#""name":[{{"text":"{text}\n"}}]"#)).await;
    }
    put(client, "Observation/o", r#""status":"final","code":{"text":"c"}"#).await;
    let exporter = Exporter::new(client);
    let url = "/$export?_type=Patient,Observation";
    let export = exporter.export(url).await;
    let manifest = &export.manifest;
    assert_eq!(manifest.header("content-type").as_deref(), Some("application/json"));
    let expires = manifest.header("expires").expect("until when");
    assert!(expires.ends_with(" GMT"), "{expires}");
    assert_eq!(manifest.at("request"), Some(format!("{}{url}", client.base())));
    let told = manifest.json();
    assert_eq!(told.get("requiresAccessToken").and_then(Value::as_bool), Some(false));
    assert_eq!(told.get("error").and_then(Value::as_array).map(<[_]>::len), Some(0));
    assert!(told.str_at("transactionTime").is_some(), "{manifest:?}");
    let counts: Vec<(&str, &str)> = told
        .items_at("output")
        .iter()
        .map(|file| {
            let count = file.get("count").and_then(Value::as_number).unwrap();
            (file.str_at("type").unwrap(), count)
        })
        .collect();
    assert_eq!(
        counts,
        [("Observation", "1"), ("Patient", "2"), ("Patient", "2"), ("Patient", "1")]
    );
    let everyone = ["Patient/a", "Patient/b", "Patient/c", "Patient/d", "Patient/e"];
    assert_eq!(export.names(), [&["Observation/o"][..], &everyone].concat());
    // A line is what a read gives, in one line.
    let read = client.get("/Patient/c").await.expect(200).text();
    assert_eq!(export.line("Patient", "c"), read);
    let file = told.items_at("output")[0].str_at("url").unwrap();
    for accept in ["application/fhir+ndjson", "application/ndjson", "*/*"] {
        client.call("GET", file).header("Accept", accept).send().await.expect(200);
    }
    client.call("GET", file).header("Accept", "text/csv").send().await.expect(406);
    let zipped = client.call("GET", file).header("Accept-Encoding", "gzip").send().await;
    assert_eq!(zipped.expect(200).header("content-type"), Some("application/fhir+ndjson".into()));
    // Nothing at all is exported as no file.
    let empty = exporter.export("/$export?_type=Device").await;
    let told = empty.manifest.json();
    assert_eq!(told.get("output").and_then(Value::as_array).map(<[_]>::len), Some(0));
    assert_eq!(told.get("error").and_then(Value::as_array).map(<[_]>::len), Some(0));
    server.stop().await;
}

/// Covers: rest 7.52.
#[tokio::test(flavor = "multi_thread")]
async fn decimals_are_exported_as_they_were_written() {
    let server = TestServer::start().await;
    let client = &server.client;
    let values = [
        "1.0",
        "0.010",
        "120",
        "-0.50",
        "100000000000000000000.000000000000000000010",
        "123456789012345678.90",
    ];
    for (at, value) in values.iter().enumerate() {
        let content = format!(
            r#""status":"final","code":{{"text":"c"}},"valueQuantity":{{"value":{value}}}"#
        );
        put(client, &format!("Observation/o{at}"), &content).await;
    }
    // Of equal precision: three digits.
    put(
        client,
        "Observation/e",
        r#""status":"final","code":{"text":"c"},"valueQuantity":{"value":1.20E+2}"#,
    )
    .await;
    let exporter = Exporter::new(client);
    for url in ["/$export?_type=Observation", "/$export?_type=Observation&_elements=value"] {
        let export = exporter.export(url).await;
        let value = |id: &str| {
            let line = parse(export.line("Observation", id).as_bytes()).unwrap().into_owned();
            let quantity = line.get("valueQuantity").expect("a quantity").clone();
            quantity.get("value").and_then(Value::as_number).map(str::to_owned)
        };
        for (at, expected) in values.iter().enumerate() {
            assert_eq!(value(&format!("o{at}")).as_deref(), Some(*expected), "{url}");
        }
        assert_eq!(value("e").as_deref(), Some("120"), "{url}");
    }
    server.stop().await;
}

/// Two patients with what is theirs.
async fn filled() -> TestServer {
    let server = TestServer::start().await;
    let client = &server.client;
    put(client, "Patient/a", r#""gender":"female","name":[{"family":"A"}]"#).await;
    put(client, "Patient/b", r#""gender":"male","name":[{"family":"B"}]"#).await;
    for (id, status, who) in [("1", "final", "a"), ("2", "preliminary", "a"), ("3", "final", "b")] {
        let content = format!(
            r#""status":"{status}","code":{{"text":"c"}},"subject":{{"reference":"Patient/{who}"}}"#
        );
        put(client, &format!("Observation/{id}"), &content).await;
    }
    put(client, "Device/d", r#""patient":{"reference":"Patient/b"}"#).await;
    server
}

/// Covers: rest 6.56.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_narrow_an_export() {
    let server = filled().await;
    let client = &server.client;
    let exporter = Exporter::new(client);
    for (url, expected) in [
        ("/$export?_type=Patient", "Patient/a Patient/b"),
        ("/$export?_type=Device&_type=Patient", "Device/d Patient/a Patient/b"),
        (
            "/$export?_type=Observation&_typeFilter=Observation%3Fstatus%3Dfinal",
            "Observation/1 Observation/3",
        ),
        (
            "/$export?_type=Observation,Patient&_typeFilter=Observation%3Fstatus%3Dfinal%26subject%3DPatient/a,Patient%3Fgender%3Dmale",
            "Observation/1 Patient/b",
        ),
        (
            "/$export?_type=Observation&_typeFilter=Observation%3Fstatus%3Dpreliminary&_typeFilter=Observation%3Fsubject%3DPatient/b",
            "Observation/2 Observation/3",
        ),
        (
            "/$export?_type=Observation&_typeFilter=Observation%3Fsubject%3APatient.gender%3Dmale",
            "Observation/3",
        ),
        ("/Patient/$export?patient=Patient/a&_type=Observation", "Observation/1 Observation/2"),
        (
            "/Patient/$export?_outputFormat=application%2Ffhir%2Bndjson&_type=Patient",
            "Patient/a Patient/b",
        ),
        ("/Patient/$export?_outputFormat=ndjson&_type=Device", "Device/d"),
        (
            "/Patient/$export?_outputFormat=application/ndjson&_type=Patient&patient=Patient/b",
            "Patient/b",
        ),
    ] {
        assert_eq!(exporter.export(url).await.names().join(" "), expected, "{url}");
    }
    let cut =
        exporter.export("/$export?_type=Patient,Observation&_elements=Patient.name,status").await;
    let patient = cut.line("Patient", "a");
    assert!(patient.contains("family") && !patient.contains("gender"), "{patient}");
    assert!(patient.contains("SUBSETTED"), "{patient}");
    let observation = cut.line("Observation", "1");
    assert!(observation.contains("final") && !observation.contains("subject"), "{observation}");
    server.stop().await;
}

/// Covers: rest 6.56.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_may_be_posted() {
    let server = filled().await;
    let client = &server.client;
    let exporter = Exporter::new(client);
    // Posted, as a resource and as a form.
    let body = r#"{"resourceType":"Parameters","parameter":[
        {"name":"_type","valueString":"Observation"},
        {"name":"_outputFormat","valueString":"application/fhir+ndjson"},
        {"name":"patient","valueReference":{"reference":"Patient/b"}},
        {"name":"patient","valueReference":{"reference":"Patient/gone"}}]}"#;
    let call = client.call("POST", "/Patient/$export").header("Prefer", "respond-async");
    let posted = call.json(body).send().await.expect(202);
    let export = exporter.taken(&posted.header("content-location").unwrap()).await;
    assert_eq!(export.names(), ["Observation/3"]);
    assert!(
        export.error.len() == 1 && export.error[0].contains("Patient/gone"),
        "{:?}",
        export.error
    );
    let call = client.call("POST", "/$export").header("Prefer", "respond-async");
    let form =
        call.header("Content-Type", "application/x-www-form-urlencoded").body("_type=Device");
    let posted = form.send().await.expect(202);
    let export = exporter.taken(&posted.header("content-location").unwrap()).await;
    assert_eq!(export.names(), ["Device/d"]);
    server.stop().await;
}

/// Covers: rest 6.56, 6.57.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_none_are_refused_and_unknown_parameters_are_told_of() {
    let server = filled().await;
    let client = &server.client;
    let exporter = Exporter::new(client);
    for wrong in [
        "_outputFormat=text/csv",
        "_since=yesterday",
        "_since=2020-01-01T00:00:00Z&_since=2021-01-01T00:00:00Z",
        "_type=Nope",
        "_type=",
        "_type=Patient&_typeFilter=Observation%3Fstatus%3Dfinal",
        "_typeFilter=Observation%3Fnope%3Dfinal",
        "_typeFilter=Observation%3F_sort%3Ddate",
        "_typeFilter=Observation%3F_include%3DObservation:subject",
        "_typeFilter=status%3Dfinal",
        "_type=OperationOutcome",
    ] {
        let answer = exporter.ask(&format!("/$export?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    exporter.ask("/Patient/$export?_type=StructureDefinition").await.expect(400);
    exporter.ask("/Patient/$export?patient=Observation/1").await.expect(400);
    for unknown in ["_until=2020-01-01T00:00:00Z", "patient=Patient/a", "includeAssociatedData=x"] {
        let url = format!("/$export?_type=Device&{unknown}");
        let strict = client.call("GET", &url).header("Prefer", "respond-async, handling=strict");
        strict.send().await.expect(400);
        let export = exporter.export(&url).await;
        assert_eq!(export.names(), ["Device/d"], "{unknown}");
        let name = unknown.split('=').next().unwrap();
        assert!(export.error.len() == 1 && export.error[0].contains(name), "{:?}", export.error);
    }
    server.stop().await;
}
