//! The same of keys of clients, of a provider to log in at, of tokens that others have made, and of
//! administration.
//!
//! Covers: security H22, V35.

use kiln::clock::{Clock as _, SystemClock};
use kiln::oauth::client::Client as App;
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

use super::{Log, Mistakes};
use crate::harness::server::TestServer;
use crate::oauth::administration::act;
use crate::oauth::browser::{Browser, PASSWORD, register, server, server_with, store};
use crate::oauth::tokens::client::{SECRET, confidential, read, send, service, text};
use crate::oauth::tokens::signed::{self, Key, Published, fields};
use crate::oauth::upstream::{LABEL, at_provider, link};

const ISSUER: &str = "https://tokens.example";
const AUDIENCE: &str = "https://api.example/fhir";
const SCOPE: &str = "system/Patient.rs";

/// The value of a parameter of an address.
fn part(url: &str, name: &str) -> String {
    let query = url.split_once('?').expect("a query").1;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| *known == name).expect(name).1.to_owned()
}

/// A service proves itself by assertions, well and badly; gives them and what it gets.
async fn asserted(here: &TestServer, key: &Key, mistakes: &mut Mistakes) -> Vec<String> {
    let root = here.client.root();
    let now = SystemClock.now().as_micros() / 1_000_000;
    let made = |claims: Value| key.assertion(root, &json!({}), &claims);
    let right = made(json!({}));
    let answer = send(here, "/auth/token", &fields(&right, SCOPE)).await.expect(200);
    let mut secrets = vec![right.clone(), text(&answer, "access_token")];
    for wrong in [
        right,
        made(json!({ "exp": now - 3_600 })),
        made(json!({ "aud": "https://elsewhere.example" })),
        made(json!({ "jti": null })),
        Key::ec().assertion(root, &json!({}), &json!({})),
        key.assertion(root, &json!({ "kid": "x" }), &json!({})),
        "Canarytoken.Canarytoken.Canarytoken".to_owned(),
    ] {
        let answer = send(here, "/auth/token", &fields(&wrong, SCOPE)).await;
        let answer = mistakes.keep(answer);
        assert!([400, 401].contains(&answer.status), "{answer:?}");
        secrets.push(wrong);
    }
    secrets
}

/// Somebody logs in at the provider, well and badly; gives what went to and fro.
async fn upstream(
    provider: &TestServer,
    here: &TestServer,
    mistakes: &mut Mistakes,
) -> Vec<String> {
    let mut browser = Browser::new(here);
    let mut secrets = Vec::new();
    for (is_linked, is_right) in [(false, true), (true, true), (true, false)] {
        if is_linked && is_right {
            link(provider, here).await;
        }
        // Each begins where nobody is logged in.
        browser.jar.clear();
        let mut back = at_provider(provider, &mut browser).await;
        let (code, state) = (part(&back, "code"), part(&back, "state"));
        if !is_right {
            back = back.replace(&code, "Canarycode");
        }
        let answer = browser.get(&back).await;
        assert_eq!(answer.status == 303, is_linked && is_right, "{answer:?}");
        mistakes.keep(answer);
        secrets.extend([code, state]);
        secrets.extend(browser.jar.values().cloned());
    }
    secrets
}

/// Tokens of the other server, good and bad; gives them.
async fn trusted(here: &TestServer, key: &Key, mistakes: &mut Mistakes) -> Vec<String> {
    let now = SystemClock.now().as_micros() / 1_000_000;
    let made = |audience: &str, expires: i64| {
        let header = json!({ "alg": "ES384", "kid": "e", "typ": "at+jwt" });
        let claims = json!({
            "iss": ISSUER, "aud": audience, "sub": "job", "client_id": "job", "scope": SCOPE,
            "exp": expires, "iat": now,
        });
        key.sign(&header, &claims)
    };
    let mut secrets = Vec::new();
    for (token, status) in [
        (made(AUDIENCE, now + 300), 200),
        (made(AUDIENCE, now - 300), 401),
        (made("https://elsewhere.example", now + 300), 401),
        (format!("{}A", made(AUDIENCE, now + 300)), 401),
        ("Canarytoken.Canarytoken.Canarytoken".to_owned(), 401),
    ] {
        mistakes.keep(read(here, &token).await).expect(status);
        secrets.push(token);
    }
    secrets
}

