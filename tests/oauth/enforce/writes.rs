//! Writes: what was and what will be are both within reach, and nothing tells of what is not.

use crate::harness::grants::Token;

use super::super::world::{STORED, body, filled, fresh};

fn content(path: &str) -> &'static str {
    STORED.iter().find(|(known, _)| *known == path).expect("stored").1
}

/// Covers: security W1, W2, W5, V3.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_between_patients() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let lab = content("Observation/a-lab");
    let theirs = lab.replace("Patient/a", "Patient/b");
    own.post("/Observation", fresh("Observation", lab)).await.expect(201);
    own.post("/Observation", fresh("Observation", &theirs)).await.expect(403);
    own.post("/Appointment", fresh("Appointment", content("Appointment/both"))).await.expect(403);
    own.post("/Observation", fresh("Observation", r#""status":"final","code":{"text":"x"}"#))
        .await
        .expect(403);
    own.put("/Observation/a-lab", body("Observation/a-lab", &theirs)).await.expect(403);
    let patch = r#"[{"op":"replace","path":"/subject/reference","value":"Patient/b"}]"#;
    let json_patch = |path: &str| {
        own.call("PATCH", path).header("Content-Type", "application/json-patch+json").body(patch)
    };
    json_patch("/Observation/a-lab").send().await.expect(403);
    // B's are not there at all.
    let (taken, free) = ("/Observation/b-lab", "/Observation/new");
    let put = async |path: &str| {
        let answer = own.put(path, body(&path[1..], lab)).await.expect(404);
        answer.text().replace(&path[1..], "?")
    };
    assert_eq!(put(taken).await, put(free).await);
    json_patch(taken).send().await.expect(404);
    own.delete(taken).await.expect(204);
    let call = own.call("DELETE", taken).header("If-Match", "W/\"1\"");
    call.send().await.expect(412);
    let stays = server.client.get(taken).await.expect(200);
    assert_eq!(stays.version(), 1);
    let stays = server.client.get("/Observation/a-lab").await.expect(200);
    assert_eq!(stays.version(), 1);
    server.stop().await;
}

/// Covers: security W4.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_fulfils_the_criteria_of_the_scope() {
    let server = filled().await;
    let scopes = "patient/Observation.cruds?category=laboratory";
    let (own, _stop) = Token::new(&server, scopes).patient("a").client().await;
    let (lab, vital) = (content("Observation/a-lab"), content("Observation/a-vital"));
    own.post("/Observation", fresh("Observation", lab)).await.expect(201);
    own.post("/Observation", fresh("Observation", vital)).await.expect(403);
    own.put("/Observation/a-lab", body("Observation/a-lab", vital)).await.expect(403);
    own.put("/Observation/a-vital", body("Observation/a-vital", lab)).await.expect(404);
    let changed = lab.replace("\"value\":5", "\"value\":6");
    own.put("/Observation/a-lab", body("Observation/a-lab", &changed)).await.expect(200);
    own.delete("/Observation/a-vital").await.expect(204);
    server.client.get("/Observation/a-vital").await.expect(200);
    server.stop().await;
}

/// To create is not to read.
///
/// Covers: security E5.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_create_and_not_read_is_shown_nothing() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/Observation.c").patient("a").client().await;
    let lab = fresh("Observation", content("Observation/a-lab"));
    let created = own.post("/Observation", lab.clone()).await.expect(201);
    assert_eq!(created.text(), "");
    let call = own.call("POST", "/Observation").header("Prefer", "return=representation");
    assert_eq!(call.json(lab.clone()).send().await.expect(201).text(), "");
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{lab},"request":{{"method":"POST","url":"Observation"}}}}]}}"#
    );
    let call = own.call("POST", "/").header("Prefer", "return=representation");
    let answer = call.json(bundle).send().await.expect(200);
    assert!(!answer.text().contains("valueQuantity"), "{answer:?}");
    // Criteria are a search.
    let call = own.call("POST", "/Observation").header("If-None-Exist", "code=k");
    call.json(lab).send().await.expect(403);
    server.stop().await;
}

