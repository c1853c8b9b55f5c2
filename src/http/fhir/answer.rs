//! Answers that show a version, and those of writes.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use axum::http::{Response, StatusCode};

use crate::engine::{Deletion, WriteOutcome, Written};
use crate::error::Error;
use crate::fhir::json;
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::fhir::{Issue, IssueCode, Severity, Version};
use crate::http::exchange::Exchange;
use crate::http::form::Form;
use crate::http::headers;
use crate::http::outcome::{Failure, outcome};
use crate::http::prefer::{PREFERENCE_APPLIED, Return};
use crate::http::shape::Shape;

use super::tripwire;

/// The text of a version in `form`, as much of it as `shape` shows.
///
/// # Errors
/// [`Error::Internal`] when what is stored cannot be read or written.
pub(in crate::http) fn text(
    version: &Version,
    form: Form,
    shape: &Shape,
    schema: &Schema,
) -> Result<Vec<u8>, Error> {
    let stored = version.to_json();
    if form.is_stored_form() && shape.is_whole() {
        return Ok(stored);
    }
    let mut value = json::parse(&stored).map_err(Error::internal)?;
    shape.cut(&mut value, schema);
    form.write(&value, schema)
}

/// 200 with the resource `value`.
pub(in crate::http) fn resource(
    value: &Value<'_>,
    form: Form,
    schema: &Schema,
) -> Result<Response<Body>, Failure> {
    let body = form.write(value, schema)?;
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, form.media_type.content_type());
    Ok(response)
}

/// The answer to a create, update or patch.
///
/// # Errors
/// Those of [`text`].
pub(in crate::http) fn written(
    exchange: &Exchange,
    written: &Written,
    form: Form,
) -> Result<Response<Body>, Failure> {
    let version = &written.version;
    let status = match written.outcome {
        WriteOutcome::Created => StatusCode::CREATED,
        WriteOutcome::Existing | WriteOutcome::Unchanged | WriteOutcome::Updated => StatusCode::OK,
    };
    let schema = exchange.schema();
    // Who may not read what was written is not shown it.
    let returned = match exchange.preferences.to_return() {
        Return::Representation if !written.is_readable => Return::Minimal,
        returned => returned,
    };
    let mut response = match returned {
        Return::Minimal => Response::new(Body::empty()),
        Return::OperationOutcome => outcome(status, &done(written), form, schema),
        Return::Representation => {
            // It is stored: what fails now is on record as done.
            let mut shown = version.clone();
            tripwire::reveal(tripwire::Asking::of(exchange), [&mut shown])?;
            let body = text(&shown, form, &Shape::Whole, schema).map_err(Failure::Interaction)?;
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(CONTENT_TYPE, form.media_type.content_type());
            response
        }
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers::set_version(headers, version);
    let location = format!("{}/{}", exchange.base(), version.versioned_path());
    if let Ok(location) = HeaderValue::try_from(location) {
        headers.insert(LOCATION, location);
    }
    if let Some(applied) = exchange.preferences.applied(true) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// The findings of an OperationOutcome that reports a success.
pub(in crate::http) fn done(written: &Written) -> Vec<Issue> {
    let what = match written.outcome {
        WriteOutcome::Created => "created",
        WriteOutcome::Existing => "matches the criteria: nothing was created",
        WriteOutcome::Unchanged => "unchanged: the content is the same",
        WriteOutcome::Updated => "updated",
    };
    let path = written.version.versioned_path();
    let done = information(format!("{path}: {what}"));
    std::iter::once(done).chain(written.notices.iter().cloned()).collect()
}

/// The findings of an OperationOutcome that reports what was deleted.
pub(in crate::http) fn deleted(deletion: &Deletion) -> Vec<Issue> {
    match deletion {
        Deletion::One(identity, Some(version)) => {
            vec![information(format!("{identity}/_history/{version}: deleted"))]
        }
        Deletion::One(identity, None) => {
            vec![information(format!("{identity}: there was nothing to delete"))]
        }
        Deletion::Matches(found) if found.is_empty() => {
            vec![information("nothing matched: there was nothing to delete".to_owned())]
        }
        Deletion::Matches(found) => {
            found.iter().map(|it| information(format!("{it}: deleted"))).collect()
        }
    }
}

/// An issue that tells of no fault.
pub(in crate::http) fn information(text: String) -> Issue {
    Issue { severity: Severity::Information, ..Issue::error(IssueCode::Informational, text) }
}
