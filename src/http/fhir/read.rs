//! read and vread: `GET [type]/[id]`, `GET [type]/[id]/_history/[vid]`.
//!
//! The hottest path of the server: a stored JSON text goes out as it is, nothing is parsed.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#read>, rest 2a

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Response, StatusCode};

use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::{ResourceType, Version};
use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;
use crate::http::shape::Shape;
use crate::http::{condition, headers, query};

use super::{answer, binary, tripwire};

/// `GET [type]/[id]`
pub(in crate::http) async fn read(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let identity = exchange.identity()?;
    let shape = shape(&exchange)?;
    let is_binary = identity.resource_type == ResourceType::BINARY;
    if !is_binary {
        exchange.form()?;
    }
    let found = exchange.server.engine.read(&identity, &exchange.caller).await;
    let mut found = found.map_err(Failure::Interaction)?;
    let asking = tripwire::Asking::of(&exchange);
    tripwire::check(asking, Kind::Read, [&found]).await?;
    tripwire::reveal(asking, [&mut found])?;
    shown(&exchange, &found, &shape)
}

/// `GET [type]/[id]/_history/[vid]`
pub(in crate::http) async fn vread(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let identity = exchange.identity()?;
    let version = exchange.version()?;
    let shape = shape(&exchange)?;
    if identity.resource_type != ResourceType::BINARY {
        exchange.form()?;
    }
    let found = exchange.server.engine.vread(&identity, version, &exchange.caller).await;
    let mut found = found.map_err(Failure::Interaction)?;
    let asking = tripwire::Asking::of(&exchange);
    tripwire::check(asking, Kind::Vread, [&found]).await?;
    tripwire::reveal(asking, [&mut found])?;
    shown(&exchange, &found, &shape)
}

/// The part of the resource that is asked for; counting is for many (rest 1.74).
fn shape(exchange: &Exchange) -> Result<Shape, Error> {
    exchange.check_known(&[])?;
    query::shape_of_one(&exchange.query)
}

fn shown(exchange: &Exchange, version: &Version, shape: &Shape) -> Result<Response<Body>, Failure> {
    let mut response = if condition::is_unchanged(&exchange.parts.headers, version) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else if let Some(raw) = binary::raw(exchange, version)? {
        raw
    } else {
        let form = exchange.form()?;
        let body = answer::text(version, form, shape, exchange.schema())?;
        let mut response = Response::new(Body::from(body));
        response.headers_mut().insert(CONTENT_TYPE, form.media_type.content_type());
        response
    };
    let headers = response.headers_mut();
    headers::set_version(headers, version);
    headers::set_caching(headers);
    Ok(response)
}
