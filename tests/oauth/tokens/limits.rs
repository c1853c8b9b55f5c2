//! Who asks too often hears when to ask again.
//!
//! Covers: rest 1.43, security H11.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::client::{granted, public, read, refused, send, text, tokens};
use crate::harness::database::connect;
use crate::oauth::browser::{noted, register, server_with, store, user};

/// What the record calls that somebody is alerted.
const ALERT: i16 = 51;

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
    // The party is on record at its first and its tenth within a minute, wherever that was.
    let held_off = "SELECT count(*) FROM ledger WHERE actor = 'anonymous' AND source = '127.0.0.1' \
        AND failure = 'asked too often (1 of the party within a minute)' AND interaction";
    for (kind, expected) in [("= 45", 1), ("<> 45", 0)] {
        let told = server.database.number(&format!("{held_off} {kind}")).await;
        assert_eq!(told, expected, "{kind}");
    }
    let rows = "SELECT count(*) FROM ledger WHERE failure LIKE 'asked too often%'";
    let rows = server.database.number(rows).await;
    assert!((1..=2).contains(&rows), "{rows}");
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

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_much_at_once_has_fewer_left() {
    let server = server_with(&[("limits.requests_per_minute", "60")]).await;
    register(&server, &public("app", "patient/Patient.rs")).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    let mut all = Vec::new();
    for name in ["pat", "bea"] {
        let account = user(&server, name, "patient", Some("Patient/p1")).await;
        let answer = tokens(&server, &granted("app", "patient/Patient.rs", Some(account))).await;
        all.push(text(&answer, "access_token"));
    }
    read(&server, &all[0]).await.expect(200);
    // Its read waits for three seconds, which is thirty times what one may take.
    let held = connect(&server.database.superuser).await;
    held.batch_execute("BEGIN; LOCK TABLE res IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let slow = read(&server, &all[0]);
    let release = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        held.batch_execute("ROLLBACK").await.unwrap();
    };
    let (slow, ()) = tokio::join!(slow, release);
    slow.expect(200);
    let refused = read(&server, &all[0]).await.expect(429);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    read(&server, &all[1]).await.expect(200);
    server.stop().await;
}

/// One answer for all that is another patient's or nobody's, a limit to how often, and a word to whoever watches.
///
/// Covers: security V1.
#[tokio::test(flavor = "multi_thread")]
async fn who_tries_many_ids_is_held_off_and_noticed() {
    let server = server_with(&[("limits.requests_per_minute", "600")]).await;
    let scopes = "patient/Patient.rs patient/Observation.rs";
    register(&server, &public("app", scopes)).await;
    store(
        &server,
        &[
            r#"{"resourceType":"Patient","id":"p2"}"#,
            r#"{"resourceType":"Observation","id":"o2","status":"final","code":{"text":"c"},"subject":{"reference":"Patient/p2"}}"#,
        ],
    )
    .await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", scopes, Some(account))).await;
    let token = format!("Bearer {}", text(&answer, "access_token"));
    let (mut told, mut missed, mut held_off) = (BTreeSet::new(), 0, 0);
    let began = Instant::now();
    for number in 0.. {
        let guess = format!("Observation/n{number}");
        let path = ["Patient/p2", "Observation/o2", &guess][number % 3];
        let call = server.client.call("GET", &format!("/{path}"));
        let answer = call.header("Authorization", &token).send().await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            held_off += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else {
            let answer = answer.expect(404);
            let (of, _) = path.split_once('/').unwrap();
            told.insert(answer.text().replace(path, "?").replace(of, "?"));
            missed += 1;
        }
        if missed >= 130 && held_off > 0 {
            break;
        }
        let soon = Duration::from_secs(50);
        assert!(began.elapsed() < soon, "{missed} missed, {held_off} held off");
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(noted(&server, ALERT, 8, "many reads").await, 1);
    server.stop().await;
}

/// Covers: security H10.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_requests_at_a_time() {
    let settings = [("limits.requests_at_a_time", "2"), ("database.search_timeout_ms", "60000")];
    let server = server_with(&settings).await;
    register(&server, &public("app", "patient/Patient.rs")).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", "patient/Patient.rs", Some(account))).await;
    let token = text(&answer, "access_token");
    let search = || {
        let call = server.client.call("GET", "/Patient?_id=p1");
        call.header("Authorization", &format!("Bearer {token}")).send()
    };
    let held = connect(&server.database.superuser).await;
    search().await.expect(200);
    // Searches wait as long as this is held: those of them that may be at work at a time. Others are
    // answered. That they were refused goes on record by a statement over `res`, which stays free.
    held.batch_execute("BEGIN; LOCK TABLE srow IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut all: FuturesUnordered<_> = (0..5).map(|_| search()).collect();
    for _ in 0..3 {
        let refused = all.next().await.unwrap().expect(429);
        assert_eq!(refused.at("issue[0].code").as_deref(), Some("throttled"), "{refused:?}");
    }
    server.database.until_waiting(2).await;
    held.batch_execute("ROLLBACK").await.unwrap();
    for _ in 0..2 {
        let found = all.next().await.unwrap().expect(200);
        assert_eq!(found.at("entry[0].resource.id").as_deref(), Some("p1"), "{found:?}");
    }
    drop(all);
    // A request is at work until its answer has left.
    tokio::time::sleep(Duration::from_millis(200)).await;
    search().await.expect(200);
    server.stop().await;
}
