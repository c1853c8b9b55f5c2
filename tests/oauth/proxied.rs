//! Behind a proxy, who asks is whom the proxy tells: by that address failures are counted, and the record has
//! it. That nobody else can tell one is shown beside `http::base`.
//!
//! Covers: security A3, M3.

use super::browser::{Browser, PASSWORD, register, server, user};
use super::tokens::client::{basic, send_with, service, text};
use crate::harness::server::TestServer;

/// Tries wrong passwords until it has to wait, for two minutes: how many failed before.
async fn tried(server: &TestServer, browser: &mut Browser, name: &str) -> usize {
    let page = browser.open("/auth/login").await.expect(200);
    for failed in 0..12 {
        let wrong = [("username", name), ("password", "wrong horse")];
        let answer = browser.submit(&page, "/auth/login", &wrong).await;
        if answer.status == 429 {
            // However slow the machine is: the wait is one after many failures.
            let many = "UPDATE login_attempt SET failures = 12, last = now()";
            server.database.run(many).await;
            return failed;
        }
        answer.expect(403);
    }
    panic!("nothing ever has to wait");
}

/// The status of a login with the right password.
async fn logged_in(browser: &mut Browser, name: &str) -> u16 {
    let page = browser.open("/auth/login").await.expect(200);
    let right = [("username", name), ("password", PASSWORD)];
    browser.submit(&page, "/auth/login", &right).await.status
}

/// How many events of logins the record has of an address, as who may read it finds them.
async fn logins_of(server: &TestServer, token: &str, address: &str) -> usize {
    let url = format!("/AuditEvent?address={address}&_count=100");
    let call = server.client.call("GET", &url).header("Authorization", &format!("Bearer {token}"));
    let found = call.send().await.expect(200);
    let found: serde_json::Value = serde_json::from_slice(&found.body).unwrap();
    let entries = found["entry"].as_array().cloned().unwrap_or_default();
    let is_of = |entry: &&serde_json::Value| {
        let agents = entry["resource"]["agent"].as_array().cloned().unwrap_or_default();
        agents.iter().any(|agent| agent["network"]["address"] == address)
            && entry.to_string().contains("110122")
    };
    entries.iter().filter(is_of).count()
}

#[tokio::test]
async fn failures_behind_a_proxy_are_those_of_the_address_it_tells() {
    let server = server().await;
    user(&server, "pat", "patient", None).await;
    let mut stranger = Browser::behind_proxy(&server, "203.0.113.7");
    assert!(tried(&server, &mut stranger, "pat").await >= 5);
    assert_eq!(logged_in(&mut stranger, "pat").await, 429);
    // What a client adds itself stands before what the proxy saw, and counts nothing.
    let mut again = Browser::behind_proxy(&server, "198.51.100.99, 203.0.113.7");
    assert_eq!(logged_in(&mut again, "pat").await, 429);
    let mut own = Browser::behind_proxy(&server, "198.51.100.4");
    assert_eq!(logged_in(&mut own, "pat").await, 303);

    register(&server, &service("job", "system/AuditEvent.rs")).await;
    let fields = [("grant_type", "client_credentials"), ("scope", "system/AuditEvent.rs")];
    let authorization = basic("job");
    let headers = [("Authorization", authorization.as_str())];
    let answer = send_with(&server, "/auth/token", &fields, &headers).await.expect(200);
    let token = text(&answer, "access_token");
    assert!(logins_of(&server, &token, "203.0.113.7").await >= 7);
    assert_eq!(logins_of(&server, &token, "198.51.100.4").await, 1);
    for address in ["127.0.0.1", "198.51.100.99"] {
        assert_eq!(logins_of(&server, &token, address).await, 0, "{address}");
    }
    // So do the endpoints for programs, and FHIR.
    let told = [("Authorization", authorization.as_str()), ("X-Forwarded-For", "198.51.100.5")];
    send_with(&server, "/auth/token", &fields, &told).await.expect(200);
    let read = server.client.call("GET", "/AuditEvent?_count=1");
    let read = read.header("Authorization", &format!("Bearer {token}"));
    read.header("X-Forwarded-For", "198.51.100.6").send().await.expect(200);
    for address in ["198.51.100.5", "198.51.100.6"] {
        let sql = format!(
            "SELECT count(*) FROM ledger WHERE source = '{address}' AND actor = 'client:job'"
        );
        assert_eq!(server.database.number(&sql).await, 1, "{address}");
    }
    server.stop().await;
}

#[tokio::test]
async fn failures_from_one_network_of_version_6_are_counted_together() {
    let server = server().await;
    user(&server, "pat", "patient", None).await;
    let mut first = Browser::behind_proxy(&server, "2001:db8:1:2::1");
    assert!(tried(&server, &mut first, "pat").await >= 5);
    for (address, expected) in
        [("2001:db8:1:2:ffff::9", 429), ("::ffff:203.0.113.7", 303), ("2001:db8:1:3::1", 303)]
    {
        let mut browser = Browser::behind_proxy(&server, address);
        assert_eq!(logged_in(&mut browser, "pat").await, expected, "{address}");
    }
    server.stop().await;
}
