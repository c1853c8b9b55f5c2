//! Clients that register themselves, where they may.
//!
//! Covers: security R7, V21.

use serde_json::{Value, json};

use super::bearer::until_refused;
use super::client::{granted, read, refused, send_with, text, tokens};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::{REDIRECT, noted, server_with, store, user};

async fn register(server: &TestServer, asked: &Value, token: Option<&str>) -> Answer {
    let call = server.client.call("POST", &format!("{}/auth/register", server.client.root()));
    let mut call = call.header("Content-Type", "application/json");
    if let Some(token) = token {
        call = call.header("Authorization", &format!("Bearer {token}"));
    }
    call.body(asked.to_string()).send().await
}

fn asked(changes: &Value) -> Value {
    let mut all = json!({
        "client_name": "Chart",
        "redirect_uris": ["https://chart.example.org/cb"],
        "scope": "openid patient/*.rs",
    });
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

const MANY: (&str, &str) = ("limits.registrations_per_minute", "0");

#[tokio::test]
async fn nobody_registers_where_that_is_off() {
    let server = server_with(&[MANY]).await;
    let answer = register(&server, &asked(&json!({})), None).await;
    refused(&answer, 403, "access_denied");
    assert_eq!(noted(&server, 49, 4, "access_denied").await, 1);
    server.stop().await;
    let settings = [MANY, ("auth.registration", "token"), ("auth.registration_token", "canary-r")];
    let server = server_with(&settings).await;
    for wrong in [None, Some(""), Some("canary-x")] {
        refused(&register(&server, &asked(&json!({})), wrong).await, 401, "invalid_token");
    }
    register(&server, &asked(&json!({})), Some("canary-r")).await.expect(201);
    let kept = "SELECT count(*) FROM ledger l WHERE l::text LIKE '%canary%'";
    assert_eq!(server.database.number(kept).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_client_gets_what_it_may_have_and_its_secret_once() {
    let server = server_with(&[MANY, ("auth.registration", "open")]).await;
    let scope = "openid patient/*.rs system/*.cruds system/__introspect system/__launch nonsense";
    let answer = register(&server, &asked(&json!({ "scope": scope })), None).await.expect(201);
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told["scope"], "openid patient/*.rs");
    assert_eq!(told["token_endpoint_auth_method"], "client_secret_basic");
    let (id, secret) =
        (told["client_id"].as_str().unwrap(), told["client_secret"].as_str().unwrap());
    let kept = format!("SELECT count(*) FROM oauth_client c WHERE c::text LIKE '%{secret}%'");
    assert_eq!(server.database.number(&kept).await, 0);
    // It can prove itself by that, but has nothing without a user.
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "system/Patient.rs"),
        ("client_id", id),
        ("client_secret", secret),
    ];
    refused(&send_with(&server, "/auth/token", &fields, &[]).await, 400, "unauthorized_client");
    let public = json!({ "token_endpoint_auth_method": "none", "application_type": "native",
        "redirect_uris": ["org.example.chart:/cb", "http://127.0.0.1/cb"] });
    let told = register(&server, &asked(&public), None).await.expect(201);
    assert!(!told.text().contains("client_secret\""), "{told:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_no_client_may_be_is_refused() {
    let server = server_with(&[MANY, ("auth.registration", "open")]).await;
    let uris = |uri: &str| json!({ "redirect_uris": [uri] });
    let key = json!({ "kty": "EC", "crv": "P-384", "kid": "k", "x": "AA", "y": "AA" });
    let private =
        json!({ "keys": [{ "kty": "RSA", "kid": "k", "n": "AA", "e": "AQAB", "d": "AA" }] });
    let (metadata, redirect) = ("invalid_client_metadata", "invalid_redirect_uri");
    for (changes, error) in [
        (uris("http://chart.example.org/cb"), redirect),
        (uris("https://*.example.org/cb"), redirect),
        (uris("https://chart.example.org/cb#x"), redirect),
        (uris("https://user@chart.example.org/"), redirect),
        (uris("javascript:alert(1)"), redirect),
        (uris("org.example.chart:/cb"), redirect),
        (json!({ "redirect_uris": [] }), redirect),
        (json!({ "redirect_uris": null }), redirect),
        (json!({ "redirect_uris": [1] }), metadata),
        (json!({ "redirect_uris": "https://chart.example.org/cb" }), metadata),
        (json!({ "grant_types": ["client_credentials"] }), metadata),
        (json!({ "grant_types": ["password"] }), metadata),
        (json!({ "token_endpoint_auth_method": "private_key_jwt" }), metadata),
        (
            json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key] },
                "jwks_uri": "https://chart.example.org/jwks" }),
            metadata,
        ),
        (json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": private }), metadata),
        (json!({ "token_endpoint_auth_method": "tls_client_auth" }), metadata),
        (json!({ "application_type": "desktop" }), metadata),
        (json!({ "client_name": "a\nb" }), metadata),
        (json!({ "client_name": 1 }), metadata),
        (json!({ "logo_uri": "javascript:alert(1)" }), metadata),
        (json!({ "logo_uri": "data:image/png,x" }), metadata),
    ] {
        let answer = register(&server, &asked(&changes), None).await;
        assert_eq!(answer.at("error").as_deref(), Some(error), "{changes}: {answer:?}");
        refused(&answer, 400, error);
    }
    for text in ["", "[]", "1", "{"] {
        let call = server.client.call("POST", &format!("{}/auth/register", server.client.root()));
        let answer = call.body(text.to_owned()).send().await;
        assert_eq!(answer.status, 400, "{text}: {answer:?}");
    }
    let count = "SELECT count(*) FROM oauth_client";
    assert_eq!(server.database.number(count).await, 0);
    server.stop().await;
}

