//! Which tenant a request is for, where a server has several: its path or a header of a proxy says so.
//!
//! Each tenant has an endpoint of its own, and nothing of one is in another. What names no tenant, one
//! that is not there or one that is not served gets the same answer: nobody learns who is served here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
pub use axum::http::HeaderName;
use axum::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Response, StatusCode, Uri, request};
use tower::ServiceExt as _;

use crate::clock::SystemIds;
use crate::config::Network;
use crate::fhir::{Issue, IssueCode, operation_outcome};
use crate::http::headers::{X_CORRELATION_ID, X_REQUEST_ID};
use crate::http::server::Probe;
use crate::http::{Routers, base, caller, dispatch, health, meters};

use super::starting::{outcome, starting};

/// Before the name of a tenant in a path.
const PREFIX: &str = "/t/";

/// How a request says for whom it is.
#[derive(Clone, Debug)]
pub enum Said {
    /// By this header, which counts from this machine and from these proxies.
    Header(HeaderName, Vec<Network>),
    /// By the first parts of its path.
    Path,
}

/// The endpoints of all tenants that are served at this moment. Cheap to clone.
#[derive(Clone, Default)]
pub struct Endpoints(Arc<RwLock<BTreeMap<String, Endpoint>>>);

/// The endpoint of one tenant.
#[derive(Clone)]
enum Endpoint {
    Ready(Routers),
    Starting,
}

impl Endpoints {
    /// From now on `name` is served.
    pub fn add(&self, name: &str, routers: Routers) {
        self.set(name, Endpoint::Ready(routers));
    }

    /// From now on `name` is one that will be served.
    pub fn expect(&self, name: &str) {
        self.set(name, Endpoint::Starting);
    }

