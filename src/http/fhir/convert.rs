//! `$hl7v2-convert`: what a message of HL7 version 2 would be stored as, and how it would be answered.
//! Nothing is stored.
//!
//! Spec: v2 P8

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response};

use crate::access::interaction::Kind;
use crate::engine::Convert;
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::json::{Object, Value};
use crate::hl7v2::ack;
use crate::hl7v2::queue::Resolved;
use crate::hl7v2::receive::{Converted, Trial};
use crate::http::exchange::Exchange;
use crate::http::negotiation;
use crate::http::outcome::Failure;
use crate::http::server::Server;

use super::answer;

/// `POST $hl7v2-convert`
pub(in crate::http) async fn convert(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.form()?;
    exchange.check_known(&["_output", "dry"])?;
    let word = |name: &str, wanted: &str| {
        let found = exchange.query.once(name).map_err(Error::from)?;
        match found {
            Some(word) if word != wanted => {
                let text = format!("{name} is {wanted:?} or is not given");
                Err(Error::invalid(IssueCode::Value, text))
            }
            found => Ok(found.is_some()),
        }
    };
    let (as_message, is_held) = (word("_output", "message")?, word("dry", "identity")?);
    let body = exchange.read_body().await?;
    let (message, profile) = if is_message(&exchange.parts.headers) {
        (body.to_vec(), None)
    } else {
        let format = negotiation::body(&exchange.parts.headers)?;
        asked(&exchange.parse(&body, format)?)?
    };
    check(&exchange.server, profile.as_deref())?;
    let interaction = Kind::ConvertMessage.of_system();
    let noted = exchange.server.engine.noted(interaction, &exchange.caller).await;
    noted.map_err(Failure::Interaction)?;
    let against = is_held.then_some(&exchange.caller);
    let trial = Trial { profile: profile.as_deref(), as_message, against };
    let converted = exchange.server.messages.convert(&message, &trial).await;
    let converted = converted.map_err(Failure::Interaction)?;
    let parameters = shown(converted);
    let mut response = answer::resource(&parameters, exchange.form()?, exchange.schema())?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The same for entries of a Bundle.
pub(super) fn of_entries(exchange: &Exchange) -> Arc<Convert> {
    let server = exchange.server.clone();
    Arc::new(move |parameters| {
        let (message, profile) = asked(parameters)?;
        check(&server, profile.as_deref())?;
        let trial = Trial { profile: profile.as_deref(), ..Trial::default() };
        Ok(shown(server.messages.convert_alone(&message, &trial)))
    })
}

/// The message in a Parameters resource, and the profile that it names.
fn asked(parameters: &Value<'_>) -> Result<(Vec<u8>, Option<String>), Error> {
    let value = |name: &str| {
        let mut all = parameters.items_at("parameter").iter();
        let one = all.find(|one| one.str_at("name") == Some(name));
        one.and_then(|one| one.str_at("valueString"))
    };
    let missing = || Error::invalid(IssueCode::Required, "parameter message, a valueString");
    let message = value("message").ok_or_else(missing)?.as_bytes().to_vec();
    Ok((message, value("site").map(str::to_owned)))
}

fn check(server: &Server, profile: Option<&str>) -> Result<(), Error> {
    match profile {
        Some(name) if server.messages.sites().named(name).is_none() => {
            let text = format!("parameter site: there is no profile {name:?} that can be used");
            Err(Error::invalid(IssueCode::NotFound, text))
        }
        _ => Ok(()),
    }
}

/// Whether the body is a message and not a resource.
fn is_message(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.contains("hl7-v2") || kind.starts_with("text/plain")
}

fn shown(converted: Converted) -> Value<'static> {
    let named = |name: &'static str| Object::new().with("name", name);
    let mut all = Vec::new();
    if let Some(bundle) = converted.bundle {
        all.push(Value::Object(named("bundle").with("resource", bundle)));
    }
    let issues = converted.issues.iter().map(issue_of);
    let mut issues: Vec<_> = issues.collect();
    if issues.is_empty() {
        let fine = Object::new().with("severity", "information").with("code", "informational");
        issues.push(Value::Object(fine.with("diagnostics", "nothing to tell")));
    }
    let outcome = Object::new().with("resourceType", "OperationOutcome").with("issue", issues);
    all.push(Value::Object(named("outcome").with("resource", outcome)));
    all.push(Value::Object(named("acknowledgement").with("valueString", converted.answer)));
    for field in converted.unmapped {
        all.push(Value::Object(named("unmapped").with("valueString", field)));
    }
    for Resolved { url, known } in converted.identities {
        let part = |name: &'static str, value: String| {
            Value::Object(named(name).with("valueString", value))
        };
        let parts = vec![
            part("resource", url),
            part("identity", known.unwrap_or_else(|| "new".to_owned())),
        ];
        all.push(Value::Object(named("identity").with("part", parts)));
    }
    Object::new().with("resourceType", "Parameters").with("parameter", all).into()
}

/// An issue of an OperationOutcome about a place in a message.
fn issue_of(issue: &ack::Issue) -> Value<'static> {
    let (severity, code) = match issue.severity {
        ack::Severity::Error => ("error", "processing"),
        ack::Severity::Information => ("information", "informational"),
        ack::Severity::Warning => ("warning", "informational"),
    };
    let place = issue.place.map(|place| vec![Value::from(place.to_string())]);
    let shown = Object::new()
        .with("severity", severity)
        .with("code", code)
        .with("diagnostics", issue.text())
        .with_some("location", place);
    Value::Object(shown)
}
