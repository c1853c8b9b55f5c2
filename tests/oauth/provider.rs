//! A provider that says what a test wants: id_tokens that are wrong, keys that change, and no answer at all.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kiln::clock::{Clock as _, SystemClock};
use kiln::store::oauth::account;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::browser::{Browser, location, noted, parameter, server_with, user};
use super::tokens::signed::{Key, change};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;

/// What a provider says.
#[derive(Default)]
struct Said {
    keys: Value,
    /// The answer of its token endpoint.
    token: Value,
    is_away: bool,
    /// How often its keys were asked for.
    asked: u32,
}

/// A provider on this machine.
#[derive(Clone)]
struct Provider {
    issuer: String,
    said: Arc<Mutex<Said>>,
}

impl Provider {
    async fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self { issuer, said: Arc::default() };
        provider.publish(keys);
        let serving = provider.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let provider = serving.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    std::future::ready(provider.answer(request.uri().path()))
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        provider
    }

    /// An answer; none where it is away: the connection breaks.
    fn answer(&self, path: &str) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let mut said = self.said.lock().unwrap();
        if said.is_away {
            return Err(std::io::Error::other("away"));
        }
        let issuer = &self.issuer;
        let body = match path {
            "/.well-known/openid-configuration" => json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/jwks"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "ES384"],
            }),
            "/jwks" => {
                said.asked += 1;
                said.keys.clone()
            }
            _ => said.token.clone(),
        };
        let answer = Response::builder().header("Content-Type", "application/json");
        answer.body(Full::new(Bytes::from(body.to_string()))).map_err(std::io::Error::other)
    }

    fn publish(&self, keys: &[Value]) {
        self.said.lock().unwrap().keys = json!({ "keys": keys });
    }

    fn is_away(&self, is_away: bool) {
        self.said.lock().unwrap().is_away = is_away;
    }

    fn asked(&self) -> u32 {
        self.said.lock().unwrap().asked
    }

    /// A server that lets its users in, of whom `ada` is the account pat.
    async fn served(&self) -> TestServer {
        let here = server_with(&[
            ("upstream.issuer", &self.issuer),
            ("upstream.client_id", "kiln"),
            ("auth.outbound_networks", "127.0.0.0/8"),
        ])
        .await;
        let account = user(&here, "pat", "patient", None).await;
        account::identify(here.store(), &self.issuer, "ada", account).await.unwrap();
        here
    }

    /// The claims of a right id_token for this nonce, but for `changes`, of which null takes one away.
    fn claims(&self, nonce: &str, changes: &Value) -> Value {
        let now = SystemClock.now().as_micros() / 1_000_000;
        let mut claims = json!({
            "iss": self.issuer, "sub": "ada", "aud": "kiln", "nonce": nonce, "iat": now,
            "exp": now + 300,
        });
        change(&mut claims, changes);
        claims
    }

    /// What a browser meets that comes back from here, with this answer of the token endpoint.
    async fn back(&self, browser: &mut Browser, state: &str, token: Value) -> Answer {
        self.said.lock().unwrap().token = token;
        browser.get(&format!("/auth/callback?state={state}&code=c")).await
    }

    /// The same with an id_token.
    async fn back_with(&self, browser: &mut Browser, state: &str, id_token: &str) -> Answer {
        let token = json!({ "access_token": "x", "token_type": "Bearer", "id_token": id_token });
        self.back(browser, state, token).await
    }

    /// What a new browser meets that logs in here, where `key` signs as `kid`.
    async fn log_in(&self, here: &TestServer, key: &Key, kid: &str) -> Answer {
        let mut browser = Browser::new(here);
        let (state, nonce) = asked(&mut browser).await;
        let id_token = key.sign(&header(key, kid), &self.claims(&nonce, &json!({})));
        self.back_with(&mut browser, &state, &id_token).await
    }
}

/// A browser goes to the provider: the state and the nonce of what is asked there.
async fn asked(browser: &mut Browser) -> (String, String) {
    let login = browser.open("/auth/login").await.expect(200);
    let away = browser.submit(&login, "/auth/upstream", &[]).await.expect(303);
    let one = |name| parameter(&away, name).unwrap_or_else(|| panic!("no {name}: {away:?}"));
    (one("state"), one("nonce"))
}

