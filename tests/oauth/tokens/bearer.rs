//! Access tokens at the FHIR endpoint: what is said to who has none, or one that does not count.
//!
//! Covers: security E1, T12, R4, R6, V39, security V35, security C2.

use std::time::{Duration, Instant};

use kiln::app::server::Server;
use kiln::clock::{Clock as _, SystemClock};
use kiln::store::oauth::{client as clients, grant, token};

use super::client::{
    SECRET, basic, granted, public, read, refreshing, send, send_with, server, service, text,
    tokens,
};
use crate::harness::client::Client;
use crate::harness::server::{TestServer, config};
use crate::oauth::browser::{noted, register, user};

const SCOPES: &str = "openid fhirUser offline_access patient/Patient.rs";

/// Waits until a token lets nobody in, which must not take longer than five seconds.
pub(crate) async fn until_refused(server: &TestServer, token: &str) {
    until_refused_at(&server.client, token).await;
}

async fn until_refused_at(client: &Client, token: &str) {
    let began = Instant::now();
    loop {
        let call = client.call("GET", "/Patient/p1");
        let answer = call.header("Authorization", &format!("Bearer {token}")).send().await;
        if answer.status == 401 {
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(6), "{token:.12}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn who_has_no_token_hears_how_to_show_one() {
    let server = server().await;
    register(&server, &service("job", "system/Patient.rs")).await;
    let fields = [("grant_type", "client_credentials"), ("scope", "system/Patient.rs")];
    let headers = [("Authorization", basic("job"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = send_with(&server, "/auth/token", &fields, &headers).await.expect(200);
    let token = text(&answer, "access_token");
    read(&server, &token).await.expect(200);
    let right = format!("Bearer {token}");
    let other = format!("Bearer {token}x");
    let garbage = format!("Bearer {}", "kiln_at_".to_owned() + &"a".repeat(43));
    for (headers, url, status, error, code) in [
        (vec![], "/Patient/p1", 401, None, "login"),
        (vec![right.as_str()], "/Patient/p1", 200, None, ""),
        (vec![right.as_str(), right.as_str()], "/Patient/p1", 400, None, "invalid"),
        (vec![other.as_str()], "/Patient/p1", 401, Some("invalid_token"), "login"),
        (vec![garbage.as_str()], "/Patient/p1", 401, Some("invalid_token"), "login"),
        (vec!["Bearer x"], "/Patient/p1", 401, Some("invalid_token"), "login"),
        (vec!["Basic eDp5"], "/Patient/p1", 401, None, "login"),
        (vec![token.as_str()], "/Patient/p1", 401, None, "login"),
    ] {
        let mut call = server.client.call("GET", url);
        for header in &headers {
            call = call.header("Authorization", header);
        }
        let answer = call.send().await;
        assert_eq!(answer.status, status, "{headers:.20?}: {answer:?}");
        if status == 200 {
            continue;
        }
        assert_eq!(answer.at("issue[0].code").as_deref(), Some(code), "{answer:?}");
        assert!(!answer.text().contains("kiln_at_"), "{answer:?}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{answer:?}");
        let found = challenge.as_deref().and_then(|it| it.split("error=\"").nth(1));
        assert_eq!(found.map(|it| it.split('"').next().unwrap()), error, "{challenge:?}");
    }
    let small = server
        .client
        .call("GET", "/Patient/p1")
        .header("Authorization", &format!("bearer {token}"));
    small.send().await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn a_token_anywhere_else_is_ignored_and_not_kept() {
    let server = server().await;
    register(&server, &service("job", "system/Patient.rs")).await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "system/Patient.rs"),
        ("client_id", "job"),
        ("client_secret", SECRET),
    ];
    let answer = send(&server, "/auth/token", &fields).await.expect(200);
    let token = text(&answer, "access_token");
    let url = format!("/Patient/p1?access_token={token}");
    server.client.get(&url).await.expect(401);
    let search = server.client.call("POST", "/Patient/_search");
    let search = search.header("Content-Type", "application/x-www-form-urlencoded");
    search.body(format!("access_token={token}")).send().await.expect(401);
    let right = format!("Bearer {token}");
    let both = server.client.call("GET", &url).header("Authorization", &right).send().await;
    assert!(!both.text().contains(&token), "{both:?}");
    let kept = format!("SELECT count(*) FROM ledger l WHERE l::text LIKE '%{token}%'");
    assert_eq!(server.database.number(&kept).await, 0);
    let hidden = "SELECT count(*) FROM ledger WHERE query LIKE '%access\\_token=***%'";
    assert!(server.database.number(hidden).await >= 1);
    server.stop().await;
}

#[tokio::test]
async fn an_expired_token_says_so() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    server.database.run("UPDATE oauth_token SET expires = now() WHERE kind = 'access'").await;
    let answer = read(&server, &text(&answer, "access_token")).await.expect(401);
    assert_eq!(answer.at("issue[0].code").as_deref(), Some("expired"));
    assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{answer:?}");
    // A token that was looked up while it counted ends at its time all the same.
    let answer = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    let token = text(&answer, "access_token");
    let soon = "UPDATE oauth_token SET expires = now() + interval '1500 ms' \
                WHERE kind = 'access' AND expires > now()";
    server.database.run(soon).await;
    read(&server, &token).await.expect(200);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    read(&server, &token).await.expect(401);
    server.stop().await;
}

#[tokio::test]
async fn what_ends_a_token_is_heard_by_every_node() {
    let server = server().await;
    let second = Server::start(config(&server.database, &[("auth.mode", "smart")])).await;
    let second = second.unwrap_or_else(|error| panic!("{error}"));
    let other = Client::new(second.address());
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let store = server.store();
    let now = || SystemClock.now();
    for way in ["access", "refresh", "grant", "account", "client"] {
        let grant = granted("app", SCOPES, Some(account));
        let answer = tokens(&server, &grant).await;
        let access = text(&answer, "access_token");
        let refresh = text(&answer, "refresh_token");
        for client in [&server.client, &other] {
            let call = client.call("GET", "/Patient/p1");
            call.header("Authorization", &format!("Bearer {access}")).send().await.expect(200);
        }
        match way {
            "access" | "refresh" => {
                let token = if way == "access" { &access } else { &refresh };
                let fields = [("token", token.as_str()), ("client_id", "app")];
                send(&server, "/auth/revoke", &fields).await.expect(200);
            }
            "grant" => assert_eq!(grant::end_grant(store, grant.id, "x", now()).await.unwrap(), 1),
            "account" => {
                assert!(
                    grant::end_grants_of_account(store, account, "x", now()).await.unwrap() > 0
                );
            }
            _ => assert!(clients::disable(store, "app", now()).await.unwrap()),
        }
        for client in [&server.client, &other] {
            until_refused_at(client, &access).await;
        }
        let again = send(&server, "/auth/token", &refreshing("app", &refresh)).await;
        let expected = match way {
            "access" => 200,
            "client" => 401,
            _ => 400,
        };
        assert_eq!(again.status, expected, "{way}: {again:?}");
    }
    drop(other);
    second.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_disabled_account_lets_nobody_in() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    let token = text(&answer, "access_token");
    read(&server, &token).await.expect(200);
    kiln::store::oauth::account::disable(server.store(), account, SystemClock.now()).await.unwrap();
    until_refused(&server, &token).await;
    server.stop().await;
}

#[tokio::test]
async fn who_loses_a_role_or_a_password_loses_what_came_of_it() {
    let server = server().await;
    let scopes = "offline_access user/Patient.rs";
    register(&server, &public("app", scopes)).await;
    let account = user(&server, "doc", "practitioner", Some("Practitioner/d")).await;
    let first = tokens(&server, &granted("app", scopes, Some(account))).await;
    let token = text(&first, "access_token");
    read(&server, &token).await.expect(200);
    kiln::store::oauth::account::set_roles(server.store(), account, &[]).await.unwrap();
    let began = Instant::now();
    while read(&server, &token).await.status != 403 {
        assert!(began.elapsed() < Duration::from_secs(6), "the role counts on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.authority().reset_account(account).await.unwrap();
    until_refused(&server, &token).await;
    let refresh = text(&first, "refresh_token");
    send(&server, "/auth/token", &refreshing("app", &refresh)).await.expect(400);
    server.stop().await;
}

/// Covers: security E2, V2.
#[tokio::test]
async fn a_grant_without_the_patient_of_its_scopes_lets_nobody_in() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    for patient in ["NULL", "''", "'*'", "'p1,p2'", "'Patient/p1'"] {
        let answer = tokens(&server, &granted("app", SCOPES, Some(account))).await;
        server.database.run(&format!("UPDATE oauth_grant SET patient = {patient}")).await;
        read(&server, &text(&answer, "access_token")).await.expect(401);
    }
    server.stop().await;
}

#[tokio::test]
async fn no_secret_is_kept_anywhere() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    register(&server, &service("job", "system/Patient.rs")).await;
    let grant = granted("app", SCOPES, None);
    let code = super::client::code_of(&server, &grant).await;
    let answer = send(&server, "/auth/token", &super::client::exchange("app", &code)).await;
    let mut secrets =
        vec![code.clone(), SECRET.to_owned(), crate::oauth::browser::VERIFIER.to_owned()];
    let first = text(&answer, "refresh_token");
    let next = send(&server, "/auth/token", &refreshing("app", &first)).await.expect(200);
    secrets.extend([text(&answer, "access_token"), first.clone(), text(&next, "refresh_token")]);
    // What goes wrong is told about too.
    for fields in [
        vec![("grant_type", "authorization_code"), ("code", code.as_str()), ("client_id", "app")],
        vec![
            ("grant_type", "client_credentials"),
            ("client_id", "job"),
            ("client_secret", "canary-w"),
        ],
        vec![("grant_type", "canary-x"), ("client_secret", "canary-y"), ("client_id", "canary-z")],
        refreshing("app", "canary-refresh"),
    ] {
        let refused = send(&server, "/auth/token", &fields).await;
        assert!(refused.status >= 400 && !refused.text().contains("canary"), "{refused:?}");
    }
    secrets.push("canary-".to_owned());
    for secret in &secrets {
        for table in ["ledger", "oauth_code", "oauth_token", "oauth_client", "oauth_jti"] {
            let sql = format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%{secret}%'");
            assert_eq!(server.database.number(&sql).await, 0, "{secret:.12} in {table}");
        }
    }
    assert_eq!(noted(&server, 45, 4, "invalid_client").await, 1);
    let found = token::find(server.store(), &kiln::oauth::secret::hash(&first)).await.unwrap();
    assert!(found.is_some_and(|token| token.replaced_at.is_some()));
    server.stop().await;
}

/// Covers: security L17.
#[tokio::test]
async fn an_app_was_last_used_when_it_called_to_a_minute() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    let token = text(&answer, "access_token");
    let used = |ago: &str| format!("UPDATE oauth_grant SET used = now() - interval '{ago}'");
    let age = "SELECT extract(epoch FROM now() - used)::bigint FROM oauth_grant";
    server.database.run(&used("3 days")).await;
    read(&server, &token).await.expect(200);
    assert!(server.database.number(age).await < 60);
    // Not each call is written down.
    server.database.run(&used("30 seconds")).await;
    server.authority().tokens.forget_all();
    read(&server, &token).await.expect(200);
    assert!(server.database.number(age).await >= 30);
    // Who is not let in has not used it.
    server.database.run(&used("2 days")).await;
    server.database.run("UPDATE oauth_token SET expires = now() WHERE kind = 'access'").await;
    server.authority().tokens.forget_all();
    read(&server, &token).await.expect(401);
    assert!(server.database.number(age).await > 100_000);
    server.stop().await;
}
