//! What clients look up before they ask: open to everybody, and always JSON.
//!
//! Spec: security D1 to D7

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, request};
use serde_json::Value;

use crate::error::Error;
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::Authority;

type Answered = Result<Response<Body>, Failure>;

fn authority(server: &Server) -> Result<&Authority, Error> {
    server.oauth.as_deref().ok_or_else(|| Error::internal("a document without its server"))
}

fn document(value: &Value, control: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(control));
    response
}

/// `GET [base]/.well-known/smart-configuration`
pub(super) async fn smart_configuration(server: Arc<Server>, _: request::Parts) -> Answered {
    let told = authority(&server)?.settings.smart_configuration();
    Ok(document(&told, "no-cache"))
}

/// `GET /auth/.well-known/openid-configuration`
pub(super) async fn openid_configuration(server: Arc<Server>, _: request::Parts) -> Answered {
    let told = authority(&server)?.settings.openid_configuration();
    Ok(document(&told, "no-cache"))
}

/// `GET /auth/jwks`
pub(super) async fn jwks(server: Arc<Server>, _: request::Parts) -> Answered {
    let told = authority(&server)?.jwks().await?;
    Ok(document(&told, "public, max-age=300"))
}
