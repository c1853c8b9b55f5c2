//! Binary: its content as it is, or wrapped in the resource.
//!
//! FHIR's own media types mean the resource; any other, `application/json` too, means the content.
//!
//! Spec: <https://hl7.org/fhir/R4/binary.html#rest>, rest 7.72

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::primitive;
use crate::fhir::{IssueCode, LogicalId, ResourceType, Version};
use crate::http::exchange::Exchange;
use crate::http::headers::X_SECURITY_CONTEXT;
use crate::http::negotiation::{self, ContentType, MediaType};
use crate::http::outcome::Failure;

/// The Content-Type of a body that is the content itself; `None` for the resource or nothing.
pub(super) fn raw_content_type(headers: &HeaderMap) -> Option<&str> {
    let content_type = ContentType::read(headers)?;
    let is_wrapped = MediaType::from_name(content_type.name).is_some_and(MediaType::is_fhir);
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    (!is_wrapped).then_some(text)
}

/// The Binary that holds `content`.
///
/// # Errors
/// [`Error::Invalid`] for an X-Security-Context that is no text.
pub(super) fn wrap(
    content_type: String,
    content: &[u8],
    id: Option<&LogicalId>,
    security: Option<&HeaderValue>,
) -> Result<Value<'static>, Error> {
    let security = security.map(|value| value.to_str().map(str::to_owned)).transpose();
    let security = security.map_err(|_| {
        Error::invalid(IssueCode::Invalid, "X-Security-Context is a reference in plain text")
    })?;
    let security = security.map(|reference| Object::new().with("reference", reference));
    let data = (!content.is_empty()).then(|| BASE64_STANDARD.encode(content));
    Ok(Object::new()
        .with("resourceType", "Binary")
        .with_some("id", id.map(ToString::to_string))
        .with("contentType", content_type)
        .with_some("securityContext", security)
        .with_some("data", data)
        .into())
}

/// The answer with the content of a Binary, when that is what the client takes.
///
/// # Errors
/// [`Error::Internal`] when what is stored cannot be read.
pub(super) fn raw(
    exchange: &Exchange,
    version: &Version,
) -> Result<Option<Response<Body>>, Failure> {
    if version.identity.resource_type != ResourceType::BINARY
        || exchange.query.first("_format").is_some_and(|format| !format.is_empty())
    {
        return Ok(None);
    }
    let Some(body) = &version.body else { return Ok(None) };
    let binary = json::parse(body).map_err(Error::internal)?;
    let content_type = binary.str_at("contentType").unwrap_or("application/octet-stream");
    if !wants_content(&exchange.parts.headers, content_type) {
        return Ok(None);
    }
    let data = binary.str_at("data").unwrap_or_default();
    let content = primitive::base64_content(data).map_err(Error::internal)?;
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    let unknown = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, HeaderValue::try_from(content_type).unwrap_or(unknown));
    // The content is the client's: a browser must not take it for a page of this server, and keeps it
    // rather than shows it.
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    let security = binary.get("securityContext").and_then(|security| security.str_at("reference"));
    if let Some(Ok(security)) = security.map(HeaderValue::try_from) {
        headers.insert(X_SECURITY_CONTEXT, security);
    }
    Ok(Some(response))
}

/// Whether the best range that fits means the content rather than the resource.
fn wants_content(headers: &HeaderMap, content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let family = essence.split('/').next().unwrap_or_default();
    let ranges = negotiation::ranges(headers);
    if ranges.is_empty() {
        return true;
    }
    let fits = |name: &str| {
        let is_family =
            name.strip_suffix("/*").is_some_and(|name| name.eq_ignore_ascii_case(family));
        name == "*/*" || is_family || name.eq_ignore_ascii_case(essence)
    };
    for range in ranges.iter().filter(|range| !range.is_refused()) {
        match MediaType::from_name(range.name) {
            Some(media_type) if media_type.is_fhir() => return false,
            _ if fits(range.name) => return true,
            Some(_) => return false,
            None => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT;

    use super::*;

    #[test]
    fn the_content_goes_out_unless_the_resource_is_asked_for() {
        for (accept, content_type, raw) in [
            (None, "image/png", true),
            (Some("*/*"), "image/png", true),
            (Some("image/png"), "image/png", true),
            (Some("image/*"), "image/png", true),
            (Some("image/jpeg"), "image/png", false),
            (Some("application/fhir+json"), "image/png", false),
            (Some("application/fhir+xml, */*;q=0.1"), "image/png", false),
            (Some("application/json"), "image/png", false),
            (Some("application/json"), "application/json", true),
            (Some("text/plain"), "text/plain; charset=utf-8", true),
            (Some("text/html,application/xml;q=0.9,*/*;q=0.8"), "application/pdf", false),
            (Some("text/html,*/*;q=0.8"), "application/pdf", true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(wants_content(&headers, content_type), raw, "{accept:?} {content_type}");
        }
    }

    #[test]
    fn content_is_wrapped_with_its_type_and_security_context() {
        let security = HeaderValue::from_static("Patient/1");
        let id = "b1".parse().expect("id");
        let value = wrap("text/plain".to_owned(), b"hello", Some(&id), Some(&security));
        let expected = concat!(
            r#"{"resourceType":"Binary","id":"b1","contentType":"text/plain","#,
            r#""securityContext":{"reference":"Patient/1"},"data":"aGVsbG8="}"#
        );
        assert_eq!(value.expect("wrapped").to_text(), expected);
        let empty = wrap("text/plain".to_owned(), b"", None, None).expect("wrapped");
        assert_eq!(empty.to_text(), r#"{"resourceType":"Binary","contentType":"text/plain"}"#);
    }

    #[test]
    fn fhir_media_types_mean_the_resource() {
        for (content_type, raw) in [
            ("application/fhir+json", false),
            ("application/fhir+xml; charset=utf-8", false),
            ("application/json", true),
            ("image/png", true),
        ] {
            let value = HeaderValue::from_static(content_type);
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
            let found = raw_content_type(&headers);
            assert_eq!(found, raw.then_some(content_type));
        }
        assert_eq!(raw_content_type(&HeaderMap::new()), None);
    }
}
