//! Capabilities that are switched off: what belongs to them is neither told nor done.
//!
//! Covers: security D4.

use std::collections::BTreeSet;

use kiln::oauth::discovery::CAPABILITIES;
use serde_json::{Value, json};

use super::client::{basic, send, send_with, service, text};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::{
    Browser, app, exchange, parameter, question, register, server_with, store, ticked, user,
};

/// All that an app may ask for.
const REGISTERED: &str = "launch launch/patient launch/encounter openid fhirUser profile \
     offline_access online_access patient/*.rs user/*.rs";
/// Of each sort something.
const ASKED: &str = "launch/patient launch/encounter openid fhirUser profile offline_access \
     patient/Observation.read patient/Patient.rs user/Observation.rs user/Patient.read";

/// What is switched off, what is asked for, and what of it is not granted then.
const SCOPES: &[(&str, &str, &str)] = &[
    ("", ASKED, ""),
    ("sso-openid-connect", ASKED, "openid fhirUser profile"),
    (
        "context-standalone-patient",
        ASKED,
        "launch/patient launch/encounter patient/Observation.read patient/Patient.rs",
    ),
    ("context-standalone-encounter", ASKED, "launch/encounter"),
    ("permission-offline", ASKED, "offline_access"),
    ("permission-online", "online_access patient/Patient.rs", "online_access"),
    ("permission-patient", ASKED, "patient/Observation.read patient/Patient.rs"),
    ("permission-user", ASKED, "user/Observation.rs user/Patient.read"),
    ("permission-v1", ASKED, "patient/Observation.read user/Patient.read"),
    ("permission-v2", ASKED, "patient/Patient.rs user/Observation.rs"),
];

/// What the tests have that are not about scopes.
const OTHERS: &[&str] = &[
    "authorize-post",
    "client-confidential-asymmetric",
    "client-confidential-symmetric",
    // `discovery`
    "client-public",
    "context-banner",
    "context-ehr-encounter",
    "context-ehr-patient",
    "context-style",
    "launch-ehr",
    "launch-standalone",
    // `enforce::state`
    "smart-app-state",
];

/// A server with a patient, an encounter, the user of the patient and an app, without some capabilities.
async fn without(capabilities: &str) -> TestServer {
    let server = server_with(&[("auth.without", capabilities)]).await;
    store(
        &server,
        &[
            r#"{"resourceType":"Patient","id":"p1"}"#,
            r#"{"resourceType":"Encounter","id":"e1","status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/p1"}}"#,
        ],
    )
    .await;
    user(&server, "pat", "patient", Some("Patient/p1")).await;
    register(&server, &app("app", REGISTERED)).await;
    register(&server, &service("job", "system/*.rs")).await;
    server
}

/// A browser in which the user has logged in.
async fn inside(server: &TestServer) -> Browser {
    let mut browser = Browser::new(server);
    let login = browser.open("/auth/login").await;
    browser.log_in(&login, "pat").await.expect(200);
    browser
}

/// What an app gets that asks so, when the user allows all of it; and the page where that was asked.
async fn allowed(server: &TestServer, changes: &[(&str, &str)]) -> (Answer, Answer) {
    let mut browser = inside(server).await;
    let asked = question(server, "app", changes);
    let page = browser.open(&format!("/auth/authorize?{asked}")).await.expect(200);
    let scopes = ticked(&page);
    let mut fields = vec![("decision", "allow")];
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    let back = browser.submit(&page, "/auth/consent", &fields).await.expect(303);
    (exchange(server, "app", &back).await.expect(200), page)
}