/// A patch that asks what is there, or chooses by it, reads.
///
/// Covers: security E5.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_change_and_not_read_asks_nothing_by_a_patch() {
    let server = filled().await;
    let json = "application/json-patch+json";
    let right = r#"[{"op":"test","path":"/status","value":"final"}]"#;
    let wrong = r#"[{"op":"test","path":"/status","value":"amended"}]"#;
    let chosen = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Observation.category.where(coding.code='imaging')"}]}]}"#;
    // A path is read from a code too.
    let coded = chosen.replace("\"path\",\"valueString\"", "\"path\",\"valueCode\"");
    assert_ne!(coded, chosen);
    let selected = r#"<diff xmlns:f="http://hl7.org/fhir"><remove sel="f:Observation/f:category[f:coding/f:code/@value='imaging']"/></diff>"#;
    let (own, _stop) = Token::new(&server, "patient/Observation.u").patient("a").client().await;
    for (kind, patch) in [
        (json, right),
        (json, wrong),
        ("application/fhir+json", chosen),
        ("application/fhir+json", coded.as_str()),
        ("application/xml-patch+xml", selected),
    ] {
        let call = own.call("PATCH", "/Observation/a-lab").header("content-type", kind);
        let told = call.body(patch.to_owned()).send().await;
        assert_eq!(told.status, 403, "{patch}: {told:?}");
    }
    assert_eq!(server.client.get("/Observation/a-lab").await.expect(200).version(), 1);
    let plain = r#"[{"op":"replace","path":"/status","value":"amended"}]"#;
    let call = own.call("PATCH", "/Observation/a-lab").header("content-type", json);
    call.body(plain).send().await.expect(200);
    let (reader, _stop) = Token::new(&server, "patient/Observation.ru").patient("a").client().await;
    for (patch, status) in [(wrong, 200), (right, 422)] {
        let call = reader.call("PATCH", "/Observation/a-lab").header("content-type", json);
        call.body(patch).send().await.expect(status);
    }
    server.stop().await;
}

/// What a search finds is there for a create on condition, and is deleted as far as that is granted.
///
/// Covers: security W6.
#[tokio::test(flavor = "multi_thread")]
async fn criteria_find_more_than_may_be_made_or_deleted() {
    let server = filled().await;
    let scopes = "patient/Observation.rs patient/Observation.cd?category=laboratory";
    let (own, _stop) = Token::new(&server, scopes).patient("a").client().await;
    let lab = fresh("Observation", content("Observation/a-lab"));
    let call = own.call("POST", "/Observation").header("If-None-Exist", "_id=a-vital");
    call.json(lab.clone()).send().await.expect(200);
    let entry = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{lab},"request":{{"method":"POST","url":"Observation","ifNoneExist":"_id=a-vital"}}}}]}}"#
    );
    let answer = own.post("/", entry).await.expect(200);
    assert!(answer.text().contains("\"status\":\"200"), "{answer:?}");
    let call = own.call("DELETE", "/Observation?_id=a-vital");
    let told = call.header("Prefer", "return=OperationOutcome").send().await.expect(200);
    assert!(told.text().contains("nothing matched"), "{told:?}");
    assert!(!told.text().contains("a-vital"), "{told:?}");
    server.client.get("/Observation/a-vital").await.expect(200);
    // What may be deleted is, and is named.
    let more = body("Observation/a-more", content("Observation/a-lab"));
    server.client.put("/Observation/a-more", more).await.expect(201);
    let call = own.call("DELETE", "/Observation?_id=a-more");
    let told = call.header("Prefer", "return=OperationOutcome").send().await.expect(200);
    assert!(told.text().contains("Observation/a-more: deleted"), "{told:?}");
    server.client.get("/Observation/a-more").await.expect(410);
    server.stop().await;
}

