//! How far the clocks of client and server may differ.
//!
//! Covers: security H25.

use kiln::clock::{Clock as _, SystemClock};
use serde_json::json;

use super::client::{granted, public, read, send, server, text, tokens};
use super::signed::{Key, fields, service};
use crate::oauth::browser::{register, user};

const SCOPE: &str = "system/Patient.rs";

fn now() -> i64 {
    SystemClock.now().as_micros() / 1_000_000
}

/// A minute, where a client's clock sets a bound; nothing where the clock is the server's own.
#[tokio::test]
async fn clocks_may_differ_by_a_minute_where_that_is_said_and_nowhere_else() {
    let server = server().await;
    let ec = Key::ec();
    register(&server, &service(Some(&json!({ "keys": [ec.jwk("k")] })), None, SCOPE)).await;
    let root = server.client.root();
    for (claims, expected) in [
        (json!({ "exp": now() + 350 }), 200),
        (json!({ "exp": now() + 375 }), 401),
        (json!({ "iat": now() + 45, "nbf": now() + 45 }), 200),
        (json!({ "nbf": now() + 75 }), 401),
        (json!({ "iat": now() + 75 }), 401),
        (json!({ "exp": now() - 2 }), 401),
        (json!({ "exp": now() - 45 }), 401),
    ] {
        let assertion = ec.assertion(root, &json!({}), &claims);
        let answer = send(&server, "/auth/token", &fields(&assertion, SCOPE)).await;
        assert_eq!(answer.status, expected, "{claims}: {answer:?}");
    }
    // Our own tokens and codes end when they end.
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    register(&server, &public("app", "patient/Patient.rs")).await;
    let answer = tokens(&server, &granted("app", "patient/Patient.rs", Some(account))).await;
    let token = text(&answer, "access_token");
    let ended = "UPDATE oauth_token SET expires = now() - interval '1 s'";
    server.database.run(ended).await;
    read(&server, &token).await.expect(401);
    server.stop().await;
}
