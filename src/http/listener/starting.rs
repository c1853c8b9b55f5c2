//! What is answered while the server starts.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};

use crate::fhir::codec::Format;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::{Issue, IssueCode, operation_outcome};
use crate::http::negotiation;

/// The answer while the database is being started or migrated.
pub(super) fn starting(uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    if uri.path() == "/health/live" {
        return Response::new(Body::from("live\n"));
    }
    let mut response = outcome(uri, headers, &starting_outcome(), STARTING);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// An outcome in the form asked for, also `xml`, by who has no definitions to write it with.
pub(super) fn outcome(
    uri: &Uri,
    headers: &HeaderMap,
    json: &Value<'_>,
    xml: &'static str,
) -> Response<Body> {
    let query = Query::parse(uri.query().unwrap_or_default()).unwrap_or_default();
    let media_type = negotiation::answer(query.first("_format"), headers).unwrap_or_default();
    let text = match media_type.format() {
        Format::Json => json.to_text(),
        Format::Xml => xml.to_owned(),
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, media_type.content_type());
    response
}

fn starting_outcome() -> Value<'static> {
    let text = "the server is starting: its database is not ready yet";
    operation_outcome(&[Issue::error(IssueCode::Transient, text)])
}

/// [`starting_outcome`] as XML, for a time at which the definitions that write XML are not loaded.
const STARTING: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><OperationOutcome xmlns="http://hl7.org/fhir"><issue>"#,
    r#"<severity value="error"/><code value="transient"/><diagnostics value="the server is "#,
    r#"starting: its database is not ready yet"/></issue></OperationOutcome>"#
);

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT;

    use crate::http::form::Form;
    use crate::spec::Spec;

    use super::*;

    #[test]
    fn a_server_that_starts_says_so_in_the_form_asked_for() {
        let spec = Spec::r4().expect("definitions");
        let xml = Form { media_type: negotiation::MediaType::FhirXml, is_pretty: false };
        let written = xml.write(&starting_outcome(), &spec.schema).expect("written");
        assert_eq!(String::from_utf8_lossy(&written), STARTING);
        for (url, accept, expected) in [
            ("/fhir/Patient/1", "*/*", "application/fhir+json;charset=utf-8"),
            ("/fhir/Patient/1", "text/xml", "text/xml;charset=utf-8"),
            ("/fhir/Patient/1?_format=xml", "*/*", "application/fhir+xml;charset=utf-8"),
            ("/fhir/Patient/1", "image/png", "application/fhir+json;charset=utf-8"),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            let response = starting(&Uri::from_static(url), &headers);
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[CONTENT_TYPE], expected, "{url} {accept}");
            assert_eq!(response.headers()[RETRY_AFTER], "1");
        }
    }
}
