//! `$validate` on a type or a resource: 200 with an OperationOutcome, whatever is found.
//!
//! Spec: <https://hl7.org/fhir/R4/resource-operation-validate.html>, rest 6.11 to 6.15

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::http::{Response, StatusCode};

use crate::engine::{VALIDATE_PARAMETERS, Validate, ValidateAt};
use crate::error::Error;
use crate::fhir::codec::Format;
use crate::fhir::json::Value;
use crate::fhir::{self, Issue};
use crate::http::exchange::Exchange;
use crate::http::negotiation;
use crate::http::outcome::{Failure, outcome};

/// `POST [type]/$validate`, `POST [type]/[id]/$validate`
pub(in crate::http) async fn sent(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let body = exchange.read_body().await?;
    if body.trim_ascii().is_empty() {
        return stored(exchange).await;
    }
    let format = negotiation::body(&exchange.parts.headers)?;
    let (asked, root) = asked(&exchange, Some(exchange.parse(&body, format)?))?;
    let mut found = exchange.server.engine.validate(asked, &exchange.caller).await;
    if let (Ok(issues), Format::Json) = (&mut found, format) {
        fhir::place(issues, &body, &root);
    }
    answer(&exchange, found)
}

/// `GET [type]/[id]/$validate`
pub(in crate::http) async fn stored(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let (asked, _) = asked(&exchange, None)?;
    let found = exchange.server.engine.validate(asked, &exchange.caller).await;
    answer(&exchange, found)
}

/// What is asked, and the expression of the resource inside the body, where it is not all of it.
fn asked<'a>(
    exchange: &Exchange,
    body: Option<Value<'a>>,
) -> Result<(Validate<'a>, String), Failure> {
    exchange.form()?;
    exchange.check_known(&VALIDATE_PARAMETERS)?;
    let at = match &exchange.target.id {
        Some(_) => ValidateAt::Instance(exchange.identity()?),
        None => ValidateAt::Type(exchange.resource_type()?),
    };
    Ok(Validate::read(at, &exchange.query, body, exchange.is_strict())?)
}

fn answer(
    exchange: &Exchange,
    found: Result<Vec<Issue>, Error>,
) -> Result<Response<Body>, Failure> {
    let issues = found.map_err(Failure::Interaction)?;
    let mut response = outcome(StatusCode::OK, &issues, exchange.form()?, exchange.schema());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
