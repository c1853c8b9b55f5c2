//! The terminology operations over HTTP: parameters in the query or as a Parameters resource.
//!
//! Spec: <https://hl7.org/fhir/R4/operations.html#executing>,
//! <https://hl7.org/fhir/R4/terminology-service.html>

use axum::body::Body;
use axum::http::header::{ACCEPT_LANGUAGE, HeaderValue, VARY};
use axum::http::{Method, Response};

use crate::engine::{Operation, Question};
use crate::http::exchange::Exchange;
use crate::http::negotiation;
use crate::http::outcome::Failure;

use super::answer;

/// `ValueSet/$expand`, `ValueSet/[id]/$expand`
pub(in crate::http) async fn expand(exchange: Exchange) -> Result<Response<Body>, Failure> {
    run(exchange, Operation::Expand).await
}

/// `CodeSystem/$lookup`
pub(in crate::http) async fn lookup(exchange: Exchange) -> Result<Response<Body>, Failure> {
    run(exchange, Operation::Lookup).await
}

/// `CodeSystem/$subsumes`, `CodeSystem/[id]/$subsumes`
pub(in crate::http) async fn subsumes(exchange: Exchange) -> Result<Response<Body>, Failure> {
    run(exchange, Operation::Subsumes).await
}

/// `ConceptMap/$translate`, `ConceptMap/[id]/$translate`
pub(in crate::http) async fn translate(exchange: Exchange) -> Result<Response<Body>, Failure> {
    run(exchange, Operation::Translate).await
}

/// `ValueSet/$validate-code`, `ValueSet/[id]/$validate-code`
pub(in crate::http) async fn in_set(exchange: Exchange) -> Result<Response<Body>, Failure> {
    run(exchange, Operation::ValidateInSet).await
}

/// `CodeSystem/$validate-code`, `CodeSystem/[id]/$validate-code`
pub(in crate::http) async fn in_system(exchange: Exchange) -> Result<Response<Body>, Failure> {
    run(exchange, Operation::ValidateInSystem).await
}

/// `$closure`
pub(in crate::http) async fn closure(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    let format = negotiation::body(&exchange.parts.headers)?;
    let body = exchange.read_body().await?;
    let parameters = exchange.parse(&body, format)?;
    let closed = exchange.server.engine.closure(&parameters, &exchange.caller).await;
    answer::resource(&closed.map_err(Failure::Interaction)?, form, exchange.schema())
}

async fn run(mut exchange: Exchange, operation: Operation) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(operation.parameters())?;
    let identity = exchange.target.id.is_some().then(|| exchange.identity()).transpose()?;
    let body = match exchange.parts.method {
        Method::POST => Some(exchange.read_body().await?),
        _ => None,
    };
    let body = body.filter(|body| !body.trim_ascii().is_empty());
    let given = match &body {
        Some(body) => {
            let format = negotiation::body(&exchange.parts.headers)?;
            Some(exchange.parse(body, format)?)
        }
        None => None,
    };
    let parameters = Question::parameters(given, &exchange.query)?;
    let languages = exchange.parts.headers.get(ACCEPT_LANGUAGE).and_then(|it| it.to_str().ok());
    let id = identity.as_ref().map(|it| &it.id);
    let question = Question { operation, id, parameters: &parameters, languages };
    let answered = exchange.server.engine.terminology(&question, &exchange.caller).await;
    let answered = answered.map_err(Failure::Interaction)?;
    let mut response = answer::resource(&answered, form, exchange.schema())?;
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-language"));
    Ok(response)
}
