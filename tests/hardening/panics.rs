//! Faults of our own: a request that panics is answered, and the server lives.
//!
//! Covers: security H24.

use std::any::Any;
use std::future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hyper::header::HeaderMap;
use kiln::access::Principal;
use kiln::error::Error;
use kiln::http::Authenticator;

use crate::harness::endpoint::endpoint_by;
use crate::harness::server::TestServer;

/// Where the header `X-Plant` has a panic.
struct Planted;

fn plant(headers: &HeaderMap, place: &str) {
    let is_here = headers.get("x-plant").is_some_and(|it| it == place);
    assert!(!is_here, "planted: secret-detail");
}

impl Authenticator for Planted {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<Principal, Error>> {
        plant(headers, "at once");
        let is_later = headers.contains_key("x-later");
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(!is_later, "planted: secret-detail");
            future::ready(Ok(Principal::open())).await
        })
    }

    fn admit(&self, _: &Principal) -> Result<Option<Box<dyn Any + Send>>, Error> {
        Ok(Some(Box::new(())))
    }

    // Asked inside the interaction, where what fails is on record.
    fn is_open(&self) -> bool {
        panic!("planted: secret-detail")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_fault_of_the_server_and_ends_nothing_else() {
    let server = TestServer::start().await;
    let (client, _stop) = endpoint_by(&server, Arc::new(Planted)).await;
    for (method, url, header) in [
        ("GET", "/Patient/x", ("x-plant", "at once")),
        ("GET", "/Patient/x", ("x-later", "1")),
        ("GET", "/Patient/x", ("x-plant", "inside")),
        ("POST", "/Patient", ("x-plant", "inside")),
        ("GET", "/Patient?name=x", ("x-plant", "inside")),
        ("DELETE", "/Patient/x", ("x-plant", "inside")),
    ] {
        let call = client.call(method, url).header(header.0, header.1);
        let answer = call.json(r#"{"resourceType":"Patient"}"#).send().await.expect(500);
        let what = format!("{method} {url} {header:?}: {answer:?}");
        assert_eq!(answer.at("resourceType").as_deref(), Some("OperationOutcome"), "{what}");
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("exception"), "{what}");
        let text = format!("{}{:?}", answer.text(), answer.headers);
        for detail in ["planted", "secret-detail", "panic", ".rs"] {
            assert!(!text.contains(detail), "{detail}: {what}");
        }
        // On the same connections, the process goes on.
        client.get(&format!("{}/health/live", client.root())).await.expect(200);
        server.client.get("/Patient").await.expect(200);
    }
    let recorded = "SELECT count(*) FROM ledger WHERE outcome = 8";
    assert_eq!(server.database.number(recorded).await, 4);
    server.stop().await;
}
