//! Two patients, what is theirs, what is both's, and what is nobody's.

use crate::harness::client::{Answer, Client};
use crate::harness::json::at;
use crate::harness::server::TestServer;

/// Ids begin with whose they are.
pub(super) const STORED: &[(&str, &str)] = &[
    ("Organization/ward", r#""name":"Ward""#),
    ("Practitioner/doc", r#""name":[{"family":"Doc"}]"#),
    (
        "Patient/a",
        r#""name":[{"family":"Ada"}],"generalPractitioner":[{"reference":"Practitioner/doc"}],"managingOrganization":{"reference":"Organization/ward"},"link":[{"other":{"reference":"Patient/b"},"type":"seealso"}]"#,
    ),
    ("Patient/b", r#""name":[{"family":"Bob"}],"identifier":[{"system":"urn:n","value":"7"}]"#),
    ("RelatedPerson/a-mother", r#""patient":{"reference":"Patient/a"}"#),
    (
        "Encounter/a-visit",
        r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/a"},"serviceProvider":{"reference":"Organization/ward"}"#,
    ),
    (
        "Encounter/b-visit",
        r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/b"}"#,
    ),
    (
        "Observation/a-lab",
        r#""status":"final","category":[{"coding":[{"system":"urn:cat","code":"laboratory"}]}],"code":{"coding":[{"system":"urn:c","code":"k"}]},"subject":{"reference":"Patient/a"},"encounter":{"reference":"Encounter/a-visit"},"performer":[{"reference":"Practitioner/doc"}],"valueQuantity":{"value":5}"#,
    ),
    (
        "Observation/a-vital",
        r#""status":"final","category":[{"coding":[{"system":"urn:cat","code":"vital-signs"}]}],"code":{"coding":[{"system":"urn:c","code":"p"}]},"subject":{"reference":"Patient/a"}"#,
    ),
    (
        "Observation/b-lab",
        r#""status":"final","category":[{"coding":[{"system":"urn:cat","code":"laboratory"}]}],"code":{"coding":[{"system":"urn:c","code":"k"}]},"subject":{"reference":"Patient/b"},"focus":[{"reference":"Patient/a"}],"encounter":{"reference":"Encounter/b-visit"},"valueQuantity":{"value":9}"#,
    ),
    (
        "DiagnosticReport/a-report",
        r#""status":"final","code":{"text":"r"},"subject":{"reference":"Patient/a"},"result":[{"reference":"Observation/a-lab"},{"reference":"Observation/b-lab"}]"#,
    ),
    (
        "Appointment/both",
        r#""status":"proposed","participant":[{"actor":{"reference":"Patient/a"},"status":"accepted"},{"actor":{"reference":"Patient/b"},"status":"accepted"}]"#,
    ),
    (
        "Appointment/a-alone",
        r#""status":"proposed","participant":[{"actor":{"reference":"Patient/a"},"status":"accepted"}]"#,
    ),
    ("Device/a-pump", r#""patient":{"reference":"Patient/a"}"#),
    ("Device/b-pump", r#""patient":{"reference":"Patient/b"}"#),
    ("Device/spare", r#""distinctIdentifier":"x""#),
    (
        "Provenance/a-lab",
        r#""target":[{"reference":"Observation/a-lab"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/doc"}}]"#,
    ),
    (
        "Provenance/b-lab",
        r#""target":[{"reference":"Observation/b-lab"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/doc"}}]"#,
    ),
    (
        "Provenance/both-labs",
        r#""target":[{"reference":"Observation/a-lab"},{"reference":"Observation/b-lab"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/doc"}}]"#,
    ),
    (
        "Binary/a-scan",
        r#""contentType":"text/plain","securityContext":{"reference":"Patient/a"},"data":"QQ==""#,
    ),
    (
        "Binary/a-lab-scan",
        r#""contentType":"text/plain","securityContext":{"reference":"Observation/a-lab"},"data":"QQ==""#,
    ),
    (
        "Binary/b-scan",
        r#""contentType":"text/plain","securityContext":{"reference":"Patient/b"},"data":"Qg==""#,
    ),
    ("Binary/loose", r#""contentType":"text/plain","data":"Qw==""#),
    (
        "Bundle/a-letter",
        r#""type":"document","identifier":{"system":"urn:d","value":"1"},"timestamp":"2020-01-01T00:00:00Z","entry":[{"fullUrl":"http://h.example/fhir/Composition/a","resource":{"resourceType":"Composition","id":"a","status":"final","type":{"text":"letter"},"subject":{"reference":"Patient/a"},"date":"2020","author":[{"reference":"Practitioner/doc"}],"title":"t"}},{"fullUrl":"http://h.example/fhir/Patient/a","resource":{"resourceType":"Patient","id":"a"}},{"fullUrl":"http://h.example/fhir/Practitioner/doc","resource":{"resourceType":"Practitioner","id":"doc"}}]"#,
    ),
    (
        "Bundle/b-letter",
        r#""type":"document","identifier":{"system":"urn:d","value":"2"},"timestamp":"2020-01-01T00:00:00Z","entry":[{"fullUrl":"http://h.example/fhir/Composition/b","resource":{"resourceType":"Composition","id":"b","status":"final","type":{"text":"letter"},"subject":{"reference":"Patient/b"},"date":"2020","author":[{"reference":"Practitioner/doc"}],"title":"t"}},{"fullUrl":"http://h.example/fhir/Patient/b","resource":{"resourceType":"Patient","id":"b"}},{"fullUrl":"http://h.example/fhir/Practitioner/doc","resource":{"resourceType":"Practitioner","id":"doc"}}]"#,
    ),
    (
        "Group/a-study",
        r#""type":"person","actual":true,"member":[{"entity":{"reference":"Patient/a"}}]"#,
    ),
];

/// What a token with every patient scope of `a` reaches.
pub(super) const OF_A: &[&str] = &[
    "Appointment/a-alone",
    "Appointment/both",
    "Binary/a-lab-scan",
    "Binary/a-scan",
    "Bundle/a-letter",
    "Device/a-pump",
    "Device/spare",
    "DiagnosticReport/a-report",
    "Encounter/a-visit",
    "Observation/a-lab",
    "Observation/a-vital",
    "Organization/ward",
    "Patient/a",
    "Practitioner/doc",
    "Provenance/a-lab",
    "RelatedPerson/a-mother",
];

/// The resource at `path` with this content.
pub(super) fn body(path: &str, content: &str) -> String {
    let (resource_type, id) = path.split_once('/').unwrap();
    format!(r#"{{"resourceType":"{resource_type}","id":"{id}",{content}}}"#)
}

/// The same without an id.
pub(super) fn fresh(resource_type: &str, content: &str) -> String {
    format!(r#"{{"resourceType":"{resource_type}",{content}}}"#)
}

/// A server with all of it.
pub(super) async fn filled() -> TestServer {
    let server = TestServer::start().await;
    for (path, content) in STORED {
        server.client.put(&format!("/{path}"), body(path, content)).await.expect(201);
    }
    server
}

/// Type and id of each entry, sorted.
pub(super) fn entries(answer: &Answer) -> Vec<String> {
    let value = answer.json();
    let mut all: Vec<String> = value
        .items_at("entry")
        .iter()
        .filter_map(|entry| {
            let text = |path| at(entry, path).and_then(|it| it.as_str());
            Some(format!("{}/{}", text("resource.resourceType")?, text("resource.id")?))
        })
        .collect();
    all.sort_unstable();
    all
}

/// What a search finds.
pub(super) async fn asked(client: &Client, url: &str) -> Vec<String> {
    entries(&client.get(url).await.expect(200))
}
