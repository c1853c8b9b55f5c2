//! What tests of tokens share: clients, grants without pages, and requests to the endpoints.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kiln::clock::{Clock as _, IdSource as _, SystemClock, SystemIds};
use kiln::oauth::client::{AppType, Client as App, ClientKind, with_secret};
use kiln::oauth::secret::{self, CODE, Fresh};
use kiln::store::oauth::grant::{self, NewCode, NewGrant};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::{self, REDIRECT, VERIFIER, form};

/// The secret of confidential clients.
pub(crate) const SECRET: &str = "kiln_cs_canary-secret-of-a-client";

/// A public app.
pub(crate) fn public(id: &str, scopes: &str) -> App {
    browser::app(id, scopes)
}

/// An app with [`SECRET`].
pub(crate) fn confidential(id: &str, scopes: &str) -> App {
    let secrets = with_secret("[]", &secret::hash(SECRET), SystemClock.now());
    App { kind: ClientKind::Secret, secrets, ..browser::app(id, scopes) }
}

/// A service with [`SECRET`].
pub(crate) fn service(id: &str, scopes: &str) -> App {
    App { app_type: AppType::Backend, redirect_uris: Vec::new(), ..confidential(id, scopes) }
}

/// What a user agreed to, without pages.
pub(crate) fn granted(client: &str, scopes: &str, account: Option<Uuid>) -> NewGrant {
    NewGrant {
        id: SystemIds::default().ordered(),
        client: client.to_owned(),
        account,
        scopes: scopes.to_owned(),
        patient: scopes.contains("patient/").then(|| "p1".to_owned()),
        encounter: None,
        context: Some(r#"{"need_patient_banner":true,"intent":"summary"}"#.to_owned()),
        fhir_user: account.map(|_| "Patient/p1".to_owned()),
        is_offline: scopes.contains("offline_access"),
        session: None,
        auth_time: Some(SystemClock.now()),
        nonce: Some("canary-nonce".to_owned()),
        purpose: None,
        reason: None,
        created: SystemClock.now(),
    }
}

/// A code for a grant.
pub(crate) async fn code_of(server: &TestServer, grant: &NewGrant) -> String {
    let fresh = Fresh::new(CODE, &SystemIds::default());
    let code = NewCode {
        hash: fresh.hash,
        redirect_uri: REDIRECT.to_owned(),
        challenge: secret::challenge(VERIFIER),
        aud: server.client.base(),
        expires: SystemClock.now().plus_millis(60_000),
    };
    grant::issue_code(server.store(), grant, &code).await.unwrap();
    fresh.text.expose_secret().to_owned()
}

/// Sends a form to an endpoint.
pub(crate) async fn send(server: &TestServer, path: &str, fields: &[(&str, &str)]) -> Answer {
    send_with(server, path, fields, &[]).await
}

/// The same with headers.
pub(crate) async fn send_with(
    server: &TestServer,
    path: &str,
    fields: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> Answer {
    let mut call = server.client.call("POST", &format!("{}{path}", server.client.root()));
    call = call.header("Content-Type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.body(form(fields)).send().await
}

/// HTTP Basic with [`SECRET`].
pub(crate) fn basic(id: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{SECRET}")))
}

/// The fields of an exchange that is as it must be.
pub(crate) fn exchange<'a>(client: &'a str, code: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("client_id", client),
        ("code_verifier", VERIFIER),
    ]
}

/// The tokens of a grant of a public client.
pub(crate) async fn tokens(server: &TestServer, grant: &NewGrant) -> Answer {
    let code = code_of(server, grant).await;
    send(server, "/auth/token", &exchange(&grant.client, &code)).await.expect(200)
}

/// The fields of a refresh.
pub(crate) fn refreshing<'a>(client: &'a str, token: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client)]
}

/// The status of a read with a token.
pub(crate) async fn read(server: &TestServer, token: &str) -> Answer {
    let call = server.client.call("GET", "/Patient/p1");
    call.header("Authorization", &format!("Bearer {token}")).send().await
}

/// The text at a path of an answer that must have one.
#[track_caller]
pub(crate) fn text(answer: &Answer, path: &str) -> String {
    answer.at(path).unwrap_or_else(|| panic!("no {path} in {answer:?}"))
}

/// The claims of a JWT.
pub(crate) fn claims(token: &str) -> serde_json::Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Fails unless an answer is a refusal of OAuth that nobody keeps.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.at("error").as_deref(), Some(code), "{answer:?}");
    unkept(answer);
}

/// Fails when an answer may be kept.
#[track_caller]
pub(crate) fn unkept(answer: &Answer) {
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("pragma").as_deref(), Some("no-cache"), "{answer:?}");
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"), "{answer:?}");
}

/// A server with the patient p1 in it.
pub(crate) async fn server() -> TestServer {
    let server = browser::server().await;
    browser::store(&server, &[r#"{"resourceType":"Patient","id":"p1","active":true}"#]).await;
    server
}
