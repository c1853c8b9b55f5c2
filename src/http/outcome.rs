//! What went wrong, as the client sees it: status, headers and OperationOutcome.
//!
//! [`classify`] is the only place in the server that turns an error into a status. A cause that
//! is ours is logged here, once, and never shown.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#Status-Codes>, rest 1.85 to 1.98

use axum::body::Body;
use axum::http::header::{
    ACCEPT, ALLOW, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{Response, StatusCode};

use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::outcome::{Finding, outcome_of_codes};
use crate::fhir::schema::Schema;
use crate::fhir::{self, Issue, IssueCode, operation_outcome};

use super::form::Form;
use super::headers;

/// What a client is told that was granted less than it asks for (RFC 6750 section 3.1).
const INSUFFICIENT: &str = "Bearer realm=\"FHIR\", error=\"insufficient_scope\"";

/// Why a request was not served.
#[derive(Debug)]
pub enum Failure {
    /// Nobody is asked who they are, and this comes from a page of another site.
    ForeignPage(String),
    /// The headers are larger than this many bytes.
    HeadersTooLarge(usize),
    /// The interaction failed; the engine put that on record.
    Interaction(Error),
    /// The path exists, the method does not; the names of the methods that do.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: HeaderValue,
        /// What was tried.
        text: String,
    },
    /// No form that the client takes can be served.
    NotAcceptable(String),
    /// A handler panicked.
    Panicked,
    /// The request was refused before it became an interaction; not on record yet.
    Request(Error),
    /// The answer took too long; nothing is changed by asking again.
    TimedOut,
    /// The answer to a write took too long: it goes on, and may be stored.
    Unfinished,
    /// No such route; the issue code tells an unknown name from something not offered.
    UnknownRoute(IssueCode, String),
    /// The body's media type, charset or coding is not read.
    UnsupportedMediaType(String),
    /// The URL is longer than the server takes.
    UriTooLong(usize),
}

impl From<Error> for Failure {
    /// An error found here, before the engine: handlers mark the engine's own by
    /// `map_err(Failure::Interaction)`.
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

impl From<Issue> for Failure {
    /// A malformed request with one finding.
    fn from(issue: Issue) -> Self {
        Self::Request(Error::Invalid(vec![issue]))
    }
}

/// The status and issue code of an interaction's error.
pub fn classify(error: &Error) -> (StatusCode, IssueCode) {
    match error {
        Error::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, IssueCode::Throttled),
        Error::Codes { is_missing, findings } => {
            let code = findings.first().map_or(IssueCode::Processing, |it| it.code);
            let status =
                if *is_missing { StatusCode::NOT_FOUND } else { StatusCode::UNPROCESSABLE_ENTITY };
            (status, code)
        }
        Error::Conflict(_) | Error::Referenced(_) => (StatusCode::CONFLICT, IssueCode::Conflict),
        Error::Deleted { .. } => (StatusCode::GONE, IssueCode::Deleted),
        Error::Duplicate(_) => (StatusCode::CONFLICT, IssueCode::Duplicate),
        Error::Entry { cause, .. } => classify(cause),
        Error::Forbidden => (StatusCode::FORBIDDEN, IssueCode::Forbidden),
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, IssueCode::Exception),
        Error::Invalid(_) => (StatusCode::BAD_REQUEST, IssueCode::Invalid),
        Error::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, IssueCode::NotSupported),
        Error::MultipleMatches(_) => (StatusCode::PRECONDITION_FAILED, IssueCode::MultipleMatches),
        Error::NotFound(_) => (StatusCode::NOT_FOUND, IssueCode::NotFound),
        Error::NotSupported(_) => (StatusCode::BAD_REQUEST, IssueCode::NotSupported),
        Error::PreconditionFailed(_) => (StatusCode::PRECONDITION_FAILED, IssueCode::Conflict),
        Error::Throttled(_) => (StatusCode::TOO_MANY_REQUESTS, IssueCode::Throttled),
        Error::TimedOut(_) => (StatusCode::GATEWAY_TIMEOUT, IssueCode::Timeout),
        Error::TooCostly(_) => (StatusCode::FORBIDDEN, IssueCode::TooCostly),
        Error::TokenExpired => (StatusCode::UNAUTHORIZED, IssueCode::Expired),
        Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooLong),
        Error::TokenUnknown | Error::Unauthenticated => {
            (StatusCode::UNAUTHORIZED, IssueCode::Login)
        }
        Error::Unavailable(_) | Error::Unconfirmed(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, IssueCode::Transient)
        }
        Error::Unprocessable(_) => (StatusCode::UNPROCESSABLE_ENTITY, IssueCode::Processing),
    }
}

