//! From an app's question to its code: login, patient, consent, and what is told when it is no.

use kiln::oauth::client::{AppType, Client, ClientKind};

use super::browser::{
    Browser, REDIRECT, SCOPES, app, exchange, form, hidden, location, noted, parameter, question,
    register, server, server_with, store, ticked, user,
};
use crate::harness::client::Answer;
use crate::harness::database::temporary;
use crate::harness::server::TestServer;

const AMSEL: &str = r#"{"resourceType":"Patient","id":"p1","birthDate":"1970-01-02",
    "identifier":[{"system":"urn:mrn","value":"M1"}],"name":[{"family":"Amsel","given":["Ada"]}]}"#;
const BUSSARD: &str = r#"{"resourceType":"Patient","id":"p2","name":[{"family":"Bussard"}]}"#;
const MOTHER: &str =
    r#"{"resourceType":"RelatedPerson","id":"r1","patient":{"reference":"Patient/p1"}}"#;
const PERSON: &str = r#"{"resourceType":"Person","id":"n1","link":[
    {"target":{"reference":"Patient/p1"}},{"target":{"reference":"Patient/p2"}}]}"#;

/// A server with two patients, their users, and an app.
async fn world() -> TestServer {
    let server = server().await;
    store(&server, &[AMSEL, BUSSARD, MOTHER, PERSON]).await;
    user(&server, "pat", "patient", Some("Patient/p1")).await;
    user(&server, "mother", "patient", Some("RelatedPerson/r1")).await;
    user(&server, "guardian", "patient", Some("Person/n1")).await;
    user(&server, "nobody", "patient", Some("Patient/missing")).await;
    register(&server, &app("app", SCOPES)).await;
    server
}

async fn ask(browser: &mut Browser, server: &TestServer, changes: &[(&str, &str)]) -> Answer {
    browser.open(&format!("/auth/authorize?{}", question(server, "app", changes))).await
}

