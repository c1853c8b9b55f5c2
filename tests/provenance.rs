//! X-Provenance: one commit with the write it is about, or nothing.
//!
//! Spec: <https://hl7.org/fhir/R4/provenance.html#header>

use crate::harness::client::Answer;
use crate::harness::server::TestServer;

const GOOD: &str = r#"{"resourceType":"Provenance","recorded":"2024-01-01T00:00:00Z","agent":[{"who":{"display":"t"}}]}"#;
const P: &str = r#"{"resourceType":"Patient","id":"p","active":true}"#;

async fn write(server: &TestServer, name: &str, request: &str, body: &str, with: &str) -> Answer {
    let (method, url) = request.split_once(' ').unwrap();
    let patch = method == "PATCH";
    let kind = if patch { "application/json-patch+json" } else { "application/fhir+json" };
    let call = server.client.call(method, url).header("X-Request-Id", name);
    let call = call.header("X-Provenance", with).header("Content-Type", kind);
    call.body(body.to_owned()).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_and_its_provenance_are_one_commit_with_one_group_of_ledger_rows() {
    let server = TestServer::start().await;
    for (name, request, body, status, version) in [
        ("create", "POST /Patient", P, 201, 1),
        ("as-create", "PUT /Patient/p", P, 201, 1),
        ("update", "PUT /Patient/p", r#"{"resourceType":"Patient","id":"p"}"#, 200, 2),
        ("patch", "PATCH /Patient/p", r#"[{"op":"add","path":"/active","value":true}]"#, 200, 3),
    ] {
        let answer = write(&server, name, request, body, GOOD).await.expect(status);
        assert_eq!(answer.version(), version, "{name}");
        // Its own row and that of the Provenance, in one group.
        let rows = format!("FROM ledger WHERE request_id = '{name}' AND outcome = 0");
        for (what, expected) in [("*", 2), ("DISTINCT grp", 1), ("DISTINCT rt", 2)] {
            let query = format!("SELECT count({what}) {rows}");
            assert_eq!(server.database.number(&query).await, expected, "{name}: {what}");
        }
        // The Provenance that names this version is of the transaction that made the version.
        let target = format!("Patient/{}/_history/{version}", answer.id());
        let together = format!(
            "SELECT count(*) FROM res p JOIN res m ON m.xid = p.xid \
             WHERE m.id = '{}' AND m.vid = {version} AND m.rid <> p.rid \
             AND p.body -> 'target' -> 0 ->> 'reference' = '{target}'",
            answer.id()
        );
        assert_eq!(server.database.number(&together).await, 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_new_version_or_with_a_bad_provenance_nothing_is_stored() {
    let server = TestServer::start().await;
    server.client.put("/Patient/p", P).await.expect(201);
    let stored = "SELECT count(*) + sum(vid) FROM res";
    let before = server.database.number(stored).await;
    let other = r#"{"resourceType":"Patient","id":"p","active":false}"#;
    let target = GOOD.replace(
        "{\"resourceType\"",
        "{\"target\":[{\"reference\":\"Patient/p\"}],\"resourceType\"",
    );
    let subsetted = GOOD.replace(
        "\"recorded\"",
        "\"meta\":{\"tag\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-ObservationValue\",\"code\":\"SUBSETTED\"}]},\"recorded\"",
    );
    for (name, request, body, with, status) in [
        ("unchanged", "PUT /Patient/p", P, GOOD, 200),
        ("no-json", "PUT /Patient/p", other, "{", 400),
        ("no-object", "PUT /Patient/p", other, "[]", 400),
        ("no-provenance", "PUT /Patient/p", other, r#"{"resourceType":"Patient"}"#, 400),
        ("no-agent", "POST /Patient", P, r#"{"resourceType":"Provenance"}"#, 400),
        ("with-target", "POST /Patient", P, &target, 400),
        ("subsetted", "POST /Patient", P, &subsetted, 422),
        ("bad-patch", "PATCH /Patient/p", r#"[{"op":"remove","path":"/photo"}]"#, GOOD, 400),
        ("bad-body", "POST /Patient", r#"{"resourceType":"Patient","nope":1}"#, GOOD, 400),
        ("unknown", "PATCH /Patient/x", r#"[{"op":"remove","path":"/photo"}]"#, GOOD, 404),
    ] {
        let answer = write(&server, name, request, body, with).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(server.database.number(stored).await, before, "{name}");
        let rows = format!("SELECT count(*) FROM ledger WHERE request_id = '{name}'");
        assert_eq!(server.database.number(&rows).await, 1, "{name}");
    }
    let twice = server.client.call("PUT", "/Patient/p").header("X-Provenance", GOOD);
    twice.header("X-Provenance", GOOD).json(other).send().await.expect(400);
    assert_eq!(server.database.number(stored).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_provenance_is_stored_none_is_taken() {
    let server = TestServer::start().await;
    server.client.put("/Patient/p", P).await.expect(201);
    let stored = "SELECT count(*) + sum(vid) FROM res";
    let before = server.database.number(stored).await;
    let meta =
        r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"source":"x"}}]}"#;
    for (name, request, body) in [
        ("delete", "DELETE /Patient/p", String::new()),
        ("delete-by", "DELETE /Patient?active=true", String::new()),
        ("meta-add", "POST /Patient/p/$meta-add", meta.to_owned()),
        ("meta-delete", "POST /Patient/p/$meta-delete", meta.to_owned()),
    ] {
        for with in [GOOD, "{"] {
            let answer = write(&server, name, request, &body, with).await.expect(400);
            assert_eq!(answer.at("issue[0].code").as_deref(), Some("not-supported"), "{name}");
            assert!(answer.text().contains("X-Provenance"), "{name}: {answer:?}");
        }
        assert_eq!(server.database.number(stored).await, before, "{name}");
        let rows =
            format!("SELECT count(*) FROM ledger WHERE request_id = '{name}' AND outcome = 4");
        assert_eq!(server.database.number(&rows).await, 2, "{name}");
    }
}
