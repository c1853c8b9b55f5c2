//! Users: what a scope of a user grants is what one of the user's roles grants too.

use crate::harness::grants::Token;

use super::super::world::{OF_A, STORED, asked, filled};

const ROLES: &str = r#"
[roles.nurse]
scopes = ["user/*.rs", "user/Observation.cu?category=vital-signs"]
panel = "care-team"
clearance = "N"
second_factor = true

[roles.clerk]
scopes = ["user/Patient.rs", "user/Appointment.cruds"]
panel = "all"
clearance = "N"
second_factor = false
"#;

/// Covers: security E18.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_does_what_a_role_allows_with_whom_it_is_about() {
    let server = filled().await;
    let token = |roles: &[&str]| {
        Token::new(&server, "user/*.cruds").roles(ROLES).user("Practitioner/doc", roles)
    };
    let (nobody, _stop) = token(&[]).client().await;
    nobody.get("/Patient/a").await.expect(403);
    let (unknown, _stop) = token(&["king"]).client().await;
    unknown.get("/Patient/a").await.expect(403);
    let (alone, _stop) = token(&["nurse"]).client().await;
    // A team without patients is no team of all patients.
    alone.get("/Patient/a").await.expect(404);
    assert_eq!(asked(&alone, "/Observation").await, [""; 0]);
    let (nurse, _stop) = token(&["nurse"]).care_team(&["a"]).client().await;
    for (path, _) in STORED.iter().filter(|(path, _)| !path.starts_with("Group/")) {
        let status = if OF_A.contains(path) { 200 } else { 404 };
        nurse.get(&format!("/{path}")).await.expect(status);
    }
    nurse.delete("/Observation/a-lab").await.expect(403);
    // What the server is shipped with is about nobody.
    let shown = server.client.get("/StructureDefinition/Patient").await.status;
    nurse.get("/StructureDefinition/Patient").await.expect(shown);
    let (both, _stop) = token(&["nurse"]).care_team(&["a", "b"]).client().await;
    assert_eq!(asked(&both, "/Appointment").await, ["Appointment/a-alone", "Appointment/both"]);
    assert_eq!(asked(&both, "/Patient").await, ["Patient/a", "Patient/b"]);
    let (clerk, _stop) = token(&["clerk"]).client().await;
    assert_eq!(asked(&clerk, "/Patient").await, ["Patient/a", "Patient/b"]);
    clerk.get("/Observation/a-lab").await.expect(403);
    // Roles are not mixed: all patients of the one do not widen the other.
    let (mixed, _stop) = token(&["nurse", "clerk"]).care_team(&["a"]).client().await;
    mixed.get("/Patient/b").await.expect(200);
    mixed.get("/Observation/b-lab").await.expect(404);
    server.stop().await;
}

/// Contexts beside each other.
///
/// Covers: security E18.
#[tokio::test(flavor = "multi_thread")]
async fn scopes_of_several_contexts_grant_each_their_own() {
    let server = filled().await;
    let token = Token::new(&server, "patient/Observation.rs user/Patient.rs").patient("a");
    let token = token.roles(ROLES).user("Practitioner/doc", &["clerk"]);
    let (client, _stop) = token.client().await;
    assert_eq!(asked(&client, "/Patient").await, ["Patient/a", "Patient/b"]);
    assert_eq!(asked(&client, "/Observation?code=k").await, ["Observation/a-lab"]);
    client.get("/Observation/b-lab").await.expect(404);
    server.stop().await;
}

/// Covers: security E19.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_itself_does_what_its_scopes_say() {
    let server = filled().await;
    let scopes = "system/Observation.rs?category=laboratory system/Patient.r";
    let (client, _stop) = Token::new(&server, scopes).client().await;
    assert_eq!(asked(&client, "/Observation").await, ["Observation/a-lab", "Observation/b-lab"]);
    client.get("/Patient/b").await.expect(200);
    client.get("/Patient").await.expect(403);
    client.get("/Observation/a-vital").await.expect(404);
    server.stop().await;
}

/// What is labelled higher than the clearance is not there.
///
/// Covers: security S1.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_above_the_clearance_hides() {
    let server = filled().await;
    let label = |code: &str| {
        format!(
            r#""meta":{{"security":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"{code}"}}]}},"#
        )
    };
    for (path, code) in [("Observation/a-lab", "R"), ("Observation/a-vital", "L")] {
        let content = STORED.iter().find(|(known, _)| *known == path).expect("stored").1;
        let labelled = super::super::world::body(path, &format!("{}{content}", label(code)));
        server.client.put(&format!("/{path}"), labelled).await.expect(200);
    }
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    assert_eq!(asked(&own, "/Observation").await, ["Observation/a-lab", "Observation/a-vital"]);
    let token = Token::new(&server, "user/*.rs").roles(ROLES);
    let (nurse, _stop) =
        token.user("Practitioner/doc", &["nurse"]).care_team(&["a"]).client().await;
    assert_eq!(asked(&nurse, "/Observation").await, ["Observation/a-vital"]);
    nurse.get("/Observation/a-lab").await.expect(404);
    nurse.get("/Observation/a-lab/_history").await.expect(404);
    nurse.get("/Observation/a-vital").await.expect(200);
    let along = asked(&nurse, "/DiagnosticReport?_include=DiagnosticReport:result").await;
    assert_eq!(along, ["DiagnosticReport/a-report"]);
    assert_eq!(asked(&nurse, "/Patient?_has:Observation:subject:code=k").await, [""; 0]);
    let count = nurse.get("/Observation?_summary=count").await.expect(200);
    assert_eq!(count.at("total").as_deref(), Some("1"));
    server.stop().await;
}