/// Allows what is ticked.
async fn allow(browser: &mut Browser, page: &Answer) -> Answer {
    let scopes = ticked(page);
    allow_only(browser, page, &scopes.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn allow_only(browser: &mut Browser, page: &Answer, scopes: &[&str]) -> Answer {
    let mut fields = vec![("decision", "allow")];
    fields.extend(scopes.iter().map(|scope| ("scope", *scope)));
    browser.submit(page, "/auth/consent", &fields).await.expect(303)
}

/// Covers: security L1, L6, L7.
#[tokio::test]
async fn by_get_and_by_post_a_patient_comes_to_a_token() {
    let server = world().await;
    for by_post in [false, true] {
        let mut browser = Browser::new(&server);
        let asked = question(&server, "app", &[("prompt", "consent")]);
        let first = if by_post {
            let url = format!("{}/auth/authorize", server.client.root());
            let call = server.client.call("POST", &url);
            let call = call.header("Content-Type", "application/x-www-form-urlencoded");
            call.body(asked).send().await
        } else {
            browser.get(&format!("/auth/authorize?{asked}")).await
        };
        let login = browser.follow(first).await.expect(200);
        let consent = browser.log_in(&login, "pat").await.expect(200);
        assert!(consent.text().contains("Ada Amsel"), "{consent:?}");
        let back = allow(&mut browser, &consent).await;
        assert!(location(&back).starts_with(&format!("{REDIRECT}&code=")), "{back:?}");
        // L7: byte by byte, and who answers.
        assert_eq!(parameter(&back, "state").as_deref(), Some("s%20t%2F1"));
        let issuer = parameter(&back, "iss").unwrap();
        let issuer =
            percent_encoding::percent_decode_str(&issuer).decode_utf8().unwrap().into_owned();
        assert_eq!(issuer, format!("{}/auth", server.client.root()));
        let tokens = exchange(&server, "app", &back).await.expect(200);
        assert_eq!(tokens.at("patient").as_deref(), Some("p1"));
        let scope = tokens.at("scope").unwrap();
        for literal in ["openid", "fhirUser", "launch/patient", "patient/Observation.rs"] {
            assert!(scope.split(' ').any(|it| it == literal), "{literal} in {scope}");
        }
        assert!(tokens.text().contains("\"need_patient_banner\":true"));
        assert_eq!(tokens.at("smart_style_url").unwrap(), format!("{issuer}/style"));
        // L6: a code works once.
        exchange(&server, "app", &back).await.expect(400);
    }
    assert_eq!(noted(&server, 44, 0, "app: launch/patient").await, 2);
    assert_eq!(noted(&server, 43, 0, "app: launch/patient").await, 2);
    server.stop().await;
}

/// Covers: security L2, L3, L5, H17, V18.
/// Covers: security L19.
/// Covers: security L4.
#[tokio::test]
async fn a_bad_question_is_told_where_it_is_safe() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    for (changes, expected) in [
        (vec![("redirect_uri", "https://app.example.evil.example/cb?x=1")], None),
        (vec![("redirect_uri", "https://app.example/cb?x=1&y")], None),
        (vec![("redirect_uri", "https://app.example@evil.example/cb")], None),
        (vec![("redirect_uri", "https://app.example/cb?x=1#f")], None),
        (vec![("redirect_uri", "javascript:alert(1)")], None),
        (vec![("client_id", "other")], None),
        (vec![("client_id", "")], None),
        (vec![("response_type", "token")], Some("unsupported_response_type")),
        (vec![("state", "")], Some("invalid_request")),
        (vec![("aud", "https://evil.example/fhir")], Some("invalid_request")),
        (vec![("aud", "")], Some("invalid_request")),
        (vec![("code_challenge", "")], Some("invalid_request")),
        (vec![("code_challenge_method", "plain")], Some("invalid_request")),
        (vec![("scope", "patient/Foo.rs system/*.rs")], Some("invalid_scope")),
        (vec![("prompt", "none")], Some("login_required")),
        (vec![("launch", "x"), ("scope", "openid")], Some("invalid_request")),
    ] {
        let answer = ask(&mut browser, &server, &changes).await;
        let Some(expected) = expected else {
            assert_eq!((answer.status, location(&answer)), (400, String::new()), "{changes:?}");
            assert!(answer.header("content-type").unwrap().starts_with("text/html"));
            continue;
        };
        assert_eq!(answer.status, 303, "{changes:?}: {answer:?}");
        assert!(location(&answer).starts_with(REDIRECT), "{changes:?}: {answer:?}");
        assert_eq!(parameter(&answer, "error").as_deref(), Some(expected), "{changes:?}");
        assert!(parameter(&answer, "iss").is_some() && parameter(&answer, "code").is_none());
        let has_state = !changes.contains(&("state", ""));
        assert_eq!(parameter(&answer, "state").is_some(), has_state, "{changes:?}");
    }
    let twice = format!("{}&aud=x", question(&server, "app", &[]));
    let answer = browser.open(&format!("/auth/authorize?{twice}")).await;
    assert_eq!(parameter(&answer, "error").as_deref(), Some("invalid_request"));
    server.stop().await;
}

/// Covers: security L12.
#[tokio::test]
async fn a_patient_is_oneself_or_whom_one_stands_for() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    let login = ask(&mut browser, &server, &[]).await;
    let consent = browser.log_in(&login, "mother").await.expect(200);
    assert!(consent.text().contains("Ada Amsel"), "one candidate is no choice: {consent:?}");

    let mut browser = Browser::new(&server);
    let login = ask(&mut browser, &server, &[]).await;
    let picker = browser.log_in(&login, "guardian").await.expect(200);
    for name in ["Ada Amsel", "Bussard", "type=\"radio\""] {
        assert!(picker.text().contains(name), "{name}: {picker:?}");
    }
    for wrong in ["p3", "", "../p1", "mother"] {
        browser.submit(&picker, "/auth/patient", &[("patient", wrong)]).await.expect(400);
    }
    let chosen = browser.submit(&picker, "/auth/patient", &[("patient", "p2")]).await;
    let consent = browser.follow(chosen).await.expect(200);
    let back = allow(&mut browser, &consent).await;
    let tokens = exchange(&server, "app", &back).await.expect(200);
    assert_eq!(tokens.at("patient").as_deref(), Some("p2"));

    // Nobody to choose: nothing of a patient is granted, and with nothing else it is no.
    let mut browser = Browser::new(&server);
    let login = ask(&mut browser, &server, &[("scope", "launch/patient patient/*.rs")]).await;
    let no = browser.log_in(&login, "nobody").await;
    assert_eq!(parameter(&no, "error").as_deref(), Some("access_denied"), "{no:?}");
    let mut browser = Browser::new(&server);
    let scope = "launch/patient patient/*.rs user/Patient.rs";
    let login = ask(&mut browser, &server, &[("scope", scope)]).await;
    let consent = browser.log_in(&login, "nobody").await.expect(200);
    assert_eq!(ticked(&consent), ["user/Patient.rs"]);
    let forged = ["patient/*.rs", "launch/patient", "user/Patient.rs"];
    let back = allow_only(&mut browser, &consent, &forged).await;
    let tokens = exchange(&server, "app", &back).await.expect(200);
    assert_eq!(
        (tokens.at("scope").as_deref(), tokens.at("patient")),
        (Some("user/Patient.rs"), None)
    );
    server.stop().await;
}

