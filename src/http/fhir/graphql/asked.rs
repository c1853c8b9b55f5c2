//! The document and its variables: in the query, as a body of its own, or in a body of JSON.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html>, <https://graphql.org/learn/serving-over-http/>

use axum::http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::engine::graphql::Asked;
use crate::engine::simple_parameters;
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::codec::Format;
use crate::fhir::json::{self, Value};
use crate::fhir::query::{MAX_URL_BYTES, Query};
use crate::http::caller;
use crate::http::exchange::Exchange;
use crate::http::negotiation::ContentType;
use crate::http::outcome::Failure;

/// A document and nothing else.
const GRAPHQL: &str = "application/graphql";
/// An object with `query`, `operationName` and `variables`, or a Parameters resource.
const JSON: &[&str] = &["application/fhir+json", "application/json", "application/json+fhir"];
/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 32 * MAX_URL_BYTES;

/// What was sent. What stands in a body is kept in the ledger as though it stood in the URL.
pub(super) async fn read(exchange: &mut Exchange) -> Result<Asked, Failure> {
    exchange.check_known(&["operationName", "query", "variables"])?;
    let mut asked = of_query(&exchange.query)?;
    if exchange.parts.method == Method::POST {
        let body = exchange.read_at_most(MAX_BODY_BYTES).await?;
        if !body.trim_ascii().is_empty() {
            let sent = of_body(exchange, &body)?;
            let form = form(&sent);
            if !form.is_empty() {
                caller::with_form(&mut exchange.caller, &form);
            }
            let is_blank = sent.document.trim().is_empty();
            asked = Asked {
                document: if is_blank { asked.document } else { sent.document },
                operation: sent.operation.or(asked.operation),
                variables: sent.variables.or(asked.variables),
            };
        }
    }
    if asked.document.trim().is_empty() {
        return Err(
            Error::invalid(IssueCode::Required, "query is missing: a document of GraphQL").into()
        );
    }
    Ok(asked)
}

/// What parameters say.
fn of_query(query: &Query) -> Result<Asked, Error> {
    let variables = match query.once("variables")? {
        Some(text) => {
            let parsed = json::parse(text.as_bytes());
            let parsed = parsed.map_err(|fault| invalid(&format!("variables: {fault}")))?;
            of_variables(parsed.into_owned())?
        }
        None => None,
    };
    Ok(Asked {
        document: query.once("query")?.unwrap_or_default().to_owned(),
        operation: query.once("operationName")?.map(str::to_owned),
        variables,
    })
}

fn of_body(exchange: &Exchange, body: &[u8]) -> Result<Asked, Failure> {
    let headers = &exchange.parts.headers;
    let content_type = ContentType::read(headers);
    let is = |name: &str| content_type.as_ref().is_some_and(|sent| sent.is(name));
    if let Some(sent) = &content_type {
        sent.check(headers)?;
    }
    if is(GRAPHQL) {
        let text = std::str::from_utf8(body);
        let document = text.map_err(|_| invalid("the document is not UTF-8"))?.to_owned();
        return Ok(Asked { document, ..Asked::default() });
    }
    if !JSON.iter().any(|name| is(name)) {
        let text = format!("a document is sent as {GRAPHQL} or in application/json");
        return Err(Failure::UnsupportedMediaType(text));
    }
    let value = exchange.parse(body, Format::Json)?;
    if value.str_at("resourceType") == Some("Parameters") {
        return Ok(of_query(&simple_parameters(&value)?)?);
    }
    let text = |name: &str| match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text.clone().into_owned())),
        Some(_) => Err(invalid(&format!("{name} is a text"))),
    };
    let variables = value.get("variables").cloned().map(Value::into_owned);
    Ok(Asked {
        document: text("query")?.unwrap_or_default(),
        operation: text("operationName")?,
        variables: variables.map(of_variables).transpose()?.flatten(),
    })
}

/// An object, or nothing.
fn of_variables(value: Value<'static>) -> Result<Option<Value<'static>>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::Object(_) => Ok(Some(value)),
        _ => Err(invalid("variables is an object")),
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(IssueCode::Invalid, text)
}

/// The same as parameters of a URL, those that were sent.
fn form(asked: &Asked) -> String {
    let document = Some(&asked.document).filter(|text| !text.trim().is_empty());
    let variables = asked.variables.as_ref().map(Value::to_text);
    let all = [
        ("query", document),
        ("operationName", asked.operation.as_ref()),
        ("variables", variables.as_ref()),
    ];
    let encoded = |text: &String| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let sent = all.into_iter().filter_map(|(name, text)| Some((name, encoded(text?))));
    sent.map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_a_document_and_variables() {
        for (query, expected) in [
            ("query=%7Ba%7D", Some(("{a}", None, None))),
            (
                "query=%7Ba%7D&operationName=Q&variables=%7B%22x%22:1%7D",
                Some(("{a}", Some("Q"), Some(r#"{"x":1}"#))),
            ),
            ("query=a&variables=null", Some(("a", None, None))),
            ("query=a&variables=%5B%5D", None),
            ("query=a&variables=%7B", None),
            ("query=a&query=b", None),
            ("", Some(("", None, None))),
        ] {
            let found = of_query(&Query::parse(query).expect(query)).ok();
            let found = found.as_ref().map(|asked| {
                let variables = asked.variables.as_ref().map(Value::to_text);
                (asked.document.clone(), asked.operation.clone(), variables)
            });
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let expected = expected.map(|(document, operation, variables)| {
                (document.to_owned(), owned(operation), owned(variables))
            });
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn a_body_is_kept_as_parameters() {
        for (document, operation, variables, expected) in [
            ("{a(b: \"c&d\")}", Some("Q"), None, 2),
            ("{a}", None, Some(r#"{"x":1}"#), 2),
            // What stands in the URL is on record with it.
            ("", None, Some(r#"{"x":1}"#), 1),
            ("", None, None, 0),
        ] {
            let variables = variables.map(|text| json::parse(text.as_bytes()).expect(text));
            let asked = Asked {
                document: document.to_owned(),
                operation: operation.map(str::to_owned),
                variables: variables.map(Value::into_owned),
            };
            let form = form(&asked);
            let query = Query::parse(&form).expect("a query");
            assert_eq!(query.iter().count(), expected, "{form}");
            let read = of_query(&query).expect("a request");
            assert_eq!(read.document, asked.document, "{form}");
            assert_eq!((read.operation, read.variables), (asked.operation, asked.variables));
        }
    }
}
