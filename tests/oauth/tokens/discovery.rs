//! What clients look up; and which web pages may read answers.
//!
//! Covers: security D1, D2, D3, D4, D5, D6, D7, K4, R8, V37.

use serde_json::{Value, json};

use super::client::{SECRET, code_of, confidential, exchange, granted, public, send_with, text};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::{register, server_with, user};

const OWN: &str = "https://app.example";
const OTHER: &str = "https://other.example";

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

async fn document(server: &TestServer, path: &str) -> Value {
    let answer = server.client.get(&format!("{}{path}", server.client.root())).await.expect(200);
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
    body(&answer)
}

const SMART: &str = "/fhir/.well-known/smart-configuration";

#[tokio::test]
async fn the_configuration_is_json_for_everybody_and_by_the_configured_name() {
    let base = ("http.base_url", "https://fhir.example.org/fhir");
    let server = server_with(&[base]).await;
    let mut seen: Vec<Value> = Vec::new();
    for (name, value) in [
        ("Accept", "text/html"),
        ("Accept", "application/fhir+xml"),
        ("Accept", "application/json"),
        ("Host", "evil.example"),
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "host=evil.example;proto=http"),
    ] {
        let call = server.client.call("GET", &format!("{}{SMART}", server.client.root()));
        let answer = call.header(name, value).send().await.expect(200);
        assert_eq!(answer.header("content-type").as_deref(), Some("application/json"), "{value}");
        assert!(!answer.text().contains("evil"), "{answer:?}");
        seen.push(body(&answer));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    server.stop().await;
}

