//! `$reindex`, with FHIR's answers for what takes long: 202 and a place to ask, then 202 with
//! `X-Progress` there, and 200 when it is done.
//!
//! Spec: <https://hl7.org/fhir/R4/async.html>

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_LOCATION, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};

use crate::engine::{ReindexOf, Reindexing};
use crate::http::exchange::Exchange;
use crate::http::negotiation;
use crate::http::outcome::Failure;

use super::answer;

const X_PROGRESS: HeaderName = HeaderName::from_static("x-progress");

/// `POST $reindex`, `POST [type]/$reindex`, `POST [type]/[id]/$reindex`
pub(in crate::http) async fn ask(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.form()?;
    exchange.check_known(&[])?;
    let mut of = target(&exchange)?;
    let body = exchange.read_body().await?;
    if !body.trim_ascii().is_empty() {
        let format = negotiation::body(&exchange.parts.headers)?;
        of = of.narrowed(&exchange.parse(&body, format)?)?;
    }
    let asked = exchange.server.engine.reindex(&of, &exchange.caller).await;
    let asked = asked.map_err(Failure::Interaction)?;
    let mut response = answer(&exchange, &asked)?;
    let path = match (exchange.target.resource_type, &exchange.target.id) {
        (Some(of), Some(Ok(id))) => format!("{of}/{id}/$reindex"),
        (Some(of), _) => format!("{of}/$reindex"),
        (None, _) => "$reindex".to_owned(),
    };
    if let Ok(place) = HeaderValue::try_from(format!("{}/{path}", exchange.base())) {
        response.headers_mut().insert(CONTENT_LOCATION, place);
    }
    Ok(response)
}

/// `GET` of the same
pub(in crate::http) async fn status(exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.form()?;
    exchange.check_known(&[])?;
    let of = target(&exchange)?;
    let found = exchange.server.engine.reindexing(&of, &exchange.caller).await;
    answer(&exchange, &found.map_err(Failure::Interaction)?)
}

fn answer(exchange: &Exchange, state: &Reindexing) -> Result<Response<Body>, Failure> {
    let mut response = answer::resource(&state.parameters, exchange.form()?, exchange.schema())?;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !state.has_ended {
        if let Ok(progress) = HeaderValue::try_from(&state.progress) {
            headers.insert(X_PROGRESS, progress);
        }
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    Ok(response)
}

fn target(exchange: &Exchange) -> Result<ReindexOf, Failure> {
    match (&exchange.target.id, exchange.target.resource_type) {
        (Some(_), _) => Ok(ReindexOf::Instance(exchange.identity()?)),
        (None, Some(of)) => Ok(ReindexOf::Types(vec![of])),
        (None, None) => Ok(ReindexOf::System),
    }
}
