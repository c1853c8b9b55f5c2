//! `$everything` of patients, of a Group's members and of an encounter: a searchset, page by page; and `$summary`
//! of a patient, a document.
//!
//! Spec: <https://hl7.org/fhir/R4/patient-operation-everything.html>, rest 6.16 to 6.23

mod summary;

use axum::body::Body;
use axum::http::Response;

use crate::access::interaction::Kind;
use crate::engine::EverythingOf;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;
use crate::http::{parameters, query};

use super::{search, tripwire};

pub(super) use summary::entry;
pub(in crate::http) use summary::summary;

/// `GET` and `POST` of `Patient/[id]/$everything`, `Patient/$everything`, `Group/[id]/$everything` and
/// `Encounter/[id]/$everything`
pub(in crate::http) async fn everything(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.form()?;
    let of = target(&exchange)?;
    // Links are of the query, wherever the parameters stood.
    exchange.query = parameters::read(&mut exchange).await?;
    query::shape(&exchange.query)?;
    let engine = &exchange.server.engine;
    let is_strict = exchange.is_strict();
    let found = engine.everything(&of, &exchange.query, is_strict, &exchange.caller).await;
    let found = found.map_err(Failure::Interaction)?;
    let versions = search::versions(&found);
    tripwire::check(tripwire::Asking::of(&exchange), Kind::Everything, versions).await?;
    search::searchset(&exchange, found)
}

fn target(exchange: &Exchange) -> Result<EverythingOf, Failure> {
    if exchange.target.id.is_none() {
        return Ok(EverythingOf::Patients);
    }
    let identity = exchange.identity()?;
    match identity.resource_type {
        ResourceType::ENCOUNTER => Ok(EverythingOf::Encounter(identity.id)),
        ResourceType::GROUP => Ok(EverythingOf::Group(identity.id)),
        ResourceType::PATIENT => Ok(EverythingOf::Patient(identity.id)),
        _ => Err(Error::internal("the route is of another type").into()),
    }
}