/// The status of a launch that an EHR begins.
async fn launched(server: &TestServer, browser: &Browser, body: &Value) -> Answer {
    let cookie = browser.jar.iter().map(|(name, value)| format!("{name}={value}"));
    let cookie = cookie.collect::<Vec<_>>().join("; ");
    let call = server.client.call("POST", &format!("{}/auth/launch", server.client.root()));
    let call = call.header("Cookie", &cookie).header("Content-Type", "application/json");
    call.body(body.to_string()).send().await
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

#[tokio::test]
async fn scopes_of_what_is_switched_off_are_not_granted() {
    for (capability, asked, lost) in SCOPES {
        let server = without(capability).await;
        let asked_words = words(asked).into_iter().collect::<Vec<_>>().join(" ");
        let (tokens, page) = allowed(&server, &[("scope", &asked_words)]).await;
        let granted = text(&tokens, "scope");
        let expected: BTreeSet<&str> = words(asked).difference(&words(lost)).copied().collect();
        assert_eq!(words(&granted), expected, "{capability}");
        // Parts of a type are offered where they can be granted.
        let has_types = granted.contains("/Observation.") && *capability != "permission-v2";
        assert_eq!(page.text().contains("?category="), has_types, "{capability}: {page:?}");
        let has = |scope: &str| expected.contains(scope);
        let context = has("launch/patient") || granted.contains("patient/");
        for (member, is_there) in [
            ("refresh_token", has("offline_access") || has("online_access")),
            ("id_token", has("openid")),
            ("patient", context),
            ("encounter", has("launch/encounter")),
        ] {
            let found = tokens.at(member).is_some();
            assert_eq!(found, is_there, "{capability}: {member} in {tokens:?}");
        }
        // What is told is what can be had, of services too.
        for (scope, needed) in
            [("system/Patient.read", "permission-v1"), ("system/Patient.rs", "permission-v2")]
        {
            let fields = [("grant_type", "client_credentials"), ("scope", scope)];
            let proof = basic("job");
            let headers = [("Authorization", proof.as_str())];
            let answer = send_with(&server, "/auth/token", &fields, &headers).await;
            let expected = if *capability == needed { 400 } else { 200 };
            assert_eq!(answer.status, expected, "{capability} {scope}: {answer:?}");
        }
        server.stop().await;
    }
}

#[test]
fn each_capability_is_switched_off_in_a_test() {
    let of_scopes = SCOPES.iter().map(|(capability, ..)| *capability).filter(|it| !it.is_empty());
    let tried: BTreeSet<&str> = of_scopes.chain(OTHERS.iter().copied()).collect();
    assert_eq!(tried, CAPABILITIES.iter().copied().collect());
}

#[tokio::test]
async fn what_of_a_launch_is_switched_off_is_not_handed_over() {
    let scope = ("scope", "launch/patient patient/Patient.rs");
    let patient = json!({ "client_id": "app", "patient": "p1" });
    let visit = json!({ "client_id": "app", "encounter": "e1" });
    let plain = json!({ "client_id": "app", "intent": "x" });
    for (capability, statuses, members) in [
        ("", [201, 201, 201], [true, true]),
        ("context-banner", [201, 201, 201], [false, true]),
        ("context-style", [201, 201, 201], [true, false]),
        ("context-ehr-patient", [400, 201, 201], [true, true]),
        ("context-ehr-encounter", [201, 400, 201], [true, true]),
        ("launch-ehr", [400, 400, 400], [true, true]),
    ] {
        let server = without(capability).await;
        let mut browser = inside(&server).await;
        let mut handle = None;
        for (body, status) in [&patient, &visit, &plain].into_iter().zip(statuses) {
            let made = launched(&server, &browser, body).await.expect(status);
            handle = made.at("launch").or(handle);
        }
        // An app that comes with a launch all the same is told that there is none.
        if handle.is_none() {
            let asked = question(&server, "app", &[("scope", "launch openid"), ("launch", "x")]);
            let told = browser.open(&format!("/auth/authorize?{asked}")).await;
            assert_eq!(parameter(&told, "error").as_deref(), Some("invalid_request"), "{told:?}");
        }
        let (tokens, _) = allowed(&server, &[scope]).await;
        let told = tokens.text();
        let found = ["\"need_patient_banner\"", "\"smart_style_url\""].map(|it| told.contains(it));
        assert_eq!(found, members, "{capability}: {told}");
        server.stop().await;
    }
}

#[tokio::test]
async fn where_apps_are_launched_from_an_ehr_alone_no_other_begins() {
    let server = without("launch-standalone,authorize-post").await;
    let mut browser = inside(&server).await;
    let asked = question(&server, "app", &[]);
    let told = browser.open(&format!("/auth/authorize?{asked}")).await;
    assert_eq!(parameter(&told, "error").as_deref(), Some("unauthorized_client"), "{told:?}");
    let made = launched(&server, &browser, &json!({ "client_id": "app", "patient": "p1" })).await;
    let handle = text(&made.expect(201), "launch");
    let asked = question(
        &server,
        "app",
        &[("scope", "launch patient/Patient.rs"), ("launch", handle.as_str())],
    );
    // By GET, and not by a form.
    let url = format!("{}/auth/authorize", server.client.root());
    let call = server.client.call("POST", &url);
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    let posted = call.body(asked.clone()).send().await.expect(405);
    assert_eq!(posted.header("allow").as_deref(), Some("GET"), "{posted:?}");
    let page = browser.open(&format!("/auth/authorize?{asked}")).await.expect(200);
    assert!(page.text().contains("Allow access?"), "{page:?}");
    server.stop().await;
}

#[tokio::test]
async fn clients_that_prove_themselves_so_are_not_served_where_that_is_switched_off() {
    let symmetric = "client-confidential-symmetric";
    let asymmetric = "client-confidential-asymmetric";
    for capability in ["", symmetric, asymmetric] {
        let server = without(capability).await;
        let fields = [("grant_type", "client_credentials"), ("scope", "system/Patient.rs")];
        let proof = basic("job");
        let by_secret =
            send_with(&server, "/auth/token", &fields, &[("Authorization", &proof)]).await;
        let expected = if capability == symmetric { 400 } else { 200 };
        assert_eq!(by_secret.status, expected, "{capability}: {by_secret:?}");
        let assertion = [
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", "x.y.z"),
        ];
        let by_key = send(&server, "/auth/token", &[fields, assertion].concat()).await;
        let error = if capability == asymmetric { "unauthorized_client" } else { "invalid_client" };
        assert_eq!(text(&by_key, "error"), error, "{capability}: {by_key:?}");
        server.stop().await;
    }
}
