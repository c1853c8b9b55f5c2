//! The way of one request: route, caller, handler, and what every answer carries.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, STRICT_TRANSPORT_SECURITY, WARNING, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, Request, Response, StatusCode, request};
use bytes::Bytes;
use futures_util::FutureExt as _;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::access::interaction::Kind;
use crate::clock::IdSource;
use crate::error::Error;
use crate::fhir::query::Query;

use super::cors::{Cors, OfClient, origin, registered};
use super::exchange::Exchange;
use super::form::Form;
use super::headers::{X_CORRELATION_ID, X_REQUEST_ID};
use super::outcome::Failure;
use super::prefer::Preferences;
use super::server::Server;
use super::table::{Answer, Found, Handler, Target};
use super::{caller, compression, negotiation, query, task};

/// Largest headers of a request. The listener reads more than that, so that who sends somewhat too
/// much gets an answer and not a cut connection.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Serves one request.
pub(super) async fn serve(server: Arc<Server>, request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let sent = parts.headers.contains_key(ORIGIN).then(|| parts.headers.clone());
    let encodings = parts.headers.get(ACCEPT_ENCODING).cloned();
    let is_preflight = Cors::is_preflight(&method, &parts.headers);
    let (id, replaced) = request_id(&*server.ids, &parts.headers);

    let span = span(&id, &method);
    let (row, mut response) = route(&server, parts, body, &id).instrument(span.clone()).await;

    mark_readers(&server, sent.as_ref(), row, is_preflight, &mut response).await;
    let headers = response.headers_mut();
    if server.settings.listener_base.starts_with("https:") {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    if let Some(warning) = server.authenticator.warning() {
        headers.append(WARNING, warning);
    }
    if let Some(replaced) = replaced {
        headers.insert(X_CORRELATION_ID, replaced);
    }
    headers.insert(X_REQUEST_ID, id.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(encodings) = encodings {
        response = compression::compress(response, encodings).await;
    }
    if method == Method::HEAD {
        response = without_body(response);
    }
    let latency = started.elapsed();
    server.meters.count(row, response.status(), latency);
    let path = row.map_or("none", |row| server.table.routes()[row].path);
    span.record("http.route", path).record("http.status", response.status().as_u16());
    log(&id, (&method, path), response.status(), latency);
    response
}

/// The line of a request in the log.
pub(super) fn log(
    id: &HeaderValue,
    (method, path): (&Method, &str),
    status: StatusCode,
    latency: Duration,
) {
    tracing::info!(
        target: "kiln::request",
        {
            request.id = id.to_str().unwrap_or_default(),
            http.method = %method,
            http.route = path,
            http.status = status.as_u16(),
            duration_us = latency.as_micros() as u64,
        },
        "answered"
    );
}

/// Says which web pages may read the answer to a request with the headers `sent`, which a page made.
async fn mark_readers(
    server: &Server,
    sent: Option<&HeaderMap>,
    row: Option<usize>,
    is_preflight: bool,
    response: &mut Response<Body>,
) {
    let Some(sent) = sent else { return };
    let Some(origin) = sent.get(ORIGIN) else { return };
    if server.is_plain {
        return;
    }
    let Some(authority) = &server.oauth else {
        return server.cors.mark(Some(origin), is_preflight, response.headers_mut());
    };
    let client = response.extensions_mut().remove::<OfClient>();
    let asked = registered::Asked { origin, headers: sent, row, client };
    let readers = registered::readers(server, authority, asked).await;
    readers.mark(Some(origin), is_preflight, response.headers_mut());
}

/// The span of a request, which goes to a collector only.
fn span(id: &HeaderValue, method: &Method) -> Span {
    tracing::debug_span!(
        target: "kiln::span",
        "http.request",
        otel.kind = "server",
        request.id = id.to_str().unwrap_or_default(),
        http.method = %method,
        http.route = Empty,
        http.status = Empty,
    )
}

/// The id of a request, and the client's own where it cannot be kept (rest 1.37).
pub(super) fn request_id(
    ids: &dyn IdSource,
    headers: &HeaderMap,
) -> (HeaderValue, Option<HeaderValue>) {
    let sent = headers.get(X_REQUEST_ID);
    let is_plain = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    if let Some(sent) = sent.filter(is_plain) {
        return (sent.clone(), None);
    }
    let mut buffer = [0; 36];
    let text = ids.ordered().hyphenated().encode_lower(&mut buffer);
    let id = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"));
    (id, sent.cloned())
}

/// Finds the row and has it served; the row is for the metrics.
async fn route(
    server: &Arc<Server>,
    parts: request::Parts,
    body: Body,
    id: &HeaderValue,
) -> (Option<usize>, Response<Body>) {
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let format = query.as_ref().ok().and_then(|query| query.first("_format"));
    let accepted = negotiation::answer(format, &parts.headers).ok();
    // What is wrong with `_pretty` itself is told by who reads it.
    let is_pretty = query.as_ref().is_ok_and(|it| query::is_pretty(it, false).unwrap_or(false));
    let form = Form { media_type: accepted.unwrap_or_default(), is_pretty };
    let fail = |row, failure: Failure| {
        failure.log(id.to_str().unwrap_or_default());
        if server.is_plain {
            return (row, failure.to_plain());
        }
        (row, failure.to_response(form, server.schema()))
    };
    let (row, target) = match find(server, &parts) {
        Ok(Fit::Row(row, target)) => (row, target),
        Ok(Fit::Options(allow)) => return (None, options(allow)),
        Err(failure) => {
            return fail(None, caller::without_route(server, &parts, id, failure).await);
        }
    };
    let route = &server.table.routes()[row];
    let writes = route.interaction.is_some_and(Kind::is_write);
    let answer: Answer = match route.handler {
        Handler::Auth(handler) => {
            let mut parts = parts;
            parts.extensions.insert(Asked { id: id.clone(), name: target.name });
            handler(server.clone(), parts, body)
        }
        Handler::Plain(handler) => handler(server.clone(), parts),
        Handler::Fhir(_) => {
            let start = Start { server: server.clone(), parts, body, target, accepted };
            let id = id.clone();
            Box::pin(async move { start.run(row, &id).await })
        }
    };
    match task::finish(server.settings.timeout, answer).await {
        Ok(response) => (Some(row), response),
        Err(Failure::Interaction(Error::MethodNotAllowed(text))) => {
            let allow = server.table.allow_without(row);
            fail(Some(row), Failure::MethodNotAllowed { allow, text })
        }
        // The task goes on: who asks again without a look may have it twice.
        Err(Failure::TimedOut) if writes => fail(Some(row), Failure::Unfinished),
        Err(failure) => fail(Some(row), failure),
    }
}

/// What fits a request.
enum Fit {
    /// What a browser asks before it lets a page see anything, or that there is nothing.
    Options(HeaderValue),
    Row(usize, Target),
}

fn find(server: &Server, parts: &request::Parts) -> Result<Fit, Failure> {
    check_size(parts, server.settings.max_url_bytes)?;
    let is_options = parts.method == Method::OPTIONS;
    let any = || Fit::Options(HeaderValue::from_static("OPTIONS"));
    if is_options && parts.uri.path() == "*" {
        return Ok(any());
    }
    match server.table.find(&parts.method, parts.uri.path()) {
        Ok(Found::Row(row, target)) => Ok(Fit::Row(row, target)),
        Ok(Found::Path { allow, .. }) if is_options => Ok(Fit::Options(allow)),
        Ok(Found::Path { allow, path }) => {
            let text = format!("{} is not offered at {path}", parts.method);
            Err(Failure::MethodNotAllowed { allow, text })
        }
        Err(Failure::UnknownRoute(..)) if is_options => Ok(any()),
        Err(failure) => Err(failure),
    }
}

/// What the dispatch knows of a request to the authorization server.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The request's id.
    pub(super) id: HeaderValue,
    /// `{name}` of the path.
    pub(super) name: Option<Box<str>>,
}

/// The bounds on the URL and the headers.
fn check_size(parts: &request::Parts, max_url_bytes: usize) -> Result<(), Failure> {
    if parts.uri.path_and_query().is_some_and(|text| text.as_str().len() > max_url_bytes) {
        return Err(Failure::UriTooLong(max_url_bytes));
    }
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    if parts.headers.iter().map(size).sum::<usize>() > MAX_HEAD_BYTES {
        return Err(Failure::HeadersTooLarge(MAX_HEAD_BYTES));
    }
    Ok(())
}

fn options(allow: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, allow);
    response
}

