//! X-Provenance: one commit with the write it is about, or nothing.
//!
//! Spec: <https://hl7.org/fhir/R4/provenance.html#header>

use crate::harness::client::Answer;
use crate::harness::grants::Token;
use crate::harness::process::Process;
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

/// Covers: security P1.
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

/// Covers: security P1.
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

/// A transaction that makes a patient and an observation, and changes nothing of a third.
fn bundle(kind: &str, conditional: &str) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"{kind}","entry":[
            {{"fullUrl":"urn:uuid:6f1c9a02-3d9c-4d9f-9f55-000000000001","resource":{{"resourceType":"Patient","active":true}},"request":{{"method":"POST","url":"Patient"{conditional}}}}},
            {{"resource":{{"resourceType":"Observation","id":"o","status":"final","code":{{"text":"x"}},"subject":{{"reference":"urn:uuid:6f1c9a02-3d9c-4d9f-9f55-000000000001"}}}},"request":{{"method":"PUT","url":"Observation/o"}}}},
            {{"resource":{P},"request":{{"method":"PUT","url":"Patient/p"}}}},
            {{"request":{{"method":"GET","url":"Patient/p"}}}}]}}"#
    )
}

/// Where the settings want it, what goes along with a transaction is stored with it, about all that it
/// made, or nothing is.
///
/// Covers: security P1.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_has_one_provenance_where_that_is_wanted() {
    let settings = [("http.transaction_provenance", "true")];
    for conditional in ["", r#","ifNoneExist":"identifier=urn:none|1""#] {
        let server = TestServer::start_with(&settings).await;
        server.client.put("/Patient/p", P).await.expect(201);
        let body = bundle("transaction", conditional);
        let answer = write(&server, "all", "POST /", &body, GOOD).await.expect(200);
        let is_passed_over = |answer: &Answer| {
            answer.header("warning").is_some_and(|it| it.contains("X-Provenance"))
        };
        assert!(!is_passed_over(&answer), "{answer:?}");
        let made = answer.at("entry[0].response.location").unwrap();
        let found = server.client.get("/Provenance").await.expect(200);
        assert_eq!(found.at("total").as_deref(), Some("1"), "{found:?}");
        for (at, expected) in [(0, made), (1, "Observation/o/_history/1".to_owned())] {
            let target = found.at(&format!("entry[0].resource.target[{at}].reference"));
            assert_eq!(target, Some(expected), "{conditional}");
        }
        assert_eq!(found.at("entry[0].resource.target[2].reference"), None, "{found:?}");
        let together = "SELECT count(DISTINCT xid) FROM res WHERE id <> 'p'";
        assert_eq!(server.database.number(together).await, 1, "{conditional}");
        let stored = "SELECT count(*) + sum(vid) FROM res";
        let before = server.database.number(stored).await;
        for (with, status) in [("{", 400), (r#"{"resourceType":"Provenance"}"#, 400)] {
            write(&server, "bad", "POST /", &body.replace("final", "amended"), with)
                .await
                .expect(status);
        }
        // Of a batch it is not read, and nothing that makes no version has one.
        let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p"}}]}"#;
        let answer = write(&server, "batch", "POST /", batch, GOOD).await.expect(200);
        assert!(is_passed_over(&answer), "{answer:?}");
        let same = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":PATIENT,"request":{"method":"PUT","url":"Patient/p"}}]}"#;
        let same = same.replace("PATIENT", P);
        write(&server, "same", "POST /", &same, GOOD).await.expect(200);
        assert_eq!(server.database.number(stored).await, before, "{conditional}");
        server.stop().await;
    }
}

/// Who may not create a Provenance sends none along, and one that is too large is none.
///
/// Covers: security P1.
#[tokio::test(flavor = "multi_thread")]
async fn a_provenance_wants_leave_to_create_it_and_is_not_large() {
    let server = TestServer::start_with(&[("http.transaction_provenance", "true")]).await;
    server.client.put("/Patient/p", P).await.expect(201);
    let stored = "SELECT count(*) + sum(vid) FROM res";
    let before = server.database.number(stored).await;
    let (client, _stop) =
        Token::new(&server, "system/Patient.cruds system/Observation.cruds").client().await;
    let transaction = bundle("transaction", "");
    for (method, url, kind, body) in [
        ("POST", "/Patient", "fhir+json", P),
        ("PUT", "/Patient/p", "fhir+json", r#"{"resourceType":"Patient","id":"p"}"#),
        ("PATCH", "/Patient/p", "json-patch+json", r#"[{"op":"remove","path":"/active"}]"#),
        ("POST", "/", "fhir+json", &transaction),
    ] {
        let large = GOOD.replace("\"t\"", &format!("\"{}\"", "t".repeat(8 * 1024)));
        for (client, with, status) in [(&client, GOOD, 403), (&server.client, &*large, 431)] {
            let call = client.call(method, url).header("X-Provenance", with);
            let call = call.header("Content-Type", &format!("application/{kind}"));
            let answer = call.body(body.to_owned()).send().await;
            assert_eq!(answer.status, status, "{method} {url}: {answer:?}");
            assert_eq!(server.database.number(stored).await, before, "{method} {url}");
        }
    }
    server.stop().await;
}

/// What an import loads has a Provenance that names the file where that is asked for: one with a
/// transaction, and one with each resource of what is none. What is loaded already has no second one.
///
/// Covers: security P2.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_says_from_where_it_is() {
    let process = Process::start().await;
    let folder = process.data_dir.join("to-import");
    std::fs::create_dir(&folder).unwrap();
    let patient = |id: &str| format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
    let entry = |id: &str| {
        let resource = patient(id);
        format!(r#"{{"resource":{resource},"request":{{"method":"PUT","url":"Patient/{id}"}}}}"#)
    };
    let transaction = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{},{}]}}"#,
        entry("a"),
        entry("b")
    );
    let lines = format!("{}\n{}\n", patient("c"), patient("d"));
    let folder_name = folder.to_str().unwrap();
    std::fs::write(folder.join("unsaid.ndjson"), patient("z")).unwrap();
    let import = |arguments: &[&str]| {
        let output = process.beside("import", arguments);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
    };
    import(&[folder_name]);
    let found = process.client.get("/Provenance").await.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("0"), "without being asked for: {found:?}");
    std::fs::write(folder.join("both.json"), transaction).unwrap();
    std::fs::write(folder.join("lines.ndjson"), lines).unwrap();
    for again in [&[folder_name, "--provenance"][..], &[folder_name, "--provenance", "--again"]] {
        import(again);
        let found = process.client.get("/Provenance").await.expect(200);
        assert_eq!(found.at("total").as_deref(), Some("3"), "{again:?}: {found:?}");
    }
    for (id, targets, file) in [
        ("a", &["Patient/a/_history/1", "Patient/b/_history/1"][..], "both.json"),
        ("c", &["Patient/c/_history/1"], "lines.ndjson: "),
        ("d", &["Patient/d/_history/1"], "lines.ndjson: "),
    ] {
        let found = process.client.get(&format!("/Provenance?target=Patient/{id}")).await;
        let found = found.expect(200);
        assert_eq!(found.at("total").as_deref(), Some("1"), "{id}: {found:?}");
        let target = |at: usize| found.at(&format!("entry[0].resource.target[{at}].reference"));
        let told: Vec<_> = (0..3).map_while(target).collect();
        assert_eq!(told, targets, "{id}");
        let source = found.at("entry[0].resource.entity[0].what.display").unwrap();
        assert!(source.starts_with(file) && !source.contains(folder_name), "{source}");
    }
}
