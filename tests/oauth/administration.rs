//! Administration over HTTP: where it is, who may, what can be done, and what is on record of it.
//!
//! Covers: security H19, M9.

use kiln::http::oauth::admin;
use serde_json::{Value, json};

use super::browser::{Browser, PASSWORD, hidden, register, server_with, user};
use super::tokens::bearer::until_refused;
use super::tokens::client::{
    SECRET, confidential, granted, public, read, refreshing, refused, send, service, text, tokens,
};
use crate::harness::client::{Answer, Client};
use crate::harness::server::TestServer;
use crate::oauth::browser::store;

/// A server with a listener for administration, a service that administers, and its token.
pub(super) async fn administered(settings: &[(&str, &str)]) -> (TestServer, Client, String) {
    let own = [("administration.listen", "127.0.0.1:0")];
    let all: Vec<_> = own.iter().chain(settings).copied().collect();
    let server = server_with(&all).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1","active":true}"#]).await;
    register(&server, &service("ops", "system/__admin system/Patient.rs")).await;
    let token = service_token(&server, "ops", SECRET, "system/__admin").await;
    let client = server.administration();
    (server, client, token)
}

async fn service_token(server: &TestServer, id: &str, secret: &str, scope: &str) -> String {
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", scope),
        ("client_id", id),
        ("client_secret", secret),
    ];
    text(&send(server, "/auth/token", &fields).await.expect(200), "access_token")
}

/// One act: a request with a token, and a body where there is one.
pub(crate) async fn act(
    client: &Client,
    token: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> Answer {
    let url = format!("{}{path}", client.root());
    let call = client.call(method, &url).header("Authorization", &format!("Bearer {token}"));
    let call = match body {
        Value::Null => call,
        body => call.header("Content-Type", "application/json").body(body.to_string()),
    };
    call.send().await
}

/// How many rows of administration say this, and whether it was done.
async fn rows(server: &TestServer, path: &str, entity: &str, outcome: i64) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM ledger WHERE interaction = 50 AND query = '{path}' \
         AND '{entity}' = ANY (entities) AND outcome = {outcome}"
    );
    server.database.number(&sql).await
}

