//! What clients look up before they ask: open to everybody, and always JSON.
//!
//! Spec: security D1 to D8

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue};
use axum::http::{Response, StatusCode, request};
use serde_json::Value;

use crate::error::Error;
use crate::http::condition;
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

/// `GET /auth/brands`
pub(super) async fn brands(server: Arc<Server>, parts: request::Parts) -> Answered {
    let authority = authority(&server)?;
    let tag = authority.settings.brands_tag();
    let mut response = if condition::names_tag(&parts.headers, &tag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let bundle = authority.settings.brands(authority.clock.now());
        document(&bundle, "public, max-age=3600")
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}
