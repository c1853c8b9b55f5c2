//! Which visit it is about, where an app asks for one by itself.

use super::browser::{
    Browser, SCOPES, app, exchange, parameter, question, register, server, store, ticked, user,
};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;

const ASKED: &str = "launch/patient launch/encounter patient/Patient.rs";

/// A patient with three visits, one with one, one with none.
async fn world() -> TestServer {
    let server = server().await;
    let patients =
        ["many", "one", "none"].map(|id| format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#));
    let visits = [
        ("v1", "many", "2020-01-01"),
        ("v2", "many", "2022-01-01"),
        ("v3", "many", "2021-01-01"),
        ("w1", "one", "2020-05-05"),
    ];
    let visits = visits.map(|(id, patient, day)| {
        format!(
            r#"{{"resourceType":"Encounter","id":"{id}","status":"finished","class":{{"code":"AMB"}},"subject":{{"reference":"Patient/{patient}"}},"period":{{"start":"{day}"}}}}"#
        )
    });
    let all: Vec<&str> = patients.iter().chain(&visits).map(String::as_str).collect();
    store(&server, &all).await;
    for name in ["many", "one", "none"] {
        user(&server, name, "patient", Some(&format!("Patient/{name}"))).await;
    }
    register(&server, &app("app", &format!("launch/encounter {SCOPES}"))).await;
    server
}

/// The page after the login of a user.
async fn after_login(browser: &mut Browser, server: &TestServer, name: &str) -> Answer {
    let asked = question(server, "app", &[("scope", ASKED), ("prompt", "consent")]);
    let login = browser.open(&format!("/auth/authorize?{asked}")).await;
    browser.log_in(&login, name).await.expect(200)
}

/// The answer to the app's exchange after a consent to all.
async fn granted(browser: &mut Browser, server: &TestServer, consent: &Answer) -> Answer {
    let scopes = ticked(consent);
    let mut fields = vec![("decision", "allow")];
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    let back = browser.submit(consent, "/auth/consent", &fields).await.expect(303);
    exchange(server, "app", &back).await.expect(200)
}

#[tokio::test]
async fn one_of_many_visits_is_chosen() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    let page = after_login(&mut browser, &server, "many").await;
    let text = page.text();
    let places = ["2022-01-01", "2021-01-01", "2020-01-01"].map(|day| text.find(day).expect(day));
    assert!(places.is_sorted(), "the newest come first: {text}");
    for wrong in ["w1", "", "../v1", "missing"] {
        browser.submit(&page, "/auth/encounter", &[("encounter", wrong)]).await.expect(400);
    }
    let chosen = browser.submit(&page, "/auth/encounter", &[("encounter", "v3")]).await;
    let consent = browser.follow(chosen).await.expect(200);
    let tokens = granted(&mut browser, &server, &consent).await;
    assert_eq!(tokens.at("encounter").as_deref(), Some("v3"));
    assert_eq!(tokens.at("patient").as_deref(), Some("many"));
    assert!(tokens.at("scope").unwrap().contains("launch/encounter"));

    let mut browser = Browser::new(&server);
    let page = after_login(&mut browser, &server, "many").await;
    let without = browser.submit(&page, "/auth/encounter", &[("action", "none")]).await;
    let consent = browser.follow(without).await.expect(200);
    let tokens = granted(&mut browser, &server, &consent).await;
    assert_eq!(tokens.at("encounter"), None);
    assert!(!tokens.at("scope").unwrap().contains("launch/encounter"));

    // Nothing may be asked: then it is no.
    let silent = question(&server, "app", &[("scope", ASKED), ("prompt", "none")]);
    let answer = browser.open(&format!("/auth/authorize?{silent}")).await;
    assert_eq!(parameter(&answer, "error").as_deref(), Some("interaction_required"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn one_visit_is_no_choice_and_without_any_there_is_no_scope() {
    let server = world().await;
    for (name, encounter) in [("one", Some("w1")), ("none", None)] {
        let mut browser = Browser::new(&server);
        let consent = after_login(&mut browser, &server, name).await;
        let has_scope = ticked(&consent).iter().any(|scope| scope == "launch/encounter");
        assert_eq!(has_scope, encounter.is_some(), "{name}: {consent:?}");
        let tokens = granted(&mut browser, &server, &consent).await;
        assert_eq!(tokens.at("encounter").as_deref(), encounter, "{name}");
    }
    server.stop().await;
}
