//! What is named tells nothing of what is hidden, and takes nothing of it.

use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::world::{asked, body, filled, fresh};

fn observation(subject: &str, more: &str) -> String {
    format!(
        r#""status":"final","code":{{"coding":[{{"system":"urn:c","code":"k"}}]}},"subject":{{"reference":"{subject}"}}{more}"#
    )
}

/// Where references must lead somewhere, what they lead to must be within reach of who writes.
///
/// Covers: security W8.
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_target_is_none() {
    let server = TestServer::start_with(&[("integrity.references", "enforced")]).await;
    for (path, content) in [
        ("Patient/a", r#""active":true"#.to_owned()),
        ("Patient/b", r#""active":true"#.to_owned()),
        ("Practitioner/doc", r#""active":true"#.to_owned()),
        ("Observation/a-lab", observation("Patient/a", "")),
        ("Observation/b-lab", observation("Patient/b", "")),
        (
            "Observation/a-old",
            observation("Patient/a", r#","hasMember":[{"reference":"Observation/b-lab"}]"#),
        ),
    ] {
        server.client.put(&format!("/{path}"), body(path, &content)).await.expect(201);
    }
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let member = |id: &str| {
        let more = format!(r#","hasMember":[{{"reference":"Observation/{id}"}}]"#);
        fresh("Observation", &observation("Patient/a", &more))
    };
    own.post("/Observation", member("a-lab")).await.expect(201);
    let mut told = Vec::new();
    for id in ["b-lab", "x-lab"] {
        let answer = own.post("/Observation", member(id)).await.expect(422);
        told.push(answer.text().replace(id, "?"));
        let entry = format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{},"request":{{"method":"POST","url":"Observation"}}}}]}}"#,
            member(id)
        );
        let answer = own.post("/", entry).await.expect(422);
        assert!(answer.text().contains("Bundle.entry[0].resource.hasMember[0]"), "{answer:?}");
    }
    assert_eq!(told[0], told[1]);
    // What was named before stays named, and what is made beside it may be.
    let old = observation(
        "Patient/a",
        r#","hasMember":[{"reference":"Observation/b-lab"}],"note":[{"text":"x"}]"#,
    );
    own.put("/Observation/a-old", body("Observation/a-old", &old)).await.expect(200);
    let both = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"fullUrl":"urn:uuid:11111111-1111-4111-8111-111111111111","resource":{},"request":{{"method":"POST","url":"Observation"}}}},{{"resource":{},"request":{{"method":"POST","url":"Observation"}}}}]}}"#,
        fresh("Observation", &observation("Patient/a", "")),
        fresh(
            "Observation",
            &observation(
                "Patient/a",
                r#","hasMember":[{"reference":"urn:uuid:11111111-1111-4111-8111-111111111111"}]"#
            )
        ),
    );
    own.post("/", both).await.expect(200);
    // The patient in context may be named by who may not read it.
    let (narrow, _stop) =
        Token::new(&server, "patient/Observation.cruds").patient("a").client().await;
    narrow
        .post("/Observation", fresh("Observation", &observation("Patient/a", "")))
        .await
        .expect(201);
    // Who sees everything is told what leads nowhere, as before.
    server.client.post("/Observation", member("b-lab")).await.expect(201);
    server.client.post("/Observation", member("x-lab")).await.expect(422);
    server.stop().await;
}

/// Nobody claims a Binary by naming it, or hides it from whose it is.
///
/// Covers: security E8.
#[tokio::test(flavor = "multi_thread")]
async fn a_binary_is_not_claimed_by_its_id() {
    let server = filled().await;
    let document = |patient: &str, id: &str| {
        format!(
            r#""status":"current","subject":{{"reference":"Patient/{patient}"}},"content":[{{"attachment":{{"url":"Binary/{id}"}}}}]"#
        )
    };
    server
        .client
        .put("/DocumentReference/a-doc", body("DocumentReference/a-doc", &document("a", "loose")))
        .await
        .expect(201);
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let (other, _stop) = Token::new(&server, "patient/*.cruds").patient("b").client().await;
    own.get("/Binary/loose").await.expect(200);
    let mut told = Vec::new();
    for id in ["loose", "nothing"] {
        let made = fresh("DocumentReference", &document("b", id));
        told.push(other.post("/DocumentReference", made).await.expect(422).text().replace(id, "?"));
    }
    assert_eq!(told[0], told[1]);
    own.get("/Binary/loose").await.expect(200);
    other.get("/Binary/loose").await.expect(404);
    // One's own may be attached, and so may what was there.
    let made = fresh("DocumentReference", &document("a", "loose"));
    own.post("/DocumentReference", made).await.expect(201);
    let again = document("a", "loose").replace("current", "superseded");
    let again = body("DocumentReference/a-doc", &again);
    own.put("/DocumentReference/a-doc", again).await.expect(200);
    own.get("/Binary/loose").await.expect(200);
    server.stop().await;
}

