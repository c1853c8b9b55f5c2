//! What is not FHIR: health, metrics, and the page at `/`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode, request};

use super::outcome::Failure;
use super::server::{Probe, Server};

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const PLAIN: &str = "text/plain;charset=utf-8";

/// `GET /health/live`: the process answers.
pub(super) async fn live(_: Arc<Server>, _: request::Parts) -> Result<Response<Body>, Failure> {
    Ok(alive())
}

/// The process answers.
pub(super) fn alive() -> Response<Body> {
    text(StatusCode::OK, PLAIN, "live\n".to_owned())
}

/// `GET /health/ready`: requests can be served, or 503 with the reason.
pub(super) async fn ready(
    server: Arc<Server>,
    _: request::Parts,
) -> Result<Response<Body>, Failure> {
    Ok(readiness(&*server.probe).await)
}

/// Whether requests can be served.
pub(super) async fn readiness(probe: &dyn Probe) -> Response<Body> {
    match probe.ready().await {
        Ok(()) => text(StatusCode::OK, PLAIN, "ready\n".to_owned()),
        Err(reason) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let mut response = text(status, PLAIN, format!("not ready: {reason}\n"));
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

/// `GET /metrics`: Prometheus' text form.
pub(super) async fn metrics(
    server: Arc<Server>,
    _: request::Parts,
) -> Result<Response<Body>, Failure> {
    Ok(numbers(&*server.probe))
}

/// All metrics.
pub(super) fn numbers(probe: &dyn Probe) -> Response<Body> {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    text(StatusCode::OK, content_type, probe.metrics())
}

/// `GET /`: where to go from here.
pub(super) async fn landing(
    server: Arc<Server>,
    _: request::Parts,
) -> Result<Response<Body>, Failure> {
    Ok(text(StatusCode::OK, "text/html;charset=utf-8", page(server.settings.with_admin)))
}

/// Links are relative, so that they hold behind a proxy with a prefix, and lead to what is here.
fn page(with_health: bool) -> String {
    let health = if with_health { "<li><a href=\"health/ready\">How it does</a>\n" } else { "" };
    format!("{LANDING}{health}</ul>\n</html>\n")
}

const LANDING: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Kiln</title>
<h1>Kiln</h1>
<p>A FHIR R4 server. Its endpoint is <code>/fhir</code>.</p>
<ul>
<li><a href=\"fhir/metadata?_pretty=true\">What it offers</a>
<li><a href=\"fhir/Patient?_count=10&amp;_pretty=true\">Patients</a>
<li><a href=\"fhir/_history?_count=10&amp;_pretty=true\">What happened last</a>
";