/// The findings of an error that the client may see; ours stay inside.
pub fn issues(error: &Error) -> Vec<Issue> {
    match error {
        Error::Invalid(issues) | Error::Unprocessable(issues) if !issues.is_empty() => {
            issues.clone()
        }
        Error::Codes { findings, .. } => findings.iter().map(Finding::issue).collect(),
        Error::Entry { index, cause } => {
            let place = format!("Bundle.entry[{index}]");
            let mut issues = issues(cause);
            for issue in issues.iter_mut().filter(|issue| issue.expression.is_empty()) {
                issue.expression.clone_from(&place);
            }
            issues
        }
        _ => vec![Issue::error(classify(error).1, error.to_string())],
    }
}

/// The same error with the place of each finding in the JSON `text` that was sent.
pub fn placed(error: Error, text: &[u8]) -> Error {
    let place = |mut issues: Vec<Issue>| {
        fhir::place(&mut issues, text, "");
        issues
    };
    match error {
        Error::Invalid(issues) => Error::Invalid(place(issues)),
        Error::Unprocessable(issues) => Error::Unprocessable(place(issues)),
        other => other,
    }
}

impl Failure {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.classify().0
    }

    fn classify(&self) -> (StatusCode, IssueCode) {
        match self {
            Self::ForeignPage(_) => (StatusCode::FORBIDDEN, IssueCode::Forbidden),
            Self::HeadersTooLarge(_) => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, IssueCode::TooLong)
            }
            Self::Interaction(error) | Self::Request(error) => classify(error),
            Self::MethodNotAllowed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, IssueCode::NotSupported)
            }
            Self::NotAcceptable(_) => (StatusCode::NOT_ACCEPTABLE, IssueCode::NotSupported),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, IssueCode::Exception),
            Self::TimedOut | Self::Unfinished => (StatusCode::GATEWAY_TIMEOUT, IssueCode::Timeout),
            Self::UnknownRoute(code, _) => (StatusCode::NOT_FOUND, *code),
            Self::UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueCode::NotSupported)
            }
            Self::UriTooLong(_) => (StatusCode::URI_TOO_LONG, IssueCode::TooLong),
        }
    }

    fn issues(&self) -> Vec<Issue> {
        let text = match self {
            Self::HeadersTooLarge(limit) => format!("the headers are larger than {limit} bytes"),
            Self::Interaction(error) | Self::Request(error) => return issues(error),
            Self::ForeignPage(text)
            | Self::MethodNotAllowed { text, .. }
            | Self::NotAcceptable(text)
            | Self::UnknownRoute(_, text)
            | Self::UnsupportedMediaType(text) => text.clone(),
            Self::Panicked => "internal error".to_owned(),
            Self::TimedOut => "the answer took too long; try again or ask for less".to_owned(),
            Self::Unfinished => "the answer took too long: the write may be stored all the same; \
                                 look before you repeat it"
                .to_owned(),
            Self::UriTooLong(limit) => format!("the URL is longer than {limit} bytes"),
        };
        vec![Issue::error(self.classify().1, text)]
    }

    /// The error that the ledger must still hear of: the engine has recorded its own already.
    pub fn unrecorded(&self) -> Option<Error> {
        let text = match self {
            Self::Interaction(_) | Self::TimedOut | Self::Unfinished => return None,
            Self::HeadersTooLarge(_) | Self::UriTooLong(_) => {
                let issues = self.issues();
                return issues.into_iter().next().map(|issue| Error::TooLarge(issue.diagnostics));
            }
            Self::Panicked => return Some(Error::internal("a handler panicked")),
            Self::Request(Error::Invalid(issues)) => return Some(Error::Invalid(issues.clone())),
            Self::Request(Error::TooLarge(text)) => return Some(Error::TooLarge(text.clone())),
            Self::Request(Error::NotFound(text)) => return Some(Error::NotFound(text.clone())),
            Self::Request(error) => error.to_string(),
            Self::ForeignPage(text)
            | Self::MethodNotAllowed { text, .. }
            | Self::NotAcceptable(text)
            | Self::UnknownRoute(_, text)
            | Self::UnsupportedMediaType(text) => text.clone(),
        };
        Some(Error::NotSupported(text))
    }

    /// Writes the cause into the log when it is ours.
    pub fn log(&self, request_id: &str) {
        let error = match self {
            Self::Interaction(error) | Self::Request(error) => error,
            Self::Panicked => {
                return tracing::error!(request.id = request_id, "a handler panicked");
            }
            Self::TimedOut | Self::Unfinished => {
                return tracing::warn!(request.id = request_id, "timed out");
            }
            _ => return,
        };
        match innermost(error) {
            Error::Internal(cause) => {
                let cause = chain(&**cause);
                tracing::error!(request.id = request_id, cause, "interaction failed");
            }
            Error::TimedOut(_) => tracing::warn!(request.id = request_id, "a statement timed out"),
            Error::Unavailable(cause) => {
                let cause = chain(&**cause);
                tracing::warn!(request.id = request_id, cause, "unavailable");
            }
            Error::Unconfirmed(cause) => {
                let cause = chain(&**cause);
                tracing::warn!(request.id = request_id, cause, "a write may be stored");
            }
            _ => {}
        }
    }

    /// The answer: an OperationOutcome in `form`.
    pub fn to_response(&self, form: Form, schema: &Schema) -> Response<Body> {
        let mut response = match self {
            Self::Interaction(Error::Codes { findings, .. })
            | Self::Request(Error::Codes { findings, .. }) => {
                written(self.status(), &outcome_of_codes(findings), form, schema)
            }
            _ => outcome(self.status(), &self.issues(), form, schema),
        };
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }

    /// The answer without FHIR: JSON with `error` and `error_description`.
    pub fn to_plain(&self) -> Response<Body> {
        let status = self.status();
        let code = match status {
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                "temporarily_unavailable"
            }
            status if status.is_server_error() => "server_error",
            _ => "invalid_request",
        };
        let text = self.issues().into_iter().next().map(|issue| issue.diagnostics);
        let body = serde_json::json!({ "error": code, "error_description": text });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.header() {
            headers.insert(name, value);
        }
        response
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        Some(match self {
            Self::Interaction(error) | Self::Request(error) => match innermost(error) {
                Error::Busy(_)
                | Error::Conflict(_)
                | Error::Throttled(_)
                | Error::Unavailable(_)
                | Error::Unconfirmed(_) => (RETRY_AFTER, HeaderValue::from_static("1")),
                Error::Deleted { version, .. } => (ETAG, headers::etag(*version)),
                Error::TokenExpired => (
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static(
                        "Bearer realm=\"FHIR\", error=\"invalid_token\", \
                         error_description=\"the access token has expired\"",
                    ),
                ),
                Error::TokenUnknown => (
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"FHIR\", error=\"invalid_token\""),
                ),
                Error::Forbidden => (WWW_AUTHENTICATE, HeaderValue::from_static(INSUFFICIENT)),
                Error::Unauthenticated => {
                    (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"FHIR\""))
                }
                _ => return None,
            },
            Self::TimedOut => (RETRY_AFTER, HeaderValue::from_static("1")),
            Self::MethodNotAllowed { allow, .. } => (ALLOW, allow.clone()),
            Self::UnsupportedMediaType(_) => {
                (ACCEPT, HeaderValue::from_static("application/fhir+json, application/fhir+xml"))
            }
            _ => return None,
        })
    }
}