/// What is wrong with a stored resource tells that it is there, and what it is.
///
/// Covers: security E5.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_write_and_not_read_validates_what_is_sent_alone() {
    let server = filled().await;
    let lab = content("Observation/a-lab");
    let (sent, named) = (fresh("Observation", lab), body("Observation/a-lab", lab));
    for scope in ["system/Observation.c", "system/Observation.u", "system/Observation.cu"] {
        let (writer, _stop) = Token::new(&server, scope).client().await;
        for id in ["a-lab", "nothing"] {
            let url = format!("/Observation/{id}/$validate");
            for query in ["", "?mode=delete", "?profile=http://hl7.org/fhir/StructureDefinition/bp"]
            {
                let request = format!("{}-{id}-{}", &scope[19..], query.len());
                let call = writer.call("GET", &format!("{url}{query}"));
                call.header("X-Request-Id", &request).send().await.expect(403);
                let rows = format!(
                    "SELECT count(*) FROM ledger WHERE request_id = '{request}' AND outcome = 4"
                );
                assert_eq!(server.database.number(&rows).await, 1, "{request}");
            }
            // Without a mode what is sent is not there to be created or replaced.
            writer.post(&url, named.clone()).await.expect(403);
        }
        writer.post("/Observation/$validate?mode=create", sent.clone()).await.expect(200);
        let url = "/Observation/a-lab/$validate?mode=update";
        writer.post(url, named.clone()).await.expect(200);
    }
    let (reader, _stop) = Token::new(&server, "system/Observation.r").client().await;
    reader.get("/Observation/a-lab/$validate").await.expect(200);
    reader.get("/Observation/nothing/$validate").await.expect(404);
    server.stop().await;
}

/// Covers: security W6, W7, X12.
/// Covers: security W8.
#[tokio::test(flavor = "multi_thread")]
async fn criteria_and_rules_tell_nothing_of_what_is_hidden() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let lab = fresh("Observation", content("Observation/a-lab"));
    let call = own.call("POST", "/Observation").header("If-None-Exist", "_id=b-lab");
    call.json(lab.clone()).send().await.expect(201);
    own.put("/Observation?_id=b-lab", lab.clone()).await.expect(404);
    own.delete("/Observation?_id=b-lab").await.expect(204);
    server.client.get("/Observation/b-lab").await.expect(200);
    let call = own.call("GET", "/Observation/b-lab").header("If-None-Match", "W/\"1\"");
    call.send().await.expect(404);
    for target in ["Observation/b-lab", "Observation/nothing"] {
        let to = lab.replace(
            r#""valueQuantity""#,
            &format!(r#""hasMember":[{{"reference":"{target}"}}],"valueQuantity""#),
        );
        own.post("/Observation", to).await.expect(201);
    }
    server.stop().await;
}

/// Covers: security V33.
/// Covers: security W9.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_is_taken_away_by_no_ordinary_writer() {
    let server = filled().await;
    let label = r#""meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]},"#;
    let lab = content("Observation/a-lab");
    let labelled = body("Observation/a-lab", &format!("{label}{lab}"));
    server.client.put("/Observation/a-lab", labelled).await.expect(200);
    let doctor = Token::new(&server, "user/*.cruds").user("Practitioner/doc", &["practitioner"]);
    let (doctor, _stop) = doctor.client().await;
    doctor.get("/Observation/a-lab").await.expect(200);
    doctor.put("/Observation/a-lab", body("Observation/a-lab", lab)).await.expect(403);
    let meta = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]}}]}"#;
    doctor.post("/Observation/a-lab/$meta-delete", meta).await.expect(403);
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    own.put("/Observation/a-lab", body("Observation/a-lab", lab)).await.expect(403);
    own.post("/Observation/a-lab/$meta-delete", meta).await.expect(403);
    server.client.put("/Observation/a-lab", body("Observation/a-lab", lab)).await.expect(200);
    server.stop().await;
}

