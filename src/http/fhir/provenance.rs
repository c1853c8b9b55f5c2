//! X-Provenance: a Provenance sent along with the write that it is about.
//!
//! It is read before anything is stored; the engine stores it in the unit of work of its write.
//!
//! Spec: <https://hl7.org/fhir/R4/provenance.html#header>, rest 1.38

use axum::http::header::{HeaderName, HeaderValue};

use crate::engine::Provenance;
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{Issue, IssueCode, ResourceType};
use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;

const X_PROVENANCE: HeaderName = HeaderName::from_static("x-provenance");
/// Largest header.
const MOST_BYTES: usize = 8 * 1024;

/// The Provenance of the header, checked.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Unprocessable`] when it is not one Provenance without target;
/// [`Failure::HeadersTooLarge`].
pub(super) fn read(exchange: &Exchange) -> Result<Option<Provenance>, Failure> {
    read_about(exchange, exchange.resource_type()?)
}

/// The same of what goes along with a transaction, where that counts.
///
/// # Errors
/// As [`read`].
pub(super) fn read_with(
    exchange: &Exchange,
    bundle: &Value<'_>,
) -> Result<Option<Provenance>, Failure> {
    if !exchange.server.engine.takes_provenance_of(bundle) {
        return Ok(None);
    }
    read_about(exchange, ResourceType::BUNDLE)
}

fn read_about(exchange: &Exchange, of: ResourceType) -> Result<Option<Provenance>, Failure> {
    let mut headers = exchange.parts.headers.get_all(X_PROVENANCE).iter();
    let Some(header) = headers.next() else { return Ok(None) };
    let invalid = |text: String| Error::invalid(IssueCode::Structure, text);
    if headers.next().is_some() {
        return Err(named(invalid("it is given more than once".to_owned())).into());
    }
    if header.len() > MOST_BYTES {
        return Err(Failure::HeadersTooLarge(MOST_BYTES));
    }
    let value = json::parse(header.as_bytes());
    let value = value.map_err(|fault| named(invalid(fault.to_string())))?;
    let provenance = exchange.server.engine.provenance(value, of);
    Ok(Some(provenance.map_err(named)?))
}

/// Refuses the header where it is not read: who sends it believes that there is a record.
///
/// # Errors
/// [`Error::NotSupported`].
pub(super) fn refuse(exchange: &Exchange) -> Result<(), Error> {
    if exchange.parts.headers.contains_key(X_PROVENANCE) {
        let text = "X-Provenance is taken with create, update and patch only";
        return Err(Error::NotSupported(text.to_owned()));
    }
    Ok(())
}

/// What to say where the header is passed over (rest 3.58).
pub(super) fn not_read(exchange: &Exchange) -> Option<HeaderValue> {
    let is_sent = exchange.parts.headers.contains_key(X_PROVENANCE);
    let text = "199 kiln \"X-Provenance is not read with a Bundle: no Provenance was stored\"";
    is_sent.then(|| HeaderValue::from_static(text))
}

/// The error with the header's name, so that nobody looks for it in the body.
fn named(error: Error) -> Error {
    let name = |issues: Vec<Issue>| {
        let named = issues.into_iter().map(|issue| Issue {
            diagnostics: format!("X-Provenance: {}", issue.diagnostics),
            ..issue
        });
        named.collect()
    };
    match error {
        Error::Invalid(issues) => Error::Invalid(name(issues)),
        Error::Unprocessable(issues) => Error::Unprocessable(name(issues)),
        other => other,
    }
}
