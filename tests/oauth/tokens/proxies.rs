//! Tokens of who stands for a patient, or treats one: they count as long as that is so.

use super::bearer::until_refused;
use super::client::{
    SECRET, confidential, granted, public, read, refreshing, refused, send, text, tokens,
};
use crate::harness::database::temporary;
use crate::harness::server::TestServer;
use crate::oauth::browser::{register, server_with, store, user};

const SCOPES: &str = "offline_access patient/Patient.rs";
const ROLES: &str = r#"
[roles.proxy]
scopes = ["user/*.rs"]
panel = "own"
clearance = "V"
second_factor = false

[roles.nurse]
scopes = ["user/*.rs"]
panel = "care-team"
clearance = "R"
second_factor = false

[roles.ward]
scopes = ["user/*.rs"]
panel = "organization"
clearance = "R"
second_factor = false
"#;

/// What makes patient p1 somebody's.
struct Bond {
    user: &'static str,
    role: &'static str,
    /// The resource while it does, and two of which neither does any more.
    now: &'static str,
    ended: &'static str,
    of_another: &'static str,
}

const BONDS: &[Bond] = &[
    Bond {
        user: "RelatedPerson/m",
        role: "proxy",
        now: r#"{"resourceType":"RelatedPerson","id":"m","patient":{"reference":"Patient/p1"}}"#,
        ended: r#"{"resourceType":"RelatedPerson","id":"m","active":false,"patient":{"reference":"Patient/p1"}}"#,
        of_another: r#"{"resourceType":"RelatedPerson","id":"m","patient":{"reference":"Patient/p2"}}"#,
    },
    Bond {
        user: "RelatedPerson/g",
        role: "proxy",
        now: r#"{"resourceType":"RelatedPerson","id":"g","period":{"start":"2020"},"patient":{"reference":"Patient/p1"}}"#,
        ended: r#"{"resourceType":"RelatedPerson","id":"g","period":{"end":"2021"},"patient":{"reference":"Patient/p1"}}"#,
        of_another: r#"{"resourceType":"RelatedPerson","id":"g","patient":{"reference":"Patient/p2"}}"#,
    },
    Bond {
        user: "Person/n",
        role: "proxy",
        now: r#"{"resourceType":"Person","id":"n","link":[{"target":{"reference":"Patient/p2"}},{"target":{"reference":"Patient/p1"}}]}"#,
        ended: r#"{"resourceType":"Person","id":"n","active":false,"link":[{"target":{"reference":"Patient/p1"}}]}"#,
        of_another: r#"{"resourceType":"Person","id":"n","link":[{"target":{"reference":"Patient/p2"}}]}"#,
    },
    Bond {
        user: "Practitioner/d",
        role: "nurse",
        now: r#"{"resourceType":"CareTeam","id":"t","status":"active","subject":{"reference":"Patient/p1"},"participant":[{"member":{"reference":"Practitioner/d"}}]}"#,
        ended: r#"{"resourceType":"CareTeam","id":"t","status":"inactive","subject":{"reference":"Patient/p1"},"participant":[{"member":{"reference":"Practitioner/d"}}]}"#,
        of_another: r#"{"resourceType":"CareTeam","id":"t","status":"active","subject":{"reference":"Patient/p2"},"participant":[{"member":{"reference":"Practitioner/d"}}]}"#,
    },
    Bond {
        user: "Practitioner/w",
        role: "ward",
        now: r#"{"resourceType":"PractitionerRole","id":"w","practitioner":{"reference":"Practitioner/w"},"organization":{"reference":"Organization/w"}}"#,
        ended: r#"{"resourceType":"PractitionerRole","id":"w","active":false,"practitioner":{"reference":"Practitioner/w"},"organization":{"reference":"Organization/w"}}"#,
        of_another: r#"{"resourceType":"PractitionerRole","id":"w","practitioner":{"reference":"Practitioner/w"},"organization":{"reference":"Organization/v"}}"#,
    },
];

