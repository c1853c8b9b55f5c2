//! Refresh tokens: each once, in a row; who shows an old one ends the row.
//!
//! Covers: security R1, R2, R3, V17.

use std::collections::BTreeSet;

use super::bearer::until_refused;
use super::client::{
    SECRET, confidential, granted, public, read, refreshing, refused, send, server, text, tokens,
    unkept,
};
use crate::oauth::browser::{noted, register, user};

const SCOPES: &str = "openid fhirUser offline_access patient/Patient.rs patient/Observation.rs";

#[tokio::test]
async fn a_refresh_token_becomes_its_successor_and_an_access_token() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let first = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    let mut shown = text(&first, "refresh_token");
    let mut seen = BTreeSet::from([shown.clone()]);
    for _ in 0..3 {
        let next = send(&server, "/auth/token", &refreshing("app", &shown)).await.expect(200);
        unkept(&next);
        assert_eq!(text(&next, "scope"), SCOPES);
        assert_eq!(text(&next, "patient"), "p1");
        read(&server, &text(&next, "access_token")).await.expect(200);
        shown = text(&next, "refresh_token");
        assert!(seen.insert(shown.clone()), "an old token came again");
    }
    // A refresh goes on for months from its last use.
    let days = "SELECT (extract(epoch FROM max(expires) - now()) / 86400)::bigint FROM oauth_token \
                WHERE kind = 'refresh' AND replaced_at IS NULL";
    assert!(server.database.number(days).await >= 92);
    server.stop().await;
}

#[tokio::test]
async fn scopes_may_be_narrowed_and_never_widened() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let first = tokens(&server, &granted("app", SCOPES, None)).await;
    let shown = text(&first, "refresh_token");
    for wider in [
        "patient/Condition.rs",
        "patient/Patient.cruds",
        "patient/*.rs",
        "user/Patient.rs",
        "system/Patient.rs",
        "patient/Patient.rs patient/Nothing.rs",
        "launch",
        "patient/Patient.rsx",
    ] {
        let fields = [refreshing("app", &shown), vec![("scope", wider)]].concat();
        refused(&send(&server, "/auth/token", &fields).await, 400, "invalid_scope");
    }
    let narrow = [refreshing("app", &shown), vec![("scope", "patient/Patient.r")]].concat();
    let second = send(&server, "/auth/token", &narrow).await.expect(200);
    assert_eq!(text(&second, "scope"), "patient/Patient.r");
    // The grant is as wide as before.
    let next = text(&second, "refresh_token");
    let third = send(&server, "/auth/token", &refreshing("app", &next)).await.expect(200);
    assert_eq!(text(&third, "scope"), SCOPES);
    let same = text(&third, "refresh_token");
    let fields = [refreshing("app", &same), vec![("scope", SCOPES)]].concat();
    let fourth = send(&server, "/auth/token", &fields).await.expect(200);
    assert_eq!(text(&fourth, "scope"), SCOPES);
    server.stop().await;
}

#[tokio::test]
async fn a_refresh_token_is_its_clients_own() {
    let server = server().await;
    for client in [public("app", SCOPES), public("other", SCOPES), confidential("web", SCOPES)] {
        register(&server, &client).await;
    }
    let first = tokens(&server, &granted("app", SCOPES, None)).await;
    let (shown, access) = (text(&first, "refresh_token"), text(&first, "access_token"));
    let with_secret = |token| [refreshing("web", token), vec![("client_secret", SECRET)]].concat();
    refused(
        &send(&server, "/auth/token", &refreshing("other", &shown)).await,
        400,
        "invalid_grant",
    );
    refused(&send(&server, "/auth/token", &with_secret(&shown)).await, 400, "invalid_grant");
    for wrong in [access.as_str(), "7f0c9d7e-6d6e-4a53-8f5c-2ad4a0a6f6a1", "kiln_rt_x"] {
        refused(
            &send(&server, "/auth/token", &refreshing("app", wrong)).await,
            400,
            "invalid_grant",
        );
    }
    // Who has somebody else's token cannot end it.
    send(&server, "/auth/token", &refreshing("app", &shown)).await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn who_lost_the_answer_hears_the_same_successor_for_a_while() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let first = tokens(&server, &granted("app", SCOPES, None)).await;
    let shown = text(&first, "refresh_token");
    let fields = refreshing("app", &shown);
    let all = (0..20).map(|_| send(&server, "/auth/token", &fields));
    let answers = futures_util::future::join_all(all).await;
    let next: BTreeSet<_> = answers.iter().map(|answer| text(answer, "refresh_token")).collect();
    assert_eq!(next.len(), 1, "the row forked");
    let unused = "SELECT count(*) FROM oauth_token WHERE kind = 'refresh' AND replaced_at IS NULL";
    assert_eq!(server.database.number(unused).await, 1);
    // Once the successor is used, the one before it is a used token like any other.
    let next = next.into_iter().next().unwrap();
    send(&server, "/auth/token", &refreshing("app", &next)).await.expect(200);
    refused(&send(&server, "/auth/token", &fields).await, 400, "invalid_grant");
    assert_eq!(noted(&server, 51, 4, "used before").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn who_shows_a_used_token_ends_everything_that_came_of_the_grant() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let first = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    let shown = text(&first, "refresh_token");
    let second = send(&server, "/auth/token", &refreshing("app", &shown)).await.expect(200);
    let access = text(&second, "access_token");
    read(&server, &access).await.expect(200);
    let late = "UPDATE oauth_token SET replaced_at = replaced_at - interval '11 seconds' \
                WHERE replaced_at IS NOT NULL";
    server.database.run(late).await;
    refused(&send(&server, "/auth/token", &refreshing("app", &shown)).await, 400, "invalid_grant");
    assert_eq!(noted(&server, 51, 4, "used before").await, 1);
    let next = text(&second, "refresh_token");
    refused(&send(&server, "/auth/token", &refreshing("app", &next)).await, 400, "invalid_grant");
    for token in [&access, &text(&first, "access_token")] {
        until_refused(&server, token).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_refresh_token_ends_with_its_time() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let first = tokens(&server, &granted("app", SCOPES, None)).await;
    server.database.run("UPDATE oauth_token SET expires = now()").await;
    let shown = text(&first, "refresh_token");
    refused(&send(&server, "/auth/token", &refreshing("app", &shown)).await, 400, "invalid_grant");
    server.stop().await;
}
