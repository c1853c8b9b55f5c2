//! delete: `DELETE [type]/[id]`, `DELETE [type]?criteria`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#delete>, rest 2f

use axum::body::Body;
use axum::http::header::ETAG;
use axum::http::{Response, StatusCode};

use crate::engine::{Deletion, OF_FORM};
use crate::http::exchange::Exchange;
use crate::http::form::Form;
use crate::http::outcome::{Failure, outcome};
use crate::http::prefer::{PREFERENCE_APPLIED, Return};
use crate::http::{condition, headers};

use super::{answer, provenance};

/// `DELETE [type]/[id]`: 204, or 200 with an OperationOutcome for who prefers one.
pub(in crate::http) async fn delete(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    provenance::refuse(&exchange)?;
    let identity = exchange.identity()?;
    let condition = condition::of_write(&exchange.parts.headers)?;
    let deleted = exchange.server.engine.delete(&identity, &condition, &exchange.caller).await;
    let deleted = deleted.map_err(Failure::Interaction)?;
    let version = deleted.version;
    let mut response = answered(&exchange, &Deletion::One(identity, version), form);
    if let Some(version) = version {
        response.headers_mut().insert(ETAG, headers::etag(version));
    }
    Ok(response)
}

/// `DELETE [type]?criteria`: the same, of all that was deleted.
pub(in crate::http) async fn conditional(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    provenance::refuse(&exchange)?;
    let criteria = exchange.query.without(&OF_FORM);
    let resource_type = exchange.resource_type()?;
    let condition = condition::of_write(&exchange.parts.headers)?;
    let (engine, caller) = (&exchange.server.engine, &exchange.caller);
    let deleted = engine.delete_by(resource_type, &criteria, &condition, caller).await;
    let deleted = deleted.map_err(Failure::Interaction)?;
    Ok(answered(&exchange, &Deletion::Matches(deleted), form))
}

fn answered(exchange: &Exchange, deletion: &Deletion, form: Form) -> Response<Body> {
    let with_outcome = exchange.preferences.returned == Some(Return::OperationOutcome);
    let mut response = if with_outcome {
        outcome(StatusCode::OK, &answer::deleted(deletion), form, exchange.schema())
    } else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    };
    if let Some(applied) = exchange.preferences.applied(with_outcome) {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    response
}