/// A FHIR request that has a row, before its caller is known.
struct Start {
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
    target: Target,
    accepted: Option<negotiation::MediaType>,
}

impl Start {
    async fn run(self, row: usize, id: &HeaderValue) -> Result<Response<Body>, Failure> {
        let Self { server, parts, body, target, accepted } = self;
        let route = &server.table.routes()[row];
        let (Handler::Fhir(handler), Some(kind)) = (route.handler, route.interaction) else {
            return Err(Error::internal("a row of another kind").into());
        };
        let resource_type = target.member.or(target.resource_type);
        let interaction = crate::access::Interaction { kind, resource_type };
        let caller = match caller::of(&server, &parts, id).await {
            Ok(caller) => caller,
            Err(error) => {
                return Err(caller::turn_away(&server, &parts, id, interaction, error).await);
            }
        };
        let _place = match server.authenticator.admit(&caller.principal) {
            Ok(place) => place,
            Err(error) => {
                return Err(server.engine.held_back(interaction, &caller, error).await.into());
            }
        };
        // What is wrong with a change is told to those who may make such changes.
        let may = caller.principal.refuse_change_of_record(interaction).and_then(|()| {
            let is_change = kind.is_write() && resource_type.is_some();
            let is_refused = is_change && caller.principal.reach(interaction).is_none();
            if is_refused { Err(Error::Forbidden) } else { Ok(()) }
        });
        if let Err(error) = may {
            let denied = server.engine.denied(interaction, &caller, error).await;
            return denied.map_err(Failure::Interaction);
        }
        let preferences = Preferences::read(&parts.headers);
        let attempt = {
            let (caller, server) = (caller.clone(), server.clone());
            async move {
                if server.authenticator.is_open() {
                    let base = server.settings.base_url.as_deref();
                    origin::check(&parts, &server.cors, base)?;
                }
                let query = Query::parse(parts.uri.query().unwrap_or_default());
                let query = query.map_err(Error::from)?;
                let exchange =
                    Exchange { server, parts, body, target, query, preferences, caller, accepted };
                handler(exchange).await
            }
        };
        // What is half done goes with the exchange; what is shared bears a panic.
        let attempt = AssertUnwindSafe(attempt).catch_unwind().await;
        let attempt = attempt.unwrap_or(Err(Failure::Panicked));
        let Err(failure) = attempt else { return attempt };
        if let Some(error) = failure.unrecorded() {
            let recorded = server.engine.denied::<()>(interaction, &caller, error).await;
            if let Err(error @ Error::Unavailable(_)) = recorded {
                return Err(Failure::Interaction(error));
            }
        }
        Err(failure)
    }
}

/// The same answer to HEAD: its headers, with the length of the body that GET would have where
/// that is known.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let length = body.size_hint().exact();
    let has_body =
        parts.status != StatusCode::NOT_MODIFIED && parts.status != StatusCode::NO_CONTENT;
    if let Some(length) = length
        && has_body
        && !parts.headers.contains_key(CONTENT_LENGTH)
        && !parts.headers.contains_key(CONTENT_ENCODING)
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    // A body of unknown length keeps axum from claiming that GET's would be empty.
    let nothing = futures_util::stream::empty::<Result<Bytes, std::convert::Infallible>>();
    let body = if has_body { Body::from_stream(nothing) } else { Body::empty() };
    Response::from_parts(parts, body)
}
