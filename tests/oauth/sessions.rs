//! Sessions: half ones lead nowhere, forms are ours, and logging out ends what depends on it.

use super::accounts::{code_now, secret_of};
use super::browser::{
    Browser, PASSWORD, SCOPES, app, exchange, form, hidden, location, noted, question, register,
    server, store, user,
};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;

/// Covers: security V22, M4.
#[tokio::test]
async fn who_lacks_the_second_factor_gets_nowhere_else() {
    let server = server().await;
    user(&server, "doc", "practitioner", Some("Practitioner/d")).await;
    register(&server, &app("app", SCOPES)).await;
    let mut browser = Browser::new(&server);
    let asked = browser.get(&format!("/auth/authorize?{}", question(&server, "app", &[]))).await;
    let page = browser.follow(asked).await.expect(200);
    let request = hidden(&page, "request");
    let half = browser.log_in(&page, "doc").await.expect(200);
    assert!(half.text().contains("Add an authenticator app"), "{half:?}");
    let csrf = hidden(&half, "csrf");
    // Every page, with a request and without: half a login leads to the second factor alone (M4).
    let mut seen = 0;
    for (method, path) in pages() {
        if is_of_factors(&path) {
            continue;
        }
        let was = browser.jar.clone();
        let answer = tried(&server, &mut browser, (&method, &path), (&csrf, &request), "").await;
        let Some(answer) = answer else { continue };
        assert!(is_kept_out(&path, &answer, "/auth/factors"), "{method} {path}: {answer:?}");
        if path.starts_with("/v2") {
            assert_eq!(answer.status, 303, "{method} {path}: {answer:?}");
            seen += 1;
        }
        assert_eq!(browser.jar, was, "{path} gave another session");
    }
    assert_eq!(seen, 4, "pages of messages");
    server.stop().await;
}

/// Who has a second factor and gave the password alone is let prove that factor, and nothing else: above all not set
/// up another one.
///
/// Covers: security V22, M4.
#[tokio::test]
async fn who_has_a_second_factor_gets_nowhere_without_it() {
    let server = server().await;
    user(&server, "doc", "practitioner", Some("Practitioner/d")).await;
    register(&server, &app("app", SCOPES)).await;
    let mut first = Browser::new(&server);
    let login = first.open("/auth/login").await;
    let page = first.log_in(&login, "doc").await.expect(200);
    let page = first.submit(&page, "/auth/factors", &[("action", "begin-app")]).await.expect(200);
    let code = code_now(&secret_of(&page), 0);
    let right = [("action", "confirm-app"), ("code", code.as_str())];
    first.submit(&page, "/auth/factors", &right).await.expect(200);
    let factors = "SELECT count(*) FROM account_factor";
    let before = server.database.number(factors).await;

    let mut browser = Browser::new(&server);
    let asked = format!("/auth/authorize?{}", question(&server, "app", &[]));
    let page = browser.open(&asked).await.expect(200);
    let request = hidden(&page, "request");
    let half = browser.log_in(&page, "doc").await.expect(200);
    assert!(half.text().contains("action=\"/auth/second-factor\""), "{half:?}");
    let csrf = hidden(&half, "csrf");
    let was = browser.jar.clone();
    let mut seen = 0;
    for (method, path) in pages() {
        let actions: &[&str] = match (method.as_str(), path.as_str()) {
            ("POST", "/auth/factors") => {
                &["begin-app", "confirm-app", "add-key", "step-up", "recovery", "remove", ""]
            }
            _ => &[""],
        };
        for action in actions {
            let asked = (method.as_str(), path.as_str());
            let answer = tried(&server, &mut browser, asked, (&csrf, &request), action).await;
            let Some(answer) = answer else { continue };
            let is_own = asked == ("GET", "/auth/second-factor") && answer.status == 200;
            let is_kept = is_own || is_kept_out(&path, &answer, "/auth/second-factor");
            assert!(is_kept, "{method} {path} {action}: {answer:?}");
            assert!(!answer.text().contains("class=\"code\""), "{path} {action}: {answer:?}");
            assert_eq!(browser.jar, was, "{path} {action} gave another session");
            seen += usize::from(is_of_factors(&path));
        }
    }
    assert_eq!(seen, 10, "pages of second factors");
    assert_eq!(server.database.number(factors).await, before);
    let out = browser.get("/auth/apps").await.expect(303);
    assert!(!location(&out).starts_with("/auth/apps"), "{out:?}");
    server.stop().await;
}