/// Whether the server says of a token that it counts.
async fn is_active(server: &TestServer, token: &str) -> bool {
    let fields = [("token", token), ("client_id", "web"), ("client_secret", SECRET)];
    let told = send(server, "/auth/introspect", &fields).await.expect(200).text();
    assert!(told.contains("\"active\":true") || told == "{\"active\":false}", "{told}");
    told.contains("\"active\":true")
}

/// Covers: security L12, R6.
#[tokio::test]
async fn a_patient_is_a_users_as_long_as_pages_would_offer_the_patient() {
    let file = temporary("proxy-roles");
    std::fs::write(&file, ROLES).unwrap();
    let server = server_with(&[("auth.roles", &file.display().to_string())]).await;
    let of_ward = r#"{"resourceType":"Patient","id":"p1","managingOrganization":{"reference":"Organization/w"}}"#;
    let others = [
        r#"{"resourceType":"Patient","id":"p2"}"#,
        r#"{"resourceType":"Organization","id":"w","name":"W"}"#,
        r#"{"resourceType":"Organization","id":"v","name":"V"}"#,
        r#"{"resourceType":"Practitioner","id":"d"}"#,
        r#"{"resourceType":"Practitioner","id":"w"}"#,
    ];
    store(&server, &[of_ward, others[0], others[1], others[2], others[3], others[4]]).await;
    register(&server, &public("app", SCOPES)).await;
    register(&server, &confidential("web", SCOPES)).await;
    let all = |what: fn(&Bond) -> &'static str| BONDS.iter().map(what).collect::<Vec<_>>();
    store(&server, &all(|bond| bond.now)).await;
    let mut held = Vec::new();
    for (place, bond) in BONDS.iter().enumerate() {
        let account = user(&server, &format!("user-{place}"), bond.role, Some(bond.user)).await;
        let mut grant = granted("app", SCOPES, Some(account));
        grant.fhir_user = Some(bond.user.to_owned());
        let answer = tokens(&server, &grant).await;
        held.push((bond.user, text(&answer, "access_token"), text(&answer, "refresh_token")));
    }
    let lost: [fn(&Bond) -> &'static str; 2] = [|bond| bond.ended, |bond| bond.of_another];
    for without in lost {
        for (who, access, _) in &held {
            let answer = read(&server, access).await;
            assert_eq!(answer.status, 200, "{who}: {answer:?}");
            assert!(is_active(&server, access).await, "{who}");
        }
        store(&server, &all(without)).await;
        for (who, access, refresh) in &held {
            until_refused(&server, access).await;
            assert!(!is_active(&server, access).await, "{who}");
            let again = send(&server, "/auth/token", &refreshing("app", refresh)).await;
            refused(&again, 400, "invalid_grant");
            assert!(again.text().contains("no access to the patient"), "{who}: {again:?}");
        }
        // Nothing has ended: who has the patient again goes on.
        store(&server, &all(|bond| bond.now)).await;
    }
    for (who, _, refresh) in &held {
        let again = send(&server, "/auth/token", &refreshing("app", refresh)).await;
        assert_eq!(again.status, 200, "{who}: {again:?}");
        read(&server, &text(&again, "access_token")).await.expect(200);
    }
    std::fs::remove_file(&file).unwrap();
    server.stop().await;
}

/// What a user reaches by the roles is not what a patient in context was: such a token goes on.
#[tokio::test]
async fn a_token_of_roles_alone_goes_on_without_the_patient_in_context() {
    let file = temporary("proxy-roles-alone");
    std::fs::write(&file, ROLES).unwrap();
    let server = server_with(&[("auth.roles", &file.display().to_string())]).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#, BONDS[0].of_another]).await;
    let scopes = "launch/patient user/Patient.rs";
    register(&server, &public("app", scopes)).await;
    let account = user(&server, "mother", "proxy", Some(BONDS[0].user)).await;
    let mut grant = granted("app", scopes, Some(account));
    grant.patient = Some("p1".to_owned());
    let token = text(&tokens(&server, &grant).await, "access_token");
    read(&server, &token).await.expect(404);
    std::fs::remove_file(&file).unwrap();
    server.stop().await;
}