const NURSE: &str = r#"
[roles.nurse]
scopes = ["user/*.rs"]
panel = "care-team"
clearance = "R"
second_factor = false
"#;

/// Who treats patients finds those of its panel and no others, by whatever is typed or sent.
///
/// Covers: security L12.
#[tokio::test]
async fn a_clinician_chooses_among_the_patients_of_the_panel() {
    let file = temporary("picker-roles");
    std::fs::write(&file, NURSE).unwrap();
    let server = server_with(&[("auth.roles", &file.display().to_string())]).await;
    let team = r#"{"resourceType":"CareTeam","id":"t","status":"active",
        "subject":{"reference":"Patient/p1"},
        "participant":[{"member":{"reference":"Practitioner/n"}}]}"#;
    let nurse = r#"{"resourceType":"Practitioner","id":"n"}"#;
    store(&server, &[AMSEL, BUSSARD, nurse, team]).await;
    user(&server, "nurse", "nurse", Some("Practitioner/n")).await;
    register(&server, &app("app", SCOPES)).await;
    let mut browser = Browser::new(&server);
    let login = ask(&mut browser, &server, &[]).await;
    let picker = browser.log_in(&login, "nurse").await.expect(200);
    assert!(!picker.text().contains("type=\"radio\""), "nobody is listed unasked: {picker:?}");
    let find = async |browser: &mut Browser, name: &str| {
        browser.submit(&picker, "/auth/patient", &[("name", name)]).await.expect(200).text()
    };
    let own = find(&mut browser, "amsel").await;
    assert!(own.contains("Ada Amsel") && own.contains("type=\"radio\""), "{own}");
    for name in ["bussard", "missing"] {
        let none = find(&mut browser, name).await;
        assert!(none.contains("No patient was found") && !none.contains("Bussard"), "{none}");
    }
    for wrong in ["p2", "missing"] {
        let no = browser.submit(&picker, "/auth/patient", &[("patient", wrong)]).await;
        assert!(!no.expect(400).text().contains("Bussard"));
    }
    let chosen = browser.submit(&picker, "/auth/patient", &[("patient", "p1")]).await;
    let consent = browser.follow(chosen).await.expect(200);
    let back = allow(&mut browser, &consent).await;
    let tokens = exchange(&server, "app", &back).await.expect(200);
    assert_eq!(tokens.at("patient").as_deref(), Some("p1"));
    server.stop().await;
}

