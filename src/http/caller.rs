//! Who asks: the seam between a request and its principal.

use std::any::Any;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::http::request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use futures_util::future::{self, BoxFuture};
use percent_encoding::percent_decode_str;

use crate::access::interaction::Kind;
use crate::access::{Actor, Caller, Interaction, Principal, RequestContext, shown};
use crate::error::Error;

use super::base;
use super::outcome::Failure;
use super::server::{Server, Settings};

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

    /// A place for one request of a principal, until it is dropped.
    ///
    /// # Errors
    /// [`Error::Throttled`] when the principal asks too often, or for too much at a time.
    fn admit(&self, _: &Principal) -> Result<Option<Box<dyn Any + Send>>, Error> {
        Ok(None)
    }

    /// Counts a request that proved nobody, for the address it came from.
    ///
    /// # Errors
    /// [`Error::Throttled`] when the address sends too many.
    fn turn_away(&self, _: Option<IpAddr>) -> Result<(), Error> {
        Ok(())
    }

    /// The web origins of the client that the headers prove, where one is known.
    fn origins(&self, _: &HeaderMap) -> Option<Vec<String>> {
        None
    }

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
    server: &Server,
    parts: &request::Parts,
    request_id: &HeaderValue,
) -> Result<Caller, Error> {
    let principal = server.authenticator.authenticate(&parts.headers).await?;
    Ok(Caller::new(principal, whole_context(&server.settings, parts, request_id)))
}

/// Puts on record that whoever sent `parts` is not known, as often as its address may ask: beyond
/// that it is told so, and a few rows say how often. Gives the error to tell.
pub(super) async fn turn_away(
    server: &Server,
    parts: &request::Parts,
    request_id: &HeaderValue,
    interaction: Interaction,
    error: Error,
) -> Failure {
    let is_stranger = matches!(
        error,
        Error::Invalid(_) | Error::TokenExpired | Error::TokenUnknown | Error::Unauthenticated
    );
    if !is_stranger {
        return error.into();
    }
    let request = whole_context(&server.settings, parts, request_id);
    let held_off = server.authenticator.turn_away(request.source);
    let request = Arc::new(request);
    let actor = Actor { name: "anonymous".to_owned(), request };
    if let Err(throttled) = held_off {
        return server.engine.held_off(interaction, &actor, throttled).await.into();
    }
    Failure::Interaction(server.engine.turned_away(interaction, &actor, error).await)
}

/// Puts on record a request to the FHIR endpoint that no route fits, by who sent it, as what nobody can tell the kind of.
/// Gives what to tell: `failure`, or why it cannot be on record.
pub(super) async fn without_route(
    server: &Server,
    parts: &request::Parts,
    request_id: &HeaderValue,
    failure: Failure,
) -> Failure {
    let path: Vec<u8> = percent_decode_str(parts.uri.path()).collect();
    let is_fhir =
        path.strip_prefix(b"/fhir").is_some_and(|rest| matches!(rest.first(), None | Some(b'/')));
    let (true, Some(error)) = (is_fhir && !server.is_plain, failure.unrecorded()) else {
        return failure;
    };
    let interaction = Kind::Unknown.of_system();
    let caller = match of(server, parts, request_id).await {
        Ok(caller) => caller,
        Err(error) => {
            let told = turn_away(server, parts, request_id, interaction, error).await;
            let is_known =
                matches!(told.status(), StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
            return if is_known { failure } else { told };
        }
    };
    let _place = match server.authenticator.admit(&caller.principal) {
        Ok(place) => place,
        Err(error) => return server.engine.held_back(interaction, &caller, error).await.into(),
    };
    let Err(told) = server.engine.denied::<Infallible>(interaction, &caller, error).await;
    if matches!(told, Error::Unavailable(_)) { Failure::Interaction(told) } else { failure }
}

/// What the ledger keeps of a request to the FHIR endpoint; of its URL as much as one may have.
fn whole_context(
    settings: &Settings,
    parts: &request::Parts,
    request_id: &HeaderValue,
) -> RequestContext {
    let url = parts.uri.path_and_query().map_or("/", |text| text.as_str());
    let asked = shown(&url[..url.floor_char_boundary(settings.max_url_bytes)]).into_owned();
    context(settings, parts, request_id.to_str().unwrap_or_default(), asked)
}

/// What the ledger keeps of a request: of its path and query what may be seen, and the address of who
/// asks, which a known proxy tells.
pub(super) fn context(
    settings: &Settings,
    parts: &request::Parts,
    id: &str,
    path_and_query: String,
) -> RequestContext {
    RequestContext {
        id: id.to_owned(),
        method: method_name(&parts.method),
        path_and_query,
        source: base::client(settings, parts),
    }
}

/// The caller of a request whose parameters stand in its body too, as a form: the ledger keeps them as
/// those of the URL.
pub(super) fn with_form(caller: &mut Caller, form: &str) {
    let asked = &caller.request.path_and_query;
    let sign = if asked.contains('?') { '&' } else { '?' };
    // A URL holds no NUL, which the database cannot keep; a body may.
    let all = format!("{asked}{sign}{}", form.trim().replace('\0', "%00"));
    let path_and_query = shown(&all).into_owned();
    caller.request = Arc::new(RequestContext { path_and_query, ..(*caller.request).clone() });
}

/// The address at the other end of the connection, which `app` puts into the request.
pub(super) fn source(parts: &request::Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

fn method_name(method: &Method) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_kept_with_the_url_and_without_tokens() {
        for (url, form, expected) in [
            ("/Patient/_search", "name=a", "/Patient/_search?name=a"),
            ("/Patient/_search?_count=1", " name=a\0\n", "/Patient/_search?_count=1&name=a%00"),
            ("/Patient/_search", "access_token=x&b=1", "/Patient/_search?access_token=***&b=1"),
        ] {
            let request = RequestContext {
                id: String::new(),
                method: "POST",
                path_and_query: url.to_owned(),
                source: None,
            };
            let mut caller = Caller::new(Principal::open(), request);
            with_form(&mut caller, form);
            assert_eq!(caller.request.path_and_query, expected);
        }
    }
}