#[tokio::test]
async fn the_configuration_says_where_everything_is_and_what_can_be_had() {
    let server = server_with(&[("http.base_url", "https://fhir.example.org/fhir")]).await;
    let told = &document(&server, SMART).await;
    for (name, path) in [
        ("issuer", ""),
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("introspection_endpoint", "/introspect"),
        ("revocation_endpoint", "/revoke"),
        ("management_endpoint", "/apps"),
        ("jwks_uri", "/jwks"),
    ] {
        assert_eq!(told[name], format!("https://fhir.example.org/auth{path}"), "{name}");
    }
    assert_eq!(told.get("registration_endpoint"), None);
    for (name, expected) in [
        ("grant_types_supported", "authorization_code"),
        ("grant_types_supported", "client_credentials"),
        ("code_challenge_methods_supported", "S256"),
        ("token_endpoint_auth_methods_supported", "private_key_jwt"),
        ("token_endpoint_auth_methods_supported", "client_secret_basic"),
        ("token_endpoint_auth_methods_supported", "client_secret_post"),
        ("token_endpoint_auth_signing_alg_values_supported", "RS384"),
        ("token_endpoint_auth_signing_alg_values_supported", "ES384"),
        ("response_types_supported", "code"),
        ("scopes_supported", "openid"),
        ("scopes_supported", "patient/*.cruds"),
    ] {
        assert!(told[name].as_array().unwrap().contains(&json!(expected)), "{name} {expected}");
    }
    assert_eq!(told["code_challenge_methods_supported"], json!(["S256"]));
    for capability in "launch-standalone launch-ehr client-public client-confidential-symmetric \
        client-confidential-asymmetric sso-openid-connect context-standalone-patient \
        context-ehr-patient context-ehr-encounter context-banner context-style permission-offline \
        permission-patient permission-user authorize-post permission-v1 permission-v2"
        .split_whitespace()
    {
        assert!(
            told["capabilities"].as_array().unwrap().contains(&json!(capability)),
            "{capability}"
        );
    }
    // Every scope that is offered is one.
    let known = &server.authority().persons.roles;
    for scope in told["scopes_supported"].as_array().unwrap() {
        assert!(!known.scopes(scope.as_str().unwrap()).is_empty(), "{scope}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_other_documents_say_the_same() {
    let server = server_with(&[("http.base_url", "https://fhir.example.org/fhir")]).await;
    let told = document(&server, SMART).await;
    let openid = document(&server, "/auth/.well-known/openid-configuration").await;
    for name in ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"] {
        assert_eq!(openid[name], told[name], "{name}");
    }
    assert_eq!(openid["id_token_signing_alg_values_supported"], json!(["RS256"]));
    assert_eq!(openid["subject_types_supported"], json!(["public"]));
    let metadata = server.client.get("/metadata").await.expect(200);
    let security = &body(&metadata)["rest"][0]["security"];
    assert_eq!(security["cors"], true);
    assert_eq!(security["service"][0]["coding"][0]["code"], "SMART-on-FHIR");
    let uris = security["extension"][0]["extension"].as_array().unwrap();
    for (short, name) in [
        ("authorize", "authorization_endpoint"),
        ("token", "token_endpoint"),
        ("introspect", "introspection_endpoint"),
        ("revoke", "revocation_endpoint"),
        ("manage", "management_endpoint"),
    ] {
        let found = uris.iter().find(|it| it["url"] == short).unwrap();
        assert_eq!(found["valueUri"], told[name], "{short}");
    }
    assert!(!uris.iter().any(|it| it["url"] == "register"), "{uris:?}");
    server.stop().await;
    // Where clients register themselves, older ones hear where.
    let server = server_with(&[("auth.registration", "open")]).await;
    let told = document(&server, SMART).await;
    let metadata = body(&server.client.get("/metadata").await.expect(200));
    let uris = metadata["rest"][0]["security"]["extension"][0]["extension"].as_array().unwrap();
    let found = uris.iter().find(|it| it["url"] == "register").unwrap();
    assert_eq!(found["valueUri"], told["registration_endpoint"]);
    assert!(told["registration_endpoint"].as_str().unwrap().ends_with("/auth/register"));
    server.stop().await;
}

#[tokio::test]
async fn what_is_switched_off_is_neither_told_nor_done() {
    let off = "client-public,sso-openid-connect";
    let server = server_with(&[("auth.without", off), ("auth.registration", "open")]).await;
    let told = document(&server, SMART).await;
    for capability in off.split(',') {
        assert!(!told["capabilities"].as_array().unwrap().contains(&json!(capability)));
    }
    assert_eq!((told.get("issuer"), told.get("jwks_uri")), (None, None));
    assert!(told.get("registration_endpoint").is_some());
    register(&server, &public("app", "patient/Patient.rs")).await;
    let code = code_of(&server, &granted("app", "patient/Patient.rs", None)).await;
    let answer = send_with(&server, "/auth/token", &exchange("app", &code), &[]).await.expect(400);
    assert_eq!(text(&answer, "error"), "unauthorized_client");
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_is_replaced_is_published_on() {
    let folder = crate::harness::database::temporary("keys");
    let server = server_with(&[("auth.keys_dir", folder.to_str().unwrap())]).await;
    let ids = |told: &Value| -> Vec<String> {
        let keys = told["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let first = ids(&document(&server, "/auth/jwks").await);
    assert_eq!(first.len(), 1);
    let keys = server.authority().keys.clone();
    tokio::task::spawn_blocking(move || keys.rotate()).await.unwrap().unwrap();
    server.authority().look_at_key().await.unwrap();
    let both = ids(&document(&server, "/auth/jwks").await);
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    let later = "UPDATE oauth_key SET retired_at = now() - interval '25 hours' \
                 WHERE retired_at IS NOT NULL";
    server.database.run(later).await;
    let then = ids(&document(&server, "/auth/jwks").await);
    assert!(then.len() == 1 && !then.contains(&first[0]), "{then:?}");
    server.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// The origin that an answer is for.
fn readers(answer: &Answer) -> Option<String> {
    answer.header("access-control-allow-origin")
}

#[tokio::test]
async fn answers_are_for_the_pages_of_the_client_and_of_no_other() {
    let server = server_with(&[("http.cors_origins", "")]).await;
    for (id, origin) in [("app", OWN), ("other", OTHER)] {
        let mut client = public(id, "patient/Patient.rs");
        client.origins = vec![origin.to_owned()];
        register(&server, &client).await;
    }
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let root = server.client.root().to_owned();
    // What is for everybody is for every page.
    for path in [SMART, "/auth/.well-known/openid-configuration", "/auth/jwks", "/fhir/metadata"] {
        let call = server.client.call("GET", &format!("{root}{path}"));
        let answer = call.header("Origin", "https://anybody.example").send().await.expect(200);
        assert_eq!(readers(&answer).as_deref(), Some("*"), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    // A preflight names no client.
    for (origin, expected) in [
        (OWN, Some(OWN)),
        (OTHER, Some(OTHER)),
        ("https://evil.example", None),
        ("https://app.example.evil.example", None),
        ("https://evil-app.example", None),
        ("http://app.example", None),
        ("null", None),
    ] {
        for path in ["/auth/token", "/auth/introspect", "/auth/revoke", "/fhir/Patient/p1"] {
            let call = server.client.call("OPTIONS", &format!("{root}{path}"));
            let call = call.header("Access-Control-Request-Method", "POST");
            let answer = call.header("Origin", origin).send().await.expect(204);
            assert_eq!(readers(&answer).as_deref(), expected, "{path} {origin}");
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            if expected.is_some() {
                let headers = answer.header("access-control-allow-headers").unwrap();
                for name in
                    "Authorization Content-Type If-Match If-None-Match If-None-Exist Prefer \
                    X-Request-Id X-Provenance"
                        .split_whitespace()
                {
                    assert!(headers.contains(name), "{name}: {headers}");
                }
            }
        }
    }
    // An answer is for the pages of the client that it was given to.
    for (origin, expected) in [(OWN, Some(OWN)), (OTHER, None), ("https://evil.example", None)] {
        let code = code_of(&server, &granted("app", "patient/Patient.rs", Some(account))).await;
        let headers = [("Origin", origin)];
        let answer = send_with(&server, "/auth/token", &exchange("app", &code), &headers).await;
        assert_eq!(readers(&answer.clone().expect(200)).as_deref(), expected, "{origin}");
        let token = format!("Bearer {}", text(&answer, "access_token"));
        let call = server.client.call("GET", "/Patient/p1").header("Authorization", &token);
        let answer = call.header("Origin", origin).send().await;
        assert_eq!(readers(&answer).as_deref(), expected, "{origin}: {answer:?}");
        if expected.is_some() {
            let exposed = answer.header("access-control-expose-headers").unwrap();
            for name in "ETag Location Content-Location Retry-After X-Request-Id WWW-Authenticate"
                .split_whitespace()
            {
                assert!(exposed.contains(name), "{name}: {exposed}");
            }
        }
    }
    server.stop().await;
}

/// What is told of tokens, and that one was taken back, is read by the pages of the client that asks.
#[tokio::test]
async fn answers_about_tokens_are_for_the_pages_of_the_client_that_asks() {
    let server = server_with(&[("http.cors_origins", "")]).await;
    for (id, origin) in [("app", OWN), ("other", OTHER)] {
        let mut client = confidential(id, "patient/Patient.rs");
        client.origins = vec![origin.to_owned()];
        register(&server, &client).await;
    }
    for (origin, expected) in [
        (OWN, Some(OWN)),
        (OTHER, None),
        ("https://evil.example", None),
        ("https://app.example.evil.example", None),
        ("null", None),
    ] {
        for path in ["/auth/introspect", "/auth/revoke"] {
            let headers = [("Origin", origin)];
            for (secret, status) in [(SECRET, 200), ("canary-w", 401)] {
                let fields = [("token", "x"), ("client_id", "app"), ("client_secret", secret)];
                let answer = send_with(&server, path, &fields, &headers).await.expect(status);
                let readers = readers(&answer);
                if status == 200 {
                    assert_eq!(readers.as_deref(), expected, "{path} {origin}: {answer:?}");
                } else {
                    // Of nobody that is known: a page that is no client's reads nothing of it.
                    let is_any_clients = [OWN, OTHER].contains(&origin);
                    assert!(is_any_clients || readers.is_none(), "{path} {origin}: {answer:?}");
                }
                assert_eq!(answer.header("access-control-allow-credentials"), None);
            }
        }
    }
    server.stop().await;
}