/// The port of a loopback address is the native app's own business, and of no other app.
///
/// Covers: security L2.
#[tokio::test]
async fn a_native_app_may_listen_on_any_port() {
    let server = world().await;
    let local = vec!["http://127.0.0.1/cb".to_owned()];
    for (id, app_type) in [("native", AppType::Native), ("web", AppType::Web)] {
        let client = Client { app_type, redirect_uris: local.clone(), ..app(id, SCOPES) };
        register(&server, &client).await;
    }
    let mut browser = Browser::new(&server);
    for (client, url, is_right) in [
        ("native", "http://127.0.0.1/cb", true),
        ("native", "http://127.0.0.1:5123/cb", true),
        ("native", "http://127.0.0.1:5123/other", false),
        ("native", "http://127.0.0.1:5123/cb?x=1", false),
        ("native", "https://127.0.0.1:5123/cb", false),
        ("native", "http://127.0.0.1:5123@evil.example/cb", false),
        ("native", "http://127.0.0.1.evil.example/cb", false),
        ("native", "http://localhost:5123/cb", false),
        ("web", "http://127.0.0.1/cb", true),
        ("web", "http://127.0.0.1:5123/cb", false),
    ] {
        let asked = question(&server, client, &[("redirect_uri", url)]);
        let answer = browser.open(&format!("/auth/authorize?{asked}")).await;
        if is_right {
            assert!(answer.text().contains("password"), "{client} {url}: {answer:?}");
        } else {
            assert_eq!((answer.status, location(&answer)), (400, String::new()), "{client} {url}");
        }
    }
    server.stop().await;
}

/// Covers: security L15.
#[tokio::test]
async fn a_form_grants_what_is_ticked_and_never_more() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    let scope = "launch/patient patient/Observation.rs patient/Condition.rs patient/Patient.rs";
    let login = ask(&mut browser, &server, &[("scope", scope)]).await;
    let consent = browser.log_in(&login, "pat").await.expect(200);
    let lab = "patient/Observation.rs?category=\
        http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
    assert!(consent.text().contains("laboratory results"), "{consent:?}");
    let back = allow_only(
        &mut browser,
        &consent,
        &[
            "launch/patient",
            "patient/Patient.rs",
            "patient/Observation.rs",
            lab,
            "patient/Encounter.rs",
            "user/*.cruds",
            "system/*.rs",
        ],
    )
    .await;
    let tokens = exchange(&server, "app", &back).await.expect(200);
    let granted = tokens.at("scope").unwrap();
    let mut granted: Vec<&str> = granted.split(' ').collect();
    granted.sort_unstable();
    assert_eq!(granted, ["launch/patient", lab, "patient/Patient.rs"]);

    // The decision is remembered for the same app and what is within it, unless asked otherwise.
    let same = [("scope", "launch/patient patient/Patient.rs")];
    let back = ask(&mut browser, &server, &same).await;
    assert!(parameter(&back, "code").is_some(), "{back:?}");
    let silent = [("scope", "launch/patient patient/Patient.rs"), ("prompt", "none")];
    assert!(parameter(&ask(&mut browser, &server, &silent).await, "code").is_some());
    let again = [("scope", "launch/patient patient/Patient.rs"), ("prompt", "consent")];
    ask(&mut browser, &server, &again).await.expect(200);
    let more = [("scope", "launch/patient patient/Patient.rs patient/Goal.rs")];
    let page = ask(&mut browser, &server, &more).await.expect(200);
    let silent = [("scope", "patient/Goal.rs"), ("prompt", "none")];
    let answer = ask(&mut browser, &server, &silent).await;
    assert_eq!(parameter(&answer, "error").as_deref(), Some("consent_required"));

    // No is no, with the state; and a request is answered once.
    let no = browser.submit(&page, "/auth/consent", &[("decision", "deny")]).await.expect(303);
    assert_eq!(parameter(&no, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&no, "state").as_deref(), Some("s%20t%2F1"));
    browser.submit(&page, "/auth/consent", &[("decision", "allow")]).await.expect(400);
    assert_eq!(noted(&server, 44, 4, "app: ").await, 1);
    // A no is not remembered as a yes.
    ask(&mut browser, &server, &same).await.expect(200);
    server.stop().await;
}