#[tokio::test]
async fn it_is_on_a_listener_of_its_own_and_speaks_no_fhir() {
    let (server, client, token) = administered(&[]).await;
    for route in admin::routes() {
        let path = route.path.replace("{name}", "ops");
        let url = format!("{}{path}", server.client.root());
        let call = server.client.call(route.method.as_str(), &url);
        let call = call.header("Authorization", &format!("Bearer {token}"));
        call.send().await.expect(404);
    }
    for (method, path, status, error) in [
        ("GET", "/fhir/Patient/p1", 404, "not_found"),
        ("GET", "/fhir/metadata", 404, "not_found"),
        ("GET", "/auth/jwks", 404, "not_found"),
        ("GET", "/health/live", 404, "not_found"),
        ("DELETE", "/admin/clients", 405, "method_not_allowed"),
        ("GET", "/admin/clients/nobody", 404, "not_found"),
    ] {
        let answer = act(&client, &token, method, path, &Value::Null).await.expect(status);
        assert_eq!(answer.at("error").as_deref(), Some(error), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type").as_deref(), Some("application/json"), "{path}");
    }
    // No page of any origin reads what is answered, be it registered or configured.
    let url = format!("{}/admin/clients", client.root());
    for method in ["GET", "OPTIONS"] {
        let call = client.call(method, &url).header("Authorization", &format!("Bearer {token}"));
        let call = call.header("Origin", "https://app.example");
        let answer = call.header("Access-Control-Request-Method", "GET").send().await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{method}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_has_no_token_that_administers_does_nothing() {
    let (server, client, _) = administered(&[]).await;
    register(&server, &service("job", "system/*.cruds system/__introspect system/__launch")).await;
    register(&server, &public("console", "user/__admin user/*.rs openid")).await;
    let doctor = user(&server, "doc", "practitioner", Some("Practitioner/d")).await;
    let chief = user(&server, "ada", "administrator", Some("Practitioner/a")).await;
    let other = service_token(&server, "job", SECRET, "system/*.cruds system/__introspect").await;
    let plain = service_token(&server, "ops", SECRET, "system/Patient.rs").await;
    let of_user = async |scopes: &str, account| {
        text(&tokens(&server, &granted("console", scopes, Some(account))).await, "access_token")
    };
    let wrong_role = of_user("user/__admin user/*.rs", doctor).await;
    let wrong_scope = of_user("user/*.rs openid", chief).await;
    let right = of_user("user/__admin", chief).await;
    let garbage = format!("kiln_at_{}", "a".repeat(43));
    for route in admin::routes() {
        let (method, path) = (route.method.as_str(), route.path.replace("{name}", "ops"));
        let bare = client.call(method, &format!("{}{path}", client.root())).send().await;
        let unknown = act(&client, &garbage, method, &path, &Value::Null).await;
        for answer in [bare, unknown] {
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert_eq!(answer.at("error").as_deref(), Some("invalid_token"), "{method} {path}");
        }
        for token in [&other, &plain, &wrong_role, &wrong_scope] {
            let answer = act(&client, token, method, &path, &Value::Null).await;
            assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
            assert_eq!(answer.at("error").as_deref(), Some("insufficient_scope"), "{path}");
        }
    }
    act(&client, &right, "GET", "/admin/clients", &Value::Null).await.expect(200);
    // Each attempt is on record, by whom it was.
    let refused = |user: &str| {
        format!("SELECT count(*) FROM ledger WHERE interaction = 50 AND outcome <> 0 AND {user}")
    };
    let routes = i64::try_from(admin::routes().len()).unwrap();
    for (whose, expected) in [
        ("actor = 'anonymous'", 2 * routes),
        ("actor = 'client:job'", routes),
        ("actor = 'client:ops'", routes),
        ("actor = 'user:doc'", routes),
        ("actor = 'user:ada'", routes),
    ] {
        assert_eq!(server.database.number(&refused(whose)).await, expected, "{whose}");
    }
    // Of two headers nobody can tell which is meant.
    let call = client.call("GET", &format!("{}/admin/clients", client.root()));
    let call = call.header("Authorization", &format!("Bearer {right}"));
    call.header("Authorization", &format!("Bearer {other}")).send().await.expect(400);
    let both = refused("actor = 'anonymous' AND failure LIKE '%two Authorization headers%'");
    assert_eq!(server.database.number(&both).await, 1);
    let untouched = "SELECT count(*) FROM oauth_client WHERE disabled_at IS NULL";
    assert_eq!(server.database.number(untouched).await, 3);
    server.stop().await;
}

#[tokio::test]
async fn clients_are_made_shown_given_secrets_and_ended() {
    let (server, client, token) = administered(&[]).await;
    let nothing = Value::Null;
    let made = json!({
        "client_id": "loader", "client_name": "Loader", "application_type": "backend",
        "scope": "system/Patient.rs", "purpose_of_use": "HOPERAT",
    });
    let unfit = json!({ "client_id": "glass", "application_type": "backend", "scope": "system/Patient.rs", "purpose_of_use": "BTG" });
    act(&client, &token, "POST", "/admin/clients", &unfit).await.expect(400);
    let added = act(&client, &token, "POST", "/admin/clients", &made).await.expect(201);
    assert_eq!(added.header("cache-control").as_deref(), Some("no-store"));
    let first = text(&added, "client_secret");
    let access = service_token(&server, "loader", &first, "system/Patient.rs").await;
    read(&server, &access).await.expect(200);
    act(&client, &token, "POST", "/admin/clients", &made).await.expect(409);

    let path = "/admin/clients/loader";
    let shown = act(&client, &token, "GET", path, &nothing).await.expect(200);
    assert_eq!(shown.at("client_name").as_deref(), Some("Loader"));
    assert_eq!(shown.at("purpose_of_use").as_deref(), Some("HOPERAT"));
    assert_eq!(shown.at("token_endpoint_auth_method").as_deref(), Some("client_secret_basic"));
    let listed = act(&client, &token, "GET", "/admin/clients", &nothing).await.expect(200);
    let ids: Vec<_> = listed
        .json()
        .items_at("clients")
        .iter()
        .filter_map(|it| it.str_at("client_id").map(str::to_owned))
        .collect();
    assert_eq!(ids, ["loader", "ops"]);

    let rotated = act(&client, &token, "POST", &format!("{path}/secret"), &nothing).await;
    let second = text(&rotated.expect(200), "client_secret");
    service_token(&server, "loader", &first, "system/Patient.rs").await;
    service_token(&server, "loader", &second, "system/Patient.rs").await;
    let disable = format!("{path}/disable");
    let disabled = act(&client, &token, "POST", &disable, &nothing).await.expect(200);
    assert!(disabled.at("disabled_at").is_some());
    until_refused(&server, &access).await;
    act(&client, &token, "POST", &disable, &nothing).await.expect(404);
    for answer in [&shown, &listed, &disabled] {
        for secret in [first.as_str(), second.as_str(), "\"hash\""] {
            assert!(!answer.text().contains(secret), "{answer:?}");
        }
    }
    for (path, entity, outcome, expected) in [
        ("/admin/clients", "loader", 0, 1),
        ("/admin/clients", "clients", 0, 1),
        (path, "loader", 0, 1),
        ("/admin/clients/loader/secret", "loader", 0, 1),
        ("/admin/clients/loader/disable", "loader", 0, 1),
    ] {
        assert_eq!(rows(&server, path, entity, outcome).await, expected, "{path} {entity}");
    }
    let refused = "SELECT count(*) FROM ledger WHERE interaction = 50 AND outcome <> 0 \
                   AND actor = 'client:ops' AND client = 'ops' AND token IS NOT NULL";
    assert_eq!(server.database.number(refused).await, 3);
    server.stop().await;
}

#[tokio::test]
async fn a_secret_counts_until_it_expires() {
    let (server, client, token) = administered(&[("auth.client_secret_days", "30")]).await;
    let made = json!({
        "client_id": "loader", "application_type": "backend", "scope": "system/Patient.rs",
    });
    let added = act(&client, &token, "POST", "/admin/clients", &made).await.expect(201);
    let first = text(&added, "client_secret");
    let expires = text(&added, "secrets[0].expires");
    assert!(expires > text(&added, "created"), "{expires}");
    let path = "/admin/clients/loader/secret";
    let rotated = act(&client, &token, "POST", path, &Value::Null).await.expect(200);
    let second = text(&rotated, "client_secret");
    assert!(text(&rotated, "secrets[1].expires") >= expires, "{rotated:?}");
    service_token(&server, "loader", &second, "system/Patient.rs").await;
    let plain = "SELECT count(*) FROM oauth_client WHERE secrets::text LIKE '%kiln_cs_%'";
    assert_eq!(server.database.number(plain).await, 0);
    let later = "UPDATE oauth_client SET secrets = jsonb_set(secrets, '{1,expires}', \
                 '\"2020-01-01T00:00:00Z\"') WHERE id = 'loader'";
    server.database.run(later).await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "system/Patient.rs"),
        ("client_id", "loader"),
        ("client_secret", second.as_str()),
    ];
    refused(&send(&server, "/auth/token", &fields).await, 401, "invalid_client");
    service_token(&server, "loader", &first, "system/Patient.rs").await;
    server.stop().await;
}

/// What is sent, and cannot be.
fn unfit() -> Vec<(&'static str, Value)> {
    let keys =
        json!({ "keys": [{ "kty": "EC", "crv": "P-384", "kid": "k", "x": "AA", "y": "AA" }] });
    vec![
        ("/admin/clients", json!({})),
        ("/admin/clients", json!({ "client_id": "x" })),
        ("/admin/clients", json!({ "client_id": "a b", "scope": "openid" })),
        ("/admin/clients", json!({ "client_id": "x", "scope": "patient/*.rsx" })),
        ("/admin/clients", json!({ "client_id": "x", "scope": "openid", "extra": 1 })),
        (
            "/admin/clients",
            json!({ "client_id": "x", "scope": "openid", "application_type": "desktop" }),
        ),
        (
            "/admin/clients",
            json!({ "client_id": "x", "scope": "openid", "redirect_uris": ["http://a.org"] }),
        ),
        (
            "/admin/clients",
            json!({ "client_id": "x", "scope": "openid", "jwks": keys,
                "token_endpoint_auth_method": "none" }),
        ),
        (
            "/admin/clients",
            json!({ "client_id": "x", "scope": "openid",
                "token_endpoint_auth_method": "private_key_jwt" }),
        ),
        ("/admin/users", json!({ "name": "a b" })),
        ("/admin/users", json!({ "name": "x", "roles": ["nobody"] })),
        ("/admin/users", json!({ "name": "x", "fhir_user": "Observation/1" })),
        ("/admin/users", json!({ "name": "x", "password": "short" })),
        ("/admin/users", json!({ "name": "x", "password": ["canary-password"] })),
        ("/admin/users/nobody/identity", json!({ "subject": "1" })),
    ]
}

#[tokio::test]
async fn what_no_client_or_account_can_be_is_refused() {
    let (server, client, token) = administered(&[]).await;
    for (path, body) in unfit() {
        let answer = act(&client, &token, "POST", path, &body).await;
        assert_eq!(answer.status, 400, "{path} {body}: {answer:?}");
        assert_eq!(answer.at("error").as_deref(), Some("invalid_request"), "{body}");
        assert!(!answer.text().contains("canary"), "{answer:?}");
    }
    for (method, path, body) in [
        ("GET", "/admin/users/nobody", Value::Null),
        ("POST", "/admin/users/nobody/disable", Value::Null),
        ("POST", "/admin/users/nobody/enable", Value::Null),
        ("POST", "/admin/users/nobody/reset", Value::Null),
        ("PUT", "/admin/users/nobody/roles", json!({ "roles": [] })),
        ("POST", "/admin/clients/nobody/disable", Value::Null),
        ("POST", "/admin/clients/nobody/secret", Value::Null),
    ] {
        act(&client, &token, method, path, &body).await.expect(404);
    }
    // What is no JSON, or not said to be.
    let url = format!("{}/admin/users", client.root());
    for (kind, body) in [("text/plain", r#"{"name":"x"}"#), ("application/json", "{")] {
        let call = client.call("POST", &url).header("Authorization", &format!("Bearer {token}"));
        call.header("Content-Type", kind).body(body).send().await.expect(400);
    }
    let unfit = i64::try_from(unfit().len()).unwrap();
    let refused = "SELECT count(*) FROM ledger WHERE interaction = 50 AND outcome <> 0";
    assert_eq!(server.database.number(refused).await, unfit + 7 + 2);
    assert_eq!(server.database.number("SELECT count(*) FROM oauth_client").await, 1);
    assert_eq!(server.database.number("SELECT count(*) FROM account").await, 0);
    server.stop().await;
}

#[tokio::test]
async fn accounts_are_made_changed_and_ended() {
    let provider = [("upstream.issuer", "https://login.example"), ("upstream.client_id", "kiln")];
    let (server, client, token) = administered(&provider).await;
    let nothing = Value::Null;
    let made = json!({ "name": "Pat", "roles": ["patient"], "fhir_user": "Patient/p1" });
    let added = act(&client, &token, "POST", "/admin/users", &made).await.expect(201);
    assert!(added.text().contains(r#""has_password":false"#), "{added:?}");
    act(&client, &token, "POST", "/admin/users", &made).await.expect(409);
    let link = text(&added, "setup_link");
    let mut browser = Browser::new(&server);
    let page = browser.get(&link).await.expect(200);
    assert!(!hidden(&page, "csrf").is_empty(), "the link opens the page: {page:?}");

    let known = json!({ "name": "doc", "roles": ["practitioner"], "password": PASSWORD });
    let doctor = act(&client, &token, "POST", "/admin/users", &known).await.expect(201);
    assert_eq!(doctor.at("setup_link"), None);
    let path = "/admin/users/pat";
    let roles = json!({ "roles": ["patient", "auditor"] });
    let given = act(&client, &token, "PUT", &format!("{path}/roles"), &roles).await.expect(200);
    assert_eq!(given.at("roles[1]").as_deref(), Some("auditor"));
    let disabled = act(&client, &token, "POST", &format!("{path}/disable"), &nothing).await;
    assert!(disabled.expect(200).text().contains(r#""disabled":true"#));
    let enabled = act(&client, &token, "POST", &format!("{path}/enable"), &nothing).await;
    assert!(enabled.expect(200).text().contains(r#""disabled":false"#));
    let subject = json!({ "subject": "248289761001" });
    let linked = act(&client, &token, "POST", &format!("{path}/identity"), &subject).await;
    assert_eq!(linked.expect(200).at("issuer").as_deref(), Some("https://login.example"));
    let identity = "SELECT count(*) FROM account_identity WHERE subject = '248289761001'";
    assert_eq!(server.database.number(identity).await, 1);
    let reset = act(&client, &token, "POST", "/admin/users/doc/reset", &nothing).await.expect(200);
    assert_ne!(text(&reset, "setup_link"), link);
    let shown = act(&client, &token, "GET", "/admin/users/doc", &nothing).await.expect(200);
    assert!(shown.text().contains(r#""has_password":false"#), "{shown:?}");
    let listed = act(&client, &token, "GET", "/admin/users", &nothing).await.expect(200);
    assert_eq!(listed.json().items_at("users").len(), 2);
    assert!(!listed.text().contains("argon2"), "{listed:?}");
    for (path, entity, expected) in [
        ("/admin/users", "Pat", 1),
        ("/admin/users", "doc", 1),
        ("/admin/users", "users", 1),
        ("/admin/users/pat/roles", "pat: patient auditor", 1),
        ("/admin/users/pat/disable", "pat", 1),
        ("/admin/users/pat/enable", "pat", 1),
        ("/admin/users/pat/identity", "pat: https://login.example", 1),
        ("/admin/users/doc/reset", "doc", 1),
        ("/admin/users/doc", "doc", 1),
    ] {
        assert_eq!(rows(&server, path, entity, 0).await, expected, "{path} {entity}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_replaced_and_the_one_before_is_published_on() {
    let folder = crate::harness::database::temporary("admin-keys");
    let (server, client, token) =
        administered(&[("auth.keys_dir", folder.to_str().unwrap())]).await;
    let nothing = Value::Null;
    let before = act(&client, &token, "GET", "/admin/keys", &nothing).await.expect(200);
    let first = text(&before, "keys[0].kid");
    let made = act(&client, &token, "POST", "/admin/keys", &nothing).await.expect(201);
    let second = text(&made, "kid");
    let after = act(&client, &token, "GET", "/admin/keys", &nothing).await.expect(200);
    let keys = after.json();
    let keys: Vec<_> = keys
        .items_at("keys")
        .iter()
        .map(|key| {
            let signs = key.get("signs_here").is_some_and(|it| it.to_text() == "true");
            (key.str_at("kid").unwrap().to_owned(), key.str_at("retired_at").is_some(), signs)
        })
        .collect();
    assert_eq!(keys, [(second.clone(), false, true), (first.clone(), true, false)]);
    let published = server.client.get(&format!("{}/auth/jwks", server.client.root())).await;
    for id in [&first, &second] {
        assert!(published.text().contains(id.as_str()), "{published:?}");
    }
    assert_eq!(rows(&server, "/admin/keys", "keys", 0).await, 3);
    server.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn it_is_closed_and_clear_while_the_ledger_cannot_be_written() {
    let (server, client, token) = administered(&[]).await;
    server.database.run("REVOKE INSERT ON ledger_row FROM kiln_app").await;
    let made = json!({ "client_id": "late", "scope": "openid" });
    let answer = act(&client, &token, "POST", "/admin/clients", &made).await;
    assert!(answer.status >= 500, "{answer:?}");
    assert!(!answer.text().contains("ledger"), "{answer:?}");
    let count = "SELECT count(*) FROM oauth_client WHERE id = 'late'";
    assert_eq!(server.database.number(count).await, 0);
    server.stop().await;
}

/// Other roles are another person, as far as apps go: what they have by the old ones ends, whatever the new ones would
/// let them.
///
/// Covers: security R6.
#[tokio::test]
async fn who_is_given_other_roles_loses_every_token() {
    let (server, client, token) = administered(&[]).await;
    let scopes = "offline_access user/Patient.rs";
    register(&server, &public("app", scopes)).await;
    register(&server, &confidential("web", scopes)).await;
    let account = user(&server, "doc", "practitioner", Some("Practitioner/d")).await;
    for roles in [json!(["practitioner", "btg"]), json!(["practitioner"]), json!([])] {
        let answer = tokens(&server, &granted("app", scopes, Some(account))).await;
        let (access, refresh) = (text(&answer, "access_token"), text(&answer, "refresh_token"));
        read(&server, &access).await.expect(200);
        let path = "/admin/users/doc/roles";
        act(&client, &token, "PUT", path, &json!({ "roles": roles })).await.expect(200);
        until_refused(&server, &access).await;
        for held in [&access, &refresh] {
            let fields =
                [("token", held.as_str()), ("client_id", "web"), ("client_secret", SECRET)];
            let told = send(&server, "/auth/introspect", &fields).await.expect(200);
            assert_eq!(told.text(), r#"{"active":false}"#, "{roles}");
        }
        let again = send(&server, "/auth/token", &refreshing("app", &refresh)).await;
        refused(&again, 400, "invalid_grant");
    }
    let ended = "SELECT count(*) FROM oauth_grant WHERE ended_why = 'the roles were changed'";
    assert_eq!(server.database.number(ended).await, 3);
    server.stop().await;
}
