//! What a token is, told to who may know; and tokens that are given back.
//!
//! Covers: security R4, R5, R6, I0.1.

use serde_json::{Value, json};

use super::client::{
    SECRET, basic, claims, confidential, granted, public, refreshing, refused, send, send_with,
    server, service, text, tokens, unkept,
};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::{noted, register, server_with, user};

const SCOPES: &str = "openid fhirUser offline_access patient/Patient.rs";

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

async fn asked(server: &TestServer, token: &str) -> Value {
    let fields = [("token", token), ("client_id", "web"), ("client_secret", SECRET)];
    let answer = send(server, "/auth/introspect", &fields).await.expect(200);
    unkept(&answer);
    body(&answer)
}

#[tokio::test]
async fn a_token_that_counts_is_told_with_its_context() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    register(&server, &confidential("web", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    let told = asked(&server, &text(&answer, "access_token")).await;
    let id_token = claims(&text(&answer, "id_token"));
    for (name, expected) in [
        ("active", json!(true)),
        ("client_id", json!("app")),
        ("scope", json!(SCOPES)),
        ("patient", json!("p1")),
        ("token_type", json!("Bearer")),
        ("iss", id_token["iss"].clone()),
        ("sub", id_token["sub"].clone()),
        ("fhirUser", id_token["fhirUser"].clone()),
        ("need_patient_banner", json!(true)),
    ] {
        assert_eq!(told[name], expected, "{name}: {told}");
    }
    assert!(told["exp"].as_i64() > told["iat"].as_i64(), "{told}");
    assert_eq!(asked(&server, &text(&answer, "refresh_token")).await["active"], true);
    assert!(noted(&server, 47, 0, "token ").await >= 2);
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_does_not_count_is_told_as_inactive_and_nothing_more() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    register(&server, &confidential("web", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let nothing = json!({ "active": false });
    for token in ["garbage", "kiln_at_", &"x".repeat(5000)] {
        assert_eq!(asked(&server, token).await, nothing);
    }
    let first = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    let shown = text(&first, "refresh_token");
    let next = send(&server, "/auth/token", &refreshing("app", &shown)).await.expect(200);
    assert_eq!(asked(&server, &shown).await, nothing, "it was exchanged");
    let live = text(&next, "access_token");
    assert_eq!(asked(&server, &live).await["active"], true);
    server.database.run("UPDATE oauth_token SET expires = now()").await;
    assert_eq!(asked(&server, &live).await, nothing, "it has expired");
    let other =
        text(&tokens(&server, &granted("app", SCOPES, Some(account))).await, "access_token");
    server.database.run("UPDATE account SET disabled_at = now()").await;
    assert_eq!(asked(&server, &other).await, nothing, "the user was disabled");
    server.database.run("UPDATE account SET disabled_at = NULL").await;
    assert_eq!(asked(&server, &other).await["active"], true);
    server.database.run("UPDATE oauth_client SET disabled_at = now() WHERE id = 'app'").await;
    assert_eq!(asked(&server, &other).await, nothing, "the client was disabled");
    server.stop().await;
}

#[tokio::test]
async fn only_who_may_know_is_told() {
    let server = server().await;
    let known = "system/__introspect system/Patient.rs";
    for client in [public("app", SCOPES), confidential("web", SCOPES), service("job", known)] {
        register(&server, &client).await;
    }
    let token = text(&tokens(&server, &granted("app", SCOPES, None)).await, "access_token");
    let service_token = async |scope: &str| {
        let fields = [("grant_type", "client_credentials"), ("scope", scope)];
        let header = [("Authorization", basic("job"))];
        let header = header.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = send_with(&server, "/auth/token", &fields, &header).await.expect(200);
        format!("Bearer {}", text(&answer, "access_token"))
    };
    let (may, may_not) =
        (service_token("system/__introspect").await, service_token("system/Patient.rs").await);
    let own = format!("Bearer {token}");
    let (right, wrong) = (basic("web"), basic("nobody"));
    for (more, header, status) in [
        (vec![], None, 401),
        (vec![("client_id", "app")], None, 401),
        (vec![("client_id", "web")], None, 401),
        (vec![("client_id", "web"), ("client_secret", "x")], None, 401),
        (vec![], Some(&wrong), 401),
        (vec![], Some(&right), 200),
        (vec![], Some(&may), 200),
        (vec![], Some(&may_not), 401),
        (vec![], Some(&own), 401),
    ] {
        let fields = [vec![("token", token.as_str())], more].concat();
        let headers: Vec<_> =
            header.iter().map(|value| ("Authorization", value.as_str())).collect();
        let answer = send_with(&server, "/auth/introspect", &fields, &headers).await;
        if status == 200 {
            assert_eq!(body(&answer)["active"], true, "{answer:?}");
        } else {
            refused(&answer, status, "invalid_client");
            assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
        }
    }
    let headers = [("Authorization", right.as_str())];
    refused(&send_with(&server, "/auth/introspect", &[], &headers).await, 400, "invalid_request");
    server.stop().await;
    let server = server_with(&[("auth.introspection_open", "true")]).await;
    let answer = send(&server, "/auth/introspect", &[("token", "garbage")]).await.expect(200);
    assert_eq!(body(&answer), json!({ "active": false }));
    server.stop().await;
}

#[tokio::test]
async fn a_client_gives_back_its_own_tokens_and_nobody_elses() {
    let server = server().await;
    for client in [public("app", SCOPES), public("other", SCOPES), confidential("web", SCOPES)] {
        register(&server, &client).await;
    }
    let first = tokens(&server, &granted("app", SCOPES, None)).await;
    let (access, refresh) = (text(&first, "access_token"), text(&first, "refresh_token"));
    let give_back = async |client: &str, token: &str| {
        send(&server, "/auth/revoke", &[("token", token), ("client_id", client)]).await
    };
    give_back("app", "garbage").await.expect(200);
    give_back("other", &access).await.expect(200);
    give_back("other", &refresh).await.expect(200);
    assert_eq!(asked(&server, &access).await["active"], true);
    refused(&give_back("nobody", &access).await, 401, "invalid_client");
    refused(&give_back("web", &access).await, 401, "invalid_client");
    let answer = send(&server, "/auth/revoke", &[("client_id", "app")]).await;
    refused(&answer, 400, "invalid_request");
    give_back("app", &access).await.expect(200);
    give_back("app", &access).await.expect(200);
    assert_eq!(asked(&server, &access).await, json!({ "active": false }));
    assert_eq!(asked(&server, &refresh).await["active"], true);
    let next = send(&server, "/auth/token", &refreshing("app", &refresh)).await.expect(200);
    let (access, refresh) = (text(&next, "access_token"), text(&next, "refresh_token"));
    give_back("app", &refresh).await.expect(200);
    assert_eq!(asked(&server, &access).await, json!({ "active": false }));
    assert_eq!(asked(&server, &refresh).await, json!({ "active": false }));
    assert!(noted(&server, 46, 0, "grant ").await >= 2);
    server.stop().await;
}
