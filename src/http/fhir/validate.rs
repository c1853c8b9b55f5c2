//! `$validate` on a type or a resource: 200 with an OperationOutcome, whatever is found.
//!
//! Spec: <https://hl7.org/fhir/R4/resource-operation-validate.html>, rest 6.11 to 6.15

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::http::{Response, StatusCode};

use crate::engine::{Validate, ValidateAt};
use crate::error::Error;
use crate::fhir::codec::Format;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::{self, Issue, IssueCode};
use crate::http::exchange::Exchange;
use crate::http::negotiation;
use crate::http::outcome::{Failure, outcome};

/// What may stand in the query.
const PARAMETERS: [&str; 3] = ["mode", "mustSupport", "profile"];

/// `POST [type]/$validate`, `POST [type]/[id]/$validate`
pub(in crate::http) async fn sent(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let body = exchange.read_body().await?;
    if body.trim_ascii().is_empty() {
        return stored(exchange).await;
    }
    let format = negotiation::body(&exchange.parts.headers)?;
    let (asked, root) = asked(&exchange, Some(exchange.parse(&body, format)?))?;
    let mut found = exchange.server.engine.validate(asked, &exchange.caller).await;
    if let (Ok(issues), Format::Json) = (&mut found, format) {
        fhir::place(issues, &body, &root);
    }
    answer(&exchange, found)
}

/// `GET [type]/[id]/$validate`
pub(in crate::http) async fn stored(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let (asked, _) = asked(&exchange, None)?;
    let found = exchange.server.engine.validate(asked, &exchange.caller).await;
    answer(&exchange, found)
}

/// What is asked, and the expression of the resource inside the body, where it is not all of it.
fn asked<'a>(
    exchange: &Exchange,
    body: Option<Value<'a>>,
) -> Result<(Validate<'a>, String), Failure> {
    exchange.form()?;
    exchange.check_known(&PARAMETERS)?;
    let mut parameters = Parameters::of_query(&exchange.query)?;
    let mut root = String::new();
    let resource = match body {
        Some(body) if body.str_at("resourceType") == Some("Parameters") => {
            let taken = parameters.take(body, exchange.is_strict())?;
            taken.map(|(place, resource)| {
                root = place;
                resource
            })
        }
        other => other,
    };
    let at = match &exchange.target.id {
        Some(_) => ValidateAt::Instance(exchange.identity()?),
        None => ValidateAt::Type(exchange.resource_type()?),
    };
    let mode = parameters.mode.as_deref().map(str::parse).transpose()?;
    let must_support = parameters.must_support()?;
    let profiles = parameters.profile.into_iter().collect();
    Ok((Validate { at, mode, profiles, must_support, resource }, root))
}

fn answer(
    exchange: &Exchange,
    found: Result<Vec<Issue>, Error>,
) -> Result<Response<Body>, Failure> {
    let issues = found.map_err(Failure::Interaction)?;
    let mut response = outcome(StatusCode::OK, &issues, exchange.form()?, exchange.schema());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The parameters that are texts.
#[derive(Debug, Default)]
struct Parameters {
    mode: Option<String>,
    profile: Option<String>,
    must_support: Option<String>,
}

impl Parameters {
    fn of_query(query: &Query) -> Result<Self, Error> {
        let text = |name| Ok::<_, Error>(query.once(name)?.map(str::to_owned));
        let (mode, profile) = (text("mode")?, text("profile")?);
        Ok(Self { mode, profile, must_support: text("mustSupport")? })
    }

    /// Whether absent elements that must be supported are to be told: no parameter of FHIR's.
    fn must_support(&self) -> Result<bool, Error> {
        match self.must_support.as_deref() {
            Some("true") => Ok(true),
            None | Some("false") => Ok(false),
            Some(other) => {
                let text = format!("mustSupport is true or false, not {other:?}");
                Err(Error::invalid(IssueCode::Value, text))
            }
        }
    }

    /// Takes what a Parameters resource has, and gives the resource in it with its expression.
    fn take<'a>(
        &mut self,
        parameters: Value<'a>,
        is_strict: bool,
    ) -> Result<Option<(String, Value<'a>)>, Error> {
        let Value::Object(mut parameters) = parameters else { return Ok(None) };
        let list = match parameters.remove("parameter") {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => {
                let text = format!("parameter is an array, not a {}", other.kind());
                let place = "Parameters.parameter";
                return Err(Error::invalid_at(IssueCode::Structure, text, place));
            }
        };
        let mut resource = None;
        for (at, one) in list.into_iter().enumerate() {
            let place = format!("Parameters.parameter[{at}]");
            let name = one.str_at("name").unwrap_or_default().to_owned();
            let slot = match &*name {
                "mode" => &mut self.mode,
                "mustSupport" => &mut self.must_support,
                "profile" => &mut self.profile,
                "resource" => {
                    let Value::Object(mut one) = one else { continue };
                    let given = one.remove("resource").ok_or_else(|| untyped(&name, &place))?;
                    if resource.replace((format!("{place}.resource"), given)).is_some() {
                        return Err(twice(&name, place));
                    }
                    continue;
                }
                _ if is_strict => {
                    let text = format!("{name:?} is no parameter of $validate");
                    return Err(Error::invalid_at(IssueCode::Invalid, text, place));
                }
                _ => continue,
            };
            let text = text(&one).ok_or_else(|| untyped(&name, &place))?;
            if slot.replace(text).is_some() {
                return Err(twice(&name, place));
            }
        }
        Ok(resource)
    }
}