/// A request of a client about its own registration.
async fn manage(
    server: &TestServer,
    method: &str,
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut call = server.client.call(method, url);
    if let Some(token) = token {
        call = call.header("Authorization", &format!("Bearer {token}"));
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    call.header("Content-Type", "application/json").body(body).send().await
}

/// A client that has just registered: what it was told.
async fn fresh(server: &TestServer, changes: &Value) -> Value {
    let answer = register(server, &asked(changes), None).await.expect(201);
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn a_client_sees_and_changes_what_it_registered() {
    let server = server_with(&[MANY, ("auth.registration", "open")]).await;
    let told = fresh(&server, &json!({})).await;
    let id = told["client_id"].as_str().unwrap();
    let (url, token) = (
        told["registration_client_uri"].as_str().unwrap(),
        told["registration_access_token"].as_str().unwrap(),
    );
    assert_eq!(url, format!("{}/auth/register/{id}", server.client.root()));
    let kept = format!("SELECT count(*) FROM oauth_client c WHERE c::text LIKE '%{token}%'");
    assert_eq!(server.database.number(&kept).await, 0);

    let seen = manage(&server, "GET", url, Some(token), None).await.expect(200);
    assert_eq!(seen.header("cache-control").as_deref(), Some("no-store"));
    let seen: Value = serde_json::from_slice(&seen.body).unwrap();
    let mut expected = told.clone();
    expected.as_object_mut().unwrap().remove("client_secret");
    assert_eq!(seen, expected, "all but the secret");

    let wanted = json!({
        "client_id": id, "client_secret": told["client_secret"], "client_name": "Curve",
        "redirect_uris": ["https://curve.example.org/cb"],
        "scope": "openid patient/Observation.rs system/*.cruds user/__admin",
    });
    let changed = manage(&server, "PUT", url, Some(token), Some(&wanted)).await.expect(200);
    let changed: Value = serde_json::from_slice(&changed.body).unwrap();
    assert_eq!(changed["client_name"], "Curve");
    assert_eq!(changed["scope"], "openid patient/Observation.rs");
    assert_eq!(changed["redirect_uris"], wanted["redirect_uris"]);
    assert_eq!(changed["registration_access_token"], token);
    let stored = format!(
        "SELECT count(*) FROM oauth_client WHERE id = '{id}' AND name = 'Curve' \
         AND redirect_uris = '{{https://curve.example.org/cb}}' \
         AND origins = '{{https://curve.example.org}}' AND is_registered"
    );
    assert_eq!(server.database.number(&stored).await, 1);
    for (changes, error) in [
        (json!({ "client_id": "other" }), "invalid_client_metadata"),
        (json!({ "client_id": null }), "invalid_client_metadata"),
        (json!({ "client_secret": "guess" }), "invalid_client_metadata"),
        (json!({ "registration_access_token": token }), "invalid_client_metadata"),
        (json!({ "client_id_issued_at": 0 }), "invalid_client_metadata"),
        (json!({ "token_endpoint_auth_method": "none" }), "invalid_client_metadata"),
        (json!({ "grant_types": ["client_credentials"] }), "invalid_client_metadata"),
        (json!({ "redirect_uris": ["http://curve.example.org/"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
    ] {
        let mut body = wanted.clone();
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let answer = manage(&server, "PUT", url, Some(token), Some(&body)).await;
        assert_eq!(answer.at("error").as_deref(), Some(error), "{changes}: {answer:?}");
        refused(&answer, 400, error);
    }
    assert_eq!(server.database.number(&stored).await, 1, "nothing of that was stored");
    assert_eq!(noted(&server, 70, 0, &format!("client {id}")).await, 2);
    server.stop().await;
}

#[tokio::test]
async fn nobody_else_has_a_word_in_a_registration() {
    let server = server_with(&[MANY, ("auth.registration", "open")]).await;
    let (one, other) = (fresh(&server, &json!({})).await, fresh(&server, &json!({})).await);
    let url = one["registration_client_uri"].as_str().unwrap();
    let own = one["registration_access_token"].as_str();
    let wanted = json!({ "client_id": one["client_id"], "client_name": "Stolen",
        "redirect_uris": ["https://evil.example.org/cb"] });
    let unknown = format!("{}/auth/register/nobody", server.client.root());
    for method in ["GET", "PUT", "DELETE"] {
        for (url, token) in [
            (url, None),
            (url, Some("")),
            (url, Some("kiln_rg_guess")),
            (url, other["registration_access_token"].as_str()),
            (url, one["client_secret"].as_str()),
            (unknown.as_str(), own),
        ] {
            let answer = manage(&server, method, url, token, Some(&wanted)).await;
            refused(&answer, 401, "invalid_token");
        }
    }
    let stolen =
        "SELECT count(*) FROM oauth_client WHERE name = 'Stolen' OR disabled_at IS NOT NULL";
    assert_eq!(server.database.number(stolen).await, 0);
    assert_eq!(noted(&server, 70, 4, "invalid_token").await, 18);
    // A client of the operator has no such token, whatever is shown.
    server.database.run("UPDATE oauth_client SET registration = NULL").await;
    refused(&manage(&server, "GET", url, own, None).await, 401, "invalid_token");
    server.stop().await;
}

#[tokio::test]
async fn what_was_granted_ends_with_the_registration_or_with_other_scopes() {
    let server = server_with(&[MANY, ("auth.registration", "open")]).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    let public = json!({ "token_endpoint_auth_method": "none", "scope": "patient/*.rs",
        "redirect_uris": [REDIRECT] });
    let told = fresh(&server, &public).await;
    let id = told["client_id"].as_str().unwrap();
    let (url, token) = (
        told["registration_client_uri"].as_str().unwrap(),
        told["registration_access_token"].as_str(),
    );
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let access = async || {
        let grant = granted(id, "patient/Patient.rs", Some(account));
        text(&tokens(&server, &grant).await, "access_token")
    };
    let mut wanted = asked(&public);
    wanted["client_id"] = json!(id);
    let first = access().await;
    wanted["client_name"] = json!("Another name");
    manage(&server, "PUT", url, token, Some(&wanted)).await.expect(200);
    read(&server, &first).await.expect(200);
    wanted["scope"] = json!("patient/Observation.rs");
    manage(&server, "PUT", url, token, Some(&wanted)).await.expect(200);
    until_refused(&server, &first).await;

    let second = access().await;
    read(&server, &second).await.expect(200);
    let ended = manage(&server, "DELETE", url, token, None).await.expect(204);
    assert!(ended.body.is_empty());
    until_refused(&server, &second).await;
    for method in ["GET", "PUT", "DELETE"] {
        let answer = manage(&server, method, url, token, Some(&wanted)).await;
        refused(&answer, 401, "invalid_token");
    }
    server.stop().await;
}
