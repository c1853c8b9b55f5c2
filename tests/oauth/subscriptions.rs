//! Subscriptions of services and users: what their scopes and the consents of patients let them be told, and what is
//! left of that later.

use std::time::Duration;

use kiln::clock::{Clock as _, SystemClock};
use kiln::store::oauth::client;

use super::browser::{register, server_with, store, user};
use super::tokens::client::{SECRET, granted, public, send, service, text, tokens};
use crate::harness::client::{Answer, Call, Client};
use crate::harness::json::at;
use crate::harness::server::TestServer;
use crate::subscriptions::receiver::Receiver;
use crate::subscriptions::{QUICK, Wish, observation};

/// What is stored of two patients.
const STORED: &[&str] = &[
    r#"{"resourceType":"Patient","id":"a"}"#,
    r#"{"resourceType":"Patient","id":"b"}"#,
    r#"{"resourceType":"Practitioner","id":"doc","active":true}"#,
];

const SCOPES: &str = "system/Subscription.crus system/Observation.rs";

/// A party with a token.
struct Party<'s> {
    client: &'s Client,
    token: String,
}

impl<'s> Party<'s> {
    /// A service.
    async fn service(server: &'s TestServer, id: &str, scopes: &str) -> Self {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", SECRET),
            ("scope", scopes),
        ];
        let token = text(&send(server, "/auth/token", &fields).await.expect(200), "access_token");
        Self { client: &server.client, token }
    }

    fn call(&self, method: &str, url: &str) -> Call<'s> {
        self.client.call(method, url).header("Authorization", &format!("Bearer {}", self.token))
    }

    async fn get(&self, url: &str) -> Answer {
        self.call("GET", url).send().await
    }

    async fn patch(&self, url: &str, patch: &'static str) -> Answer {
        let call = self.call("PATCH", url).header("Content-Type", "application/json-patch+json");
        call.body(patch).send().await
    }

    async fn ask(&self, wish: &Wish) -> Answer {
        self.call("POST", "/Subscription").json(wish.body(None)).send().await
    }

    async fn subscribed(&self, wish: &Wish) -> String {
        let id = self.ask(wish).await.expect(201).id();
        self.until(&id, "active").await;
        id
    }

    async fn until(&self, id: &str, status: &str) -> Answer {
        let began = std::time::Instant::now();
        loop {
            let answer = self.get(&format!("/Subscription/{id}")).await.expect(200);
            if answer.at("status").as_deref() == Some(status) {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "not {status}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn filled() -> (TestServer, Receiver) {
    let server = server_with(&QUICK).await;
    store(&server, STORED).await;
    for id in ["one", "two", "three", "reader"] {
        register(&server, &service(id, "system/*.cruds")).await;
    }
    (server, Receiver::start().await)
}

/// Stores an Observation of a patient.
async fn observe(server: &TestServer, id: &str, code: &str, patient: &str) {
    let subject = format!(r#""subject":{{"reference":"Patient/{patient}"}},"status""#);
    let body = observation(id, code).replace(r#""status""#, &subject);
    store(server, &[&body]).await;
}

/// Covers: security E17.
#[tokio::test(flavor = "multi_thread")]
async fn a_party_is_told_what_it_may_see_and_may_ask_for_that_alone() {
    let (server, receiver) = filled().await;
    let all = Wish { criteria: "Observation".to_owned(), ..Wish::full(receiver.url("/one")) };
    for (scopes, criteria, payload, status) in [
        ("system/Subscription.c", "Observation", None, 403),
        ("system/Subscription.c system/Observation.r", "Observation", None, 403),
        ("system/Subscription.c system/Observation.s", "Observation", None, 201),
        (
            "system/Subscription.c system/Observation.s",
            "Observation",
            Some("application/fhir+json"),
            403,
        ),
        ("system/Subscription.c system/Observation.rs", "Patient", None, 403),
        ("system/Observation.rs", "Observation", None, 403),
    ] {
        let party = Party::service(&server, "three", scopes).await;
        let wish =
            Wish { criteria: criteria.to_owned(), payload, ..Wish::new(receiver.url("/asked")) };
        let answer = party.ask(&wish).await;
        assert_eq!(answer.status, status, "{scopes} {criteria} {payload:?}: {answer:?}");
    }
    let narrow = "system/Subscription.crus system/Observation.rs?code=k";
    let narrow = Party::service(&server, "one", narrow).await;
    narrow.subscribed(&all).await;
    let wide = Party::service(&server, "two", SCOPES).await;
    let wide_wish = Wish { endpoint: receiver.url("/two"), ..all.clone() };
    wide.subscribed(&wide_wish).await;
    observe(&server, "a-p", "p", "a").await;
    observe(&server, "a-k", "k", "a").await;
    observe(&server, "b-k", "k", "b").await;
    let began = std::time::Instant::now();
    let told = loop {
        let told = receiver.told();
        let count = |of: &str| told.iter().filter(|it| it.contains(of)).count();
        if count("/one") >= 2 && count("/two") >= 3 {
            break told;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{told:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let one: Vec<_> = told.iter().filter(|it| it.contains("/one")).collect();
    assert_eq!(one, ["PUT /one/Observation/a-k", "PUT /one/Observation/b-k"]);
    server.stop().await;
}

/// Covers: security E17.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_denies_is_not_told() {
    let (server, receiver) = filled().await;
    let wish = Wish { criteria: "Observation".to_owned(), ..Wish::full(receiver.url("")) };
    let party = Party::service(&server, "one", SCOPES).await;
    party.subscribed(&wish).await;
    observe(&server, "before", "k", "a").await;
    receiver.until(1).await;
    let deny = r#"{"resourceType":"Consent","id":"c","status":"active","scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"text":"privacy"}],"patient":{"reference":"Patient/a"},"policyRule":{"text":"ours"},"provision":{"type":"permit","provision":[{"type":"deny","code":[{"coding":[{"system":"urn:c","code":"k"}]}]}]}}"#;
    store(&server, &[deny]).await;
    observe(&server, "hidden", "k", "a").await;
    observe(&server, "shown", "p", "a").await;
    observe(&server, "other", "k", "b").await;
    let told = receiver.until(3).await;
    let names = ["before", "shown", "other"].map(|id| format!("PUT /Observation/{id}"));
    assert_eq!(told, names);
    server.stop().await;
}

/// Whatever takes away what was granted, nothing more is told, and the subscription is off.
///
/// Covers: security E17.
#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_may_do_so_no_more_is_told_nothing() {
    let (server, receiver) = filled().await;
    let reader = Party::service(&server, "reader", "system/Subscription.rs").await;
    let wish =
        |path: &str| Wish { criteria: "Observation".to_owned(), ..Wish::full(receiver.url(path)) };
    let mut ids = Vec::new();
    for id in ["one", "two", "three"] {
        let party = Party::service(&server, id, SCOPES).await;
        ids.push(party.subscribed(&wish(&format!("/{id}"))).await);
    }
    // A user of an app, who is somebody while the app has a token that counts.
    let account = user(&server, "ada", "administrator", Some("Practitioner/doc")).await;
    let scopes = "user/Subscription.crus user/Observation.rs";
    register(&server, &public("app", scopes)).await;
    let mut grant = granted("app", scopes, Some(account));
    grant.reason = Some("to test what ends".to_owned());
    let token = text(&tokens(&server, &grant).await, "access_token");
    let ada = Party { client: &server.client, token };
    ids.push(ada.subscribed(&wish("/ada")).await);
    observe(&server, "first", "k", "a").await;
    receiver.until(4).await;
    let now = SystemClock.now();
    assert!(client::disable(server.store(), "one", now).await.unwrap());
    for change in [
        "UPDATE oauth_token SET revoked_at = now() \
         WHERE id = (SELECT token FROM subscription WHERE client = 'two')",
        "UPDATE oauth_client SET scopes = 'system/Subscription.crus' WHERE id = 'three'",
        "UPDATE oauth_grant SET ended_at = now() WHERE client_id = 'app'",
    ] {
        server.database.run(change).await;
    }
    observe(&server, "second", "k", "a").await;
    for id in &ids {
        let ended = reader.until(id, "off").await;
        assert!(ended.at("error").is_some(), "{ended:?}");
    }
    let told = receiver.told();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(!told.iter().any(|it| it.contains("second")), "{told:?}");
    server.stop().await;
}

/// Covers: rest 8.6.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_headers_are_shown_to_who_sent_them_alone() {
    let (server, receiver) = filled().await;
    let own = Party::service(&server, "one", SCOPES).await;
    let line = "Authorization: Bearer canary".to_owned();
    let wish = Wish { headers: vec![line.clone()], ..Wish::full(receiver.url("")) };
    let asked = own.ask(&wish).await.expect(201);
    assert_eq!(asked.at("channel.header[0]").as_ref(), Some(&line));
    let id = asked.id();
    own.until(&id, "active").await;
    let urls = [
        format!("/Subscription/{id}"),
        format!("/Subscription/{id}/_history/1"),
        format!("/Subscription/{id}/_history"),
        format!("/Subscription?_id={id}"),
    ];
    let other = Party::service(&server, "two", "system/*.cruds").await;
    let shown_at = |body: &kiln::fhir::json::Value<'_>, of: &str| {
        let found = at(body, of).or_else(|| at(body, &format!("entry[0].resource.{of}")));
        found.and_then(|it| it.as_str().map(str::to_owned))
    };
    for url in &urls {
        let answer = own.get(url).await.expect(200);
        assert_eq!(shown_at(&answer.json(), "channel.header[0]").as_ref(), Some(&line), "{url}");
        let answer = other.get(url).await.expect(200);
        let shown = shown_at(&answer.json(), "channel.header[0]");
        assert_eq!(shown.as_deref(), Some("Authorization: ***"), "{url}");
        assert!(!answer.text().contains("canary"), "{url}: {answer:?}");
        assert_eq!(shown_at(&answer.json(), "meta.tag[0].code").as_deref(), Some("SUBSETTED"));
    }
    let batch = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"request":{{"method":"GET","url":"Subscription/{id}"}}}},{{"request":{{"method":"GET","url":"Subscription?_id={id}"}}}},{{"request":{{"method":"GET","url":"Subscription/{id}/_history"}}}}]}}"#
    );
    let answer = other.call("POST", "/").json(batch).send().await.expect(200);
    assert!(!answer.text().contains("canary") && answer.text().contains("***"), "{answer:?}");
    // Nor by way of a record that refers to it.
    let focus = format!(
        r#"{{"resourceType":"Observation","id":"f","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/a"}},"focus":[{{"reference":"Subscription/{id}"}}]}}"#
    );
    store(&server, &[&focus]).await;
    let record = other.get("/Patient/a/$everything").await.expect(200).text();
    assert!(record.contains("Authorization: ***") && !record.contains("kiln-sealed"), "{record}");
    // Nobody else takes them along to another place, and what is not shown is not stored.
    let url = &urls[0];
    let read = other.get(url).await;
    other.call("PUT", url).json(read.body.clone()).send().await.expect(422);
    let untagged = read.text().replace("SUBSETTED", "other");
    other.call("PUT", url).json(untagged).send().await.expect(422);
    let patch = r#"[{"op":"replace","path":"/channel/endpoint","value":"http://127.0.0.1:9/x"}]"#;
    other.patch(url, patch).await.expect(403);
    // Words do not find them, and they stand nowhere in the clear.
    let rows = "SELECT (SELECT count(*) FROM res WHERE body::text LIKE '%canary%') \
         + (SELECT count(*) FROM hist WHERE body::text LIKE '%canary%') \
         + (SELECT count(*) FROM subscription WHERE array_to_string(headers, ' ') LIKE '%canary%')";
    assert_eq!(server.database.number(rows).await, 0);
    observe(&server, "o", "k", "a").await;
    receiver.until(1).await;
    assert_eq!(receiver.taken()[0].header("authorization").as_deref(), Some("Bearer canary"));
    // Who sent them may change the rest and keep them.
    own.patch(url, patch).await.expect(200);
    let answer = own.get(url).await;
    assert_eq!(answer.at("channel.header[0]").as_ref(), Some(&line));
    server.stop().await;
}