/// A parameter's value, under whichever name it stands.
fn text(parameter: &Value<'_>) -> Option<String> {
    if let Some(flag) = parameter.get("valueBoolean").and_then(Value::as_bool) {
        return Some(flag.to_string());
    }
    let kinds = ["valueCode", "valueUri", "valueCanonical", "valueString", "valueUrl"];
    kinds.iter().find_map(|kind| parameter.str_at(kind)).map(str::to_owned)
}

fn untyped(name: &str, place: &str) -> Error {
    let text = format!("the parameter {name} has no value of its type");
    Error::invalid_at(IssueCode::Value, text, place)
}

fn twice(name: &str, place: String) -> Error {
    Error::invalid_at(IssueCode::Invalid, format!("the parameter {name} is given twice"), place)
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    fn read(text: &str, is_strict: bool) -> Result<(String, Option<String>), String> {
        let mut parameters = Parameters::default();
        let value = parse(text.as_bytes()).expect(text);
        let resource = parameters.take(value, is_strict).map_err(|error| error.to_string())?;
        let Parameters { mode, profile, .. } = parameters;
        let texts = format!("{} {}", mode.unwrap_or_default(), profile.unwrap_or_default());
        Ok((texts, resource.map(|(_, resource)| resource.to_text())))
    }

    #[test]
    fn parameters_name_a_resource_a_mode_and_a_profile_each_once() {
        let resource = r#"{"name":"resource","resource":{"resourceType":"Patient"}}"#;
        let mode = r#"{"name":"mode","valueCode":"create"}"#;
        let profile = r#"{"name":"profile","valueUri":"http://p"}"#;
        let odd = r#"{"name":"odd","valueString":"x"}"#;
        let patient = Some(r#"{"resourceType":"Patient"}"#.to_owned());
        for (parts, is_strict, expected) in [
            (vec![resource, mode, profile], true, Ok(("create http://p", patient.clone()))),
            (vec![resource, odd], false, Ok((" ", patient.clone()))),
            (vec![mode], true, Ok(("create ", None))),
            (vec![resource, odd], true, Err("no parameter")),
            (vec![resource, resource], false, Err("twice")),
            (vec![mode, mode], false, Err("twice")),
            (vec![r#"{"name":"mode","valueInteger":1}"#], false, Err("no value")),
            (vec![r#"{"name":"resource","valueString":"x"}"#], false, Err("no value")),
        ] {
            let text =
                format!(r#"{{"resourceType":"Parameters","parameter":[{}]}}"#, parts.join(","));
            match (read(&text, is_strict), expected) {
                (Ok((texts, found)), Ok((expected, resource))) => {
                    assert_eq!((&*texts, found), (expected, resource), "{text}");
                }
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
            }
        }
        assert_eq!(read(r#"{"resourceType":"Parameters"}"#, true), Ok((" ".to_owned(), None)));
        assert!(read(r#"{"resourceType":"Parameters","parameter":{}}"#, false).is_err());
    }
}
