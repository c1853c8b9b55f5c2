//! Two patients, a Group and who and what they refer to.

use crate::harness::server::TestServer;

/// Ids begin with whose they are.
pub(super) const STORED: &[(&str, &str)] = &[
    ("Organization/top", r#""name":"Top""#),
    ("Organization/ward", r#""name":"Ward","partOf":{"reference":"Organization/top"}"#),
    ("Organization/nobodys", r#""name":"Nobody's""#),
    ("Location/room", r#""name":"Room","managingOrganization":{"reference":"Organization/ward"}"#),
    ("Practitioner/doc", r#""name":[{"family":"Doc"}]"#),
    ("Practitioner/idle", r#""name":[{"family":"Idle"}]"#),
    (
        "PractitionerRole/role",
        r#""practitioner":{"reference":"Practitioner/doc"},"organization":{"reference":"Organization/ward"}"#,
    ),
    ("Medication/pill", r#""status":"active""#),
    ("Device/pump", r#""status":"active""#),
    ("Patient/a", r#""generalPractitioner":[{"reference":"PractitionerRole/role"}]"#),
    ("Patient/b", r#""link":[{"other":{"reference":"Patient/a"},"type":"seealso"}]"#),
    ("Patient/c", r#""active":true"#),
    (
        "Encounter/a-visit",
        r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/a"},"period":{"start":"2020-01-10","end":"2020-01-12"},"location":[{"location":{"reference":"Location/room"}}]"#,
    ),
    (
        "Observation/a-2020",
        r#""status":"final","code":{"text":"c"},"subject":{"reference":"Patient/a"},"effectiveDateTime":"2020-01-11","encounter":{"reference":"Encounter/a-visit"},"device":{"reference":"Device/pump"}"#,
    ),
    (
        "Observation/a-2022",
        r#""status":"final","code":{"text":"c"},"subject":{"reference":"Patient/a"},"effectiveDateTime":"2022-05-05""#,
    ),
    (
        "Observation/a-undated",
        r#""status":"final","code":{"text":"c"},"subject":{"reference":"Patient/a"}"#,
    ),
    (
        "Observation/b-2020",
        r#""status":"final","code":{"text":"c"},"subject":{"reference":"Patient/b"},"effectiveDateTime":"2020-06-01","focus":[{"reference":"Patient/a"}]"#,
    ),
    (
        "Observation/c-2020",
        r#""status":"final","code":{"text":"c"},"subject":{"reference":"Patient/c"},"effectiveDateTime":"2020-06-01","performer":[{"reference":"Practitioner/idle"}]"#,
    ),
    (
        "MedicationRequest/a-pill",
        r#""status":"active","intent":"order","subject":{"reference":"Patient/a"},"authoredOn":"2021-03-01","medicationReference":{"reference":"Medication/pill"}"#,
    ),
    (
        "Appointment/a-and-b",
        r#""status":"proposed","participant":[{"actor":{"reference":"Patient/a"},"status":"accepted"},{"actor":{"reference":"Patient/b"},"status":"accepted"}]"#,
    ),
    (
        "Group/g",
        r#""type":"person","actual":true,"member":[{"entity":{"reference":"Patient/a"}},{"entity":{"reference":"Patient/b"},"period":{"start":"2020-01-01"}},{"entity":{"reference":"Patient/c"},"inactive":true}]"#,
    ),
    ("Group/empty", r#""type":"person","actual":true"#),
];

/// A server with all of it.
pub(super) async fn filled() -> TestServer {
    let server = TestServer::start().await;
    for (path, content) in STORED {
        let (of, id) = path.split_once('/').unwrap();
        let body = format!(r#"{{"resourceType":"{of}","id":"{id}",{content}}}"#);
        server.client.put(&format!("/{path}"), body).await.expect(201);
    }
    server
}