/// What a browser meets that tries a route with all that the pages ask for; nothing of those by which one logs in anew
/// or out.
async fn tried(
    server: &TestServer,
    browser: &mut Browser,
    (method, path): (&str, &str),
    (csrf, request): (&str, &str),
    action: &str,
) -> Option<Answer> {
    let fields = [
        ("csrf", csrf),
        ("request", request),
        ("action", action),
        ("patient", "p1"),
        ("decision", "allow"),
        ("scope", "patient/Observation.rs"),
        ("client", "app"),
    ];
    let by_hand = |kind: &str, body: String| {
        let cookie = browser.jar.iter().map(|(name, value)| format!("{name}={value}"));
        let cookie = cookie.collect::<Vec<_>>().join("; ");
        let call = server.client.call(method, &format!("{}{path}", server.client.root()));
        call.header("Cookie", &cookie).header("Content-Type", kind).body(body)
    };
    let answer = match (method, path) {
        ("POST", "/auth/logout" | "/auth/login") => return None,
        ("GET", _) => browser.get(&format!("{path}?request={request}")).await,
        ("POST", "/auth/launch") => {
            let body = r#"{"client_id":"app","patient":"p1"}"#;
            by_hand("application/json", body.to_owned()).send().await
        }
        ("POST", _) => browser.post(path, &fields).await,
        _ => by_hand("application/x-www-form-urlencoded", form(&fields)).send().await,
    };
    assert!(!location(&answer).contains("code="), "{method} {path}: {answer:?}");
    Some(answer)
}

/// Whether an answer leads to the second factor or a login, or shows what is for everybody.
fn is_kept_out(path: &str, answer: &Answer, factor: &str) -> bool {
    let to = location(answer);
    match answer.status {
        303 => to.starts_with(factor) || to.starts_with("/auth/login"),
        200 => matches!(
            path,
            "/auth/brands"
                | "/auth/logout"
                | "/auth/style"
                | "/auth/jwks"
                | "/auth/.well-known/openid-configuration"
        ),
        status => (400..500).contains(&status),
    }
}

fn is_of_factors(path: &str) -> bool {
    ["/auth/factors", "/auth/second-factor"].contains(&path)
}

/// The method and path of every route of the authorization server and of the console.
fn pages() -> Vec<(String, String)> {
    let routes = kiln::http::oauth::routes::all().into_iter().chain(kiln::http::console::all());
    let pages = routes.map(|route| (route.method.to_string(), route.path.replace("{name}", "x")));
    let is_page = |path: &str| {
        let is_ours = path.starts_with("/auth/") || path.starts_with("/v2");
        is_ours && !path.contains("assets")
    };
    pages.filter(|(_, path)| is_page(path)).collect()
}

/// Covers: security V19, M6.
#[tokio::test]
async fn a_form_that_is_not_ours_does_nothing() {
    let server = server().await;
    user(&server, "pat", "patient", Some("Patient/p1")).await;
    let mut browser = Browser::new(&server);
    let page = browser.open("/auth/login").await;
    let own = hidden(&page, "csrf");
    let mut other = Browser::new(&server);
    let foreign = hidden(&other.open("/auth/login").await, "csrf");
    assert_ne!(own, foreign);
    for csrf in ["", "x", foreign.as_str()] {
        for path in [
            "/auth/login",
            "/auth/logout",
            "/auth/second-factor",
            "/auth/factors",
            "/auth/patient",
            "/auth/encounter",
            "/auth/consent",
            "/auth/apps",
        ] {
            let fields = [("csrf", csrf), ("username", "pat"), ("password", PASSWORD)];
            let answer = browser.post(path, &fields).await;
            assert_eq!(answer.status, 403, "{path} with {csrf:?}: {answer:?}");
        }
    }
    // A form without a session, or in another form, is none.
    let url = format!("{}/auth/login", server.client.root());
    let call = server.client.call("POST", &url);
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    call.body(form(&[("csrf", &own), ("username", "pat")])).send().await.expect(403);
    let call = server.client.call("POST", &url).header("Content-Type", "text/plain");
    call.body("csrf=x").send().await.expect(415);
    server.stop().await;
}

