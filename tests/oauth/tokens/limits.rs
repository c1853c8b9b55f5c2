//! Who asks too often hears when to ask again.
//!
//! Covers: security H11.

use super::client::{granted, public, read, refused, send, text, tokens};
use crate::oauth::browser::{register, server_with, store, user};

#[tokio::test]
async fn who_asks_too_often_hears_when_to_ask_again() {
    let settings = [
        ("limits.tokens_per_minute", "12"),
        ("limits.introspections_per_minute", "12"),
        ("limits.registrations_per_minute", "12"),
        ("limits.requests_per_minute", "30"),
        ("auth.registration", "open"),
    ];
    let server = server_with(&settings).await;
    register(&server, &public("app", "patient/Patient.rs")).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", "patient/Patient.rs", Some(account))).await;
    let token = text(&answer, "access_token");
    for path in ["/auth/token", "/auth/introspect", "/auth/register"] {
        let mut last = None;
        for _ in 0..5 {
            last = Some(send(&server, path, &[("grant_type", "x"), ("token", "x")]).await);
        }
        let last = last.unwrap();
        refused(&last, 429, "temporarily_unavailable");
        assert!(last.header("retry-after").unwrap().parse::<u32>().unwrap() > 0, "{path}");
    }
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let answer = read(&server, &token).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            assert_eq!(answer.at("issue[0].code").as_deref(), Some("throttled"));
        }
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    server.stop().await;
}
