//! What consents came down to for a token, as events of the record.

use serde_json::Value;

use super::browser::{server, store, user};
use super::emergency::{read, token, token_for};
use crate::harness::server::TestServer;

fn consent(id: &str, patient: &str, provision: &str) -> String {
    format!(
        r#"{{"resourceType":"Consent","id":"{id}","status":"active","scope":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}}]}},"category":[{{"text":"privacy"}}],"patient":{{"reference":"Patient/{patient}"}},"policyRule":{{"text":"ours"}},"provision":{{"type":"{provision}"}}}}"#
    )
}

fn role(id: &str, of: &str, organization: &str) -> String {
    format!(
        r#"{{"resourceType":"PractitionerRole","id":"{id}","active":true,"practitioner":{{"reference":"Practitioner/{of}"}},"organization":{{"reference":"Organization/{organization}"}}}}"#
    )
}

/// The decisions about a user's tokens, as the one who watches over privacy finds them.
async fn decisions(server: &TestServer, officer: &str, name: &str) -> Vec<Value> {
    let url = format!("/AuditEvent?subtype=AuthZ-Consent&agent-name={name}");
    let bundle: Value =
        serde_json::from_str(&read(server, officer, &url).await.expect(200).text()).unwrap();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.into_iter().map(|mut entry| entry["resource"].take()).collect()
}

fn references(event: &Value) -> Vec<&str> {
    let entities = event["entity"].as_array().unwrap().iter();
    entities.filter_map(|entity| entity["what"]["reference"].as_str()).collect()
}

async fn are_found_by_what_they_name(server: &TestServer, officer: &str) {
    for (what, expected) in [
        ("entity=Consent/no-a", 1),
        ("entity=Consent/no-z", 0),
        ("entity=Organization/g", 0),
        ("entity=Patient/b", 1),
        ("agent=Organization/g", 2),
        ("agent=Organization/h", 0),
    ] {
        let url = format!("/AuditEvent?subtype=AuthZ-Consent&{what}");
        let found = read(server, officer, &url).await.expect(200);
        assert_eq!(found.json().items_at("entry").len(), expected, "{what}");
    }
}

/// Each decision is one event of the pattern, with who asked for which organization, and outcome 0 or 8.
///
/// Covers in part: security S10.
#[tokio::test(flavor = "multi_thread")]
async fn each_decision_is_an_event_of_its_pattern() {
    let server = server().await;
    store(
        &server,
        &[
            r#"{"resourceType":"Patient","id":"a"}"#,
            r#"{"resourceType":"Patient","id":"b"}"#,
            r#"{"resourceType":"Patient","id":"c"}"#,
            r#"{"resourceType":"Organization","id":"g","name":"G"}"#,
            r#"{"resourceType":"Organization","id":"h","name":"H"}"#,
            r#"{"resourceType":"Practitioner","id":"ada"}"#,
            r#"{"resourceType":"Practitioner","id":"eve"}"#,
            &role("ada-g", "ada", "g"),
            &role("eve-g", "eve", "g"),
            &role("eve-h", "eve", "h"),
            &consent("no-a", "a", "deny"),
            &consent("no-b", "b", "deny"),
            &consent("yes-c", "c", "permit"),
        ],
    )
    .await;
    user(&server, "officer", "privacy", None).await;
    user(&server, "ada", "practitioner", Some("Practitioner/ada")).await;
    user(&server, "eve", "practitioner", Some("Practitioner/eve")).await;
    let officer = token(&server, "officer", "user/*.rs").await;

    let ada = token(&server, "ada", "user/*.rs").await;
    read(&server, &ada, "/Patient/a").await.expect(404);
    // Asked again, it is the same decision.
    read(&server, &ada, "/Patient/b").await.expect(404);
    let found = decisions(&server, &officer, "ada").await;
    let mut told: Vec<Vec<&str>> = found.iter().map(references).collect();
    told.sort();
    assert_eq!(told, [["Patient/a", "Consent/no-a"], ["Patient/b", "Consent/no-b"]], "{found:#?}");
    for event in &found {
        let profile =
            "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.AuthZconsent";
        assert_eq!(event["meta"]["profile"], serde_json::json!([profile]), "{event:#}");
        assert_eq!(event["outcome"], "8", "{event:#}");
        assert!(event["outcomeDesc"].as_str().is_some_and(|it| !it.is_empty()), "{event:#}");
        let agents = event["agent"].as_array().unwrap();
        assert_eq!(agents[1]["who"]["reference"], "Practitioner/ada");
        assert_eq!(agents[2]["type"]["coding"][0]["code"], "PROV");
        assert_eq!(agents[2]["who"]["reference"], "Organization/g");
        assert_eq!(agents[3]["who"], event["source"]["observer"]);
    }

    are_found_by_what_they_name(&server, &officer).await;

    // What a patient lets be is a decision too, where the token is about that patient.
    let eve = token_for(&server, "eve", "patient/*.rs", Some("c")).await;
    read(&server, &eve, "/Patient/c").await.expect(200);
    let found = decisions(&server, &officer, "eve").await;
    let [event] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(event["outcome"], "0", "{event:#}");
    assert_eq!(references(event), ["Patient/c", "Consent/yes-c"]);
    // For which of two organizations is not known.
    let organization = &event["agent"][2]["who"];
    assert_eq!(organization["extension"][0]["valueCode"], "unknown", "{organization}");
    server.stop().await;
}
