//! patch: `PATCH [type]/[id]`, `PATCH [type]?criteria` in three languages, told apart by Content-Type.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#patch>, rest 2e

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::engine::patch::Patch;
use crate::engine::{OF_FORM, Written};
use crate::error::Error;
use crate::fhir::codec::Format;
use crate::fhir::{Issue, IssueCode};
use crate::http::condition;
use crate::http::exchange::Exchange;
use crate::http::form::Form;
use crate::http::negotiation::{ContentType, MediaType};
use crate::http::outcome::Failure;

use super::{answer, provenance};

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// The media types of the languages, as the CapabilityStatement and `Accept-Patch` tell them.
pub(in crate::http) const LANGUAGES: [&str; 4] = [
    "application/json-patch+json",
    "application/fhir+json",
    "application/xml-patch+xml",
    "application/fhir+xml",
];

/// The language of a patch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Language {
    FhirPath(Format),
    Json,
    Xml,
}

/// `PATCH [type]/[id]`
pub(in crate::http) async fn patch(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    let identity = exchange.identity()?;
    let condition = condition::of_write(&exchange.parts.headers)?;
    let language = language(&exchange.parts.headers)?;
    let body = exchange.read_body().await?;
    let patch = parse(&exchange, language, &body)?;
    let provenance = provenance::read(&exchange)?;
    let (engine, caller) = (&exchange.server.engine, &exchange.caller);
    let options = exchange.write_options(provenance.as_ref());
    let written = engine.patch(&identity, patch, &condition, options, caller).await;
    answer(&exchange, &written.map_err(Failure::Interaction)?, form)
}

/// `PATCH [type]?criteria`
pub(in crate::http) async fn conditional(
    mut exchange: Exchange,
) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    let criteria = exchange.query.without(&OF_FORM);
    let resource_type = exchange.resource_type()?;
    let condition = condition::of_write(&exchange.parts.headers)?;
    let language = language(&exchange.parts.headers)?;
    let body = exchange.read_body().await?;
    let patch = parse(&exchange, language, &body)?;
    let provenance = provenance::read(&exchange)?;
    let (engine, caller) = (&exchange.server.engine, &exchange.caller);
    let options = exchange.write_options(provenance.as_ref());
    let written =
        engine.patch_by(resource_type, patch, &criteria, &condition, options, caller).await;
    answer(&exchange, &written.map_err(Failure::Interaction)?, form)
}

fn parse<'a>(
    exchange: &'a Exchange,
    language: Language,
    body: &'a [u8],
) -> Result<Patch<'a>, Failure> {
    Ok(match language {
        Language::FhirPath(format) => Patch::FhirPath(exchange.parse(body, format)?),
        Language::Json => Patch::Json(exchange.parse(body, Format::Json).map_err(no_patch)?),
        Language::Xml => Patch::Xml(std::str::from_utf8(body).map_err(|fault| {
            Error::invalid(IssueCode::Structure, format!("the patch is not UTF-8: {fault}"))
        })?),
    })
}

/// What is no JSON is no patch, as is what is none otherwise (rest 2.58).
fn no_patch(error: Error) -> Error {
    match error {
        Error::Invalid(issues) => Error::Invalid(
            issues.into_iter().map(|issue| Issue { code: IssueCode::Invalid, ..issue }).collect(),
        ),
        other => other,
    }
}

fn answer(exchange: &Exchange, written: &Written, form: Form) -> Result<Response<Body>, Failure> {
    let mut response = answer::written(exchange, written, form)?;
    if let Ok(languages) = HeaderValue::try_from(LANGUAGES.join(", ")) {
        response.headers_mut().insert(ACCEPT_PATCH, languages);
    }
    Ok(response)
}

fn language(headers: &HeaderMap) -> Result<Language, Failure> {
    let refuse = || {
        let text = format!("a patch comes as one of {}", LANGUAGES.join(", "));
        Failure::UnsupportedMediaType(text)
    };
    let content_type = ContentType::read(headers).ok_or_else(refuse)?;
    content_type.check(headers)?;
    if content_type.is("application/json-patch+json") {
        return Ok(Language::Json);
    }
    if content_type.is("application/xml-patch+xml") {
        return Ok(Language::Xml);
    }
    // What is JSON or XML of any kind does not say which language it is.
    let media_type = MediaType::from_name(content_type.name).filter(|it| it.is_fhir());
    let media_type = media_type.ok_or_else(refuse)?;
    Ok(Language::FhirPath(media_type.format()))
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn the_content_type_tells_the_language() {
        for (content_type, expected) in [
            ("application/json-patch+json", Some(Language::Json)),
            ("application/json-patch+json; charset=utf-8", Some(Language::Json)),
            ("application/xml-patch+xml", Some(Language::Xml)),
            ("application/fhir+json", Some(Language::FhirPath(Format::Json))),
            ("application/fhir+xml", Some(Language::FhirPath(Format::Xml))),
            ("application/json+fhir", Some(Language::FhirPath(Format::Json))),
            ("application/json", None),
            ("text/xml", None),
            ("application/json-patch+json; charset=latin1", None),
            ("application/merge-patch+json", None),
            ("text/plain", None),
        ] {
            let value = HeaderValue::from_static(content_type);
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
            assert_eq!(language(&headers).ok(), expected, "{content_type}");
        }
        assert_eq!(
            language(&HeaderMap::new()).err().map(|fault| fault.status().as_u16()),
            Some(415)
        );
    }
}
