//! X-Provenance: a Provenance sent along with the write that it is about.
//!
//! It is read before anything is stored, so that a malformed one stores nothing.
//!
//! Spec: <https://hl7.org/fhir/R4/provenance.html#header>, rest 1.38

use axum::http::header::HeaderName;

use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{IssueCode, ResourceType};
use crate::http::exchange::Exchange;
use crate::validate::form::{self, Verdict};

const X_PROVENANCE: HeaderName = HeaderName::from_static("x-provenance");

/// The Provenance of the header, checked, with a target that stands for the version to come.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Unprocessable`] when it is not a Provenance without target.
pub(super) fn read(exchange: &Exchange) -> Result<Option<Value<'static>>, Error> {
    let Some(header) = exchange.parts.headers.get(X_PROVENANCE) else { return Ok(None) };
    let invalid =
        |text: &str| Error::invalid(IssueCode::Structure, format!("X-Provenance: {text}"));
    let value = json::parse(header.as_bytes()).map_err(|error| invalid(&error.to_string()))?;
    let Value::Object(mut provenance) = value.into_owned() else {
        return Err(invalid("not a JSON object"));
    };
    if provenance.get("resourceType").and_then(Value::as_str) != Some("Provenance") {
        return Err(invalid("not a Provenance"));
    }
    if provenance.contains("target") {
        return Err(invalid("the target is what the request writes and cannot be given"));
    }
    let resource_type = exchange.target.resource_type.unwrap_or(ResourceType::PROVENANCE);
    provenance.set("target", target(format!("{resource_type}/pending/_history/1")));
    let value = Value::Object(provenance);
    match form::check(&value, exchange.schema()) {
        Verdict::Sound => Ok(Some(value)),
        Verdict::Malformed(issues) => Err(Error::Invalid(issues)),
        Verdict::Broken(issues) => Err(Error::Unprocessable(issues)),
    }
}

fn target(reference: String) -> Vec<Value<'static>> {
    vec![Object::new().with("reference", reference).into()]
}