/// The error itself, without the Bundle entry in which it came up.
fn innermost(error: &Error) -> &Error {
    match error {
        Error::Entry { cause, .. } => innermost(cause),
        other => other,
    }
}

/// An answer whose body is an OperationOutcome with `issues`.
pub fn outcome(
    status: StatusCode,
    issues: &[Issue],
    form: Form,
    schema: &Schema,
) -> Response<Body> {
    written(status, &operation_outcome(issues), form, schema)
}

fn written(status: StatusCode, value: &Value<'_>, form: Form, schema: &Schema) -> Response<Body> {
    let (body, content_type) = match form.write(value, schema) {
        Ok(body) => (body, form.media_type.content_type()),
        Err(_) => (value.to_text().into_bytes(), Form::default().media_type.content_type()),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A cause with all that caused it, in one line.
fn chain(cause: &(dyn std::error::Error + 'static)) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::error::Gone;
    use crate::fhir::{Identity, ResourceType, VersionId};

    use super::*;

    fn deleted() -> Error {
        let id = "p1".parse().expect("id");
        let identity = Identity { resource_type: ResourceType::PATIENT, id };
        Error::Deleted { identity, version: VersionId(3), how: Gone::Deleted }
    }

    /// Covers: rest 1.97.
    #[test]
    fn each_error_has_its_status_and_code() {
        let text = || "x".to_owned();
        for (error, status, code) in [
            (Error::Busy(text()), 503, "throttled"),
            (Error::Conflict(text()), 409, "conflict"),
            (deleted(), 410, "deleted"),
            (Error::Duplicate(text()), 409, "duplicate"),
            (Error::Referenced(text()), 409, "conflict"),
            (Error::Forbidden, 403, "forbidden"),
            (Error::internal("secret SQL"), 500, "exception"),
            (Error::invalid(IssueCode::Value, "x"), 400, "invalid"),
            (Error::MethodNotAllowed(text()), 405, "not-supported"),
            (Error::MultipleMatches(text()), 412, "multiple-matches"),
            (Error::NotFound(text()), 404, "not-found"),
            (Error::NotSupported(text()), 400, "not-supported"),
            (Error::PreconditionFailed(text()), 412, "conflict"),
            (Error::Throttled(text()), 429, "throttled"),
            (Error::TimedOut(text()), 504, "timeout"),
            (Error::TooCostly(text()), 403, "too-costly"),
            (Error::TooLarge(text()), 413, "too-long"),
            (Error::TokenExpired, 401, "expired"),
            (Error::TokenUnknown, 401, "login"),
            (Error::Unauthenticated, 401, "login"),
            (Error::Unavailable("secret SQL".into()), 503, "transient"),
            (Error::Unconfirmed("secret SQL".into()), 503, "transient"),
            (Error::Unprocessable(vec![]), 422, "processing"),
            (Error::Entry { index: 2, cause: Box::new(deleted()) }, 410, "deleted"),
        ] {
            let (found, issue) = classify(&error);
            assert_eq!((found.as_u16(), issue.as_str()), (status, code), "{error}");
            for issue in issues(&error) {
                assert!(!issue.diagnostics.contains("SQL"), "{issue}");
            }
        }
    }

    /// Covers: rest 1.97.
    #[test]
    fn each_failure_has_its_status_and_code() {
        let text = || "x".to_owned();
        let allow = HeaderValue::from_static("GET");
        for (failure, status, code) in [
            (Failure::ForeignPage(text()), 403, "forbidden"),
            (Failure::HeadersTooLarge(1), 431, "too-long"),
            (Failure::Interaction(Error::Unauthenticated), 401, "login"),
            (Failure::MethodNotAllowed { allow, text: text() }, 405, "not-supported"),
            (Failure::NotAcceptable(text()), 406, "not-supported"),
            (Failure::Panicked, 500, "exception"),
            (Failure::Request(Error::Conflict(text())), 409, "conflict"),
            (Failure::TimedOut, 504, "timeout"),
            (Failure::Unfinished, 504, "timeout"),
            (Failure::UnknownRoute(IssueCode::NotFound, text()), 404, "not-found"),
            (Failure::UnsupportedMediaType(text()), 415, "not-supported"),
            (Failure::UriTooLong(1), 414, "too-long"),
        ] {
            let codes: Vec<_> =
                failure.issues().iter().map(|issue| issue.code.as_str().to_owned()).collect();
            assert_eq!((failure.status().as_u16(), codes), (status, vec![code.to_owned()]));
        }
    }

    #[test]
    fn an_answer_carries_what_the_client_needs_next() {
        let allow = HeaderValue::from_static("GET");
        for (failure, name, value) in [
            (Failure::from(deleted()), ETAG, "W/\"3\""),
            (Failure::from(Error::Unauthenticated), WWW_AUTHENTICATE, "Bearer realm=\"FHIR\""),
            (Failure::from(Error::Forbidden), WWW_AUTHENTICATE, INSUFFICIENT),
            (Failure::from(Error::Busy("x".into())), RETRY_AFTER, "1"),
            (Failure::from(Error::Throttled("x".into())), RETRY_AFTER, "1"),
            (Failure::from(Error::Unavailable("x".into())), RETRY_AFTER, "1"),
            (Failure::from(Error::Unconfirmed("x".into())), RETRY_AFTER, "1"),
            (Failure::MethodNotAllowed { allow, text: String::new() }, ALLOW, "GET"),
        ] {
            let response = failure.to_response(Form::default(), &Schema::default());
            let header = response.headers().get(&name).expect("header");
            assert_eq!(header, value, "{failure:?}");
            assert_eq!(response.status(), failure.status());
            let content_type = &response.headers()[CONTENT_TYPE];
            assert_eq!(content_type, "application/fhir+json;charset=utf-8");
        }
    }

    #[test]
    fn a_chain_of_causes_is_one_line() {
        let error = Error::internal("b");
        assert_eq!(chain(&error), "internal error: b");
    }
}