    fn set(&self, name: &str, endpoint: Endpoint) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), endpoint);
    }

    /// From now on `name` is not served.
    pub fn remove(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn of(&self, name: &str) -> Option<Endpoint> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// Which parts of the server itself are beside the tenants on a listener.
#[derive(Clone, Copy, Debug)]
struct Own {
    health: bool,
    metrics: bool,
}

struct Front {
    said: Said,
    endpoints: Endpoints,
    probe: Arc<dyn Probe>,
    own: Own,
    of: fn(&Routers) -> Option<&Router>,
}

/// The services of a server whose tenants are `endpoints`; with health and metrics on the listener of
/// clients where `with_admin` and `with_metrics` say so.
pub fn routers(
    said: &Said,
    endpoints: &Endpoints,
    probe: &Arc<dyn Probe>,
    (with_admin, with_metrics): (bool, bool),
) -> Routers {
    let front = |own, of| {
        let (said, endpoints, probe) = (said.clone(), endpoints.clone(), probe.clone());
        let front = Arc::new(Front { said, endpoints, probe, own, of });
        let serve = |State(front): State<Arc<Front>>, request: Request| serve(front, request);
        Router::new().fallback(serve).with_state(front)
    };
    let here = Own { health: with_admin, metrics: with_admin && with_metrics };
    let nothing = Own { health: false, metrics: false };
    Routers {
        fhir: front(here, |it| Some(&it.fhir)),
        admin: front(Own { health: true, metrics: true }, |_| None),
        administration: Some(front(nothing, |it| it.administration.as_ref())),
    }
}

async fn serve(front: Arc<Front>, request: Request) -> Response<Body> {
    match request.uri().path() {
        "/health/live" if front.own.health => return health::alive(),
        "/health/ready" if front.own.health => return health::readiness(&*front.probe).await,
        "/metrics" if front.own.metrics => return health::numbers(&*front.probe),
        _ => {}
    }
    let began = Instant::now();
    let (mut parts, body) = request.into_parts();
    let peer = caller::source(&parts).map(|it| it.to_canonical());
    let found = tenant(&front.said, &parts.uri, &parts.headers, peer);
    let found = found.and_then(|(name, uri)| Some((front.endpoints.of(name)?, uri)));
    let (router, uri) = match &found {
        Some((Endpoint::Ready(routers), uri)) => ((front.of)(routers), uri),
        Some((Endpoint::Starting, uri)) => {
            return own(starting(uri, &parts.headers), &parts, began);
        }
        None => (None, &parts.uri),
    };
    let Some(router) = router.cloned() else {
        return own(nobody(&parts.uri, &parts.headers), &parts, began);
    };
    parts.uri = uri.clone();
    match router.oneshot(Request::from_parts(parts, body)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// An answer that no tenant gave: it has what every answer carries, its line in the log, and is counted.
fn own(mut response: Response<Body>, asked: &request::Parts, began: Instant) -> Response<Body> {
    let (id, replaced) = dispatch::request_id(&SystemIds::default(), &asked.headers);
    let latency = began.elapsed();
    dispatch::log(&id, (&asked.method, "none"), response.status(), latency);
    meters::count_lost(response.status(), latency);
    let headers = response.headers_mut();
    if let Some(replaced) = replaced {
        headers.insert(X_CORRELATION_ID, replaced);
    }
    headers.insert(X_REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// For whom a request is, and what it asks there.
fn tenant<'r>(
    said: &Said,
    uri: &'r Uri,
    headers: &'r HeaderMap,
    peer: Option<IpAddr>,
) -> Option<(&'r str, Uri)> {
    match said {
        Said::Header(header, proxies) => {
            peer.filter(|peer| base::is_proxy(proxies, *peer))?;
            let mut sent = headers.get_all(header).iter();
            let name = sent.next()?.to_str().ok()?;
            // Two of them: one is not the proxy's.
            sent.next().is_none().then(|| (name, uri.clone()))
        }
        Said::Path => {
            let rest = uri.path().strip_prefix(PREFIX)?;
            let (name, _) = rest.split_once('/').unwrap_or((rest, ""));
            let below = &rest[name.len()..];
            let path = if below.is_empty() { "/" } else { below };
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
            Some((name, Uri::from_parts(parts).ok()?))
        }
    }
}

/// The answer where no tenant is served.
fn nobody(uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    let told = operation_outcome(&[Issue::error(IssueCode::NotFound, NOBODY)]);
    let mut response = outcome(uri, headers, &told, NOBODY_XML);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

const NOBODY: &str = "there is no endpoint at this address";

/// The same as XML, without the definitions that write it, which are a tenant's.
const NOBODY_XML: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><OperationOutcome xmlns="http://hl7.org/fhir"><issue>"#,
    r#"<severity value="error"/><code value="not-found"/><diagnostics value="there is no endpoint "#,
    r#"at this address"/></issue></OperationOutcome>"#
);

#[cfg(test)]
mod tests {
    use crate::http::form::Form;
    use crate::http::negotiation::MediaType;
    use crate::spec::Spec;

    use super::*;

    fn found(said: &Said, url: &str, sent: &[&str], peer: &str) -> Option<(String, String)> {
        let headers = sent.iter().map(|it| {
            (HeaderName::from_static("x-kiln-tenant"), HeaderValue::from_str(it).expect("a value"))
        });
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, value);
        }
        let uri: Uri = url.parse().expect("an address");
        let peer = peer.parse().ok();
        tenant(said, &uri, &all, peer).map(|(name, uri)| (name.to_owned(), uri.to_string()))
    }

    #[test]
    fn a_path_names_a_tenant_and_what_is_asked_there() {
        for (url, expected) in [
            (
                "/t/north/fhir/Patient?name=t&_count=1",
                Some(("north", "/fhir/Patient?name=t&_count=1")),
            ),
            ("http://h:8080/t/north/fhir", Some(("north", "http://h:8080/fhir"))),
            ("/t/north", Some(("north", "/"))),
            ("/t/north?x=1", Some(("north", "/?x=1"))),
            ("/t/north/../south/fhir", Some(("north", "/../south/fhir"))),
            ("/t/no%72th/fhir", Some(("no%72th", "/fhir"))),
            ("/t/", Some(("", "/"))),
            ("/t//fhir", Some(("", "/fhir"))),
            ("/t", None),
            ("/fhir/Patient", None),
            ("/T/north/fhir", None),
        ] {
            // A header says nothing here.
            let found = found(&Said::Path, url, &["south"], "127.0.0.1");
            let expected = expected.map(|(name, uri)| (name.to_owned(), uri.to_owned()));
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn a_header_counts_from_a_proxy_and_once() {
        let proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        let said = Said::Header(HeaderName::from_static("x-kiln-tenant"), proxies);
        for (sent, peer, expected) in [
            (&["north"][..], "127.0.0.1", Some("north")),
            (&["north"], "10.1.2.3", Some("north")),
            (&["north"], "11.1.2.3", None),
            (&["north"], "nobody", None),
            (&["north", "south"], "10.1.2.3", None),
            (&["north", "north"], "10.1.2.3", None),
            (&[], "10.1.2.3", None),
        ] {
            let found = found(&said, "/t/south/fhir/Patient", sent, peer);
            let expected = expected.map(|it| (it.to_owned(), "/t/south/fhir/Patient".to_owned()));
            assert_eq!(found, expected, "{sent:?} {peer}");
        }
    }

    #[test]
    fn nobody_is_told_alike_in_both_forms() {
        let spec = Spec::r4().expect("definitions");
        let form = Form { media_type: MediaType::FhirXml, is_pretty: false };
        let outcome = operation_outcome(&[Issue::error(IssueCode::NotFound, NOBODY)]);
        let written = form.write(&outcome, &spec.schema).expect("written");
        assert_eq!(String::from_utf8_lossy(&written), NOBODY_XML);
    }
}
