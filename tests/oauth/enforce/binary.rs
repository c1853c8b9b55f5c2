//! A Binary is a part of what it is attached to, unless it says itself whose it is.
//!
//! Covers: security E24.
//! Covers: security E8.

use super::super::world::{asked, body, fresh};
use super::consent::{consent, doctor_with};
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

/// A document of a patient with an attachment at a URL.
fn document(patient: &str, url: &str) -> String {
    format!(
        r#""status":"current","subject":{{"reference":"Patient/{patient}"}},"content":[{{"attachment":{{"url":"{url}"}}}}]"#
    )
}

const LOOSE: &str = r#""contentType":"text/plain","data":"QQ==""#;

async fn filled() -> TestServer {
    let server = TestServer::start().await;
    let of_b = format!(r#"{LOOSE},"securityContext":{{"reference":"Patient/b"}}"#);
    let report = r#""status":"final","code":{"text":"r"},"subject":{"reference":"Patient/a"},"presentedForm":[{"url":"Binary/report"}]"#;
    let photo = r#""status":"completed","subject":{"reference":"Patient/a"},"content":{"url":"Binary/photo/_history/1"}"#;
    for (path, content) in [
        ("Patient/a", r#""active":true"#.to_owned()),
        ("Patient/b", r#""active":true"#.to_owned()),
        ("Binary/report", LOOSE.to_owned()),
        ("Binary/doc", LOOSE.to_owned()),
        ("Binary/photo", LOOSE.to_owned()),
        ("Binary/both", LOOSE.to_owned()),
        ("Binary/alone", LOOSE.to_owned()),
        ("Binary/b-doc", LOOSE.to_owned()),
        ("Binary/of-b", of_b),
        ("DiagnosticReport/a", report.to_owned()),
        ("Media/a", photo.to_owned()),
        ("DocumentReference/a", document("a", "Binary/doc")),
        ("DocumentReference/a-both", document("a", "Binary/both")),
        ("DocumentReference/b-both", document("b", "Binary/both")),
        ("DocumentReference/a-of-b", document("a", "Binary/of-b")),
        ("DocumentReference/b", document("b", "Binary/b-doc")),
    ] {
        server.client.put(&format!("/{path}"), body(path, &content)).await.expect(201);
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_is_reached_through_what_it_is_attached_to() {
    let server = filled().await;
    for (scopes, reached) in [
        ("patient/*.rs", &["doc", "photo", "report"][..]),
        ("patient/Binary.rs patient/DocumentReference.r", &["doc"]),
        ("patient/Binary.rs patient/DocumentReference.r?status=superseded", &[]),
        ("patient/Binary.rs patient/Media.r patient/DiagnosticReport.r", &["photo", "report"]),
        ("patient/Binary.rs", &[]),
        ("system/Binary.rs", &["alone", "b-doc", "both", "doc", "of-b", "photo", "report"]),
    ] {
        let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
        for id in ["alone", "b-doc", "both", "doc", "of-b", "photo", "report"] {
            let status = if reached.contains(&id) { 200 } else { 404 };
            let url = format!("/Binary/{id}");
            client.get(&url).await.expect(status);
            client.get(&format!("{url}/_history/1")).await.expect(status);
            client.call("GET", &url).header("Accept", "text/plain").send().await.expect(status);
        }
        let expected: Vec<String> = reached.iter().map(|id| format!("Binary/{id}")).collect();
        assert_eq!(asked(&client, "/Binary").await, expected, "{scopes}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_ones_own_opens_nothing_of_others() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    for id in ["b-doc", "of-b"] {
        let made = format!(
            r#"{{"resourceType":"DocumentReference",{}}}"#,
            document("a", &format!("Binary/{id}"))
        );
        own.post("/DocumentReference", made).await.expect(422);
        own.get(&format!("/Binary/{id}")).await.expect(404);
    }
    // What is gone opens nothing any more.
    own.get("/Binary/doc").await.expect(200);
    own.delete("/DocumentReference/a").await.expect(204);
    own.get("/Binary/doc").await.expect(404);
    server.stop().await;
}

/// What a patient denies takes along what is attached to it.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn a_binary_is_kept_back_with_what_it_is_attached_to() {
    let server = filled().await;
    let all = ["alone", "b-doc", "both", "doc", "of-b", "photo", "report"];
    let documents =
        r#""class":[{"system":"http://hl7.org/fhir/resource-types","code":"DocumentReference"}]"#;
    for (provision, hidden) in [
        (r#"{"type":"deny"}"#.to_owned(), &["both", "doc", "photo", "report"][..]),
        (
            format!(r#"{{"type":"permit","provision":[{{"type":"deny",{documents}}}]}}"#),
            &["both", "doc"],
        ),
    ] {
        server.client.put("/Consent/c", body("Consent/c", &consent(&provision))).await;
        let (doctor, _stop) = doctor_with(&server, Token::new(&server, "user/*.rs")).await;
        for id in all {
            let status = if hidden.contains(&id) { 404 } else { 200 };
            doctor.get(&format!("/Binary/{id}")).await.expect(status);
            doctor.get(&format!("/Binary/{id}/_history/1")).await.expect(status);
        }
        let seen = all.iter().filter(|id| !hidden.contains(id));
        let seen: Vec<String> = seen.map(|id| format!("Binary/{id}")).collect();
        assert_eq!(asked(&doctor, "/Binary").await, seen, "{provision}");
    }
    let of_a = format!(r#"{LOOSE},"securityContext":{{"reference":"Patient/a"}}"#);
    server.client.put("/Binary/of-a", body("Binary/of-a", &of_a)).await.expect(201);
    let deny = consent(r#"{"type":"deny"}"#);
    server.client.put("/Consent/c", body("Consent/c", &deny)).await.expect(200);
    let (doctor, _stop) = doctor_with(&server, Token::new(&server, "user/*.rs")).await;
    doctor.get("/Binary/of-a").await.expect(404);
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    own.get("/Binary/of-a").await.expect(200);
    own.get("/Binary/doc").await.expect(200);
    server.stop().await;
}

/// Resources of a patient, each with a Binary in an element of its own.
async fn with_attachments(server: &TestServer) {
    let paper = consent(r#"{"type":"permit"}"#).replace("active", "inactive");
    let subject = r#""subject":{"reference":"Patient/a"}"#;
    for (path, content) in [
        ("Patient/a", r#""photo":[{"url":"Binary/face#top"}]"#.to_owned()),
        (
            "Communication/a",
            format!(
                r#""status":"completed",{subject},"payload":[{{"contentAttachment":{{"url":"Binary/note"}}}},{{"contentReference":{{"reference":"Binary/letter/_history/1"}}}}]"#
            ),
        ),
        ("Consent/paper", format!(r#"{paper},"sourceAttachment":{{"url":"Binary/paper"}}"#)),
        (
            "Contract/a",
            r#""subject":[{"reference":"Patient/a"}],"friendly":[{"contentAttachment":{"url":"Binary/contract"}}]"#.to_owned(),
        ),
        (
            "List/a",
            format!(
                r#""status":"current","mode":"working",{subject},"entry":[{{"item":{{"reference":"Binary/listed"}}}}]"#
            ),
        ),
        (
            "QuestionnaireResponse/a",
            format!(
                r#""status":"completed",{subject},"item":[{{"linkId":"1","item":[{{"linkId":"2","answer":[{{"valueAttachment":{{"url":"Binary/answer"}}}}]}}]}}]"#
            ),
        ),
    ] {
        server.client.put(&format!("/{path}"), body(path, &content)).await.expect(201);
    }
}

/// Each element that may name a Binary opens it to whose it is, and takes it along where that is denied.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn every_attachment_counts() {
    let server = TestServer::start().await;
    let names = ["answer", "contract", "face", "letter", "listed", "loose", "note", "paper"];
    for name in names {
        let path = format!("Binary/{name}");
        server.client.put(&format!("/{path}"), body(&path, LOOSE)).await.expect(201);
    }
    with_attachments(&server).await;
    let all: Vec<String> = names.iter().map(|name| format!("Binary/{name}")).collect();
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let (other, _stop) = Token::new(&server, "patient/*.rs").patient("b").client().await;
    let (before, _stop) = doctor_with(&server, Token::new(&server, "user/*.rs")).await;
    // A list that an app may not see takes nothing from it, and opens nothing that it alone has.
    let entries = r#""status":"current","mode":"working","subject":{"reference":"Patient/a"},"entry":[
        {"item":{"reference":"Binary/note"}},{"item":{"reference":"Binary/listed"}}]"#;
    server.client.post("/List", fresh("List", entries)).await.expect(201);
    let scopes = "patient/Binary.rs patient/Communication.rs";
    let (app, _stop) = Token::new(&server, scopes).patient("a").client().await;
    assert_eq!(asked(&app, "/Binary").await, ["Binary/letter", "Binary/note"]);
    let deny = consent(r#"{"type":"deny"}"#);
    server.client.put("/Consent/c", body("Consent/c", &deny)).await.expect(201);
    let (doctor, _stop) = doctor_with(&server, Token::new(&server, "user/*.rs")).await;
    let is_loose = |path: &&String| *path == "Binary/loose";
    // Contracts are in no compartment, so patients are not shown theirs.
    let is_own = |path: &&String| !["Binary/contract", "Binary/loose"].contains(&path.as_str());
    for (client, seen) in [
        (&own, all.iter().filter(is_own).collect::<Vec<_>>()),
        (&other, Vec::new()),
        (&before, all.iter().collect()),
        (&doctor, all.iter().filter(is_loose).collect()),
    ] {
        for path in &all {
            let status = if seen.contains(&path) { 200 } else { 404 };
            client.get(&format!("/{path}")).await.expect(status);
        }
        assert_eq!(asked(client, "/Binary").await.iter().collect::<Vec<_>>(), seen);
    }
    // Nobody claims one by listing it.
    let (writer, _stop) = Token::new(&server, "patient/*.cruds").patient("b").client().await;
    let listed = r#""status":"current","mode":"working","subject":{"reference":"Patient/b"},"entry":[{"item":{"reference":"Binary/listed"}}]"#;
    writer.post("/List", fresh("List", listed)).await.expect(422);
    server.stop().await;
}
