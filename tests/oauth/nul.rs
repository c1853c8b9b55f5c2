//! A NUL in whatever a client, an app or a person says: the database keeps none, so it is refused before.
//!
//! Covers: security H6.

use kiln::http::oauth::routes;
use serde_json::{Value, json};

use super::administration::{act, administered};
use super::browser::{Browser, PASSWORD, form, question, register, server_with};
use super::launch::{inside, launch, world};
use super::tokens::client::{public, send, server, text};
use super::tokens::signed::{Key, fields, service};
use crate::harness::client::Answer;

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
    "client",
    "client_assertion",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_verifier",
    "encounter",
    "grant_type",
    "iss",
    "launch",
    "login_hint",
    "nonce",
    "password",
    "patient",
    "purpose",
    "q",
    "reason",
    "redirect_uri",
    "refresh_token",
    "request",
    "scope",
    "state",
    "token",
    "username",
];

#[tokio::test]
async fn no_parameter_has_a_nul() {
    let server = server().await;
    register(&server, &public("app", "openid launch/patient patient/*.rs")).await;
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await.expect(200);
    for route in routes::all() {
        let method = route.method.as_str();
        let path = route.path.replace("{name}", "%00");
        let asked = server.client.call(method, &format!("{}{path}", server.client.root()));
        is_refused(&asked.send().await, &format!("{method} {path}"));
        let path = route.path.replace("{name}", "x");
        for name in PARAMETERS {
            let what = format!("{method} {path} {name}");
            let value = [(*name, "a\0b")];
            let answer = match method {
                "POST" => browser.submit(&login, &path, &value).await,
                _ => browser.get(&format!("{path}?{}", form(&value))).await,
            };
            is_refused(&answer, &what);
        }
    }
    for name in ["client_id", "redirect_uri", "state", "scope", "nonce", "launch", "login_hint"] {
        let asked = question(&server, "app", &[(name, "a\0b")]);
        let answer = browser.get(&format!("/auth/authorize?{asked}")).await;
        assert!(is_refused(&answer, name), "{name}: {answer:?}");
    }
    for (name, value) in [("username", "a\0"), ("password", "violet\0kettle under snow")] {
        let mut all = vec![("username", "a"), ("password", PASSWORD)];
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
        let answer = browser.submit(&login, "/auth/login", &all).await;
        assert!(is_refused(&answer, name), "{name}: {answer:?}");
    }
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