/// Whoever could ask in the name of the app on the user's device gets nothing without the user.
///
/// Covers: security L15.
#[tokio::test]
async fn what_was_agreed_to_is_asked_again_where_the_app_may_be_another() {
    let server = world().await;
    let local = vec!["http://127.0.0.1/cb".to_owned(), "org.example.chart:/cb".to_owned()];
    for (id, kind) in [("native", ClientKind::Public), ("known", ClientKind::Secret)] {
        let app_type = AppType::Native;
        let client = Client { app_type, kind, redirect_uris: local.clone(), ..app(id, SCOPES) };
        register(&server, &client).await;
    }
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await;
    browser.log_in(&login, "pat").await.expect(200);
    for (client, url, is_remembered) in [
        ("app", REDIRECT, true),
        ("native", "http://127.0.0.1:5123/cb", false),
        ("native", "org.example.chart:/cb", false),
        ("known", "http://127.0.0.1:5123/cb", true),
    ] {
        let asked =
            |prompt| question(&server, client, &[("redirect_uri", url), ("prompt", prompt)]);
        let again = format!("/auth/authorize?{}", asked(""));
        let consent = browser.open(&again).await.expect(200);
        assert!(consent.text().contains("Allow access?"), "{client} {url}: {consent:?}");
        allow(&mut browser, &consent).await;
        let answer = browser.open(&again).await;
        let silent = browser.open(&format!("/auth/authorize?{}", asked("none"))).await.expect(303);
        if is_remembered {
            assert!(parameter(&answer, "code").is_some(), "{client} {url}: {answer:?}");
            assert!(parameter(&silent, "code").is_some(), "{client} {url}: {silent:?}");
        } else {
            assert!(answer.text().contains("Allow access?"), "{client} {url}: {answer:?}");
            let error = parameter(&silent, "error");
            assert_eq!(error.as_deref(), Some("consent_required"), "{client} {url}: {silent:?}");
        }
    }
    server.stop().await;
}

/// Covers: security L11.
#[tokio::test]
async fn a_wildcard_is_told_as_what_it_is() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    let scope = "launch/patient patient/*.rs";
    let login = ask(&mut browser, &server, &[("scope", scope)]).await;
    let consent = browser.log_in(&login, "pat").await.expect(200);
    assert!(consent.text().contains("all data, now and in the future"), "{consent:?}");
    server.stop().await;
}

/// Covers: security L18.
#[tokio::test]
async fn a_request_belongs_to_the_browser_that_began_it() {
    let server = world().await;
    let mut victim = Browser::new(&server);
    let login = ask(&mut victim, &server, &[]).await;
    let consent = victim.log_in(&login, "pat").await.expect(200);
    let request = hidden(&consent, "request");
    let mut attacker = Browser::new(&server);
    let login = attacker.open("/auth/login").await;
    attacker.log_in(&login, "mother").await.expect(200);
    for path in ["/auth/login", "/auth/patient", "/auth/consent"] {
        attacker.open(&format!("{path}?request={request}")).await.expect(400);
    }
    let csrf = attacker.open("/auth/logout").await;
    let csrf = hidden(&csrf, "csrf");
    let fields = [("csrf", csrf.as_str()), ("request", request.as_str()), ("decision", "allow")];
    attacker.post("/auth/consent", &fields).await.expect(400);
    // What stands in the cookie is not the request: nothing of it can be changed there (L18).
    assert!(victim.jar.values().all(|value| value.len() == 43 && *value != request));
    allow(&mut victim, &consent).await;
    server.stop().await;
}

