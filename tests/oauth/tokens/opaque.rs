//! What tokens are: random texts that say nothing, kept as hashes, with what they stand for on the server.
//!
//! Covers: security C2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kiln::oauth::secret::{ACCESS, CODE, REFRESH, hash, hex};
use serde_json::{Value, json};

use super::bearer::until_refused;
use super::client::{
    SECRET, basic, code_of, confidential, exchange, granted, public, read, refreshing, send,
    send_with, server, service, text,
};
use crate::harness::server::TestServer;
use crate::oauth::browser::{Browser, register, user};

/// Fails unless `token` has 256 bits after its prefix, and is found in a table by its hash alone.
async fn opaque(server: &TestServer, token: &str, prefix: &str, table: &str) {
    let digits = token.strip_prefix(prefix).unwrap_or_else(|| panic!("{prefix}: {token}"));
    assert_eq!(URL_SAFE_NO_PAD.decode(digits).unwrap().len(), 32, "{prefix}");
    let kept =
        format!("SELECT count(*) FROM {table} WHERE hash = decode('{}', 'hex')", hex(&hash(token)));
    assert_eq!(server.database.number(&kept).await, 1, "{prefix}: its hash");
    let plain = format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%{digits}%'");
    assert_eq!(server.database.number(&plain).await, 0, "{prefix}: itself");
}

#[tokio::test]
async fn a_token_is_a_random_text_and_what_it_stands_for_is_here() {
    let server = server().await;
    // As many criteria as fit no header.
    let many: Vec<String> =
        (0..400).map(|at| format!("patient/Observation.rs?code=c{at}")).collect();
    let scopes = format!("openid fhirUser offline_access patient/Patient.rs {}", many.join(" "));
    register(&server, &public("app", &scopes)).await;
    register(&server, &confidential("web", "openid")).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let grant = granted("app", &scopes, Some(account));
    let code = code_of(&server, &grant).await;
    opaque(&server, &code, CODE, "oauth_code").await;
    let told = send(&server, "/auth/token", &exchange("app", &code)).await.expect(200);
    let (access, refresh) = (text(&told, "access_token"), text(&told, "refresh_token"));
    opaque(&server, &access, ACCESS, "oauth_token").await;
    opaque(&server, &refresh, REFRESH, "oauth_token").await;
    assert!(access.len() < 64, "no header is too small for it");
    read(&server, &access).await.expect(200);
    let fields = [("token", access.as_str())];
    let headers = [("Authorization", basic("web"))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let said = send_with(&server, "/auth/introspect", &fields, &headers).await.expect(200);
    let said: Value = serde_json::from_slice(&said.body).unwrap();
    assert_eq!(said["scope"], text(&told, "scope"), "all of it, whenever asked");
    // The one JWT is for the client.
    let id_token = text(&told, "id_token");
    let header = URL_SAFE_NO_PAD.decode(id_token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["alg"], "RS256");
    let next = send(&server, "/auth/token", &refreshing("app", &refresh)).await.expect(200);
    opaque(&server, &text(&next, "refresh_token"), REFRESH, "oauth_token").await;
    // Taken back, it ends before what is remembered of it would.
    let fields = [("token", access.as_str()), ("client_id", "app")];
    send(&server, "/auth/revoke", &fields).await.expect(200);
    until_refused(&server, &access).await;
    server.stop().await;
}

#[tokio::test]
async fn a_handle_of_a_launch_is_opaque_too() {
    let server = server().await;
    register(&server, &public("app", "launch patient/Patient.rs")).await;
    user(&server, "pat", "patient", Some("Patient/p1")).await;
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await;
    browser.log_in(&login, "pat").await.expect(200);
    let cookie = browser.jar.iter().map(|(name, value)| format!("{name}={value}"));
    let cookie = cookie.collect::<Vec<_>>().join("; ");
    let call = server.client.call("POST", &format!("{}/auth/launch", server.client.root()));
    let call = call.header("Cookie", &cookie).header("Content-Type", "application/json");
    let asked = json!({ "client_id": "app", "patient": "p1" }).to_string();
    let made = call.body(asked).send().await.expect(201);
    let handle = text(&made, "launch");
    assert!(URL_SAFE_NO_PAD.decode(&handle).unwrap().len() >= 32, "{handle}");
    let plain = format!("SELECT count(*) FROM auth_launch t WHERE t::text LIKE '%{handle}%'");
    assert_eq!(server.database.number(&plain).await, 0);
    assert_eq!(server.database.number("SELECT count(*) FROM auth_launch").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn events_say_by_which_token_something_was_done_and_not_what_it_is() {
    let server = server().await;
    register(&server, &service("job", "system/Patient.rs system/AuditEvent.rs")).await;
    let ask = async |scope: &str| {
        let fields = [
            ("grant_type", "client_credentials"),
            ("scope", scope),
            ("client_id", "job"),
            ("client_secret", SECRET),
        ];
        text(&send(&server, "/auth/token", &fields).await.expect(200), "access_token")
    };
    let reader = ask("system/Patient.rs").await;
    read(&server, &reader).await.expect(200);
    let auditor = ask("system/AuditEvent.rs").await;
    let id = format!(
        "SELECT count(*) FROM ledger l JOIN oauth_token t ON t.id::text = l.token::text \
         WHERE t.hash = decode('{}', 'hex') AND l.interaction = 12",
        hex(&hash(&reader))
    );
    assert_eq!(server.database.number(&id).await, 1, "the row of the token");
    let url = "/AuditEvent?subtype=read&_count=50";
    let call = server.client.call("GET", url);
    let call = call.header("Authorization", &format!("Bearer {auditor}"));
    let events = call.send().await.expect(200);
    let shown: Value = serde_json::from_slice(&events.body).unwrap();
    let policies: Vec<&str> = shown["entry"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|entry| entry["resource"]["agent"].as_array().unwrap())
        .filter_map(|agent| agent["policy"][0].as_str())
        .collect();
    assert_eq!(policies.len(), 1, "{events:?}");
    let token = policies[0].strip_prefix("urn:ietf:params:oauth:jti:").expect("a token's id");
    let named = format!(
        "SELECT count(*) FROM oauth_token WHERE id = '{token}' AND hash = decode('{}', 'hex')",
        hex(&hash(&reader))
    );
    assert_eq!(server.database.number(&named).await, 1, "{token}");
    assert!(!events.text().contains(&reader[ACCESS.len()..]), "{events:?}");
    issued_tokens_are_named(&server, &auditor, policies[0]).await;
    server.stop().await;
}

/// What was issued is told by the names of the tokens: with ITI-71, the newest last, and without what was sent.
async fn issued_tokens_are_named(server: &TestServer, auditor: &str, policy: &str) {
    let url = "/AuditEvent?subtype=ITI-71&_sort=date";
    let call = server.client.call("GET", url);
    let call = call.header("Authorization", &format!("Bearer {auditor}"));
    let events = call.send().await.expect(200);
    let shown: Value = serde_json::from_slice(&events.body).unwrap();
    let entries = shown["entry"].as_array().unwrap().iter();
    let details =
        entries.flat_map(|it| it["resource"]["entity"][0]["detail"].as_array().unwrap().iter());
    let tokens = details.filter(|detail| detail["type"] == "token");
    let named: Vec<_> = tokens.map(|detail| detail["valueString"].as_str().unwrap()).collect();
    assert_eq!((named.len(), named[0]), (2, policy), "{events:?}");
    assert!(!events.text().contains(SECRET), "{events:?}");
}
