//! The simple parameters of an operation: in the query, as a form, or as a Parameters resource.

use crate::engine::simple_parameters;
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::query::Query;
use crate::http::exchange::Exchange;
use crate::http::negotiation::{self, ContentType};
use crate::http::outcome::Failure;

const FORM: &str = "application/x-www-form-urlencoded";

/// All of them, in order; those of a body after those of the query.
pub(in crate::http) async fn read(exchange: &mut Exchange) -> Result<Query, Failure> {
    let all = exchange.query.clone();
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
        return Ok(all.and(query));
    }
    let format = negotiation::body(&exchange.parts.headers)?;
    Ok(all.and(simple_parameters(&exchange.parse(&body, format)?)?))
}
