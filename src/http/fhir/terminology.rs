//! The terminology operations over HTTP: parameters in the query or as a Parameters resource.
//!
//! Spec: <https://hl7.org/fhir/R4/operations.html#executing>,
//! <https://hl7.org/fhir/R4/terminology-service.html>

use axum::body::Body;
use axum::http::header::{ACCEPT_LANGUAGE, HeaderValue, VARY};
use axum::http::{Method, Response};

use crate::engine::{Operation, Question};
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::json::{Object, Value};
use crate::http::exchange::Exchange;
use crate::http::negotiation;
use crate::http::outcome::Failure;

use super::answer;

/// Parameters of the query that every request may have.
const GENERAL: [&str; 4] = ["_format", "_pretty", "_summary", "_elements"];

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
    let parameters = parameters(&exchange, given)?;
    let languages = exchange.parts.headers.get(ACCEPT_LANGUAGE).and_then(|it| it.to_str().ok());
    let id = identity.as_ref().map(|it| &it.id);
    let question = Question { operation, id, parameters: &parameters, languages };
    let answered = exchange.server.engine.terminology(&question, &exchange.caller).await;
    let answered = answered.map_err(Failure::Interaction)?;
    let mut response = answer::resource(&answered, form, exchange.schema())?;
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-language"));
    Ok(response)
}

/// What the body gives and, behind it, what the query gives.
fn parameters<'e>(exchange: &'e Exchange, given: Option<Value<'e>>) -> Result<Value<'e>, Failure> {
    let mut parameters = match given {
        Some(Value::Object(object))
            if object.get("resourceType").and_then(Value::as_str) == Some("Parameters") =>
        {
            object
        }
        Some(_) => {
            let text = "this operation takes a Parameters resource";
            return Err(Error::invalid(IssueCode::Invalid, text).into());
        }
        None => Object::new().with("resourceType", "Parameters"),
    };
    let asked = exchange.query.iter().filter(|(name, _)| !GENERAL.contains(name));
    let asked = asked.map(|(name, value)| {
        Value::from(Object::new().with("name", name).with("valueString", value))
    });
    let asked: Vec<Value<'e>> = asked.collect();
    if !asked.is_empty() {
        match parameters.get_mut("parameter").and_then(Value::as_array_mut) {
            Some(known) => known.extend(asked),
            None => parameters.set("parameter", asked),
        }
    }
    Ok(parameters.into())
}
