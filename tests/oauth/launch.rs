//! Launches from an EHR: made for one user and one app, used once, for patients that the user may see.

use super::browser::{
    Browser, SCOPES, app, exchange, form, hidden, location, noted, parameter, question, register,
    server, store, ticked, user,
};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;

const LAUNCH: i16 = 48;

pub(super) async fn world() -> TestServer {
    let server = server().await;
    store(
        &server,
        &[
            r#"{"resourceType":"Patient","id":"p1","name":[{"family":"Amsel"}]}"#,
            r#"{"resourceType":"Patient","id":"p2","name":[{"family":"Bussard"}]}"#,
            r#"{"resourceType":"Encounter","id":"e1","status":"finished","class":{"code":"AMB"},
                "subject":{"reference":"Patient/p1"}}"#,
        ],
    )
    .await;
    user(&server, "pat", "patient", Some("Patient/p1")).await;
    user(&server, "bea", "patient", Some("Patient/p2")).await;
    for id in ["app", "other"] {
        register(&server, &app(id, SCOPES)).await;
    }
    server
}

pub(super) async fn inside(server: &TestServer, name: &str) -> Browser {
    let mut browser = Browser::new(server);
    let login = browser.open("/auth/login").await;
    browser.log_in(&login, name).await.expect(200);
    browser
}

pub(super) async fn launch(server: &TestServer, browser: &Browser, body: &str) -> Answer {
    let cookie = browser.jar.iter().map(|(name, value)| format!("{name}={value}"));
    let cookie = cookie.collect::<Vec<_>>().join("; ");
    let call = server.client.call("POST", &format!("{}/auth/launch", server.client.root()));
    call.header("Cookie", &cookie)
        .header("Content-Type", "application/json")
        .body(body.to_owned())
        .send()
        .await
}

async fn open(server: &TestServer, browser: &mut Browser, client: &str, handle: &str) -> Answer {
    let scope = "launch openid fhirUser online_access patient/Patient.rs patient/Encounter.rs";
    let asked = question(server, client, &[("scope", scope), ("launch", handle)]);
    browser.open(&format!("/auth/authorize?{asked}")).await
}

/// Covers: security L13, L14, V20.
#[tokio::test]
async fn an_app_gets_what_the_ehr_hands_over_once() {
    let server = world().await;
    let mut browser = inside(&server, "pat").await;
    let body = r#"{"client_id":"app","patient":"p1","encounter":"e1","intent":"summary",
        "need_patient_banner":false,"tenant":"ward-3","fhirContext":[{"reference":"ImagingStudy/i1"}]}"#;
    let made = launch(&server, &browser, body).await.expect(201);
    let handle = made.at("launch").unwrap();
    let url = made.at("launch_url").unwrap();
    assert!(
        url.starts_with("https://app.example/launch?iss=http") && url.contains(&handle),
        "{url}"
    );
    let consent = open(&server, &mut browser, "app", &handle).await.expect(200);
    assert!(consent.text().contains("Amsel"), "{consent:?}");
    let scopes = ticked(&consent);
    let mut fields = vec![("decision", "allow")];
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    let back = browser.submit(&consent, "/auth/consent", &fields).await.expect(303);
    let tokens = exchange(&server, "app", &back).await.expect(200);
    let whole =
        [("patient", "p1"), ("encounter", "e1"), ("intent", "summary"), ("tenant", "ward-3")];
    for (name, value) in whole {
        assert_eq!(tokens.at(name).as_deref(), Some(value), "{tokens:?}");
    }
    let text = tokens.text();
    assert!(text.contains("\"need_patient_banner\":false") && text.contains("ImagingStudy/i1"));
    let style = tokens.at("smart_style_url").expect("where the style is");
    server.client.get(&style).await.expect(200);
    // What was handed over stays over a refresh.
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*tokens.at("refresh_token").expect("a refresh token")),
        ("client_id", "app"),
    ];
    let call = server.client.call("POST", &format!("{}/auth/token", server.client.root()));
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    let later = call.body(form(&fields)).send().await.expect(200);
    for name in
        ["patient", "encounter", "intent", "tenant", "smart_style_url", "need_patient_banner"]
    {
        assert_eq!(later.at(name), tokens.at(name), "{name}: {later:?}");
    }
    assert!(later.text().contains("ImagingStudy/i1"), "{later:?}");
    assert!(tokens.at("scope").unwrap().split(' ').any(|scope| scope == "launch"));
    // V20: used up.
    let again = open(&server, &mut browser, "app", &handle).await;
    assert_eq!(parameter(&again, "error").as_deref(), Some("invalid_request"), "{again:?}");
    assert_eq!(noted(&server, LAUNCH, 0, "app for user:pat").await, 1);
    assert_eq!(noted(&server, LAUNCH, 4, "used").await, 1);
    server.stop().await;
}

