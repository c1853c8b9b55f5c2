//! Purposes of use: who has which, what consents make of it, and what is on record.
//!
//! Covers: security S2, S9.

use kiln::app::server::Server;
use kiln::clock::{Clock as _, SystemClock};
use kiln::oauth::client::Client as App;
use secrecy::SecretString;
use serde_json::json;

use super::super::browser::{PASSWORD, register, server_with, store, user};
use super::super::emergency::{read, token};
use super::super::tokens::client::{SECRET, send, service, text};
use super::super::tokens::signed::{Key, Published};
use super::super::world::body;
use super::consent::consent;
use crate::export::Exporter;
use crate::harness::database::{Database, temporary};
use crate::harness::server::{TestServer, config};

const ROLES: &str = r#"
[roles.doctor]
scopes = ["user/*.rs"]
panel = "all"
clearance = "R"
second_factor = false
purpose = "TREAT"

[roles.researcher]
scopes = ["user/*.rs"]
panel = "all"
clearance = "R"
second_factor = false
purpose = "HRESCH"

[roles.clerk]
scopes = ["user/*.rs"]
panel = "all"
clearance = "R"
second_factor = false

[roles.auditor]
scopes = ["user/AuditEvent.rs"]
panel = "all"
clearance = "N"
second_factor = true
keeps = true
"#;

/// What patient a says: nothing to anybody, but for treatment.
const BUT_TREATMENT: &str = r#"{"type":"deny","provision":[{"type":"permit","purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"TREAT"}]}]}"#;
/// What patient b says: all to everybody, but for research.
const BUT_RESEARCH: &str = r#"{"type":"permit","provision":[{"type":"deny","purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HRESCH"}]}]}"#;

/// A server with these roles, and two patients who say what their data are for.
async fn filled(settings: &[(&str, &str)]) -> TestServer {
    let file = temporary("purpose-roles");
    std::fs::write(&file, ROLES).unwrap();
    let path = file.display().to_string();
    let own = [("auth.roles", path.as_str())];
    let all: Vec<_> = own.iter().chain(settings).copied().collect();
    let server = server_with(&all).await;
    let lab = |patient: &str| {
        format!(
            r#"{{"resourceType":"Observation","id":"{patient}-lab","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{patient}"}}}}"#
        )
    };
    let said = |id: &str, patient: &str, provision: &str| {
        let content = consent(provision).replace("Patient/a", &format!("Patient/{patient}"));
        body(&format!("Consent/{id}"), &content)
    };
    store(
        &server,
        &[
            r#"{"resourceType":"Patient","id":"a"}"#,
            r#"{"resourceType":"Patient","id":"b"}"#,
            &lab("a"),
            &lab("b"),
            &said("of-a", "a", BUT_TREATMENT),
            &said("of-b", "b", BUT_RESEARCH),
        ],
    )
    .await;
    server
}

