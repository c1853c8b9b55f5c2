//! Logins go on record by the account that they were for, and somebody is told when many fail.

use std::time::Duration;

use serde_json::Value;

use super::events::faults;
use super::outlets::found_by;
use super::receiver::Receiver;
use crate::harness::database::connect;
use crate::harness::server::TestServer;
use crate::oauth::accounts::code_now;
use crate::oauth::browser::{Browser, PASSWORD, server, server_with, user};
use crate::oauth::emergency::{enrolled, token};

/// What somebody types who is wrong: a name that nobody has, a password, a code.
const WRONG: [&str; 3] =
    ["canary-typed-as-name", "canary typed as password", "canary-typed-as-code"];

/// The rows of logins, second factors and logouts in their order: which, outcome, whose, why not.
async fn rows(server: &TestServer) -> Vec<(i16, i16, String, String)> {
    let database = connect(&server.database.superuser).await;
    let sql = "SELECT interaction, outcome, actor, coalesce(failure, '') FROM ledger \
         WHERE interaction IN (40, 41, 42) ORDER BY id";
    let rows = database.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// Rows of whatever kind that tell a text. Ids and times are left out: six digits may be in them by chance.
async fn telling(server: &TestServer, text: &str) -> i64 {
    let database = connect(&server.database.superuser).await;
    let sql = "SELECT count(*) FROM ledger WHERE strpos(concat_ws(' ', actor, client, person, purpose, method, \
         query, failure, array_to_string(entities, ' ')), $1) > 0";
    database.query_one(sql, &[&text]).await.unwrap().get(0)
}

/// Tries wrong things and right ones, has to wait at both, logs in and out; gives the code that was right.
async fn logs_in_and_out(server: &TestServer, secret: &[u8]) -> String {
    let [nobody, password, wrong] = WRONG;
    let many = "UPDATE login_attempt SET failures = 12, last = now()";
    let none = "DELETE FROM login_attempt";
    let mut browser = Browser::new(server);
    let page = browser.open("/auth/login").await.expect(200);
    for (name, typed) in [(nobody, PASSWORD), ("ada", password)] {
        let fields = [("username", name), ("password", typed)];
        browser.submit(&page, "/auth/login", &fields).await.expect(403);
    }
    server.database.run(many).await;
    for name in [nobody, "ada"] {
        let fields = [("username", name), ("password", PASSWORD)];
        browser.submit(&page, "/auth/login", &fields).await.expect(429);
    }
    server.database.run(none).await;
    let page = browser.log_in(&page, "ada").await.expect(200);
    let path = "/auth/second-factor";
    browser.submit(&page, path, &[("code", wrong)]).await.expect(403);
    server.database.run(many).await;
    let code = code_now(secret, 0);
    browser.submit(&page, path, &[("code", &code)]).await.expect(429);
    server.database.run(none).await;
    browser.submit(&page, path, &[("code", &code)]).await.expect(303);
    let page = browser.open("/auth/logout").await.expect(200);
    browser.submit(&page, "/auth/logout", &[]).await.expect(200);
    code
}

/// Covers: security A7.
#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_a_login_is_on_record_by_the_account_it_was_for() {
    let server = server().await;
    user(&server, "Ada", "practitioner", Some("Practitioner/d")).await;
    let secret = enrolled(&server, "ada").await;
    let before = rows(&server).await.len();
    let code = logs_in_and_out(&server, &secret).await;
    let steps: [(i16, i16, &str, &str); 9] = [
        (40, 4, "anonymous", "wrong name or password"),
        (40, 4, "user:Ada", "wrong name or password"),
        (40, 4, "anonymous", "too many failures: the login has to wait"),
        (40, 4, "user:Ada", "too many failures: the login has to wait"),
        (40, 0, "user:Ada", ""),
        (42, 4, "user:Ada", "a second factor was wrong"),
        (42, 4, "user:Ada", "too many failures: the second factor has to wait"),
        (42, 0, "user:Ada", ""),
        (41, 0, "user:Ada", ""),
    ];
    let all = rows(&server).await;
    let made = all[before..].iter();
    let made: Vec<_> =
        made.map(|(number, outcome, whose, why)| (*number, *outcome, &**whose, &**why)).collect();
    assert_eq!(made, steps);
    for typed in [&WRONG[..], &[PASSWORD, code.as_str()]].concat() {
        assert_eq!(telling(&server, typed).await, 0, "{typed}");
    }
    // As an auditor reads them: the same, and valid by all rules.
    user(&server, "aud", "auditor", None).await;
    let token = token(&server, "aud", "user/AuditEvent.rs").await;
    let of_logins =
        "type=http://dicom.nema.org/resources/ontology/DCM|110114&_sort=date&_count=100";
    let events = found_by(&server, &token, &format!("/AuditEvent?{of_logins}")).await;
    let number = |event: &Value| match event["subtype"][0]["code"].as_str() {
        Some("110122") => Some(40),
        Some("110123") => Some(41),
        Some("second-factor") => Some(42),
        _ => None,
    };
    let events: Vec<(i16, Value)> =
        events.into_iter().filter_map(|event| Some((number(&event)?, event))).collect();
    let judge = TestServer::start().await;
    let mut read = Vec::new();
    for (number, event) in &events[before..] {
        assert_eq!(faults(&judge.client, event).await, [""; 0], "{event}");
        let agents = event["agent"].as_array().unwrap();
        let whose = agents.iter().find_map(|agent| agent["altId"].as_str()).unwrap();
        let outcome: i16 = event["outcome"].as_str().unwrap().parse().unwrap();
        read.push((*number, outcome, whose, event["outcomeDesc"].as_str().unwrap_or_default()));
        for typed in WRONG {
            assert!(!event.to_string().contains(typed), "{event}");
        }
    }
    assert_eq!(read, steps);
    judge.stop().await;
    server.stop().await;
}

/// Wrong passwords and wrong codes of one user count together, from wherever they come; names that nobody
/// has count for the address alone.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_told_of_the_user_whose_logins_fail() {
    let receiver = Receiver::start().await;
    let webhook = format!("http://{}/alerts", receiver.address);
    let server = server_with(&[
        ("auth.outbound_networks", "127.0.0.1/32"),
        ("alerts.failed_logins", "2"),
        ("alerts.webhook", &webhook),
    ])
    .await;
    user(&server, "Ada", "practitioner", Some("Practitioner/d")).await;
    enrolled(&server, "ada").await;
    for address in ["203.0.113.1", "203.0.113.2"] {
        let mut browser = Browser::behind_proxy(&server, address);
        let page = browser.open("/auth/login").await.expect(200);
        for name in ["ada", "nobody"] {
            let fields = [("username", name), ("password", "wrong horse")];
            browser.submit(&page, "/auth/login", &fields).await.expect(403);
        }
    }
    let mut browser = Browser::behind_proxy(&server, "203.0.113.3");
    let login = browser.open("/auth/login").await.expect(200);
    let page = browser.log_in(&login, "ada").await.expect(200);
    browser.submit(&page, "/auth/second-factor", &[("code", "no code")]).await.expect(403);
    receiver.until("an alert", |posted| !posted.is_empty()).await;
    // What else there is would come as soon.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let posted = receiver.posted();
    assert_eq!(posted.len(), 1, "{posted:#?}");
    let (path, alert) = &posted[0];
    assert_eq!(path, "/alerts");
    let told = ["rule", "party", "text"].map(|part| alert[part].as_str().unwrap_or_default());
    assert_eq!(told, ["failed-logins", "user:Ada", "3 logins of user:Ada failed"], "{alert}");
    assert_eq!(alert["count"], 3);
    server.stop().await;
}
