//! create: `POST [type]`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#create>, rest 2b

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;

use crate::error::Error;
use crate::fhir::codec::Format;
use crate::fhir::json::Value;
use crate::fhir::{IssueCode, Resource, ResourceType};
use crate::http::condition;
use crate::http::exchange::Exchange;
use crate::http::headers::X_SECURITY_CONTEXT;
use crate::http::negotiation;
use crate::http::outcome::{Failure, placed};

use super::{answer, binary, provenance};

/// `POST [type]`, also with `If-None-Exist`
pub(in crate::http) async fn create(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    let resource_type = exchange.resource_type()?;
    // What is new has no version that could match.
    condition::of_write(&exchange.parts.headers)?.check(None)?;
    let criteria = condition::if_none_exist(&exchange.parts.headers, resource_type)?;
    let sent = Sent::read(&mut exchange, resource_type).await?;
    let value = sent.parse(&exchange)?;
    let provenance = provenance::read(&exchange)?;
    let engine = &exchange.server.engine;
    let resource = Resource { resource_type, value };
    let (options, caller) = (exchange.write_options(provenance.as_ref()), &exchange.caller);
    let written = match &criteria {
        Some(criteria) => Box::pin(engine.create_unless(resource, criteria, options, caller)).await,
        None => Box::pin(engine.create(resource, options, caller)).await,
    };
    answer::written(&exchange, &written.map_err(|error| sent.failure(error))?, form)
}

/// The body of a create or update, read but not parsed.
pub(super) enum Sent {
    /// A resource in one of FHIR's formats.
    Resource(Format, Bytes),
    /// The content of a Binary, which is now one.
    Wrapped(Value<'static>),
}

impl Sent {
    /// Reads the body of a request for a resource of this type.
    pub(super) async fn read(
        exchange: &mut Exchange,
        resource_type: ResourceType,
    ) -> Result<Self, Failure> {
        let headers = &exchange.parts.headers;
        if resource_type == ResourceType::BINARY
            && let Some(content_type) = binary::raw_content_type(headers)
        {
            let content_type = content_type.to_owned();
            let content = exchange.read_body().await?;
            let id = exchange.target.id.as_ref().and_then(|id| id.as_ref().ok());
            let security = exchange.parts.headers.get(X_SECURITY_CONTEXT);
            return Ok(Self::Wrapped(binary::wrap(content_type, &content, id, security)?));
        }
        let format = negotiation::body(headers)?;
        Ok(Self::Resource(format, exchange.read_body().await?))
    }

    /// Why the interaction failed, with the places of what is wrong in what was sent.
    pub(super) fn failure(&self, error: Error) -> Failure {
        Failure::Interaction(match self {
            Self::Resource(Format::Json, body) => placed(error, body),
            _ => error,
        })
    }

    /// The resource, which must be of the type in the path.
    pub(super) fn parse<'a>(&'a self, exchange: &'a Exchange) -> Result<Value<'a>, Failure> {
        let value = match self {
            Self::Resource(format, body) => exchange.parse(body, *format)?,
            Self::Wrapped(value) => value.clone(),
        };
        check_type(&value, exchange.resource_type()?)?;
        Ok(value)
    }
}

/// The type in the body is that of the path (rest 2.14).
fn check_type(value: &Value<'_>, resource_type: ResourceType) -> Result<(), Error> {
    let text = match (value, value.get("resourceType")) {
        (Value::Object(_), Some(Value::String(name))) if name == resource_type.as_str() => {
            return Ok(());
        }
        (Value::Object(_), Some(Value::String(name))) => {
            let name: String = name.chars().take(80).collect();
            format!("the body is a {name:?}, the URL says {resource_type}")
        }
        (Value::Object(_), Some(_)) => "resourceType is a string".to_owned(),
        (Value::Object(_), None) => "resourceType is missing".to_owned(),
        (other, _) => {
            let text = format!("a resource is a JSON object, this is an {}", other.kind());
            return Err(Error::invalid(IssueCode::Structure, text));
        }
    };
    Err(Error::invalid(IssueCode::Invalid, text))
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    #[test]
    fn the_body_must_be_an_object_of_the_type_in_the_path() {
        for (text, code) in [
            (r#"{"resourceType":"Patient"}"#, None),
            (r#"{"resourceType":"patient"}"#, Some("invalid")),
            (r#"{"resourceType":"Observation"}"#, Some("invalid")),
            (r#"{"resourceType":1}"#, Some("invalid")),
            ("{}", Some("invalid")),
            ("[]", Some("structure")),
            ("1", Some("structure")),
        ] {
            let value = parse(text.as_bytes()).expect(text);
            let found = match check_type(&value, ResourceType::PATIENT) {
                Err(Error::Invalid(issues)) => Some(issues[0].code.as_str()),
                _ => None,
            };
            assert_eq!(found, code, "{text}");
        }
    }
}