fn header(key: &Key, kid: &str) -> Value {
    let algorithm = if matches!(key, Key::Rsa(_)) { "RS256" } else { "ES384" };
    json!({ "alg": algorithm, "kid": kid })
}

/// Fails unless an answer says that the provider did not answer as it must.
#[track_caller]
fn refused(answer: &Answer, case: &str) {
    assert_eq!(answer.status, 403, "{case}: {answer:?}");
    assert!(answer.text().contains("did not answer as it must"), "{case}: {answer:?}");
}

/// Covers: security M7.
#[tokio::test]
async fn an_id_token_of_which_anything_is_wrong_logs_nobody_in() {
    let (ec, rsa) = (Key::ec(), Key::rsa());
    let provider = Provider::start(&[ec.jwk("e"), rsa.jwk("r")]).await;
    let here = provider.served().await;
    let now = SystemClock.now().as_micros() / 1_000_000;
    for (key, kid) in [(&ec, "e"), (&rsa, "r")] {
        provider.log_in(&here, key, kid).await.expect(303);
    }
    let as_is = || json!({});
    let right = [
        (as_is(), json!({ "aud": ["kiln"] })),
        (as_is(), json!({ "azp": "kiln" })),
        (as_is(), json!({ "exp": now + 60 })),
    ];
    let wrong = [
        (as_is(), json!({ "nonce": "x" })),
        (as_is(), json!({ "nonce": null })),
        (as_is(), json!({ "aud": "other" })),
        (as_is(), json!({ "aud": null })),
        (as_is(), json!({ "aud": [] })),
        (as_is(), json!({ "aud": ["kiln", "other"], "azp": "kiln" })),
        (as_is(), json!({ "azp": "other" })),
        (as_is(), json!({ "iss": "https://evil.example" })),
        (as_is(), json!({ "iss": format!("{}/", provider.issuer) })),
        (as_is(), json!({ "iss": null })),
        (as_is(), json!({ "exp": now - 1 })),
        (as_is(), json!({ "exp": null })),
        (as_is(), json!({ "sub": null })),
        (json!({ "alg": "none" }), as_is()),
        (json!({ "alg": "HS256" }), as_is()),
        (json!({ "alg": "ES256" }), as_is()),
        (json!({ "alg": "RS256", "kid": "r" }), as_is()),
        (json!({ "kid": "r" }), as_is()),
        (json!({ "kid": "x" }), as_is()),
    ];
    let all = right.iter().map(|it| (it, true)).chain(wrong.iter().map(|it| (it, false)));
    for ((header_changes, changes), is_right) in all {
        let mut browser = Browser::new(&here);
        let (state, nonce) = asked(&mut browser).await;
        let mut head = header(&ec, "e");
        change(&mut head, header_changes);
        let id_token = ec.sign(&head, &provider.claims(&nonce, changes));
        let answer = provider.back_with(&mut browser, &state, &id_token).await;
        let case = format!("{header_changes} {changes}");
        if is_right {
            assert_eq!(answer.status, 303, "{case}: {answer:?}");
        } else {
            refused(&answer, &case);
            let apps = browser.get("/auth/apps").await.expect(303);
            assert_eq!(location(&apps), "/auth/login", "{case}");
        }
    }
    assert_eq!(noted(&here, 40, 4, "did not answer as it must").await, wrong.len() as i64);
    assert_eq!(noted(&here, 40, 0, "by an outside provider").await, 2 + right.len() as i64);
    here.stop().await;
}

/// What an id_token is, by its nonce.
type Made<'m> = &'m dyn Fn(&str) -> Value;

