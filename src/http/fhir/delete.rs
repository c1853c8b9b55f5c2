//! delete: `DELETE [type]/[id]`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#delete>, rest 2f

use axum::body::Body;
use axum::http::header::ETAG;
use axum::http::{Response, StatusCode};

use crate::http::exchange::Exchange;
use crate::http::outcome::{Failure, outcome};
use crate::http::prefer::{PREFERENCE_APPLIED, Return};
use crate::http::{condition, headers};

use super::answer::information;

/// `DELETE [type]/[id]`: 204, or 200 with an OperationOutcome for who prefers one.
pub(in crate::http) async fn delete(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    let identity = exchange.identity()?;
    let condition = condition::of_write(&exchange.parts.headers)?;
    let deleted = exchange.server.engine.delete(&identity, &condition, &exchange.caller).await;
    let deleted = deleted.map_err(Failure::Interaction)?;
    let with_outcome = exchange.preferences.returned == Some(Return::OperationOutcome);
    let mut response = if with_outcome {
        let text = match deleted.version {
            Some(version) => format!("{identity}/_history/{version}: deleted"),
            None => format!("{identity}: there was nothing to delete"),
        };
        outcome(StatusCode::OK, &[information(text)], form, exchange.schema())
    } else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    };
    if let Some(version) = deleted.version {
        response.headers_mut().insert(ETAG, headers::etag(version));
    }
    if let Some(applied) = exchange.preferences.applied(with_outcome) {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}
