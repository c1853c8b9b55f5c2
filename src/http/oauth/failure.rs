//! Refusals of the authorization server as answers: JSON that is never kept.
//!
//! Spec: RFC 6749 section 5.2, security T1, T2

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Response, StatusCode};
use serde_json::json;

use crate::error::Error;
use crate::oauth::refusal::{Code, Refusal};

/// An answer of JSON that nobody keeps.
pub(super) fn answer(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    keep_nothing(headers);
    response
}

/// Says that an answer is not to be kept.
pub(super) fn keep_nothing(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// The answer of a refusal; `scheme` is that of the Authorization header, where there was one.
pub(super) fn refused(refusal: &Refusal, scheme: Option<&str>, request: &str) -> Response<Body> {
    let (status, code, text) = told(refusal);
    if let Refusal::Fault(error) = refusal {
        log(error, request);
    }
    let body = json!({ "error": code, "error_description": text }).to_string();
    let mut response = answer(status, body);
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = match scheme {
            Some(scheme) if scheme.eq_ignore_ascii_case("bearer") => {
                "Bearer realm=\"FHIR\", error=\"invalid_token\""
            }
            _ => "Basic realm=\"FHIR\"",
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let seconds = if status == StatusCode::TOO_MANY_REQUESTS { "10" } else { "1" };
        headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    response
}

/// Status, code and text of a refusal: never what is inside.
fn told(refusal: &Refusal) -> (StatusCode, &'static str, &str) {
    match refusal {
        Refusal::Fault(Error::Unavailable(_) | Error::Unconfirmed(_) | Error::Busy(_)) => {
            let code = Code::TemporarilyUnavailable.as_str();
            (StatusCode::SERVICE_UNAVAILABLE, code, "the server cannot reach its database")
        }
        Refusal::Fault(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Code::ServerError.as_str(), "internal error")
        }
        Refusal::TooLarge => {
            let text = "the body is larger than 64 KiB";
            (StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidRequest.as_str(), text)
        }
        Refusal::TooMany => {
            let text = "asked too often; try again later";
            (StatusCode::TOO_MANY_REQUESTS, Code::TemporarilyUnavailable.as_str(), text)
        }
        Refusal::Protocol { code, text } => {
            let status = match code {
                Code::AccessDenied => StatusCode::FORBIDDEN,
                Code::InvalidClient | Code::InvalidToken => StatusCode::UNAUTHORIZED,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, code.as_str(), text)
        }
    }
}

fn log(error: &Error, request: &str) {
    let cause = crate::error::root_cause(error);
    if matches!(error, Error::Internal(_)) {
        tracing::error!(
            request.id = request,
            cause,
            "a request of the authorization server failed"
        );
    } else {
        tracing::warn!(request.id = request, cause, "unavailable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status_and_is_not_kept() {
        for (refusal, status, code) in [
            (Refusal::client("x"), 401, "invalid_client"),
            (Refusal::grant("x"), 400, "invalid_grant"),
            (Refusal::request("x"), 400, "invalid_request"),
            (Refusal::scope("x"), 400, "invalid_scope"),
            (Refusal::new(Code::AccessDenied, "x"), 403, "access_denied"),
            (Refusal::new(Code::InvalidToken, "x"), 401, "invalid_token"),
            (Refusal::new(Code::UnsupportedGrantType, "x"), 400, "unsupported_grant_type"),
            (Refusal::TooLarge, 413, "invalid_request"),
            (Refusal::TooMany, 429, "temporarily_unavailable"),
            (Refusal::Fault(Error::Unavailable("SQL".into())), 503, "temporarily_unavailable"),
            (Refusal::Fault(Error::internal("SQL")), 500, "server_error"),
        ] {
            let (_, found, text) = told(&refusal);
            assert_eq!(found, code);
            assert!(!text.contains("SQL"), "{text}");
            let response = refused(&refusal, None, "r");
            assert_eq!(response.status(), status, "{refusal:?}");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(response.headers()[PRAGMA], "no-cache");
            let is_challenged = response.headers().contains_key(WWW_AUTHENTICATE);
            assert_eq!(is_challenged, status == 401, "{refusal:?}");
            let is_delayed = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(is_delayed, [429, 503].contains(&status), "{refusal:?}");
        }
    }
}