/// A client and a user are made over the listener of administration, and asked for badly; gives the secrets.
async fn administered(here: &TestServer, mistakes: &mut Mistakes) -> Vec<String> {
    let asked = [
        ("grant_type", "client_credentials"),
        ("scope", "system/__admin"),
        ("client_id", "ops"),
        ("client_secret", SECRET),
    ];
    let token = text(&send(here, "/auth/token", &asked).await.expect(200), "access_token");
    let client = here.administration();
    let loader = json!({ "client_id": "loader", "application_type": "backend", "scope": SCOPE });
    let made = act(&client, &token, "POST", "/admin/clients", &loader).await.expect(201);
    let path = "/admin/clients/loader/secret";
    let rotated = act(&client, &token, "POST", path, &Value::Null).await.expect(200);
    let person = json!({ "name": "nia", "roles": ["patient"], "fhir_user": "Patient/p1" });
    let added = act(&client, &token, "POST", "/admin/users", &person).await.expect(201);
    let link = text(&added, "setup_link");
    let link = link.rsplit('/').next().expect("the end of an address").to_owned();
    for (token, body, status) in [
        (token.as_str(), &loader, 409),
        (token.as_str(), &json!({ "client_id": "x", "scope": "x", "extra": 1 }), 400),
        ("Canarytoken", &loader, 401),
    ] {
        let answer = act(&client, token, "POST", "/admin/clients", body).await;
        mistakes.keep(answer).expect(status);
    }
    vec![token, text(&made, "client_secret"), text(&rotated, "client_secret"), link]
}

// One thread, so that the subscriber of this test sees the servers' tasks and no others.
#[tokio::test]
async fn nothing_that_opens_a_door_to_others_comes_out_where_operators_look() {
    let log = Log::default();
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _mine = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let (other, job) = (Key::ec(), Key::ec());
    let published = Published::start(&json!({ "keys": [other.jwk("e")] })).await;
    let provider = server().await;
    crate::oauth::browser::user(&provider, "outside", "patient", None).await;
    let issuer = format!("{}/auth", provider.client.root());
    let here = server_with(&[
        ("administration.listen", "127.0.0.1:0"),
        ("auth.outbound_networks", "127.0.0.0/8"),
        ("upstream.issuer", &issuer),
        ("upstream.client_id", "kiln"),
        ("upstream.client_secret", SECRET),
        ("upstream.label", LABEL),
        ("trusted.other.issuer", ISSUER),
        ("trusted.other.jwks_uri", &published.url),
        ("trusted.other.audience", AUDIENCE),
        ("trusted.other.scopes", SCOPE),
    ])
    .await;
    let back = format!("{}/auth/callback", here.client.root());
    let known = App { redirect_uris: vec![back], ..confidential("kiln", "openid") };
    register(&provider, &known).await;
    store(&here, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    let jwks = json!({ "keys": [job.jwk("k")] });
    register(&here, &signed::service(Some(&jwks), None, SCOPE)).await;
    register(&here, &service("ops", "system/__admin")).await;

    let mut mistakes = Mistakes::default();
    let mut secrets = asserted(&here, &job, &mut mistakes).await;
    secrets.extend(upstream(&provider, &here, &mut mistakes).await);
    secrets.extend(trusted(&here, &other, &mut mistakes).await);
    secrets.extend(administered(&here, &mut mistakes).await);
    let metrics = here.client.get(&format!("{}/metrics", here.client.root())).await.text();
    here.stop().await;
    provider.stop().await;

    // Of a signed text the signature is what nobody else can write.
    let signatures = secrets.iter().filter_map(|it| Some(it.rsplit_once('.')?.1.to_owned()));
    let signatures: Vec<String> = signatures.collect();
    secrets.extend(signatures);
    secrets.extend([PASSWORD, SECRET].map(str::to_owned));
    secrets.retain(|secret| secret.len() > 8);
    assert!(secrets.len() > 30, "{}", secrets.len());
    let log = log.0.lock().unwrap().clone();
    assert!(log.contains("answered") && log.contains("span http.request"), "nothing was seen");
    for (place, text) in [("log", &log), ("metrics", &metrics), ("mistakes", &mistakes.0)] {
        for secret in secrets.iter().map(String::as_str).chain(["Canary"]) {
            let at = text.find(secret);
            let before = at.map(|at| text[..at].lines().last().unwrap_or_default());
            assert_eq!(before, None, "a secret in the {place}");
        }
    }
}
