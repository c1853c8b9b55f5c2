//! One endpoint on the data of a test server, for many callers: each is whom its bearer token names.

use std::collections::HashMap;
use std::future;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use hyper::header::{AUTHORIZATION, HeaderMap};
use kiln::access::Principal;
use kiln::error::Error;
use kiln::http::Authenticator;
use tokio::sync::watch;

use super::client::Client;
use super::endpoint::endpoint_by;
use super::server::TestServer;

/// Principals by the text of their tokens.
#[derive(Default)]
struct Taken(Mutex<HashMap<String, Principal>>);

impl Authenticator for Taken {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<Principal, Error>> {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = shown.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        let found = self.0.lock().unwrap().get(token).cloned();
        Box::pin(future::ready(found.ok_or(Error::Unauthenticated)))
    }
}

/// The endpoint; it stops when this is dropped.
pub(crate) struct Seats {
    pub(crate) client: Client,
    taken: Arc<Taken>,
    _stop: watch::Sender<bool>,
}

impl Seats {
    /// An endpoint that knows nobody yet.
    pub(crate) async fn open(server: &TestServer) -> Self {
        let taken = Arc::new(Taken::default());
        let (client, stop) = endpoint_by(server, taken.clone()).await;
        Self { client, taken, _stop: stop }
    }

    /// From now on, who shows `token` is `principal`.
    pub(crate) fn seat(&self, token: &str, principal: Principal) {
        self.taken.0.lock().unwrap().insert(token.to_owned(), principal);
    }
}