/// Covers: security L19.
#[tokio::test]
async fn an_old_login_is_asked_again_where_the_app_wants_it() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await;
    browser.log_in(&login, "pat").await.expect(200);
    ask(&mut browser, &server, &[]).await.expect(200);
    for changes in [("prompt", "login"), ("max_age", "0")] {
        let page = ask(&mut browser, &server, &[changes]).await.expect(200);
        assert!(page.text().contains("name=\"password\""), "{changes:?}: {page:?}");
        let consent = browser.log_in(&page, "pat").await.expect(200);
        assert!(consent.text().contains("Allow access?"), "{changes:?}: {consent:?}");
    }
    let page = ask(&mut browser, &server, &[("max_age", "3600")]).await.expect(200);
    assert!(page.text().contains("Allow access?"), "{page:?}");
    server.stop().await;
}

/// Covers: security L19.
#[tokio::test]
async fn an_app_that_means_one_user_gets_no_code_of_another() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    let scope = ("scope", "launch/patient openid patient/Patient.rs");
    let login = ask(&mut browser, &server, &[scope]).await;
    let consent = browser.log_in(&login, "pat").await.expect(200);
    let back = allow(&mut browser, &consent).await;
    let token = exchange(&server, "app", &back).await.expect(200).at("id_token").unwrap();
    let (hint, silent) = (("id_token_hint", token.as_str()), ("prompt", "none"));
    let same = ask(&mut browser, &server, &[scope, hint, silent]).await;
    assert!(parameter(&same, "code").is_some(), "{same:?}");
    let mut other = Browser::new(&server);
    let login = other.open("/auth/login").await;
    other.log_in(&login, "mother").await.expect(200);
    for changes in [&[scope, hint][..], &[scope, hint, silent]] {
        let told = ask(&mut other, &server, changes).await;
        assert_eq!(parameter(&told, "error").as_deref(), Some("login_required"), "{told:?}");
    }
    // Who then logs in as the one that is meant goes on.
    let anew = [scope, hint, ("prompt", "login")];
    let login = ask(&mut other, &server, &anew).await.expect(200);
    let told = other.log_in(&login, "mother").await;
    assert_eq!(parameter(&told, "error").as_deref(), Some("login_required"), "{told:?}");
    let login = ask(&mut other, &server, &anew).await.expect(200);
    let back = other.log_in(&login, "pat").await;
    assert!(parameter(&back, "code").is_some(), "{back:?}");
    server.stop().await;
}

/// Covers: security L17.
#[tokio::test]
async fn a_user_sees_and_ends_the_access_of_apps() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    let login = ask(&mut browser, &server, &[]).await;
    let consent = browser.log_in(&login, "pat").await.expect(200);
    let back = allow(&mut browser, &consent).await;
    let tokens = exchange(&server, "app", &back).await.expect(200);
    let token = format!("Bearer {}", tokens.at("access_token").unwrap());
    let read = async || {
        let call = server.client.call("GET", "Patient/p1").header("Authorization", &token);
        call.send().await.status
    };
    assert_eq!(read().await, 200);
    let apps = browser.open("/auth/apps").await.expect(200);
    assert!(apps.text().contains("See measurements and findings of this patient"), "{apps:?}");
    let ended = browser.submit(&apps, "/auth/apps", &[("client", "app")]).await.expect(303);
    let apps = browser.follow(ended).await.expect(200);
    assert!(apps.text().contains("No app has access"), "{apps:?}");
    let mut status = read().await;
    for _ in 0..60 {
        if status == 401 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        status = read().await;
    }
    assert_eq!(status, 401);
    assert_eq!(noted(&server, 46, 0, "app").await, 1);
    // It has to be agreed to anew.
    ask(&mut browser, &server, &[]).await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn a_question_by_post_needs_the_form_of_forms() {
    let server = world().await;
    let url = format!("{}/auth/authorize", server.client.root());
    let call = server.client.call("POST", &url).header("Content-Type", "application/json");
    call.body("{}").send().await.expect(415);
    let huge = form(&[("state", &"x".repeat(70_000))]);
    let call = server.client.call("POST", &url);
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    call.body(huge).send().await.expect(413);
    server.stop().await;
}
