//! What consents came down to for a token, as events of the record.

use std::time::{Duration, Instant};

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
/// Covers: security S10.
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

/// However many patients deny a user something, and whoever denies to others what she may see: each is one event. Who
/// lets everybody see is none.
///
/// Covers: security S10.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_patient_in_context_each_patient_who_decides_is_told() {
    const DENIERS: i64 = 25;
    let server = server().await;
    let patients: Vec<String> = (0..DENIERS)
        .map(|at| format!("n{at}"))
        .chain(["but-ada", "but-eve", "yes"].map(str::to_owned))
        .collect();
    let excepted = |of: &str| {
        let actor = format!(
            r#""type":"deny","provision":[{{"type":"permit","actor":[{{"role":{{"text":"she"}},"reference":{{"reference":"Practitioner/{of}"}}}}]}}]"#
        );
        consent(&format!("but-{of}"), &format!("but-{of}"), "deny")
            .replace(r#""type":"deny""#, &actor)
    };
    let mut all: Vec<String> =
        patients.iter().map(|id| format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#)).collect();
    all.extend((0..DENIERS).map(|at| consent(&format!("no-{at}"), &format!("n{at}"), "deny")));
    all.extend([excepted("ada"), excepted("eve"), consent("yes", "yes", "permit")]);
    all.push(r#"{"resourceType":"Practitioner","id":"ada"}"#.to_owned());
    all.push(r#"{"resourceType":"Practitioner","id":"eve"}"#.to_owned());
    store(&server, &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    user(&server, "ada", "practitioner", Some("Practitioner/ada")).await;
    let ada = token(&server, "ada", "user/*.rs").await;
    let count = async |condition: &str| {
        let of = format!("SELECT count(*) FROM ledger WHERE interaction = 67 AND {condition}");
        server.database.number(&of).await
    };
    read(&server, &ada, "/Patient/but-ada").await.expect(200);
    read(&server, &ada, "/Patient/but-eve").await.expect(404);
    assert_eq!(count("outcome = 8").await, DENIERS + 1, "each who denies, and who excepts another");
    assert_eq!(count("outcome = 0").await, 1);
    assert_eq!(count("outcome = 0 AND entities = '{Consent/but-ada}'").await, 1);
    assert_eq!(count("'Consent/no-24' = ANY (entities)").await, 1);
    // One of them thinks otherwise: that alone is new.
    let changed = excepted("ada").replace(r#""id":"but-ada""#, r#""id":"no-3""#);
    store(&server, &[&changed.replace("Patient/but-ada", "Patient/n3")]).await;
    let began = Instant::now();
    while count("outcome = 0").await < 2 {
        assert!(began.elapsed() < Duration::from_secs(30));
        read(&server, &ada, "/Patient/n4").await.expect(404);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(count("outcome = 0 AND entities = '{Consent/no-3}'").await, 1);
    assert_eq!(count("outcome = 8").await, DENIERS + 1);
    server.stop().await;
}
