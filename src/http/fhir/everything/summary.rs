//! `$summary` of a patient: the International Patient Summary, a document.
//!
//! Spec: <http://hl7.org/fhir/uv/ips/OperationDefinition/summary>

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;

use crate::access::interaction::Kind;
use crate::engine::Document;
use crate::error::Error;
use crate::fhir::json;
use crate::fhir::schema::Schema;
use crate::http::exchange::Exchange;
use crate::http::fhir::entry::answered;
use crate::http::fhir::{labels, tripwire};
use crate::http::outcome::Failure;
use crate::http::prefer::PREFERENCE_APPLIED;
use crate::http::{headers, parameters};
use crate::spec::Spec;

/// `GET` and `POST` of `Patient/[id]/$summary` and of `Patient/$summary`
pub(in crate::http) async fn summary(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    let id = match exchange.target.id {
        Some(_) => Some(exchange.identity()?.id),
        None => None,
    };
    exchange.query = parameters::read(&mut exchange).await?;
    let engine = &exchange.server.engine;
    let is_strict = exchange.is_strict();
    let found = engine.summary(id.as_ref(), &exchange.query, is_strict, &exchange.caller).await;
    let found = found.map_err(Failure::Interaction)?;
    tripwire::check(tripwire::Asking::of(&exchange), Kind::Everything, found.versions()).await?;
    let mut text = text(&found, &exchange.base(), exchange.schema())?;
    if !form.is_stored_form() {
        let value = json::parse(&text).map_err(Error::internal)?;
        text = form.write(&value, exchange.schema())?;
    }
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.media_type.content_type());
    headers::set_caching(headers);
    if let Some(applied) = exchange.preferences.applied(false) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// Appends the entry of one.
pub(in crate::http::fhir) fn entry(
    document: &Document,
    base: &str,
    spec: &Spec,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let text = text(document, base, &spec.schema)?;
    answered(|out| out.extend(text), out);
    Ok(())
}

fn text(document: &Document, base: &str, schema: &Schema) -> Result<Vec<u8>, Error> {
    document.to_json(base, labels::highest(document.versions()), schema)
}
