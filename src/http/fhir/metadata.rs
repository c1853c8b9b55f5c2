//! capabilities: `GET [base]/metadata`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#capabilities>, rest section 5

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use axum::http::{Response, StatusCode, request};

use crate::engine::{METADATA_PARAMETERS, ReadStatement};
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::query::Query;
use crate::http::capability::{Mode, Statement};
use crate::http::exchange::Exchange;
use crate::http::form::Form;
use crate::http::headers::VARY_ON;
use crate::http::outcome::Failure;
use crate::http::prefer::Preferences;
use crate::http::server::Server;
use crate::http::{base, condition, negotiation, query};

/// `GET [base]/metadata`
pub(in crate::http) async fn metadata(
    server: Arc<Server>,
    parts: request::Parts,
) -> Result<Response<Body>, Failure> {
    let asked = Query::parse(parts.uri.query().unwrap_or_default()).map_err(Error::from)?;
    let is_strict = Preferences::read(&parts.headers).is_strict == Some(true);
    let media_type = negotiation::answer(asked.first("_format"), &parts.headers)?;
    let form = Form { media_type, is_pretty: query::is_pretty(&asked, is_strict)? };
    if is_strict {
        asked.check_known(&METADATA_PARAMETERS).map_err(Error::from)?;
    }
    let what = what(asked.once("mode").map_err(Error::from)?)?;
    let shape = query::shape_of_one(&asked)?;
    let base = base::of(&server.settings, &parts);
    let headers = &parts.headers;
    server.engine.ready().await?;
    let statement = statement(&server, &base, what);
    let mut response = if condition::names_tag(headers, &statement.etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let body = if form.is_stored_form() && shape.is_whole() {
            Body::from(statement.json.clone())
        } else {
            let mut value = crate::fhir::json::parse(&statement.json).map_err(Error::internal)?;
            shape.cut(&mut value, server.schema());
            Body::from(form.write(&value, server.schema())?)
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, form.media_type.content_type());
        response
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&statement.etag) {
        headers.insert(ETAG, etag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, VARY_ON);
    Ok(response)
}

/// Gives the statement for entries of a Bundle by the rules of the route here.
pub(super) fn of_entries(exchange: &Exchange) -> Arc<ReadStatement> {
    let (server, base) = (exchange.server.clone(), exchange.base());
    Arc::new(move |asked| {
        let (shape, what) = (query::shape_of_one(asked)?, what(asked.once("mode")?)?);
        let statement = statement(&server, &base, what);
        if shape.is_whole() {
            return Ok(statement.json.clone());
        }
        let mut value = crate::fhir::json::parse(&statement.json).map_err(Error::internal)?;
        shape.cut(&mut value, server.schema());
        Ok(value.to_text().into())
    })
}

/// What is asked for.
#[derive(Clone, Copy)]
enum What {
    /// What there is for codes.
    Codes,
    /// What the server does.
    Interactions(Mode),
}

fn statement(server: &Server, base: &str, what: What) -> Statement {
    match what {
        What::Codes => Statement::of_codes(base, &server.engine.published_systems()),
        What::Interactions(mode) => {
            server.capability.statement(base, mode, &server.engine.in_force())
        }
    }
}

fn what(mode: Option<&str>) -> Result<What, Error> {
    match mode {
        None | Some("full") => Ok(What::Interactions(Mode::Full)),
        Some("normative") => Ok(What::Interactions(Mode::Normative)),
        Some("terminology") => Ok(What::Codes),
        Some(other) => {
            let text = format!("mode is full, normative or terminology, not {other:?}");
            Err(Error::invalid(IssueCode::Invalid, text))
        }
    }
}
