//! update: `PUT [type]/[id]`, `PUT [type]?criteria`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#update>, rest 2c

use axum::body::Body;
use axum::http::Response;

use crate::engine::OF_FORM;
use crate::fhir::Resource;
use crate::http::condition;
use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;

use super::create::Sent;
use super::{answer, provenance};

/// `PUT [type]/[id]`
pub(in crate::http) async fn update(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    let identity = exchange.identity()?;
    let condition = condition::of_write(&exchange.parts.headers)?;
    let resource_type = identity.resource_type;
    let sent = Sent::read(&mut exchange, resource_type).await?;
    let value = sent.parse(&exchange)?;
    let provenance = provenance::read(&exchange)?;
    let resource = Resource { resource_type, value };
    let engine = &exchange.server.engine;
    let (options, caller) = (exchange.write_options(provenance.as_ref()), &exchange.caller);
    let written = Box::pin(engine.update(&identity, resource, &condition, options, caller)).await;
    answer::written(&exchange, &written.map_err(|error| sent.failure(error))?, form)
}

/// `PUT [type]?criteria`
pub(in crate::http) async fn conditional(
    mut exchange: Exchange,
) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    let criteria = exchange.query.without(&OF_FORM);
    let condition = condition::of_write(&exchange.parts.headers)?;
    let resource_type = exchange.resource_type()?;
    let sent = Sent::read(&mut exchange, resource_type).await?;
    let value = sent.parse(&exchange)?;
    let provenance = provenance::read(&exchange)?;
    let resource = Resource { resource_type, value };
    let engine = &exchange.server.engine;
    let (options, caller) = (exchange.write_options(provenance.as_ref()), &exchange.caller);
    let written = engine.update_by(resource, &criteria, &condition, options, caller).await;
    answer::written(&exchange, &written.map_err(|error| sent.failure(error))?, form)
}