/// Covers: security L18, V22.
#[tokio::test]
async fn a_cookie_that_was_planted_is_worth_nothing() {
    let server = server().await;
    user(&server, "pat", "patient", None).await;
    let mut browser = Browser::new(&server);
    let page = browser.open("/auth/login").await;
    let planted = browser.jar.clone();
    browser.log_in(&page, "pat").await.expect(200);
    let mut attacker = Browser::new(&server);
    attacker.jar = planted;
    let seen = attacker.get("/auth/apps").await.expect(303);
    assert_eq!(location(&seen), "/auth/login");
    // Two cookies of the name: one of them is somebody else's.
    let (name, value) = browser.jar.iter().next().unwrap();
    let both = format!("{name}={value}; {name}=other");
    let url = format!("{}/auth/apps", server.client.root());
    server.client.call("GET", &url).header("Cookie", &both).send().await.expect(303);
    // It is kept from scripts and other sites.
    let login = Browser::new(&server).get("/auth/login").await;
    let cookie = login.header("set-cookie").unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
    server.stop().await;
}

/// Covers: security L16, M5.
#[tokio::test]
async fn logging_out_ends_the_session_and_what_depends_on_it() {
    let server = server().await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1","name":[{"family":"Amsel"}]}"#]).await;
    user(&server, "pat", "patient", Some("Patient/p1")).await;
    register(&server, &app("app", SCOPES)).await;
    let mut browser = Browser::new(&server);
    let mut tokens = Vec::new();
    for more in ["online_access", "offline_access"] {
        let scope = format!("launch/patient openid patient/Patient.rs {more}");
        let asked = question(&server, "app", &[("scope", &scope)]);
        let mut page = browser.open(&format!("/auth/authorize?{asked}")).await.expect(200);
        if page.text().contains("name=\"username\"") {
            page = browser.log_in(&page, "pat").await.expect(200);
        }
        let scopes = super::browser::ticked(&page);
        let mut fields = vec![("decision", "allow")];
        fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
        let back = browser.submit(&page, "/auth/consent", &fields).await.expect(303);
        let answer = exchange(&server, "app", &back).await.expect(200);
        tokens.push(answer.at("access_token").expect("a token"));
        assert!(answer.at("refresh_token").is_some(), "{more}: {answer:?}");
    }
    let read = async |token: &str| {
        let call = server.client.call("GET", "Patient/p1");
        call.header("Authorization", &format!("Bearer {token}")).send().await.status
    };
    assert_eq!([read(&tokens[0]).await, read(&tokens[1]).await], [200, 200]);
    let page = browser.open("/auth/logout").await.expect(200);
    browser.submit(&page, "/auth/logout", &[]).await.expect(200);
    assert!(browser.jar.is_empty());
    let mut online = read(&tokens[0]).await;
    for _ in 0..60 {
        if online == 401 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        online = read(&tokens[0]).await;
    }
    assert_eq!([online, read(&tokens[1]).await], [401, 200]);
    let login = browser.open("/auth/apps").await.expect(200);
    assert!(login.text().contains("name=\"password\""));
    assert_eq!(noted(&server, 41, 0, "").await, 1);
    server.stop().await;
}

/// Covers: security M5.
#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_and_after_a_day_of_work() {
    let server = server().await;
    user(&server, "pat", "patient", None).await;
    for later in ["seen = now() - interval '16 minutes'", "started = now() - interval '13 hours'"] {
        let mut browser = Browser::new(&server);
        let login = browser.open("/auth/login").await;
        browser.log_in(&login, "pat").await.expect(200);
        browser.get("/auth/apps").await.expect(200);
        server.database.run(&format!("UPDATE auth_session SET {later}")).await;
        let out = browser.get("/auth/apps").await.expect(303);
        assert_eq!(location(&out), "/auth/login", "{later}");
    }
    server.stop().await;
}
