//! Addresses in what clients send: none is ever visited.
//!
//! Covers: security H20, H21.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::harness::server::TestServer;

/// A place that counts who comes.
pub(super) struct Sink {
    pub(super) url: String,
    visits: Arc<AtomicUsize>,
}

impl Sink {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = visits.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { url, visits }
    }

    /// How many came, once what is under way has had its time.
    pub(super) async fn visits(&self) -> usize {
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.visits.load(Ordering::SeqCst)
    }
}

/// What is about patients, with `at` in every element that can have an address.
fn records(at: &dyn Fn(&str) -> String) -> Vec<(&'static str, String)> {
    vec![
        (
            "Observation/o",
            format!(
                r#""meta":{{"profile":["{0}"]}},"status":"final","code":{{"coding":[{{"system":"{0}","code":"c"}}]}},
                "subject":{{"reference":"{1}"}},"extension":[{{"url":"{0}","valueUri":"{0}"}}],"hasMember":[{{"reference":"{2}"}}]"#,
                at("StructureDefinition/p"),
                at("Patient/p"),
                at("Observation/x")
            ),
        ),
        ("Patient/p", format!(r#""photo":[{{"url":"{0}"}}],"implicitRules":"{0}""#, at("photo"))),
        (
            "DocumentReference/d",
            format!(
                r#""status":"current","content":[{{"attachment":{{"url":"{}","contentType":"text/plain"}}}}]"#,
                at("Binary/b")
            ),
        ),
        (
            "ValueSet/v",
            format!(
                r#""url":"{0}","status":"active","compose":{{"include":[{{"system":"{1}"}},{{"valueSet":["{2}"]}}]}}"#,
                at("ValueSet/v"),
                at("CodeSystem/c"),
                at("ValueSet/other")
            ),
        ),
    ]
}

/// The same of definitions, Bundles and endpoints.
fn definitions(at: &dyn Fn(&str) -> String) -> Vec<(&'static str, String)> {
    vec![
        (
            "StructureDefinition/s",
            format!(
                r#""url":"{0}","name":"S","status":"active","kind":"resource","abstract":false,"type":"Patient","baseDefinition":"{1}","derivation":"constraint","differential":{{"element":[{{"id":"Patient.gender","path":"Patient.gender","binding":{{"strength":"required","valueSet":"{2}"}}}}]}}"#,
                at("StructureDefinition/s"),
                at("StructureDefinition/base"),
                at("ValueSet/w")
            ),
        ),
        (
            "Bundle/b",
            format!(
                r#""type":"collection","link":[{{"relation":"next","url":"{0}"}}],"entry":[{{"fullUrl":"{0}","resource":{{"resourceType":"Patient"}}}}]"#,
                at("Patient/z")
            ),
        ),
        (
            "Endpoint/e",
            format!(
                r#""status":"active","connectionType":{{"code":"hl7-fhir-rest"}},"payloadType":[{{"text":"x"}}],"address":"{}""#,
                at("hook")
            ),
        ),
    ]
}

/// Questions with addresses.
fn questions(at: &dyn Fn(&str) -> String) -> Vec<String> {
    vec![
        format!("/Observation?subject={}", at("Patient/p")),
        "/Observation?_id=o&_include=Observation:subject&_include=*&_include:iterate=*".to_owned(),
        "/Observation?subject.name=x".to_owned(),
        format!("/Observation?code:in={}", at("ValueSet/v")),
        format!("/Observation?code:below={}|c", at("CodeSystem/c")),
        format!("/Observation?_profile={}", at("StructureDefinition/p")),
        format!("/ValueSet/$expand?url={}", at("ValueSet/v")),
        "/ValueSet/v/$expand".to_owned(),
        format!("/ValueSet/$validate-code?url={}&system=urn:x&code=c", at("ValueSet/w")),
        format!("/CodeSystem/$lookup?system={}&code=c", at("CodeSystem/c")),
        format!("/Patient/p/$validate?profile={}", at("StructureDefinition/s")),
        format!("/metadata?_format=json&x={}", at("x")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_a_resource_or_a_question_is_not_visited() {
    let server = TestServer::start().await;
    let sink = Sink::start().await;
    let at = |path: &str| format!("{}/{path}", sink.url);
    for (path, content) in records(&at).into_iter().chain(definitions(&at)) {
        let (of, id) = path.split_once('/').unwrap();
        let body = format!(r#"{{"resourceType":"{of}","id":"{id}",{content}}}"#);
        let answer = server.client.put(&format!("/{path}"), body.clone()).await;
        assert!(answer.status < 500, "{path}: {answer:?}");
        let answer = server.client.post(&format!("/{of}/$validate"), body).await;
        assert!(answer.status < 500, "{path}: {answer:?}");
    }
    for url in questions(&at) {
        let answer = server.client.get(&url).await;
        assert!(answer.status < 500, "{url}: {answer:?}");
    }
    let conditional = server.client.call("POST", "/Observation");
    let conditional = conditional.header("If-None-Exist", &format!("subject={}", at("Patient/p")));
    let body = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"}}"#;
    conditional.json(body).send().await;
    let reference = at("Patient?identifier=x");
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"fullUrl":"{0}","resource":{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"{reference}"}}}},"request":{{"method":"POST","url":"Observation"}}}},{{"request":{{"method":"GET","url":"{0}"}}}}]}}"#,
        at("Observation/y")
    );
    let answer = server.client.post("/", bundle).await;
    assert!(answer.status < 500, "{answer:?}");
    assert_eq!(sink.visits().await, 0);
    server.stop().await;
}
