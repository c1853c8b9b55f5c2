//! Who proves nothing at the FHIR endpoint goes on record, and does not fill it; every other row says
//! by which client and token.
//!
//! Covers: security A3, security H11.

use super::browser::{register, server_with, store};
use super::tokens::client::{basic, send_with, server, service, text};
use crate::harness::database::connect;
use crate::harness::server::TestServer;

async fn count(server: &TestServer, condition: &str) -> i64 {
    server.database.number(&format!("SELECT count(*) FROM ledger WHERE {condition}")).await
}

/// A token of a service.
async fn token(server: &TestServer, scopes: &str) -> String {
    register(server, &service("job", scopes)).await;
    let fields = [("grant_type", "client_credentials"), ("scope", scopes)];
    let authorization = basic("job");
    let headers = [("Authorization", authorization.as_str())];
    let answer = send_with(server, "/auth/token", &fields, &headers).await.expect(200);
    text(&answer, "access_token")
}

#[tokio::test]
async fn each_stranger_leaves_one_row_without_the_token() {
    let server = server().await;
    let canary = format!("kiln_at_{}", "canary".repeat(8));
    for (token, said) in [
        (None, "missing, unknown or expired credentials"),
        (Some(canary.as_str()), ""),
        (Some("canary"), ""),
    ] {
        let before = count(&server, "true").await;
        let mut call = server.client.call("GET", "/Patient/p1?access_token=canary");
        if let Some(token) = token {
            call = call.header("Authorization", &format!("Bearer {token}"));
        }
        call.send().await.expect(401);
        assert_eq!(count(&server, "true").await, before + 1, "{token:?}");
        let of_read = format!(
            "interaction = 12 AND outcome = 4 AND rt = 103 AND actor = 'anonymous' \
             AND source = '127.0.0.1' AND client IS NULL AND failure LIKE '%{said}%'"
        );
        assert!(count(&server, &of_read).await > 0, "{token:?}");
    }
    let token = token(&server, "system/Patient.rs").await;
    server.database.run("UPDATE oauth_token SET expires = now()").await;
    let call =
        server.client.call("POST", "/Patient").header("Authorization", &format!("Bearer {token}"));
    call.json("{}").send().await.expect(401);
    assert_eq!(count(&server, "interaction = 3 AND outcome = 4 AND failure <> ''").await, 1);
    assert_eq!(count(&server, "ledger::text LIKE '%canary%'").await, 0);
    assert_eq!(count(&server, &format!("ledger::text LIKE '%{token}%'")).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_strangers_does_not_fill_the_ledger() {
    let server = server_with(&[("limits.refusals_per_minute", "30")]).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    let token = token(&server, "system/Patient.rs").await;
    let mut refused = 0;
    let mut throttled = 0;
    for _ in 0..40 {
        let answer = server.client.get("/Patient/p1").await;
        match answer.status {
            401 => refused += 1,
            429 => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                throttled += 1;
            }
            other => panic!("{other}: {answer:?}"),
        }
    }
    assert!(refused >= 5 && throttled > 0, "{refused} {throttled}");
    let held_off = "actor = 'anonymous' AND interaction = 12 AND failure LIKE '% of the party within a minute)'";
    let told = count(&server, held_off).await;
    // The first, and the tenth where there were so many.
    assert!((1..=2).contains(&told) && told <= throttled, "{told} of {throttled}");
    let first =
        format!("{held_off} AND failure LIKE '%(1 of%' AND source = '127.0.0.1' AND outcome = 4");
    assert_eq!(count(&server, &first).await, 1);
    let all = count(&server, "actor = 'anonymous' AND interaction = 12").await;
    assert_eq!(all, refused + told);
    // Who has a token is let in from the same address.
    let call = server.client.call("GET", "/Patient/p1");
    call.header("Authorization", &format!("Bearer {token}")).send().await.expect(200);
    server.stop().await;
}

/// Refusals of who asks too often are counted, and the count is on record at the latest when the server ends.
#[tokio::test]
async fn how_many_were_held_off_is_on_record_when_the_server_ends() {
    let server = server_with(&[("limits.refusals_per_minute", "30")]).await;
    let mut throttled = 0;
    while throttled < 27 {
        let answer = server.client.get("/Patient/p1?_summary=true").await;
        assert!([401, 429].contains(&answer.status), "{answer:?}");
        throttled += u32::from(answer.status == 429);
    }
    let database = server.database.clone();
    server.stop().await;
    let sql = "SELECT failure, query FROM ledger WHERE actor = 'anonymous' AND source = '127.0.0.1' \
         AND interaction = 12 AND outcome = 4 AND failure LIKE '% of the party within a minute%' ORDER BY id";
    let rows = connect(&database.superuser).await.query(sql, &[]).await.unwrap();
    let (mut minutes, mut last) = (Vec::new(), (String::new(), String::new()));
    for row in rows {
        last = (row.get(0), row.get(1));
        let (_, told) = last.0.rsplit_once('(').unwrap();
        let count: u32 = told.split(' ').next().unwrap().parse().unwrap();
        // A slow machine may have come into the next minute.
        if count == 1 {
            minutes.push(count);
        } else {
            *minutes.last_mut().unwrap() = count;
        }
    }
    assert_eq!(minutes.iter().sum::<u32>(), throttled, "{minutes:?}");
    if minutes.len() == 1 {
        assert!(last.0.ends_with("(27 of the party within a minute, in all)"), "{last:?}");
        assert_eq!(last.1, "/fhir/Patient/p1");
    }
}

#[tokio::test]
async fn each_row_names_client_and_token() {
    let server = server().await;
    let token = token(&server, "system/Patient.cruds").await;
    let authorization = format!("Bearer {token}");
    for (method, url, body, status) in [
        ("GET", "/Patient/p1", "", 200),
        ("GET", "/Patient/p1/_history/1", "", 200),
        ("GET", "/Patient/missing", "", 404),
        ("GET", "/Patient?_id=p1", "", 200),
        ("GET", "/Patient?_id=p1&_total=accurate", "", 200),
        ("GET", "/Observation", "", 403),
        ("POST", "/Patient", r#"{"resourceType":"Patient"}"#, 201),
        ("PUT", "/Patient/p1", r#"{"resourceType":"Patient","id":"p1"}"#, 200),
        ("DELETE", "/Patient/p1", "", 204),
    ] {
        let before = count(&server, "true").await;
        let mut call = server.client.call(method, url).header("Authorization", &authorization);
        if !body.is_empty() {
            call = call.json(body);
        }
        call.send().await.expect(status);
        let named = "client = 'job' AND token IN (SELECT id::text FROM oauth_token) \
                     AND actor = 'client:job' AND interaction < 40";
        let last = format!("{named} AND id = (SELECT id FROM ledger ORDER BY id DESC LIMIT 1)");
        assert_eq!(count(&server, "true").await, before + 1, "{method} {url}");
        assert_eq!(count(&server, &last).await, 1, "{method} {url}");
    }
    server.stop().await;
}
