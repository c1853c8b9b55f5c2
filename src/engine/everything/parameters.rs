//! The simple parameters of an operation, out of a Parameters resource, and identifiers.
//!
//! Spec: <https://hl7.org/fhir/R4/operations.html#request>, rest 6.1, 6.6, 6.10

use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::json::Value;
use crate::fhir::query::Query;

/// What a Parameters resource says, as a query would say it: each value as text, a reference by its address, an
/// identifier as a search has it.
///
/// # Errors
/// [`Error::Invalid`] for another resource, for a parameter without a name, and for one that has not exactly
/// one value of a simple type, a reference or an identifier.
pub fn simple_parameters(sent: &Value<'_>) -> Result<Query, Error> {
    if sent.str_at("resourceType") != Some("Parameters") {
        let text = "this operation takes a Parameters resource, or nothing";
        return Err(Error::invalid(IssueCode::Invalid, text));
    }
    let mut all = Query::default();
    for (at, parameter) in sent.items_at("parameter").iter().enumerate() {
        let place = || format!("Parameters.parameter[{at}]");
        let name = parameter.str_at("name").ok_or_else(|| {
            Error::invalid_at(IssueCode::Required, "a parameter has a name", place())
        })?;
        let value = value(parameter).ok_or_else(|| {
            let text = format!("{name}: one value of a simple type, a reference or an identifier");
            Error::invalid_at(IssueCode::Value, text, place())
        })?;
        all = all.and(Query::of(name, &value));
    }
    Ok(all)
}

fn value(parameter: &Value<'_>) -> Option<String> {
    let is_content = |name: &str| name.starts_with("value") || matches!(name, "part" | "resource");
    let mut content = parameter.as_object()?.iter().filter(|(name, _)| is_content(name));
    let (name, value) = content.next()?;
    if content.next().is_some() || !name.starts_with("value") {
        return None;
    }
    if name == "valueIdentifier" {
        return identifier(value);
    }
    if let Some(reference) = value.str_at("reference") {
        return Some(reference.to_owned());
    }
    let text = value.as_str().or_else(|| value.as_number()).map(str::to_owned);
    text.or_else(|| value.as_bool().map(|it| it.to_string()))
}

/// `system|value`, or the value alone where no system is told.
fn identifier(identifier: &Value<'_>) -> Option<String> {
    let value = escaped(identifier.str_at("value")?);
    Some(match identifier.str_at("system") {
        Some(system) => format!("{}|{value}", escaped(system)),
        None => value,
    })
}

/// A text that stands for itself among the separators of a search.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | '|' | ',' | '$') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
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
            {"name":"_count","valueInteger":3},
            {"name":"identifier","valueIdentifier":{"system":"urn:n","value":"a|b,c"}},
            {"name":"other","valueIdentifier":{"value":"7"}},
            {"name":"patient","valueReference":{"reference":"Patient/1"}}]}"#;
        let found = simple_parameters(&parse(text.as_bytes()).expect("JSON")).expect("parameters");
        let since = "2020-01-01T00:00:00Z";
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            [
                ("_type", "Patient,Observation"),
                ("_since", since),
                ("_count", "3"),
                ("identifier", r"urn:n|a\|b\,c"),
                ("other", "7"),
                ("patient", "Patient/1")
            ]
        );
        for text in [
            r#"{"resourceType":"Patient"}"#,
            r#"{"resourceType":"Parameters","parameter":[{"valueString":"x"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"x"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"x","resource":{}}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"x","valueString":"a","valueCode":"b"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"x","valueString":"a","part":[]}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"x","valueIdentifier":{"system":"s"}}]}"#,
        ] {
            let found = simple_parameters(&parse(text.as_bytes()).expect("JSON"));
            assert!(matches!(found, Err(Error::Invalid(_))), "{text}");
        }
    }
}
