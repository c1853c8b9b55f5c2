//! A NUL in whatever a client, an app or a person says: the database keeps none, so it is refused before.
//!
//! Covers: security H6.

use kiln::http::oauth::routes;
use kiln::oauth::secret;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::administration::{act, administered};
use super::browser::{
    Browser, PASSWORD, REDIRECT, VERIFIER, form, hidden, parameter, register, server_with, ticked,
    user,
};
use super::launch::{inside, launch, world};
use super::tokens::client::{
    self, SECRET, basic, code_of, confidential, exchange, granted, public, refreshing, refused,
    send, send_with, server, text,
};
use super::tokens::signed::{Key, fields, service};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;

/// The document with a NUL at the end of each of its texts in turn, and as the name of a member of each of
/// its objects; where it is.
fn with_nul(document: &Value) -> Vec<(String, Value)> {
    fn places(value: &Value, at: &str, all: &mut Vec<String>) {
        match value {
            Value::String(_) => all.push(at.to_owned()),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    places(item, &format!("{at}/{index}"), all);
                }
            }
            Value::Object(members) => {
                all.push(at.to_owned());
                for (name, member) in members {
                    places(member, &format!("{at}/{name}"), all);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    places(document, "", &mut all);
    let changed = all.into_iter().map(|place| {
        let mut document = document.clone();
        match document.pointer_mut(&place).unwrap() {
            Value::String(text) => text.push('\0'),
            other => other["\0"] = json!("x"),
        }
        (place, document)
    });
    changed.collect()
}

/// Fails when it is our fault; whether it was refused.
#[track_caller]
fn is_refused(answer: &Answer, what: &str) -> bool {
    assert!(answer.status < 500, "{what}: {answer:?}");
    answer.status >= 400
}

fn keys() -> Value {
    json!({ "keys": [Key::ec().jwk("k")] })
}

#[tokio::test]
async fn a_client_registers_and_changes_nothing_with_a_nul() {
    let server =
        server_with(&[("limits.registrations_per_minute", "0"), ("auth.registration", "open")])
            .await;
    let url = format!("{}/auth/register", server.client.root());
    let document = json!({
        "client_name": "Chart", "application_type": "web", "scope": "openid patient/*.rs",
        "redirect_uris": ["https://chart.example/cb"], "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": "private_key_jwt", "logo_uri": "https://chart.example/logo",
        "initiate_login_uri": "https://chart.example/launch", "jwks": keys(),
    });
    let send = async |method: &str, url: &str, token: &str, body: &Value| {
        let call = server.client.call(method, url).header("Content-Type", "application/json");
        let call = call.header("Authorization", &format!("Bearer {token}"));
        call.body(body.to_string()).send().await
    };
    let told = send("POST", &url, "", &document).await.expect(201);
    let (own, token) =
        (text(&told, "registration_client_uri"), text(&told, "registration_access_token"));
    let mut wanted = document.clone();
    wanted["client_id"] = json!(text(&told, "client_id"));
    for (method, url, document) in [("POST", &url, &document), ("PUT", &own, &wanted)] {
        send(method, url, &token, document).await.expect(if method == "PUT" { 200 } else { 201 });
        for (place, changed) in with_nul(document) {
            let answer = send(method, url, &token, &changed).await;
            let what = format!("{method} {place}");
            let refused = is_refused(&answer, &what);
            // What is no scope is left out, and so is what nobody asks for.
            assert!(refused || ["", "/scope"].contains(&place.as_str()), "{what}: {answer:?}");
            if place.starts_with("/jwks") {
                let error = answer.at("error");
                assert_eq!(error.as_deref(), Some("invalid_client_metadata"), "{what}: {answer:?}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn an_administrator_makes_nothing_with_a_nul() {
    let provider = [("upstream.issuer", "https://login.example"), ("upstream.client_id", "kiln")];
    let (server, client, token) = administered(&provider).await;
    let app = |id: usize| {
        json!({
            "client_id": format!("app{id}"), "client_name": "Chart", "application_type": "web",
            "token_endpoint_auth_method": "private_key_jwt", "logo_uri": "https://chart.example/logo",
            "redirect_uris": ["https://chart.example/cb"], "origins": ["https://chart.example"],
            "initiate_login_uri": "https://chart.example/launch", "scope": "openid patient/*.rs",
            "jwks": keys(), "state_systems": [format!("urn:state:{id}")],
        })
    };
    let user = |id: usize| json!({ "name": format!("user{id}"), "roles": ["patient"], "fhir_user": "Patient/p1" });
    let documents: [(&str, &dyn Fn(usize) -> Value); 2] =
        [("/admin/clients", &app), ("/admin/users", &user)];
    for (path, document) in documents {
        act(&client, &token, "POST", path, &document(0)).await.expect(201);
        for place in 0..with_nul(&document(0)).len() {
            let (place, changed) = with_nul(&document(place + 1)).swap_remove(place);
            let answer = act(&client, &token, "POST", path, &changed).await;
            assert!(is_refused(&answer, &format!("{path} {place}")), "{place}: {answer:?}");
        }
    }
    for (method, path, document) in [
        ("PUT", "/admin/users/user0/roles", json!({ "roles": ["patient"] })),
        ("POST", "/admin/users/user0/identity", json!({ "subject": "s" })),
    ] {
        act(&client, &token, method, path, &document).await.expect(200);
        for (place, changed) in with_nul(&document) {
            let answer = act(&client, &token, method, path, &changed).await;
            assert_eq!(answer.status, 400, "{method} {path} {place}: {answer:?}");
        }
    }
    for path in ["/admin/clients/%00", "/admin/users/%00"] {
        let answer = act(&client, &token, "GET", path, &Value::Null).await;
        assert!(is_refused(&answer, path), "{answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_app_is_handed_nothing_with_a_nul() {
    let server = world().await;
    let browser = inside(&server, "pat").await;
    let document = json!({
        "client_id": "app", "patient": "p1", "encounter": "e1", "intent": "summary",
        "tenant": "ward", "need_patient_banner": true,
        "fhirContext": [
            { "reference": "ImagingStudy/i", "role": "https://r.example/x", "type": "ImagingStudy" },
            { "canonical": "http://x.example/Questionnaire/1" },
            { "identifier": { "system": "urn:i", "value": "1" } },
        ],
    });
    launch(&server, &browser, &document.to_string()).await.expect(201);
    for (place, changed) in with_nul(&document) {
        let answer = launch(&server, &browser, &changed.to_string()).await;
        assert_eq!(answer.status, 400, "{place}: {answer:?}");
        assert_eq!(answer.at("error").as_deref(), Some("invalid_request"), "{place}: {answer:?}");
    }
    let kept = "SELECT count(*) FROM auth_launch";
    assert_eq!(server.database.number(kept).await, 1);
    server.stop().await;
}

/// Names of parameters of any endpoint.
const PARAMETERS: &[&str] = &[
    "action",
    "again",
    "attestation",
    "aud",
    "authenticator_data",
    "birthdate",
    "client",
    "client_assertion",
    "client_assertion_type",
    "client_data",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "credential",
    "csrf",
    "decision",
    "encounter",
    "factor",
    "grant_type",
    "identifier",
    "iss",
    "launch",
    "login_hint",
    "max_age",
    "name",
    "nonce",
    "password",
    "patient",
    "prompt",
    "purpose",
    "reason",
    "redirect_uri",
    "refresh_token",
    "request",
    "response_mode",
    "response_type",
    "scope",
    "signature",
    "state",
    "token",
    "token_type_hint",
    "username",
];

/// Routes that read neither a form nor a query: what they are told is a document, in the path, or nothing.
const WITHOUT: &[&str] = &[
    "/auth/assets/{name}",
    "/auth/brands",
    "/auth/jwks",
    "/auth/launch",
    "/auth/register",
    "/auth/register/{name}",
    "/auth/style",
];

/// What the authorization server keeps. Of its keys it says from time to time that they are in use.
const TABLES: &[&str] = &[
    "account",
    "account_factor",
    "account_identity",
    "account_link",
    "auth_launch",
    "auth_session",
    "auth_upstream",
    "consent_decision",
    "login_attempt",
    "oauth_authorization",
    "oauth_client",
    "oauth_code",
    "oauth_emergency",
    "oauth_grant",
    "oauth_jti",
    "oauth_token",
];

/// All that is kept, as a number: another one where anything of it is another.
async fn kept(server: &TestServer) -> i64 {
    let all = TABLES.iter().map(|table| format!("SELECT t::text AS line FROM {table} t"));
    let all = all.collect::<Vec<_>>().join(" UNION ALL ");
    let lines = "coalesce(string_agg(line, ' ' ORDER BY line), '')";
    let sql = format!("SELECT hashtextextended({lines}, 0) FROM ({all}) AS kept");
    server.database.number(&sql).await
}

/// The fields with a NUL in the value of each in turn, and then in its name.
fn with_nuls(fields: &[(&str, &str)]) -> Vec<Vec<(String, String)>> {
    let changed = |at: usize, is_name: bool| {
        let own = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut own: Vec<_> = own.collect();
        let (name, value) = &mut own[at];
        let text = if is_name { name } else { value };
        text.push('\0');
        own
    };
    let places = 0..fields.len();
    places.flat_map(|at| [false, true].map(|is_name| changed(at, is_name))).collect()
}

fn lent(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Fails unless an endpoint for programs refuses its form with a NUL wherever it is, and keeps nothing of it.
async fn refuses(server: &TestServer, path: &str, fields: &[(&str, &str)]) {
    let before = kept(server).await;
    for changed in with_nuls(fields) {
        let answer = send(server, path, &lent(&changed)).await;
        refused(&answer, 400, "invalid_request");
    }
    assert_eq!(kept(server).await, before, "{path}");
}

/// The same, and then the form as it is: it is answered, so it was refused for nothing else.
async fn refuses_but(server: &TestServer, path: &str, fields: &[(&str, &str)]) -> Answer {
    refuses(server, path, fields).await;
    send(server, path, fields).await.expect(200)
}

#[tokio::test]
async fn no_endpoint_for_programs_reads_a_nul() {
    const SCOPES: &str = "openid offline_access patient/Patient.rs";
    const SCOPE: &str = "system/Patient.rs";
    let server = server().await;
    let key = Key::ec();
    let jwks = json!({ "keys": [key.jwk("k")] });
    register(&server, &public("app", SCOPES)).await;
    register(&server, &confidential("web", SCOPES)).await;
    register(&server, &client::service("loader", SCOPE)).await;
    register(&server, &service(Some(&jwks), None, SCOPE)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let code = code_of(&server, &granted("app", SCOPES, Some(account))).await;
    let first = refuses_but(&server, "/auth/token", &exchange("app", &code)).await;
    let refresh = text(&first, "refresh_token");
    let mut again = refreshing("app", &refresh);
    again.push(("scope", SCOPES));
    let second = refuses_but(&server, "/auth/token", &again).await;
    let by_secret = [
        ("grant_type", "client_credentials"),
        ("scope", SCOPE),
        ("client_id", "loader"),
        ("client_secret", SECRET),
    ];
    refuses_but(&server, "/auth/token", &by_secret).await;
    let assertion = key.assertion(server.client.root(), &json!({}), &json!({}));
    refuses_but(&server, "/auth/token", &fields(&assertion, SCOPE)).await;

    let token = text(&second, "access_token");
    let about = [("token", token.as_str()), ("token_type_hint", "access_token")];
    let by_web = [("client_id", "web"), ("client_secret", SECRET)];
    let told = refuses_but(&server, "/auth/introspect", &[about, by_web].concat()).await;
    assert!(told.text().contains(r#""active":true"#), "{told:?}");
    for id in ["web\0", "\0"] {
        let header = basic(id);
        let by = [("Authorization", header.as_str())];
        refused(&send_with(&server, "/auth/introspect", &about, &by).await, 401, "invalid_client");
    }
    let by_app = [about.as_slice(), &[("client_id", "app")]].concat();
    refuses_but(&server, "/auth/revoke", &by_app).await;
    let broken = [("purpose", "BTG"), ("patient", "p1"), ("reason", "unconscious"), ("code", "1")];
    refuses(&server, "/auth/break-glass", &broken).await;
    server.stop().await;
}

/// Fails unless a page refuses its form, and its query, with a NUL wherever it is, and keeps nothing of it.
async fn page_refuses(
    server: &TestServer,
    browser: &mut Browser,
    path: &str,
    fields: &[(&str, &str)],
) {
    let before = kept(server).await;
    for changed in with_nuls(fields) {
        let changed = lent(&changed);
        let answer = browser.post(path, &changed).await;
        assert_eq!(answer.status, 400, "POST {path} {changed:?}: {answer:?}");
        let answer = browser.get(&format!("{path}?{}", form(&changed))).await;
        assert_eq!(answer.status, 400, "GET {path} {changed:?}: {answer:?}");
    }
    assert_eq!(kept(server).await, before, "{path}");
}

#[tokio::test]
async fn no_page_reads_a_nul() {
    let server = world().await;
    let mut browser = Browser::new(&server);
    let (base, challenge) = (server.client.base(), secret::challenge(VERIFIER));
    let asked = [
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", REDIRECT),
        ("scope", "launch/patient openid patient/Patient.rs"),
        ("state", "s"),
        ("aud", &base),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("nonce", "n"),
        ("prompt", "login"),
        ("max_age", "60"),
        ("login_hint", "pat"),
        ("response_mode", "query"),
    ];
    let launched = [asked.as_slice(), &[("launch", "handle")]].concat();
    page_refuses(&server, &mut browser, "/auth/authorize", &launched).await;
    let login = browser.open(&format!("/auth/authorize?{}", form(&asked))).await.expect(200);
    let (csrf, request) = (hidden(&login, "csrf"), hidden(&login, "request"));
    let own = [("csrf", csrf.as_str()), ("request", request.as_str())];
    let named = [own, [("username", "pat"), ("password", PASSWORD)]].concat();
    page_refuses(&server, &mut browser, "/auth/login", &named).await;

    let consent = browser.log_in(&login, "pat").await.expect(200);
    let (csrf, request) = (hidden(&consent, "csrf"), hidden(&consent, "request"));
    let own = [("csrf", csrf.as_str()), ("request", request.as_str())];
    let scopes = ticked(&consent);
    let mut agreed = [own, [("decision", "allow"), ("reason", "to see the record")]].concat();
    agreed.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    page_refuses(&server, &mut browser, "/auth/consent", &agreed).await;
    let answer = browser.post("/auth/consent", &agreed).await.expect(303);
    assert!(parameter(&answer, "code").is_some(), "{answer:?}");

    let id = user(&server, "eve", "patient", Some("Patient/p2")).await;
    let link = server.authority().reset_account(id).await.unwrap();
    let path = format!("/auth/setup/{}", link.expose_secret());
    let mut browser = Browser::new(&server);
    let page = browser.open(&path).await.expect(200);
    let csrf = hidden(&page, "csrf");
    let chosen = [("csrf", csrf.as_str()), ("username", "eve")];
    let chosen = [chosen, [("password", PASSWORD), ("again", PASSWORD)]].concat();
    page_refuses(&server, &mut browser, &path, &chosen).await;
    browser.post(&path, &chosen).await.expect(303);
    server.stop().await;
}

#[tokio::test]
async fn no_parameter_has_a_nul() {
    // Each endpoint is asked by one address as often as there are names: more than one may.
    let limits = ["introspections", "registrations", "tokens"];
    let limits = limits.map(|of| format!("limits.{of}_per_minute"));
    let settings: Vec<_> = limits.iter().map(|limit| (limit.as_str(), "0")).collect();
    let server = server_with(&settings).await;
    register(&server, &public("app", "openid launch/patient patient/*.rs")).await;
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await.expect(200);
    let before = kept(&server).await;
    for route in routes::all() {
        let method = route.method.as_str();
        if route.path.contains("{name}") {
            let path = route.path.replace("{name}", "%00");
            let asked = server.client.call(method, &format!("{}{path}", server.client.root()));
            let what = format!("{method} {path}");
            assert!(is_refused(&asked.send().await, &what), "{what}");
        }
        if WITHOUT.contains(&route.path) || route.path.contains("/.well-known/") {
            continue;
        }
        let path = route.path.replace("{name}", "x");
        for name in PARAMETERS {
            let value = [(*name, "a\0b")];
            let answer = match method {
                "POST" => browser.submit(&login, &path, &value).await,
                _ => browser.get(&format!("{path}?{}", form(&value))).await,
            };
            assert_eq!(answer.status, 400, "{method} {path} {name}: {answer:?}");
        }
    }
    assert_eq!(kept(&server).await, before);
    server.stop().await;
}

#[tokio::test]
async fn no_assertion_names_anything_with_a_nul() {
    const SCOPE: &str = "system/Patient.rs";
    let server = server().await;
    let key = Key::ec();
    let jwks = json!({ "keys": [key.jwk("k")] });
    register(&server, &service(Some(&jwks), None, SCOPE)).await;
    let root = server.client.root();
    let whole = key.assertion(root, &json!({}), &json!({}));
    send(&server, "/auth/token", &fields(&whole, SCOPE)).await.expect(200);
    let nothing = json!({});
    for (header, claims) in [
        (json!({ "kid": "k\0" }), nothing.clone()),
        (json!({ "alg": "ES384\0" }), nothing.clone()),
        (json!({ "jku": "https://x.example/\0" }), nothing.clone()),
        (nothing.clone(), json!({ "iss": "job\0", "sub": "job\0" })),
        (nothing.clone(), json!({ "aud": format!("{root}/auth/token\0") })),
    ] {
        let assertion = key.assertion(root, &header, &claims);
        let answer = send(&server, "/auth/token", &fields(&assertion, SCOPE)).await;
        assert_eq!(answer.status, 401, "{header} {claims}: {answer:?}");
    }
    // Of this one a hash is kept.
    let assertion = key.assertion(root, &nothing, &json!({ "jti": "j\0" }));
    send(&server, "/auth/token", &fields(&assertion, SCOPE)).await.expect(200);
    server.stop().await;
}
