//! Clients that register themselves, where they may.
//!
//! Covers: security R7, V21.

use serde_json::{Value, json};

use super::client::{refused, send_with};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::{noted, server_with};

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
