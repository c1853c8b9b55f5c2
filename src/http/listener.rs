//! Listeners: connections in, requests to the endpoint, an orderly end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::fhir::codec::Format;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::{Issue, IssueCode, operation_outcome};

use super::negotiation;

/// Longest wait for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of a request that are read before its head is known; `http` refuses smaller heads
/// already, with an answer that a client can read.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// Longest wait for running requests when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The endpoint, once it is there; until then every request gets 503.
#[derive(Clone, Default)]
pub struct Ready(Arc<OnceLock<Router>>);

impl Ready {
    /// Opens the endpoint; a second call changes nothing.
    pub fn set(&self, router: Router) {
        // Set once, by the start of the server.
        let _ = self.0.set(router);
    }
}

/// Serves `listener` until told to stop, then lets running requests finish.
pub async fn serve(listener: TcpListener, ready: Ready, mut stop: watch::Receiver<bool>) {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .pipeline_flush(true);
    server.http2().timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Told, or there is nobody left to tell.
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((stream, source)) => connect(&server, &graceful, &ready, stream, source),
            // Out of file descriptors, or the client left again: the next may do better.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

#[expect(clippy::disallowed_methods, reason = "every connection is a task of the listener")]
fn connect(
    server: &Builder<TokioExecutor>,
    graceful: &GracefulShutdown,
    ready: &Ready,
    stream: TcpStream,
    source: SocketAddr,
) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let ready = ready.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let router = ready.0.get().cloned();
        async move {
            request.extensions_mut().insert(ConnectInfo(source));
            match router {
                Some(router) => router.oneshot(request.map(Body::new)).await,
                None => Ok(starting(request.uri(), request.headers())),
            }
        }
    });
    let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let connection = graceful.watch(connection.into_owned());
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// The answer while the database is being started or migrated.
fn starting(uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    if uri.path() == "/health/live" {
        return Response::new(Body::from("live\n"));
    }
    let query = Query::parse(uri.query().unwrap_or_default()).unwrap_or_default();
    let media_type = negotiation::answer(query.first("_format"), headers).unwrap_or_default();
    let outcome = match media_type.format() {
        Format::Json => starting_outcome().to_text(),
        Format::Xml => STARTING.to_owned(),
    };
    let mut response = Response::new(Body::from(outcome));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media_type.content_type());
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn starting_outcome() -> Value<'static> {
    let text = "the server is starting: its database is not ready yet";
    operation_outcome(&[Issue::error(IssueCode::Transient, text)])
}

/// [`starting_outcome`] as XML, for a time at which the definitions that write XML are not loaded.
const STARTING: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><OperationOutcome xmlns="http://hl7.org/fhir"><issue>"#,
    r#"<severity value="error"/><code value="transient"/><diagnostics value="the server is "#,
    r#"starting: its database is not ready yet"/></issue></OperationOutcome>"#
);

/// Waits until the process is asked to end.
pub async fn interrupted() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT;

    use crate::http::form::Form;
    use crate::spec::Spec;

    use super::*;

    #[test]
    fn a_server_that_starts_says_so_in_the_form_asked_for() {
        let spec = Spec::r4().expect("definitions");
        let xml = Form { media_type: negotiation::MediaType::FhirXml, is_pretty: false };
        let written = xml.write(&starting_outcome(), &spec.schema).expect("written");
        assert_eq!(String::from_utf8_lossy(&written), STARTING);
        for (url, accept, expected) in [
            ("/fhir/Patient/1", "*/*", "application/fhir+json;charset=utf-8"),
            ("/fhir/Patient/1", "text/xml", "text/xml;charset=utf-8"),
            ("/fhir/Patient/1?_format=xml", "*/*", "application/fhir+xml;charset=utf-8"),
            ("/fhir/Patient/1", "image/png", "application/fhir+json;charset=utf-8"),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            let response = starting(&Uri::from_static(url), &headers);
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[CONTENT_TYPE], expected, "{url} {accept}");
            assert_eq!(response.headers()[RETRY_AFTER], "1");
        }
    }
}
