//! Consents: what a patient denies is not there for whom it is denied.

use std::time::Duration;

use kiln::access::consent::Asker;
use kiln::clock::{Clock as _, SystemClock};
use kiln::fhir::{Instant, LogicalId, ResourceType};

use crate::harness::client::Client;
use crate::harness::database::connect;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::browser::{register, server_with, store, user};
use super::super::tokens::client::{granted, public, read, text, tokens};
use super::super::world::{STORED, asked, body, filled, fresh};

pub(super) fn consent(provision: &str) -> String {
    format!(
        r#""status":"active","scope":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}}]}},"category":[{{"text":"privacy"}}],"patient":{{"reference":"Patient/a"}},"policyRule":{{"text":"ours"}},"provision":{provision}"#
    )
}

/// The doctor, as the authorization server would make the principal at this moment.
pub(super) async fn doctor(server: &TestServer) -> (Client, tokio::sync::watch::Sender<bool>) {
    doctor_with(server, Token::new(server, "user/*.rs")).await
}

/// The same with another token.
pub(super) async fn doctor_with(
    server: &TestServer,
    token: Token<'_>,
) -> (Client, tokio::sync::watch::Sender<bool>) {
    let user: (ResourceType, LogicalId) =
        (ResourceType::PRACTITIONER, "doc".parse().expect("an id"));
    let asker = Asker { user: Some(&user), ..Asker::default() };
    let now = Instant::parse("2026-01-01T00:00:00Z").expect("an instant");
    let denials = server.store().denials(&asker, now).await.expect("consents");
    let token = token.user("Practitioner/doc", &["practitioner"]);
    token.denials(denials.to_vec()).client().await
}

/// Covers: security S2, S3.
/// Covers: security S5.
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_denies_is_gone_from_every_way_for_whom_it_is_denied() {
    let server = filled().await;
    let (before, _stop) = doctor(&server).await;
    assert_eq!(asked(&before, "/Observation?code=k").await.len(), 2);
    let deny = r#"{"type":"permit","provision":[{"type":"deny","code":[{"coding":[{"system":"urn:c","code":"k"}]}]}]}"#;
    server.client.put("/Consent/c", body("Consent/c", &consent(deny))).await.expect(201);
    let (after, _stop) = doctor(&server).await;
    after.get("/Observation/a-lab").await.expect(404);
    after.get("/Observation/a-lab/_history/1").await.expect(404);
    after.get("/Observation/a-vital").await.expect(200);
    after.get("/Observation/b-lab").await.expect(200);
    assert_eq!(asked(&after, "/Observation?code=k").await, ["Observation/b-lab"]);
    let count = after.get("/Observation?_summary=count").await.expect(200);
    assert_eq!(count.at("total").as_deref(), Some("2"));
    let along = asked(&after, "/DiagnosticReport?_include=DiagnosticReport:result").await;
    assert_eq!(along, ["DiagnosticReport/a-report", "Observation/b-lab"]);
    assert_eq!(asked(&after, "/Patient?_has:Observation:subject:code=k").await, ["Patient/b"]);
    // The patient sees all of it.
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    own.get("/Observation/a-lab").await.expect(200);
    // Taken back, it is there again.
    server.client.delete("/Consent/c").await.expect(204);
    let (again, _stop) = doctor(&server).await;
    again.get("/Observation/a-lab").await.expect(200);
    server.stop().await;
}

