//! Subscriptions over rest-hook: from being asked for to their end, with a receiver on this machine.

mod delivered;
mod ended;
pub(crate) mod receiver;
mod refused;

use std::time::{Duration, Instant};

use crate::harness::client::{Answer, Client};
use crate::harness::server::TestServer;
use receiver::Receiver;

/// What lets the server call this machine, and not wait long when that fails.
pub(crate) const QUICK: [(&str, &str); 4] = [
    ("subscriptions.networks", "127.0.0.1/32"),
    ("subscriptions.retry_ms", "20"),
    ("subscriptions.max_tries", "4"),
    ("subscriptions.timeout_s", "2"),
];

/// What is waited for.
pub(crate) const CRITERIA: &str = "Observation?code=urn:c|k";

/// A server that may call this machine, and a receiver there.
pub(crate) async fn served(settings: &[(&str, &str)]) -> (TestServer, Receiver) {
    let all: Vec<_> = QUICK.iter().chain(settings).copied().collect();
    (TestServer::start_with(&all).await, Receiver::start().await)
}

/// A Subscription.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) status: &'static str,
    pub(crate) criteria: String,
    pub(crate) endpoint: String,
    pub(crate) payload: Option<&'static str>,
    pub(crate) headers: Vec<String>,
    pub(crate) end: Option<String>,
}

impl Wish {
    /// For what is waited for usually, without a payload.
    pub(crate) fn new(endpoint: String) -> Self {
        Self {
            status: "requested",
            criteria: CRITERIA.to_owned(),
            endpoint,
            payload: None,
            headers: Vec::new(),
            end: None,
        }
    }

    /// The same with resources as JSON.
    pub(crate) fn full(endpoint: String) -> Self {
        Self { payload: Some("application/fhir+json"), ..Self::new(endpoint) }
    }

    /// The resource; `id`: of an update.
    pub(crate) fn body(&self, id: Option<&str>) -> String {
        let Self { status, criteria, endpoint, .. } = self;
        let id = id.map(|id| format!(r#""id":"{id}","#)).unwrap_or_default();
        let end = self.end.as_ref().map(|end| format!(r#""end":"{end}","#)).unwrap_or_default();
        let payload = self.payload.map(|it| format!(r#","payload":"{it}""#)).unwrap_or_default();
        let lines: Vec<_> = self.headers.iter().map(|line| format!("{line:?}")).collect();
        let headers = if lines.is_empty() {
            String::new()
        } else {
            format!(r#","header":[{}]"#, lines.join(","))
        };
        format!(
            r#"{{"resourceType":"Subscription",{id}{end}"status":"{status}","reason":"to be told","criteria":"{criteria}","channel":{{"type":"rest-hook","endpoint":"{endpoint}"{payload}{headers}}}}}"#
        )
    }
}

/// Stores a Subscription and waits until it is active; its id.
pub(crate) async fn subscribed(client: &Client, wish: &Wish) -> String {
    let asked = client.post("/Subscription", wish.body(None)).await.expect(201);
    assert_eq!(asked.at("status").as_deref(), Some("requested"), "{asked:?}");
    let id = asked.id();
    until(client, &id, "active").await;
    id
}

/// Waits until a Subscription has a status.
pub(crate) async fn until(client: &Client, id: &str, status: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.get(&format!("/Subscription/{id}")).await.expect(200);
        if answer.at("status").as_deref() == Some(status) {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "not {status}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An Observation with a code of `urn:c`.
pub(crate) fn observation(id: &str, code: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"coding":[{{"system":"urn:c","code":"{code}"}}]}}}}"#
    )
}

/// Stores an Observation under an id.
pub(crate) async fn put(client: &Client, id: &str, code: &str) -> Answer {
    let answer = client.put(&format!("/Observation/{id}"), observation(id, code)).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer
}