/// Covers: security M7.
#[tokio::test]
async fn an_id_token_that_nobody_signed_logs_nobody_in() {
    let (key, other) = (Key::ec(), Key::ec());
    let provider = Provider::start(&[key.jwk("e")]).await;
    let here = provider.served().await;
    let made = |nonce: &str, key: &Key, alg: &str| {
        let claims = provider.claims(nonce, &json!({}));
        key.sign(&json!({ "alg": alg, "kid": "e" }), &claims)
    };
    let cut = |text: String| text.rsplit_once('.').expect("a signature").0.to_owned();
    let cases: [(&str, Made<'_>); 7] = [
        ("by another", &|nonce| json!(made(nonce, &other, "ES384"))),
        ("by nobody", &|nonce| json!(format!("{}.", cut(made(nonce, &key, "none"))))),
        ("without a signature", &|nonce| json!(format!("{}.", cut(made(nonce, &key, "ES384"))))),
        ("without its part", &|nonce| json!(cut(made(nonce, &key, "ES384")))),
        ("altered", &|nonce| {
            let (kept, signed) = (made(nonce, &key, "ES384"), made("x", &key, "ES384"));
            let signature = signed.rsplit_once('.').expect("a signature").1;
            json!(format!("{}.{signature}", cut(kept)))
        }),
        ("no JWT", &|_| json!("x")),
        ("no id_token", &|_| Value::Null),
    ];
    for (case, id_token) in &cases {
        let mut browser = Browser::new(&here);
        let (state, nonce) = asked(&mut browser).await;
        let mut token = json!({ "access_token": "x", "token_type": "Bearer" });
        change(&mut token, &json!({ "id_token": id_token(&nonce) }));
        let answer = provider.back(&mut browser, &state, token).await;
        refused(&answer, case);
    }
    assert_eq!(noted(&here, 40, 4, "did not answer as it must").await, cases.len() as i64);
    provider.log_in(&here, &key, "e").await.expect(303);
    here.stop().await;
}

/// Keys are asked for when one is missing, and not each time.
///
/// Covers: security M7.
#[tokio::test]
async fn a_provider_that_signs_with_a_new_key_lets_in_at_once() {
    let (old, new, stranger) = (Key::ec(), Key::ec(), Key::ec());
    let provider = Provider::start(&[old.jwk("old")]).await;
    let here = provider.served().await;
    provider.log_in(&here, &old, "old").await.expect(303);
    assert_eq!(provider.asked(), 1);
    provider.publish(&[new.jwk("new")]);
    provider.log_in(&here, &new, "new").await.expect(303);
    provider.log_in(&here, &new, "new").await.expect(303);
    assert_eq!(provider.asked(), 2);
    // What was taken back counts no more, and nobody has the provider asked again and again.
    for (key, kid) in [(&old, "old"), (&stranger, "new"), (&stranger, "x")] {
        refused(&provider.log_in(&here, key, kid).await, kid);
    }
    assert_eq!(provider.asked(), 2);
    here.stop().await;
}

/// A provider that is away lets nobody in, and everybody again when it is back.
///
/// Covers: security M7.
#[tokio::test]
async fn a_provider_that_is_back_lets_in_again() {
    let key = Key::ec();
    let provider = Provider::start(&[key.jwk("k")]).await;
    let here = provider.served().await;
    // Before anything is known of it, there is nowhere to go.
    provider.is_away(true);
    let mut browser = Browser::new(&here);
    let login = browser.open("/auth/login").await.expect(200);
    let answer = browser.submit(&login, "/auth/upstream", &[]).await;
    refused(&answer, "unknown");
    provider.is_away(false);
    provider.log_in(&here, &key, "k").await.expect(303);
    // While somebody is there it goes away: who comes back is not let in, and others are.
    let (state, nonce) = asked(&mut browser).await;
    let id_token = key.sign(&header(&key, "k"), &provider.claims(&nonce, &json!({})));
    provider.is_away(true);
    let answer = provider.back_with(&mut browser, &state, &id_token).await;
    refused(&answer, "away");
    let mut other = Browser::new(&here);
    let login = other.open("/auth/login").await.expect(200);
    let inside = other.log_in(&login, "pat").await.expect(200);
    assert!(inside.text().contains("<strong>pat</strong>"), "{inside:?}");
    // What was begun is over; begun anew it leads in.
    provider.is_away(false);
    let again = provider.back_with(&mut browser, &state, &id_token).await.expect(403);
    assert!(again.text().contains("does not belong to this browser"), "{again:?}");
    let (state, nonce) = asked(&mut browser).await;
    let id_token = key.sign(&header(&key, "k"), &provider.claims(&nonce, &json!({})));
    provider.back_with(&mut browser, &state, &id_token).await.expect(303);
    browser.open("/auth/apps").await.expect(200);
    here.stop().await;
}