/// Covers: security S5.
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_is_committed_after_a_later_one_counts_at_once() {
    let server = filled().await;
    for (path, provision) in
        [("Consent/first", r#"{"type":"deny"}"#), ("Consent/second", r#"{"type":"permit"}"#)]
    {
        let url = format!("/{path}");
        server.client.put(&url, body(path, &consent(provision))).await.expect(201);
    }
    let (before, _stop) = doctor(&server).await;
    before.get("/Observation/a-lab").await.expect(404);
    // Of a writer who began before another one, and ends after that one was seen.
    let writer = connect(&server.database.superuser).await;
    let withdraw = "BEGIN; UPDATE res SET vid = vid + 1, xid = pg_current_xact_id(), \
        body = jsonb_set(body, '{status}', '\"draft\"') WHERE id = 'first'";
    writer.batch_execute(withdraw).await.expect("withdraws");
    let third = body("Consent/third", &consent(r#"{"type":"permit"}"#));
    server.client.put("/Consent/third", third).await.expect(201);
    let (meanwhile, _stop) = doctor(&server).await;
    meanwhile.get("/Observation/a-lab").await.expect(404);
    writer.batch_execute("COMMIT").await.expect("commits");
    let (after, _stop) = doctor(&server).await;
    after.get("/Observation/a-lab").await.expect(200);
    server.stop().await;
}

/// Covers: security S5.
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_counts_at_once_after_a_clock_went_back_too() {
    let server = filled().await;
    let deny = |code: &str| {
        let code = format!(r#"[{{"coding":[{{"system":"urn:c","code":"{code}"}}]}}]"#);
        consent(&format!(r#"{{"type":"permit","provision":[{{"type":"deny","code":{code}}}]}}"#))
    };
    server.client.put("/Consent/ahead", body("Consent/ahead", &deny("k"))).await.expect(201);
    // As of a node whose clock is an hour ahead, or as from before a step back.
    let ahead = "UPDATE res SET lu = lu + interval '1 h', xid = pg_current_xact_id() \
        WHERE id = 'ahead'";
    server.database.run(ahead).await;
    let (before, _stop) = doctor(&server).await;
    before.get("/Observation/a-lab").await.expect(404);
    before.get("/Observation/a-vital").await.expect(200);
    server.client.put("/Consent/now", body("Consent/now", &deny("p"))).await.expect(201);
    let (after, _stop) = doctor(&server).await;
    after.get("/Observation/a-lab").await.expect(404);
    after.get("/Observation/a-vital").await.expect(404);
    // And what is taken back is.
    server.client.delete("/Consent/now").await.expect(204);
    let (again, _stop) = doctor(&server).await;
    again.get("/Observation/a-vital").await.expect(200);
    server.stop().await;
}

/// That they contradict each other is logged; a unit test has which do.
///
/// Covers: security S3.
#[tokio::test(flavor = "multi_thread")]
async fn one_denial_outweighs_a_permit() {
    let server = filled().await;
    let deny = r#"{"type":"deny","provision":[{"type":"permit","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Patient"}]}]}"#;
    for (path, provision) in [("Consent/no", deny), ("Consent/yes", r#"{"type":"permit"}"#)] {
        let url = format!("/{path}");
        server.client.put(&url, body(path, &consent(provision))).await.expect(201);
    }
    let (doctor, _stop) = doctor(&server).await;
    doctor.get("/Patient/a").await.expect(200);
    for path in ["Observation/a-lab", "Encounter/a-visit", "DiagnosticReport/a-report"] {
        doctor.get(&format!("/{path}")).await.expect(404);
    }
    assert_eq!(asked(&doctor, "/Encounter").await, ["Encounter/b-visit"]);
    server.stop().await;
}

/// Covers: security S6, V33.
#[tokio::test(flavor = "multi_thread")]
async fn consents_are_written_by_the_patient_and_who_stands_for_the_patient() {
    let server = filled().await;
    let deny = consent(r#"{"type":"deny"}"#);
    server.client.put("/Consent/c", body("Consent/c", &deny)).await.expect(201);
    let permit = body("Consent/c", &consent(r#"{"type":"permit"}"#));
    for (path, content) in [
        ("RelatedPerson/b-mother", r#""patient":{"reference":"Patient/b"}"#),
        ("RelatedPerson/once", r#""active":false,"patient":{"reference":"Patient/a"}"#),
        ("RelatedPerson/late", r#""period":{"end":"2020"},"patient":{"reference":"Patient/a"}"#),
        ("Person/guardian", r#""link":[{"target":{"reference":"Patient/a"}}]"#),
        ("Person/b-guardian", r#""link":[{"target":{"reference":"Patient/b"}}]"#),
    ] {
        server.client.put(&format!("/{path}"), body(path, content)).await.expect(201);
    }
    let all = || Token::new(&server, "user/*.cruds");
    let of_a = |scopes: &str| Token::new(&server, scopes).patient("a");
    // Whom somebody stands for is as it is stored; what the patient denies is another question.
    let stands = async |who: &str| {
        let token = of_a("patient/Consent.cruds").user(who, &["patient"]);
        token.with_what_is_stored().await.denials(Vec::new())
    };
    let doctor = of_a("patient/Consent.cruds").user("Practitioner/doc", &["practitioner"]);
    for (who, token, may) in [
        ("a doctor", all().user("Practitioner/doc", &["practitioner"]), false),
        ("a doctor with an app of the patient's", doctor, false),
        ("privacy", all().user("Practitioner/doc", &["privacy"]), true),
        ("a wildcard", of_a("patient/*.cruds"), false),
        ("a service", Token::new(&server, "system/*.cruds"), false),
        ("the patient's app", of_a("patient/Consent.cruds"), true),
        ("the patient", stands("Patient/a").await, true),
        ("another patient", stands("Patient/b").await, false),
        ("the mother", stands("RelatedPerson/a-mother").await, true),
        ("another's mother", stands("RelatedPerson/b-mother").await, false),
        ("who is inactive", stands("RelatedPerson/once").await, false),
        ("whose time is over", stands("RelatedPerson/late").await, false),
        ("who is not stored", stands("RelatedPerson/missing").await, false),
        ("the guardian", stands("Person/guardian").await, true),
        ("another's guardian", stands("Person/b-guardian").await, false),
    ] {
        let (client, _stop) = token.client().await;
        let statuses = [
            client.post("/Consent", fresh("Consent", &deny)).await.status,
            client.put("/Consent/c", permit.clone()).await.status,
            client.delete("/Consent/c").await.status,
        ];
        assert_eq!(statuses, if may { [201, 200, 204] } else { [403; 3] }, "{who}");
        // Deleted, it comes back for the next one.
        if may {
            let again = server.client.put("/Consent/c", body("Consent/c", &deny)).await;
            assert!([200, 201].contains(&again.status), "{again:?}");
        }
    }
    assert!(STORED.iter().all(|(path, _)| !path.starts_with("Consent/")));
    server.stop().await;
}

/// Panels come of what is stored.
///
/// Covers: security E18.
#[tokio::test(flavor = "multi_thread")]
async fn a_panel_is_whom_teams_and_organizations_care_for() {
    let server = filled().await;
    let id = |text: &str| -> LogicalId { text.parse().expect("an id") };
    let hash = |text: &str| server.store().hasher().patient(&id(text));
    let doc = (ResourceType::PRACTITIONER, id("doc"));
    let store = server.store();
    let panels = async |who: &(ResourceType, LogicalId)| {
        store.panels(who, SystemClock.now()).await.expect("panels")
    };
    let empty = panels(&doc).await;
    assert!(empty.care_team.is_empty() && empty.organization.is_empty() && empty.own.is_empty());
    for (path, content) in [
        (
            "CareTeam/a-team",
            r#""status":"active","subject":{"reference":"Patient/a"},"participant":[{"member":{"reference":"Practitioner/doc"}}]"#,
        ),
        (
            "CareTeam/b-team",
            r#""status":"inactive","subject":{"reference":"Patient/b"},"participant":[{"member":{"reference":"Practitioner/doc"}}]"#,
        ),
        (
            "PractitionerRole/r",
            r#""practitioner":{"reference":"Practitioner/doc"},"organization":{"reference":"Organization/ward"}"#,
        ),
    ] {
        server.client.put(&format!("/{path}"), body(path, content)).await.expect(201);
    }
    let both = panels(&doc).await;
    assert_eq!((both.care_team, both.organization), (vec![hash("a")], vec![hash("a")]));
    let mother = (ResourceType::RELATED_PERSON, id("a-mother"));
    assert_eq!(panels(&mother).await.own, [hash("a")]);
    let itself = (ResourceType::PATIENT, id("b"));
    assert_eq!(panels(&itself).await.own, [hash("b")]);
    server.stop().await;
}

const PAST: &str = r#""period":{"start":"2019","end":"2020-05-01T10:00:00Z"},"#;
const NOW: &str = r#""period":{"start":"2020-05-01"},"#;
const FUTURE: &str = r#""period":{"start":"2024-06-02"},"#;
const INACTIVE: &str = r#""active":false,"#;

/// How somebody has patient a: by a resource with these members more, and by its participants.
fn care(path: &str, more: &str, participants: &[(&str, &str)]) -> String {
    let rest = match path {
        "CareTeam/t" => {
            let members = participants.iter().map(|(who, period)| {
                format!(r#"{{{period}"member":{{"reference":"Practitioner/{who}"}}}}"#)
            });
            let members = members.collect::<Vec<_>>().join(",");
            let subject = r#""subject":{"reference":"Patient/a"}"#;
            format!(r#""status":"active",{subject},"participant":[{members}]"#)
        }
        "PractitionerRole/r" => {
            let whose = r#""practitioner":{"reference":"Practitioner/doc"}"#;
            format!(r#"{whose},"organization":{{"reference":"Organization/ward"}}"#)
        }
        "RelatedPerson/m" => r#""patient":{"reference":"Patient/a"}"#.to_owned(),
        _ => r#""link":[{"target":{"reference":"Patient/a"}}]"#.to_owned(),
    };
    format!("{more}{rest}")
}

/// A resource, its period, its participants with theirs, and whether the patient is in the panel.
type Cared = (&'static str, &'static str, &'static [(&'static str, &'static str)], bool);

/// Who cared for somebody once, or will, does not now.
///
/// Covers: security E18.
#[tokio::test(flavor = "multi_thread")]
async fn a_panel_is_of_those_whose_periods_are_now() {
    let server = filled().await;
    let now = Instant::parse("2024-06-01T12:00:00Z").expect("an instant");
    let id = |text: &str| -> LogicalId { text.parse().expect("an id") };
    let whole = vec![server.store().hasher().patient(&id("a"))];
    let cases: &[Cared] = &[
        ("CareTeam/t", "", &[("doc", "")], true),
        ("CareTeam/t", NOW, &[("doc", "")], true),
        ("CareTeam/t", PAST, &[("doc", "")], false),
        ("CareTeam/t", FUTURE, &[("doc", "")], false),
        ("CareTeam/t", "", &[("doc", NOW)], true),
        ("CareTeam/t", "", &[("doc", PAST), ("other", NOW)], false),
        ("CareTeam/t", "", &[("doc", FUTURE), ("other", "")], false),
        ("CareTeam/t", "", &[("doc", PAST), ("doc", "")], true),
        ("CareTeam/t", PAST, &[("doc", NOW)], false),
        ("PractitionerRole/r", "", &[], true),
        ("PractitionerRole/r", NOW, &[], true),
        ("PractitionerRole/r", PAST, &[], false),
        ("PractitionerRole/r", FUTURE, &[], false),
        ("RelatedPerson/m", "", &[], true),
        ("RelatedPerson/m", NOW, &[], true),
        ("RelatedPerson/m", PAST, &[], false),
        ("RelatedPerson/m", FUTURE, &[], false),
        ("RelatedPerson/m", INACTIVE, &[], false),
        ("Person/p", "", &[], true),
        ("Person/p", INACTIVE, &[], false),
    ];
    for (path, more, participants, expected) in cases {
        let content = care(path, more, participants);
        let stored = server.client.put(&format!("/{path}"), body(path, &content)).await;
        assert!([200, 201].contains(&stored.status), "{content}: {stored:?}");
        let is_own = !path.starts_with("CareTeam") && !path.starts_with("Practitioner");
        let who = if is_own { *path } else { "Practitioner/doc" };
        let (of, name) = who.split_once('/').expect("a reference");
        let who = (of.parse().expect("a type"), id(name));
        let panels = server.store().panels(&who, now).await.expect("panels");
        let found = [panels.care_team, panels.organization, panels.own].concat();
        assert_eq!(found == whole, *expected, "{path} {content}: {found:?}");
        assert!(*expected || found.is_empty(), "{path} {content}: {found:?}");
    }
    server.stop().await;
}

/// A Device says whose it is by an element and a Provenance by what it is about: no compartment has them.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn devices_and_provenances_are_kept_back_with_what_they_belong_to() {
    let server = filled().await;
    let (before, _stop) = doctor(&server).await;
    assert_eq!(asked(&before, "/Device").await.len(), 3);
    assert_eq!(asked(&before, "/Provenance").await.len(), 3);
    let deny = consent(r#"{"type":"deny"}"#);
    server.client.put("/Consent/c", body("Consent/c", &deny)).await.expect(201);
    let (after, _stop) = doctor_with(&server, Token::new(&server, "user/*.cruds")).await;
    for (path, status) in [
        ("/Device/a-pump", 404),
        ("/Device/a-pump/_history", 404),
        ("/Device/a-pump/_history/1", 404),
        ("/Device/b-pump", 200),
        ("/Device/spare", 200),
        ("/Provenance/a-lab", 404),
        ("/Provenance/a-lab/_history/1", 404),
        ("/Provenance/both-labs", 404),
        ("/Provenance/b-lab", 200),
    ] {
        after.get(path).await.expect(status);
    }
    for (url, found) in [
        ("/Device", &["Device/b-pump", "Device/spare"][..]),
        ("/Device?patient=Patient/a", &[]),
        ("/Device/_history", &["Device/b-pump", "Device/spare"]),
        ("/Provenance", &["Provenance/b-lab"]),
        ("/Provenance?target=Observation/a-lab", &[]),
        ("/Observation?_revinclude=Provenance:target", &["Observation/b-lab", "Provenance/b-lab"]),
    ] {
        assert_eq!(asked(&after, url).await, found, "{url}");
    }
    let count = after.get("/Device?_summary=count").await.expect(200);
    assert_eq!(count.at("total").as_deref(), Some("2"));
    let pump = body("Device/a-pump", r#""patient":{"reference":"Patient/b"}"#);
    after.put("/Device/a-pump", pump).await.expect(404);
    after.delete("/Device/a-pump").await.expect(204);
    // The patient sees both, and a deletion tells the doctor nothing.
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    own.get("/Device/a-pump").await.expect(200);
    own.get("/Provenance/a-lab").await.expect(200);
    server.client.delete("/Device/a-pump").await.expect(204);
    after.get("/Device/a-pump").await.expect(404);
    server.stop().await;
}

/// Covers: security S5.
#[tokio::test(flavor = "multi_thread")]
async fn while_consents_cannot_be_read_nobody_is_let_in() {
    let server = server_with(&[("database.statement_timeout_ms", "1500")]).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    register(&server, &public("app", "patient/Patient.rs")).await;
    let answer = tokens(&server, &granted("app", "patient/Patient.rs", Some(account))).await;
    let token = text(&answer, "access_token");
    read(&server, &token).await.expect(200);
    let held = connect(&server.database.superuser).await;
    held.batch_execute("BEGIN; LOCK TABLE res IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // What is remembered of the token counts for a few seconds at most.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let now = Instant::parse("2026-01-01T00:00:00Z").expect("an instant");
    let denials = server.store().denials(&Asker::default(), now).await;
    assert!(denials.is_err(), "nothing denied, though nobody knows: {denials:?}");
    let answer = read(&server, &token).await;
    assert!([503, 504].contains(&answer.status), "{answer:?}");
    assert!(!answer.text().contains("p1"), "{answer:?}");
    held.batch_execute("ROLLBACK").await.unwrap();
    read(&server, &token).await.expect(200);
    server.stop().await;
}