/// A List with members of somebody else is somebody else's too.
///
/// Covers: security E8.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_hidden_by_what_is_on_it() {
    let server = filled().await;
    for (id, subject, items) in [
        ("own", "Patient/a", &["Observation/a-lab", "Practitioner/doc", "Observation/nothing"][..]),
        ("mixed", "Patient/a", &["Observation/a-lab", "Observation/b-lab"]),
        ("naming", "Patient/a", &["Patient/b"]),
        ("absolute", "Patient/a", &["http://localhost/fhir/Observation/x", "Appointment/both"]),
        ("theirs", "Patient/b", &["Observation/b-lab"]),
        ("empty", "Patient/a", &[]),
    ] {
        let entries: Vec<String> =
            items.iter().map(|it| format!(r#"{{"item":{{"reference":"{it}"}}}}"#)).collect();
        let entry = if entries.is_empty() {
            String::new()
        } else {
            format!(r#","entry":[{}]"#, entries.join(","))
        };
        let content = format!(
            r#""status":"current","mode":"working","subject":{{"reference":"{subject}"}}{entry}"#
        );
        let path = format!("List/{id}");
        server.client.put(&format!("/{path}"), body(&path, &content)).await.expect(201);
    }
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    for (id, status) in [
        ("own", 200),
        ("mixed", 404),
        ("naming", 404),
        ("absolute", 404),
        ("theirs", 404),
        ("empty", 200),
    ] {
        own.get(&format!("/List/{id}")).await.expect(status);
        own.get(&format!("/List/{id}/_history/1")).await.expect(status);
    }
    assert_eq!(asked(&own, "/List").await, ["List/empty", "List/own"]);
    let naming = r#""status":"current","mode":"working","subject":{"reference":"Patient/a"},"entry":[{"item":{"reference":"Patient/b"}}]"#;
    own.post("/List", fresh("List", naming)).await.expect(403);
    let (system, _stop) = Token::new(&server, "system/List.rs").client().await;
    assert_eq!(asked(&system, "/List").await.len(), 6);
    server.stop().await;
}

/// What was reached until it was deleted is gone, and what was not was never there.
///
/// Covers: security E4.
#[tokio::test(flavor = "multi_thread")]
async fn what_criteria_reached_is_gone_when_it_is_deleted() {
    let server = filled().await;
    let scopes = "patient/Observation.rs?category=laboratory";
    let (lab, _stop) = Token::new(&server, scopes).patient("a").client().await;
    let doctor = Token::new(&server, "user/*.rs").user("Practitioner/doc", &["practitioner"]);
    let (doctor, _stop) = doctor.client().await;
    let secret = r#""meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"V"}]},"status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}"#;
    server.client.put("/Observation/secret", body("Observation/secret", secret)).await.expect(201);
    for path in ["a-lab", "a-vital", "b-lab", "secret"] {
        server.client.delete(&format!("/Observation/{path}")).await.expect(204);
    }
    for (path, by_criteria, by_label) in
        [("a-lab", 410, 410), ("a-vital", 404, 410), ("b-lab", 404, 410), ("secret", 404, 404)]
    {
        lab.get(&format!("/Observation/{path}")).await.expect(by_criteria);
        doctor.get(&format!("/Observation/{path}")).await.expect(by_label);
    }
    server.stop().await;
}

const NURSE: &str = r#"
[roles.nurse]
scopes = ["user/Patient.rus"]
panel = "care-team"
clearance = "N"
second_factor = false
"#;

/// Who a patient is, is kept by others; where the patient lives is not.
///
/// Covers: security W3.
#[tokio::test(flavor = "multi_thread")]
async fn a_patient_does_not_change_who_the_patient_is() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/Patient.cruds").patient("a").client().await;
    let stored = own.get("/Patient/a").await.expect(200).text();
    let moved = stored.replace(r#""name":"#, r#""address":[{"city":"Ulm"}],"name":"#);
    own.put("/Patient/a", moved.clone()).await.expect(200);
    own.put("/Patient/a", moved.replace("Ada", "Eve")).await.expect(403);
    let patch =
        own.call("PATCH", "/Patient/a").header("Content-Type", "application/json-patch+json");
    let link = r#"[{"op":"remove","path":"/link"}]"#;
    patch.body(link).send().await.expect(403);
    own.post("/Patient", r#"{"resourceType":"Patient"}"#.to_owned()).await.expect(403);
    // Who cares for the patient may, and so may the registry.
    let nurse = Token::new(&server, "user/Patient.cruds").user("Practitioner/doc", &["nurse"]);
    let nurse = nurse.roles(NURSE).care_team(&["a"]);
    let (nurse, _stop) = nurse.client().await;
    nurse.put("/Patient/a", moved.replace("Ada", "Eva")).await.expect(200);
    let (system, _stop) = Token::new(&server, "system/Patient.cruds").client().await;
    system.put("/Patient/a", moved.replace("Ada", "Eve")).await.expect(200);
    server.stop().await;
}

/// A Bundle tells the highest label of what it shows.
///
/// Covers: security S1.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_as_confidential_as_what_is_in_it() {
    let server = filled().await;
    let label = |code: &str| {
        format!(
            r#""meta":{{"security":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"{code}"}}]}},"#
        )
    };
    for (id, code) in [("low", "L"), ("high", "R"), ("highest", "V")] {
        let content = format!("{}{}", label(code), observation("Patient/a", ""));
        let path = format!("Observation/{id}");
        server.client.put(&format!("/{path}"), body(&path, &content)).await.expect(201);
    }
    let doctor = Token::new(&server, "user/*.rs").user("Practitioner/doc", &["practitioner"]);
    let (doctor, _stop) = doctor.client().await;
    let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Observation/low"}}]}"#;
    let shown = [
        (doctor.get("/Observation?patient=a").await, Some("R")),
        (doctor.get("/Observation?_id=low").await, Some("L")),
        (doctor.get("/Observation?_id=highest").await, None),
        (doctor.get("/Encounter").await, None),
        (server.client.get("/Observation").await, Some("V")),
        (server.client.get("/Observation/high/_history").await, Some("R")),
        (doctor.post("/", batch.to_owned()).await, Some("L")),
        (server.client.get("/Observation?_format=xml&_id=high").await, None),
    ];
    for (answer, label) in &shown[..7] {
        assert_eq!(answer.at("meta.security[0].code").as_deref(), *label, "{answer:?}");
    }
    assert!(shown[7].0.text().contains("<meta><security>"), "{:?}", shown[7].0);
    server.stop().await;
}

/// Whose record was merged into another one reads that one; no other link is followed.
///
/// Covers: security E20.
#[tokio::test(flavor = "multi_thread")]
async fn a_merged_record_leads_to_the_one_that_took_its_place() {
    let server = filled().await;
    for (id, links) in [
        ("old", r#"{"other":{"reference":"Patient/a"},"type":"replaced-by"}"#),
        ("seen", r#"{"other":{"reference":"Patient/a"},"type":"seealso"}"#),
        (
            "torn",
            r#"{"other":{"reference":"Patient/a"},"type":"replaced-by"},{"other":{"reference":"Patient/b"},"type":"replaced-by"}"#,
        ),
    ] {
        let path = format!("Patient/{id}");
        let content = format!(r#""active":false,"link":[{links}]"#);
        server.client.put(&format!("/{path}"), body(&path, &content)).await.expect(201);
    }
    for (id, status) in [("old", 200), ("seen", 404), ("torn", 404)] {
        let token = Token::new(&server, "patient/*.cruds").patient(id).with_survivor().await;
        let (own, _stop) = token.client().await;
        own.get(&format!("/Patient/{id}")).await.expect(200);
        own.get("/Patient/a").await.expect(status);
        own.get("/Observation/a-lab").await.expect(status);
        own.get("/Observation/b-lab").await.expect(404);
        own.get("/Appointment/both").await.expect(status);
        // What took its place is read, not written.
        let changed = body("Patient/a", r#""active":true"#);
        let refused = own.put("/Patient/a", changed).await;
        assert!([403, 404].contains(&refused.status), "{refused:?}");
    }
    let token = Token::new(&server, "patient/*.rs").patient("old").with_survivor().await;
    let (own, _stop) = token.client().await;
    assert_eq!(asked(&own, "/Observation").await, ["Observation/a-lab", "Observation/a-vital"]);
    server.stop().await;
}