/// The purpose that the last event says, of reads of patient a's data by an agent, and its text.
async fn told(server: &TestServer, auditor: &str, agent: &str) -> (Option<String>, String) {
    let url = format!("/AuditEvent?patient=a&agent={agent}&subtype=read&outcome=0");
    let found = read(server, auditor, &url).await.expect(200);
    (found.at("entry[0].resource.purposeOfEvent[0].coding[0].code"), found.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_use_data_for_their_roles_say() {
    let server = filled(&[]).await;
    for (name, roles, of_a, of_b) in [
        ("doctor", &["doctor"][..], 200, 200),
        ("helper", &["doctor", "clerk"], 200, 200),
        ("researcher", &["researcher"], 404, 404),
        // What nobody tells, and what is told in two ways, may be either: it denies, and permits nothing.
        ("clerk", &["clerk"], 404, 404),
        ("both", &["doctor", "researcher"], 404, 404),
    ] {
        let roles: Vec<String> = roles.iter().map(|&role| role.to_owned()).collect();
        let password = Some(SecretString::from(PASSWORD.to_owned()));
        let person = format!("Practitioner/{name}");
        server.authority().add_account(name, password, Some(&person), &roles).await.unwrap();
        let token = token(&server, name, "user/*.rs").await;
        read(&server, &token, "/Observation/a-lab").await.expect(of_a);
        read(&server, &token, "/Observation/b-lab").await.expect(of_b);
        let found = read(&server, &token, "/Observation").await.expect(200);
        let shown = [of_a, of_b].iter().filter(|status| **status == 200).count();
        assert_eq!(found.json().items_at("entry").len(), shown, "{name}: {found:?}");
        // Nobody says it of a request.
        let call = server.client.call("GET", "/Observation/a-lab");
        let call = call.header("Authorization", &format!("Bearer {token}"));
        call.header("X-Purpose-Of-Use", "TREAT").send().await.expect(of_a);
    }
    user(&server, "officer", "auditor", None).await;
    let officer = token(&server, "officer", "user/AuditEvent.rs").await;
    let (purpose, text) = told(&server, &officer, "Practitioner/doctor").await;
    assert_eq!(purpose.as_deref(), Some("TREAT"), "{text}");
    assert!(text.contains("purposeOfUse"), "{text}");
    let rows = |person: &str, condition: &str| {
        format!(
            "SELECT count(*) FROM ledger WHERE person = 'Practitioner/{person}' AND {condition}"
        )
    };
    for (person, purpose, other) in [
        ("researcher", "purpose = 'HRESCH'", "purpose IS DISTINCT FROM 'HRESCH'"),
        ("clerk", "purpose IS NULL", "purpose IS NOT NULL"),
        ("both", "purpose IS NULL", "purpose IS NOT NULL"),
    ] {
        assert!(server.database.number(&rows(person, purpose)).await >= 3, "{person}");
        let read = format!("{other} AND token IS NOT NULL AND method = 'GET'");
        assert_eq!(server.database.number(&rows(person, &read)).await, 0, "{person}");
    }
    // A role that is taken away takes its purpose with it.
    let held = token(&server, "helper", "user/*.rs").await;
    read(&server, &held, "/Observation/a-lab").await.expect(200);
    let taken = "UPDATE account SET roles = ARRAY['clerk'] WHERE name = 'helper'";
    server.database.run(taken).await;
    let began = std::time::Instant::now();
    while read(&server, &held, "/Observation/a-lab").await.status == 200 {
        assert!(began.elapsed() < std::time::Duration::from_secs(15), "it is shown still");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_use_data_for_is_registered() {
    let server = filled(&[]).await;
    let scope = "system/Observation.rs";
    for (name, purpose, of_a, exported) in [
        ("carer", Some("TREAT"), 200, 2),
        ("study", Some("HRESCH"), 404, 0),
        ("plain", None, 404, 0),
    ] {
        let app = App { purpose: purpose.map(str::to_owned), ..service(name, scope) };
        register(&server, &app).await;
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", name),
            ("client_secret", SECRET),
            ("scope", scope),
        ];
        let answer = send(&server, "/auth/token", &fields).await.expect(200);
        let token = text(&answer, "access_token");
        read(&server, &token, "/Observation/a-lab").await.expect(of_a);
        let said = purpose.map_or_else(|| "NULL".to_owned(), |code| format!("'{code}'"));
        let rows = |sign: &str| {
            format!(
                "SELECT count(*) FROM ledger WHERE client = '{name}' AND token IS NOT NULL \
                 AND query = '/fhir/Observation/a-lab' AND purpose {sign} {said}"
            )
        };
        assert!(server.database.number(&rows("IS NOT DISTINCT FROM")).await >= 1, "{name}");
        assert_eq!(server.database.number(&rows("IS DISTINCT FROM")).await, 0, "{name}");
        // What goes on without a token goes on for the same purpose.
        let exporter = Exporter::with_token(&server.client, &token);
        let export = exporter.export("/$export?_type=Observation").await;
        let lines = export.output.get("Observation").map_or(0, Vec::len);
        assert_eq!(lines, exported, "{name}: {:?}", export.output);
    }
    // The database takes no purpose of an emergency either, whoever writes it.
    for code in ["BTG", "ETREAT"] {
        let app = App { purpose: Some(code.to_owned()), ..service("glass", scope) };
        let stored = kiln::store::oauth::client::insert(server.store(), &app).await;
        assert!(stored.is_err(), "{code}: {stored:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tokens_of_outside_servers_are_used_for_is_configured() {
    let key = Key::ec();
    let published = Published::start(&json!({ "keys": [key.jwk("k")] })).await;
    let now = SystemClock.now().as_micros() / 1_000_000;
    let made = |claims: serde_json::Value| {
        let mut whole = json!({
            "iss": "https://tokens.example", "aud": "https://api.example/fhir", "exp": now + 300,
            "iat": now, "sub": "job", "client_id": "job", "scope": "system/Observation.rs",
        });
        super::super::tokens::signed::change(&mut whole, &claims);
        key.sign(&json!({ "alg": key.algorithm(), "kid": "k", "typ": "at+jwt" }), &whole)
    };
    let of_service = made(json!({}));
    let of_person = made(json!({ "sub": "somebody", "scope": "user/Observation.rs" }));
    for (purpose, role, service_status, person_status) in [
        (Some("TREAT"), "clerk", 200, 200),
        (Some("HRESCH"), "doctor", 404, 404),
        // Roles are of people.
        (None, "doctor", 404, 200),
        (None, "clerk", 404, 404),
    ] {
        let mut settings = vec![
            ("auth.outbound_networks", "127.0.0.0/8"),
            ("trusted.other.issuer", "https://tokens.example"),
            ("trusted.other.jwks_uri", published.url.as_str()),
            ("trusted.other.audience", "https://api.example/fhir"),
            ("trusted.other.scopes", "system/Observation.rs,user/Observation.rs"),
            ("trusted.other.roles", role),
        ];
        settings.extend(purpose.map(|code| ("trusted.other.purpose", code)));
        let server = filled(&settings).await;
        for (token, status) in [(&of_service, service_status), (&of_person, person_status)] {
            let answer = read(&server, token, "/Observation/a-lab").await;
            assert_eq!(answer.status, status, "{purpose:?} {role}: {answer:?}");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_configures_an_emergency() {
    let file = temporary("emergency-roles");
    std::fs::write(&file, ROLES.replace("HRESCH", "BTG")).unwrap();
    let path = file.display().to_string();
    let outside = [
        ("auth.mode", "smart"),
        ("trusted.other.issuer", "https://tokens.example"),
        ("trusted.other.jwks_uri", "https://tokens.example/jwks"),
        ("trusted.other.purpose", "ETREAT"),
    ];
    let own = [("auth.mode", "smart"), ("auth.roles", path.as_str())];
    for (settings, named) in [(&outside[..], "ETREAT"), (&own[..], "BTG")] {
        let database = Database::migrated().await;
        let started = Box::pin(Server::start(config(&database, settings))).await;
        let error = started.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(named) && error.contains("no purpose of use"), "{error}");
    }
}