/// Covers: security L13, V20.
#[tokio::test]
async fn a_handle_is_of_no_use_to_another_app_or_user() {
    let server = world().await;
    let browser = inside(&server, "pat").await;
    let made = launch(&server, &browser, r#"{"client_id":"app","patient":"p1"}"#).await.expect(201);
    let handle = made.at("launch").unwrap();
    let mut thief = inside(&server, "bea").await;
    let mut own = inside(&server, "pat").await;
    for (who, client) in [(&mut thief, "app"), (&mut own, "other")] {
        let answer = open(&server, who, client, &handle).await;
        assert_eq!(parameter(&answer, "error").as_deref(), Some("invalid_request"), "{client}");
    }
    let answer = open(&server, &mut own, "app", "unknown").await;
    assert_eq!(parameter(&answer, "error").as_deref(), Some("invalid_request"));
    // Who it was made for can still use it.
    open(&server, &mut own, "app", &handle).await.expect(200);
    server.stop().await;
}

/// After five minutes a handle is of no use.
///
/// Covers: security L13.
#[tokio::test]
async fn a_handle_counts_for_five_minutes() {
    let server = world().await;
    let mut browser = inside(&server, "pat").await;
    let made = launch(&server, &browser, r#"{"client_id":"app","patient":"p1"}"#).await.expect(201);
    let handle = made.at("launch").unwrap();
    let left = "SELECT extract(epoch FROM expires - now())::bigint FROM auth_launch";
    assert!((280..=300).contains(&server.database.number(left).await));
    let later = |seconds: u32| {
        format!("UPDATE auth_launch SET expires = expires - interval '{seconds} seconds'")
    };
    server.database.run(&later(270)).await;
    open(&server, &mut browser, "app", &handle).await.expect(200);
    let made = launch(&server, &browser, r#"{"client_id":"app","patient":"p1"}"#).await.expect(201);
    let handle = made.at("launch").unwrap();
    server.database.run(&later(300)).await;
    let answer = open(&server, &mut browser, "app", &handle).await;
    assert_eq!(parameter(&answer, "error").as_deref(), Some("invalid_request"), "{answer:?}");
    server.stop().await;
}

/// Covers: security L13.
#[tokio::test]
async fn a_launch_is_made_for_what_the_user_may_see() {
    let server = world().await;
    let browser = inside(&server, "pat").await;
    for (body, expected) in [
        (r#"{"client_id":"app","patient":"p2"}"#, 403),
        (r#"{"client_id":"app","patient":"missing"}"#, 403),
        (r#"{"client_id":"app","patient":"p1","encounter":"missing"}"#, 403),
        (r#"{"client_id":"app","patient":"a/b"}"#, 400),
        (r#"{"client_id":"none","patient":"p1"}"#, 400),
        (r#"{"client_id":"app","user":"bea"}"#, 400),
        (r#"{"client_id":"app","fhirContext":[{"reference":"Patient/p1"}]}"#, 400),
        (r#"{"client_id":"app","more":1}"#, 400),
        ("[]", 400),
        ("", 400),
        (r#"{"client_id":"app"}"#, 201),
    ] {
        let answer = launch(&server, &browser, body).await;
        assert_eq!(answer.status, expected, "{body}: {answer:?}");
    }
    let before = noted(&server, LAUNCH, 4, "").await;
    let nobody = Browser::new(&server);
    launch(&server, &nobody, r#"{"client_id":"app"}"#).await.expect(401);
    launch(&server, &browser, "no JSON").await.expect(400);
    let url = format!("{}/auth/launch", server.client.root());
    let call = server.client.call("POST", &url).header("Content-Type", "text/plain");
    call.body("{}").send().await.expect(415);
    let call = server.client.call("POST", &url).header("Authorization", "Bearer kiln_at_x");
    let call = call.header("Content-Type", "application/json");
    call.body(r#"{"client_id":"app"}"#).send().await.expect(401);
    assert_eq!(noted(&server, LAUNCH, 4, "").await, before + 3);
    assert_eq!(noted(&server, LAUNCH, 4, "no token that counts").await, 1);
    assert_eq!(location(&launch(&server, &browser, "{}").await), "");
    server.stop().await;
}

/// Allows what is ticked.
async fn allow(browser: &mut Browser, page: &Answer) -> Answer {
    let scopes = ticked(page);
    let mut fields = vec![("decision", "allow")];
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    browser.submit(page, "/auth/consent", &fields).await.expect(303)
}

/// Another app wants a new login, in another tab, and somebody else logs in.
async fn somebody_else(server: &TestServer, browser: &mut Browser, name: &str) {
    let asked = question(server, "other", &[("prompt", "login")]);
    let login = browser.open(&format!("/auth/authorize?{asked}")).await.expect(200);
    assert!(login.text().contains("name=\"password\""), "{login:?}");
    browser.log_in(&login, name).await.expect(200);
}

/// What waits goes on in the browser, and for who has logged in by then.
///
/// Covers: security L12.
#[tokio::test]
async fn what_one_account_chose_is_not_chosen_by_the_next() {
    let server = world().await;
    let mut browser = inside(&server, "pat").await;
    let asked = question(&server, "app", &[]);
    let first = browser.open(&format!("/auth/authorize?{asked}")).await.expect(200);
    assert!(first.text().contains("Amsel"), "{first:?}");
    somebody_else(&server, &mut browser, "bea").await;
    let url = format!("/auth/consent?request={}", hidden(&first, "request"));
    let again = browser.open(&url).await.expect(200);
    assert!(again.text().contains("Bussard") && !again.text().contains("Amsel"), "{again:?}");
    let back = allow(&mut browser, &again).await;
    let tokens = exchange(&server, "app", &back).await.expect(200);
    assert_eq!(tokens.at("patient").as_deref(), Some("p2"), "{tokens:?}");
    let token = format!("Bearer {}", tokens.at("access_token").expect("a token"));
    for (id, status) in [("p1", 404), ("p2", 200)] {
        let call = server.client.call("GET", &format!("/Patient/{id}"));
        call.header("Authorization", &token).send().await.expect(status);
    }
    server.stop().await;
}

/// Covers: security L13, V20.
#[tokio::test]
async fn what_an_ehr_handed_to_one_account_is_of_no_use_to_the_next() {
    let server = world().await;
    let mut browser = inside(&server, "pat").await;
    let body = r#"{"client_id":"app","patient":"p1","encounter":"e1"}"#;
    let made = launch(&server, &browser, body).await.expect(201);
    let handle = made.at("launch").unwrap();
    let first = open(&server, &mut browser, "app", &handle).await.expect(200);
    assert!(first.text().contains("Amsel"), "{first:?}");
    somebody_else(&server, &mut browser, "bea").await;
    let request = hidden(&first, "request");
    let told = browser.open(&format!("/auth/consent?request={request}")).await;
    assert_eq!(parameter(&told, "error").as_deref(), Some("invalid_request"), "{told:?}");
    assert_eq!(noted(&server, LAUNCH, 4, "another's").await, 1);
    // It is over for the one whom it was for, too.
    let mut own = inside(&server, "pat").await;
    own.open(&format!("/auth/consent?request={request}")).await.expect(400);
    server.stop().await;
}

/// Between the choice and the consent a patient can be lost.
///
/// Covers: security L12.
#[tokio::test]
async fn who_loses_the_patient_on_the_way_gets_no_code() {
    let server = world().await;
    let mother = |active: bool| {
        format!(
            r#"{{"resourceType":"RelatedPerson","id":"m","active":{active},"patient":{{"reference":"Patient/p1"}}}}"#
        )
    };
    store(&server, &[&*mother(true)]).await;
    user(&server, "mother", "patient", Some("RelatedPerson/m")).await;
    let mut browser = inside(&server, "mother").await;
    let url = format!("/auth/authorize?{}", question(&server, "app", &[]));
    let mut pages = Vec::new();
    for _ in 0..2 {
        let page = browser.open(&url).await.expect(200);
        assert!(page.text().contains("Amsel"), "{page:?}");
        pages.push(page);
    }
    store(&server, &[&*mother(false)]).await;
    let agreed = allow(&mut browser, &pages[0]).await;
    let url = format!("/auth/consent?request={}", hidden(&pages[1], "request"));
    let shown = browser.open(&url).await;
    for told in [agreed, shown] {
        assert_eq!(parameter(&told, "error").as_deref(), Some("access_denied"), "{told:?}");
        assert!(parameter(&told, "code").is_none() && !told.text().contains("Amsel"), "{told:?}");
    }
    server.stop().await;
}
