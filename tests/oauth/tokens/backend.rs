//! Backend services: what they prove themselves by, and what they get.
//!
//! Covers: security T6, T7, T9, T10, V16.
//! Covers: security H20, V28.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::client::{
    SECRET, public, read, refused, send, send_with, server, service as with_secret, text, unkept,
};
use super::signed::{Key, Published, fields, service};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::{noted, register, server_with};

const SCOPE: &str = "system/Patient.rs";

fn set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

async fn token(server: &TestServer, assertion: &str) -> Answer {
    send(server, "/auth/token", &fields(assertion, SCOPE)).await
}

#[tokio::test]
async fn a_service_with_a_key_gets_a_token_for_five_minutes() {
    let server = server().await;
    let (ec, rsa) = (Key::ec(), Key::rsa());
    let jwks = set(&[ec.jwk("k"), rsa.jwk("k")]);
    register(&server, &service(Some(&jwks), None, "system/Patient.rs system/Observation.cruds"))
        .await;
    let root = server.client.root();
    let issuer = format!("{root}/auth");
    for (key, header, claims) in [
        (&ec, json!({}), json!({})),
        (&rsa, json!({}), json!({})),
        (&rsa, json!({ "typ": null, "x5c": ["x"], "jwk": Key::ec().jwk("k") }), json!({})),
        (&ec, json!({}), json!({ "aud": issuer })),
    ] {
        let answer = token(&server, &key.assertion(root, &header, &claims)).await.expect(200);
        unkept(&answer);
        assert_eq!(text(&answer, "token_type"), "Bearer");
        assert_eq!(text(&answer, "expires_in"), "300");
        assert_eq!(text(&answer, "scope"), SCOPE);
        assert_eq!((answer.at("refresh_token"), answer.at("id_token")), (None, None));
        read(&server, &text(&answer, "access_token")).await.expect(200);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_assertion_that_is_not_as_it_must_be_proves_nothing() {
    let server = server().await;
    let (ec, rsa, stranger) = (Key::ec(), Key::rsa(), Key::ec());
    let keys = [ec.jwk("k"), rsa.jwk("r"), ec.jwk("twice"), ec.jwk("twice")];
    register(&server, &service(Some(&set(&keys)), None, SCOPE)).await;
    register(&server, &public("app", SCOPE)).await;
    register(&server, &with_secret("basic", SCOPE)).await;
    let root = server.client.root();
    let now = unix();
    let stolen = stranger.jwk("k");
    for (key, header, claims) in [
        (&ec, json!({ "alg": "none" }), json!({})),
        (&ec, json!({ "alg": "HS384" }), json!({})),
        (&rsa, json!({ "alg": "RS256", "kid": "r" }), json!({})),
        (&rsa, json!({ "kid": "k" }), json!({})),
        (&ec, json!({ "kid": "r" }), json!({})),
        (&ec, json!({ "kid": "unknown" }), json!({})),
        (&ec, json!({ "kid": "twice" }), json!({})),
        (&ec, json!({ "kid": null }), json!({})),
        (&ec, json!({ "jku": "https://evil.example/jwks" }), json!({})),
        (&stranger, json!({}), json!({})),
        (&stranger, json!({ "jwk": stolen }), json!({})),
        (&ec, json!({}), json!({ "aud": format!("{root}/auth/revoke") })),
        (&ec, json!({}), json!({ "aud": "https://evil.example/token" })),
        (&ec, json!({}), json!({ "aud": [format!("{root}/auth/token"), "https://evil.example"] })),
        (&ec, json!({}), json!({ "exp": now + 3600 })),
        (&ec, json!({}), json!({ "exp": now - 1 })),
        (&ec, json!({}), json!({ "exp": null })),
        (&ec, json!({}), json!({ "jti": null })),
        (&ec, json!({}), json!({ "sub": "basic" })),
        (&ec, json!({}), json!({ "iss": "nobody", "sub": "nobody" })),
        (&ec, json!({}), json!({ "iss": "app", "sub": "app" })),
        (&ec, json!({}), json!({ "iss": "basic", "sub": "basic" })),
    ] {
        let answer = token(&server, &key.assertion(root, &header, &claims)).await;
        assert_eq!(answer.status, 401, "{header} {claims}: {answer:?}");
        refused(&answer, 401, "invalid_client");
    }
    server.stop().await;
}

/// What cannot even be read is on record like any other refusal.
///
/// Covers: security A3.
#[tokio::test]
async fn what_no_endpoint_can_read_is_on_record() {
    let server = server().await;
    for (path, kind) in [
        ("/auth/token", 45_i16),
        ("/auth/introspect", 47),
        ("/auth/revoke", 46),
        ("/auth/break-glass", 66),
    ] {
        let odd = [("Authorization", "Basic !!!")];
        let answer = send_with(&server, path, &[("token", "x")], &odd).await;
        assert!((400..=401).contains(&answer.status), "{path}: {answer:?}");
        let url = format!("{}{path}", server.client.root());
        let call = server.client.call("POST", &url).header("Content-Type", "text/plain");
        call.body("token=x").send().await.expect(400);
        assert_eq!(noted(&server, kind, 4, "").await, 2, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_assertion_that_is_no_whole_one_proves_nothing() {
    let server = server().await;
    let ec = Key::ec();
    register(&server, &service(Some(&set(&[ec.jwk("k")])), None, SCOPE)).await;
    register(&server, &public("app", SCOPE)).await;
    let root = server.client.root();
    let right = ec.assertion(root, &json!({}), &json!({}));
    let (signed, signature) = right.rsplit_once('.').unwrap();
    for broken in [
        signed.to_owned(),
        format!("{signed}."),
        format!("{signed}.{}", "A".repeat(signature.len())),
        format!("{signed}.{signature}A"),
        "x".repeat(20_000),
        String::new(),
    ] {
        let answer = token(&server, &broken).await;
        assert_eq!(answer.status, 401, "{broken:.40}: {answer:?}");
    }
    let mut odd = fields(&right, SCOPE);
    odd[2].1 = "not_an_assertion_type";
    refused(&send(&server, "/auth/token", &odd).await, 401, "invalid_client");
    odd[2] = ("client_id", "app");
    refused(&send(&server, "/auth/token", &odd).await, 401, "invalid_client");
    let both = [fields(&right, SCOPE), vec![("client_secret", SECRET)]].concat();
    refused(&send(&server, "/auth/token", &both).await, 400, "invalid_request");
    let mut kind = fields(&right, SCOPE);
    kind[0].1 = "not_a_grant_type";
    refused(&send(&server, "/auth/token", &kind).await, 400, "unsupported_grant_type");
    // Nothing of that has used it up.
    token(&server, &right).await.expect(200);
    server.stop().await;
}

fn unix() -> i64 {
    use kiln::clock::Clock as _;
    kiln::clock::SystemClock.now().as_micros() / 1_000_000
}

#[tokio::test]
async fn an_assertion_counts_once_however_often_it_is_shown_at_a_time() {
    let server = server().await;
    let ec = Key::ec();
    register(&server, &service(Some(&set(&[ec.jwk("k")])), None, SCOPE)).await;
    let assertion = ec.assertion(server.client.root(), &json!({}), &json!({}));
    let all = (0..50).map(|_| token(&server, &assertion));
    let answers = futures_util::future::join_all(all).await;
    let done = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(done, 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        refused(answer, 401, "invalid_client");
    }
    refused(&token(&server, &assertion).await, 401, "invalid_client");
    assert_eq!(noted(&server, 45, 4, "used before").await, 50);
    server.stop().await;
}

#[tokio::test]
async fn a_service_gets_what_the_operator_authorized_and_no_more() {
    let server = server().await;
    let known = "system/Patient.rs system/Observation.cruds?category=laboratory";
    register(&server, &with_secret("job", known)).await;
    let asked = async |scope: &str| {
        let fields = [
            ("grant_type", "client_credentials"),
            ("scope", scope),
            ("client_id", "job"),
            ("client_secret", SECRET),
        ];
        send(&server, "/auth/token", &fields).await
    };
    for (scope, expected) in [
        ("system/Patient.rs", "system/Patient.rs"),
        ("system/Patient.cruds", "system/Patient.rs"),
        ("system/Patient.read", "system/Patient.read"),
        ("system/Patient.r system/Condition.r", "system/Patient.r"),
        ("system/Observation.rs", "system/Observation.rs?category=laboratory"),
        ("system/Patient.rs nonsense system/Nothing.rs", "system/Patient.rs"),
    ] {
        assert_eq!(text(&asked(scope).await.expect(200), "scope"), expected, "{scope}");
    }
    let all = text(&asked("system/*.rs").await.expect(200), "scope");
    let all: BTreeSet<_> = all.split(' ').collect();
    let expected = ["system/Patient.rs", "system/Observation.rs?category=laboratory"];
    assert_eq!(all, BTreeSet::from(expected));
    for scope in [
        "",
        "system/Condition.rs",
        "nonsense",
        "patient/Patient.rs",
        "user/Patient.rs",
        "system/Patient.rs patient/Patient.rs",
        "openid",
        "system/__introspect",
    ] {
        refused(&asked(scope).await, 400, "invalid_scope");
    }
    for client in [public("app", known)] {
        register(&server, &client).await;
        let fields = [
            ("grant_type", "client_credentials"),
            ("scope", "system/Patient.rs"),
            ("client_id", "app"),
        ];
        refused(&send(&server, "/auth/token", &fields).await, 400, "unauthorized_client");
    }
    server.stop().await;
}

#[tokio::test]
async fn keys_at_an_address_are_fetched_kept_and_looked_for_once_more() {
    let server = server_with(&[("auth.outbound_networks", "127.0.0.0/8")]).await;
    let (first, second) = (Key::ec(), Key::ec());
    let place = Published::start(&set(&[first.jwk("k")])).await;
    register(&server, &service(None, Some(&place.url), SCOPE)).await;
    let root = server.client.root();
    let jku = json!({ "jku": place.url });
    for header in [json!({}), jku] {
        token(&server, &first.assertion(root, &header, &json!({}))).await.expect(200);
    }
    assert_eq!(place.asked(), 1, "they were not kept");
    // Another key is looked for, but not more often than every ten seconds.
    let new = second.assertion(root, &json!({ "kid": "k2" }), &json!({}));
    place.answer.lock().unwrap().2 = set(&[second.jwk("k2")]).to_string();
    for _ in 0..3 {
        refused(&token(&server, &new).await, 401, "invalid_client");
    }
    assert_eq!(place.asked(), 1);
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    token(&server, &new).await.expect(200);
    assert_eq!(place.asked(), 2);
    server.stop().await;
}

#[tokio::test]
async fn keys_that_cannot_be_had_let_nobody_in() {
    let server = server_with(&[("auth.outbound_networks", "127.0.0.0/8")]).await;
    let ec = Key::ec();
    let jwks = set(&[ec.jwk("k")]).to_string();
    let root = server.client.root();
    let answers = [
        (302, jwks.clone()),
        (404, jwks.clone()),
        (200, "nonsense".to_owned()),
        (200, format!("{jwks}{}", " ".repeat(65 * 1024))),
    ];
    for (at, (status, body)) in answers.into_iter().enumerate() {
        let place = Published::start(&json!({})).await;
        *place.answer.lock().unwrap() = (status, "no-store".to_owned(), body);
        let mut client = service(None, Some(&place.url), SCOPE);
        client.id = format!("job-{at}");
        register(&server, &client).await;
        let claims = json!({ "iss": client.id, "sub": client.id });
        // Each assertion is refused, and the place asked for the first alone.
        for _ in 0..3 {
            let answer = token(&server, &ec.assertion(root, &json!({}), &claims)).await;
            refused(&answer, 401, "invalid_client");
            assert_eq!(place.asked(), 1, "{status}");
        }
    }
    server.stop().await;
}

/// A place that takes the connection and says nothing, and one that drips, are left after five seconds.
#[tokio::test]
async fn keys_that_do_not_come_in_time_let_nobody_in() {
    let server = server_with(&[("auth.outbound_networks", "127.0.0.0/8")]).await;
    let ec = Key::ec();
    let root = server.client.root();
    for (id, drips) in [("silent", false), ("slow", true)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let place = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            if drips {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{";
                stream.write_all(head).await.unwrap();
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            std::future::pending::<()>().await;
        });
        let mut client = service(None, Some(&url), SCOPE);
        client.id = id.to_owned();
        register(&server, &client).await;
        let claims = json!({ "iss": id, "sub": id });
        let began = Instant::now();
        let answer = token(&server, &ec.assertion(root, &json!({}), &claims)).await;
        refused(&answer, 401, "invalid_client");
        let took = began.elapsed();
        let bounds = Duration::from_secs(4)..Duration::from_secs(9);
        assert!(bounds.contains(&took), "{id}: {took:?}");
        place.abort();
    }
    server.stop().await;
}

/// Keys are kept as long as their place says and no longer.
#[tokio::test]
async fn keys_are_kept_no_longer_than_they_may_be() {
    let server = server_with(&[("auth.outbound_networks", "127.0.0.0/8")]).await;
    let ec = Key::ec();
    let root = server.client.root();
    for (at, (control, wait, asked)) in
        [("max-age=2", 0, 1), ("max-age=1", 1_200, 2), ("no-store", 0, 2), ("no-cache", 0, 2)]
            .into_iter()
            .enumerate()
    {
        let place = Published::start(&set(&[ec.jwk("k")])).await;
        control.clone_into(&mut place.answer.lock().unwrap().1);
        let mut client = service(None, Some(&place.url), SCOPE);
        client.id = format!("kept-{at}");
        register(&server, &client).await;
        let claims = json!({ "iss": client.id, "sub": client.id });
        token(&server, &ec.assertion(root, &json!({}), &claims)).await.expect(200);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        token(&server, &ec.assertion(root, &json!({}), &claims)).await.expect(200);
        assert_eq!(place.asked(), asked, "{control}");
        // Whoever makes up ids of keys has nobody asked.
        for _ in 0..3 {
            let made_up = ec.assertion(root, &json!({ "kid": "made-up" }), &claims);
            refused(&token(&server, &made_up).await, 401, "invalid_client");
        }
        assert_eq!(place.asked(), asked, "{control}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_cannot_have_the_server_call_what_is_inside() {
    let server = server().await;
    let ec = Key::ec();
    let place = Published::start(&set(&[ec.jwk("k")])).await;
    let port = place.url.rsplit_once(':').unwrap().1.to_owned();
    let root = server.client.root();
    for (at, url) in [
        place.url.clone(),
        format!("https://127.0.0.1:{port}"),
        format!("https://localhost:{port}"),
        format!("https://[::ffff:127.0.0.1]:{port}"),
        format!("https://0x7f000001:{port}"),
        format!("https://2130706433:{port}"),
        "https://169.254.169.254/latest".to_owned(),
        "https://10.0.0.1/jwks".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let mut client = service(None, Some(url), SCOPE);
        client.id = format!("job{at}");
        register(&server, &client).await;
        let claims = json!({ "iss": client.id, "sub": client.id });
        let answer = token(&server, &ec.assertion(root, &json!({}), &claims)).await;
        refused(&answer, 401, "invalid_client");
        assert!(!answer.text().contains("127.0.0.1"), "{answer:?}");
    }
    assert_eq!(place.asked(), 0);
    server.stop().await;
}
