//! Who asks: the seam between a request and its principal.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request;
use axum::http::{HeaderMap, HeaderValue, Method};
use futures_util::future::{self, BoxFuture};

use crate::access::{Caller, Principal, RequestContext};
use crate::error::Error;

/// Finds the principal behind a request.
pub trait Authenticator: Send + Sync {
    /// The principal that the headers prove.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for missing or bad credentials.
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<Principal, Error>>;

    /// Whether it lets in whoever reaches the listener: then pages of other sites must be kept out.
    fn is_open(&self) -> bool {
        false
    }

    /// What every answer must say about how callers are known, as a `Warning` header.
    fn warning(&self) -> Option<HeaderValue> {
        None
    }
}

/// `auth.mode = "off"`: whoever calls has the open policy, and every answer says so.
#[derive(Debug)]
pub struct Open(Principal);

impl Default for Open {
    fn default() -> Self {
        Self(Principal::open())
    }
}

impl Authenticator for Open {
    fn authenticate<'a>(&'a self, _: &'a HeaderMap) -> BoxFuture<'a, Result<Principal, Error>> {
        Box::pin(future::ready(Ok(self.0.clone())))
    }

    fn is_open(&self) -> bool {
        true
    }

    fn warning(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static("199 kiln \"authorization is off: anybody may do anything\""))
    }
}

/// The caller of the request with `parts`.
///
/// # Errors
/// Those of the authenticator.
pub(super) async fn of(
    authenticator: &dyn Authenticator,
    parts: &request::Parts,
    request_id: &HeaderValue,
) -> Result<Caller, Error> {
    let principal = authenticator.authenticate(&parts.headers).await?;
    let uri = &parts.uri;
    let request = RequestContext {
        id: request_id.to_str().unwrap_or_default().to_owned(),
        method: method_name(&parts.method),
        path_and_query: uri.path_and_query().map_or("/", |text| text.as_str()).to_owned(),
        source: source(parts),
    };
    Ok(Caller::new(principal, request))
}

/// The address at the other end of the connection, which `app` puts into the request.
pub(super) fn source(parts: &request::Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

pub(super) fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        _ => "OTHER",
    }
}
