//! The parameters of an export: in the query, as a form, or as a Parameters resource.

use crate::engine::export::ExportParameter;
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::http::exchange::Exchange;
use crate::http::negotiation::{self, ContentType};
use crate::http::outcome::Failure;

const FORM: &str = "application/x-www-form-urlencoded";

/// All of them, in order; those of a body after those of the query.
pub(super) async fn read(exchange: &mut Exchange) -> Result<Vec<ExportParameter>, Failure> {
    let mut all = of_query(&exchange.query);
    if exchange.parts.method != axum::http::Method::POST {
        return Ok(all);
    }
    let body = exchange.read_body().await?;
    if body.trim_ascii().is_empty() {
        return Ok(all);
    }
    let kind = ContentType::read(&exchange.parts.headers);
    if kind.is_some_and(|kind| kind.name.eq_ignore_ascii_case(FORM)) {
        let text = std::str::from_utf8(&body);
        let invalid = |_| Error::invalid(IssueCode::Structure, "the form is no UTF-8");
        let query = Query::parse(text.map_err(invalid)?.trim()).map_err(Error::from)?;
        all.extend(of_query(&query));
        return Ok(all);
    }
    let format = negotiation::body(&exchange.parts.headers)?;
    all.extend(of_resource(&exchange.parse(&body, format)?)?);
    Ok(all)
}

fn of_query(query: &Query) -> Vec<ExportParameter> {
    query.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Those of a Parameters resource, each value as text.
fn of_resource(sent: &Value<'_>) -> Result<Vec<ExportParameter>, Error> {
    if sent.str_at("resourceType") != Some("Parameters") {
        let text = "this operation takes a Parameters resource, or nothing";
        return Err(Error::invalid(IssueCode::Invalid, text));
    }
    let one = |(at, parameter): (usize, &Value<'_>)| {
        let place = format!("Parameters.parameter[{at}]");
        let name = parameter.str_at("name").ok_or_else(|| {
            Error::invalid_at(IssueCode::Required, "a parameter has a name", place.clone())
        })?;
        let value = value(parameter).ok_or_else(|| {
            let text = format!("{name}: a value of a simple type, or a reference");
            Error::invalid_at(IssueCode::Value, text, place)
        })?;
        Ok((name.to_owned(), value))
    };
    sent.items_at("parameter").iter().enumerate().map(one).collect()
}

fn value(parameter: &Value<'_>) -> Option<String> {
    let members = parameter.as_object()?;
    let (_, value) = members.iter().find(|(name, _)| name.starts_with("value"))?;
    if let Some(reference) = value.str_at("reference") {
        return Some(reference.to_owned());
    }
    let text = value.as_str().or_else(|| value.as_number()).map(str::to_owned);
    text.or_else(|| value.as_bool().map(|it| it.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    #[test]
    fn a_parameters_resource_says_what_a_query_says() {
        let text = r#"{"resourceType":"Parameters","parameter":[
            {"name":"_type","valueString":"Patient,Observation"},
            {"name":"_since","valueInstant":"2020-01-01T00:00:00Z"},
            {"name":"patient","valueReference":{"reference":"Patient/1"}}]}"#;
        let found = of_resource(&parse(text.as_bytes()).expect("JSON")).expect("parameters");
        let found: Vec<(&str, &str)> =
            found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let since = "2020-01-01T00:00:00Z";
        assert_eq!(
            found,
            [("_type", "Patient,Observation"), ("_since", since), ("patient", "Patient/1")]
        );
        for text in [
            r#"{"resourceType":"Patient"}"#,
            r#"{"resourceType":"Parameters","parameter":[{"valueString":"x"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"x"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"x","resource":{}}]}"#,
        ] {
            let found = of_resource(&parse(text.as_bytes()).expect("JSON"));
            assert!(matches!(found, Err(Error::Invalid(_))), "{text}");
        }
    }
}