/// Covers: security W10.
#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_written_once_and_by_systems() {
    let server = filled().await;
    let event = r#""type":{"code":"rest"},"recorded":"2020-01-01T00:00:00Z","agent":[{"requestor":true}],"source":{"observer":{"display":"x"}}"#;
    server.client.put("/AuditEvent/e", body("AuditEvent/e", event)).await.expect(201);
    let (system, _stop) = Token::new(&server, "system/*.cruds").client().await;
    let admin = Token::new(&server, "user/*.cruds").user("Practitioner/doc", &["administrator"]);
    let (admin, _stop) = admin.client().await;
    for client in [&system, &admin] {
        client.put("/AuditEvent/e", body("AuditEvent/e", event)).await.expect(405);
        client.delete("/AuditEvent/e").await.expect(405);
    }
    let made = system.post("/AuditEvent", fresh("AuditEvent", event)).await.expect(201);
    // Where it comes from is the server's word, what it said itself is kept as that.
    let stored = server.client.get(&format!("/AuditEvent/{}", made.id())).await.expect(200);
    let said = |path: &str| stored.at(path);
    assert!(said("meta.lastUpdated").is_some_and(|at| !at.starts_with("2020")));
    assert_eq!(said("source.observer.identifier.value").as_deref(), Some("app"));
    assert_eq!(said("source.extension[0].valueReference.display").as_deref(), Some("x"));
    admin.post("/AuditEvent", fresh("AuditEvent", event)).await.expect(403);
    server.stop().await;
}

/// Covers: security W10.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_what_happened_whatever_they_may_and_whatever_they_send() {
    let server = filled().await;
    let event = r#""type":{"code":"rest"},"recorded":"2020-01-01T00:00:00Z","agent":[{"requestor":true}],"source":{"observer":{"display":"x"}}"#;
    server.client.put("/AuditEvent/e", body("AuditEvent/e", event)).await.expect(201);
    // Neither without authorization, nor with a token for something else, nor with what is malformed.
    let (nothing, _stop) = Token::new(&server, "patient/Patient.r").patient("a").client().await;
    for client in [&server.client, &nothing] {
        for content in
            [body("AuditEvent/e", event), body("AuditEvent/e", &format!(r#""action":"R",{event}"#))]
        {
            client.put("/AuditEvent/e", content).await.expect(405);
        }
        let patch = client.call("PATCH", "/AuditEvent/e");
        let patch = patch.header("Content-Type", "application/json-patch+json");
        patch.body(r#"[{"op":"add","path":"/action","value":"R"}]"#).send().await.expect(405);
        client.delete("/AuditEvent/e").await.expect(405);
        client.delete("/AuditEvent?date=2020-01-01").await.expect(405);
    }
    for malformed in ["{", "{}", r#"{"resourceType":"Patient"}"#] {
        nothing.put("/AuditEvent/e", malformed).await.expect(405);
    }
    nothing.put("/AuditEvent/new", body("AuditEvent/new", event)).await.expect(405);
    let stored = server.client.get("/AuditEvent/e").await.expect(200);
    assert_eq!(stored.version(), 1, "{stored:?}");
    // Each attempt is on record, as refused.
    let refused = "SELECT count(*) FROM ledger WHERE rt = 7 AND outcome = 4";
    assert_eq!(server.database.number(refused).await, 14);
    server.stop().await;
}

/// Covers: security V4.
#[tokio::test(flavor = "multi_thread")]
async fn reading_is_not_writing() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let lab = content("Observation/a-lab");
    own.put("/Observation/a-lab", body("Observation/a-lab", lab)).await.expect(403);
    own.post("/Observation", fresh("Observation", lab)).await.expect(403);
    own.delete("/Observation/a-lab").await.expect(403);
    let patch = own.call("PATCH", "/Observation/a-lab");
    let patch = patch.header("Content-Type", "application/json-patch+json").body("[]");
    patch.send().await.expect(403);
    server.stop().await;
}
