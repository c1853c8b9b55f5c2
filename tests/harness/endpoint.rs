//! A second endpoint on the data of a test server, whose callers are whom the test says they are.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::header::HeaderMap;
use kiln::access::Principal;
use kiln::clock::SystemIds;
use kiln::error::Error;
use kiln::http::listener::{self, Limits, Ready};
use kiln::http::{self, Authenticator, Parts, Probe, Settings};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::client::Client;
use super::server::TestServer;

/// Whoever calls is this one; without one, nobody is known.
struct Always(Option<Principal>);

impl Authenticator for Always {
    fn authenticate<'a>(&'a self, _: &'a HeaderMap) -> BoxFuture<'a, Result<Principal, Error>> {
        Box::pin(future::ready(self.0.clone().ok_or(Error::Unauthenticated)))
    }
}

struct Fine;

impl Probe for Fine {
    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(future::ready(Ok(())))
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

/// An endpoint for `principal` alone, or for nobody; it stops with the sender.
pub(crate) async fn endpoint_of(
    server: &TestServer,
    principal: Option<Principal>,
) -> (Client, watch::Sender<bool>) {
    endpoint_by(server, Arc::new(Always(principal))).await
}

/// An endpoint for whom `authenticator` knows.
pub(crate) async fn endpoint_by(
    server: &TestServer,
    authenticator: Arc<dyn Authenticator>,
) -> (Client, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings {
        base_url: None,
        listener_base: format!("http://{address}/fhir"),
        cors_origins: vec!["https://app.example.org".to_owned()],
        trusted_proxies: Vec::new(),
        max_body_bytes: 1_000_000,
        max_binary_bytes: 1_000_000,
        max_message_bytes: 2_000_000,
        max_depth: 64,
        max_url_bytes: 8_000,
        timeout: Duration::from_secs(30),
        with_admin: true,
        with_metrics: true,
    };
    let parts = Parts {
        engine: server.engine().clone(),
        messages: server.messages().clone(),
        settings,
        authenticator,
        ids: Arc::new(SystemIds::default()),
        probe: Arc::new(Fine),
        oauth: None,
    };
    let ready = Ready::default();
    ready.set(http::router(parts).unwrap().fhir);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(listener::serve(listener, ready, Limits::of(100).into(), stopped));
    (Client::new(address), stop)
}
