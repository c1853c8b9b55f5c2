//! `$export` over HTTP: 202 with a place to ask, there 202 with `X-Progress` or 200 with the list of files,
//! and the files.
//!
//! Spec: <https://hl7.org/fhir/uv/bulkdata/export.html>, <https://hl7.org/fhir/R4/async.html>

use axum::body::Body;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, EXPIRES, HeaderName,
    HeaderValue, RETRY_AFTER,
};
use axum::http::{Response, StatusCode};
use futures_util::stream;
use uuid::Uuid;

use crate::engine::export::{
    ExportOf, ExportParameter, ExportStatus, FileEntry, FileReader, Manifest,
};
use crate::error::Error;
use crate::fhir::codec::Format;
use crate::fhir::json::{Object, Value};
use crate::fhir::{Issue, IssueCode, ResourceType};
use crate::http::exchange::Exchange;
use crate::http::form::Form;
use crate::http::headers;
use crate::http::outcome::{Failure, outcome};
use crate::http::{negotiation, parameters, prefer};

use super::answer;

const X_PROGRESS: HeaderName = HeaderName::from_static("x-progress");
/// The form of files.
const NDJSON: &str = "application/fhir+ndjson";
/// The names under which it is asked for.
const NDJSON_NAMES: [&str; 5] =
    [NDJSON, "application/ndjson", "application/x-ndjson", "application/*", "*/*"];
/// The path below the base under which exports are asked for.
const PLACE: &str = "$export";

/// `GET` and `POST` of `$export`, `Patient/$export` and `Group/[id]/$export`
pub(in crate::http) async fn ask(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = json_form(&exchange)?;
    if !prefer::is_async(&exchange.parts.headers) {
        let text = "an export takes its time: ask for it with Prefer: respond-async";
        return Err(Error::invalid(IssueCode::Invalid, text).into());
    }
    let of = target(&exchange)?;
    let sent = parameters::read(&mut exchange).await?;
    let sent: Vec<ExportParameter> =
        sent.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let request = address(&exchange, &of);
    let engine = &exchange.server.engine;
    let asked = engine.export(&of, (&sent, exchange.is_strict()), &request, &exchange.caller).await;
    let id = asked.map_err(Failure::Interaction)?;
    let place = format!("{}/{PLACE}/{id}", exchange.base());
    let told = answer::information(format!("the export is under way: ask {place} how far it is"));
    let mut response = outcome(StatusCode::ACCEPTED, &[told], form, exchange.schema());
    let headers = response.headers_mut();
    if let Ok(place) = HeaderValue::try_from(place) {
        headers.insert(CONTENT_LOCATION, place);
    }
    if let Some(applied) = exchange.preferences.applied(false) {
        headers.insert(prefer::PREFERENCE_APPLIED, applied);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET $export/[id]`
pub(in crate::http) async fn status(exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.form()?;
    let id = job(&exchange)?;
    let found = exchange.server.engine.export_status(id, &exchange.caller).await;
    let mut response = match found.map_err(Failure::Interaction)? {
        ExportStatus::Completed(manifest) => completed(&exchange, id, &manifest),
        ExportStatus::Failed(text) => {
            let issue = Issue::error(IssueCode::Processing, text);
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            outcome(status, &[issue], Form::default(), exchange.schema())
        }
        ExportStatus::Running { lines, seconds } => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::ACCEPTED;
            let headers = response.headers_mut();
            let progress = format!("{lines} resources are written");
            if let Ok(progress) = HeaderValue::try_from(progress) {
                headers.insert(X_PROGRESS, progress);
            }
            // What goes on for long is asked for seldom.
            headers.insert(RETRY_AFTER, HeaderValue::from((seconds / 4).clamp(1, 60)));
            response
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `DELETE $export/[id]`
pub(in crate::http) async fn cancel(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    let id = job(&exchange)?;
    let done = exchange.server.engine.cancel_export(id, &exchange.caller).await;
    done.map_err(Failure::Interaction)?;
    let told = answer::information(format!("export {id} has ended, and its files are removed"));
    Ok(outcome(StatusCode::ACCEPTED, &[told], form, exchange.schema()))
}

/// `GET $export/[id]/[number].ndjson`
pub(in crate::http) async fn file(exchange: Exchange) -> Result<Response<Body>, Failure> {
    if !takes_ndjson(&exchange) {
        let text = format!("{NDJSON} is served and nothing else");
        return Err(Failure::NotAcceptable(text));
    }
    let id = job(&exchange)?;
    let name = exchange.target.name.as_deref().unwrap_or_default();
    let number = name.strip_suffix(".ndjson").and_then(|number| number.parse().ok());
    let missing = || Error::NotFound(format!("file {name:?} of export {id}"));
    let number: i32 = number.ok_or_else(missing)?;
    let found = exchange.server.engine.export_file(id, number, &exchange.caller).await;
    let file = found.map_err(Failure::Interaction)?;
    let bytes = file.bytes;
    let next = async |mut file: FileReader| {
        let part = file.next().await?;
        Ok::<_, Error>(part.map(|part| (part, file)))
    };
    let mut response = Response::new(Body::from_stream(stream::try_unfold(file, move |file| {
        Box::pin(next(file))
    })));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The list of files.
fn completed(exchange: &Exchange, id: Uuid, manifest: &Manifest) -> Response<Body> {
    let base = exchange.base();
    let list = |files: &[FileEntry]| -> Vec<Value<'static>> {
        let entry = |file: &FileEntry| {
            let url = format!("{base}/{PLACE}/{id}/{}.ndjson", file.number);
            Object::new()
                .with("type", file.of.as_str())
                .with("url", url)
                .with("count", file.count)
                .into()
        };
        files.iter().map(entry).collect()
    };
    let deleted = list(&manifest.deleted);
    let body = Object::new()
        .with("transactionTime", manifest.transaction_time.to_string())
        .with("request", manifest.request.clone())
        .with("requiresAccessToken", manifest.requires_access_token)
        .with("output", list(&manifest.output))
        .with_some("deleted", (!deleted.is_empty()).then_some(deleted))
        .with("error", list(&manifest.error));
    let mut response = Response::new(Body::from(Value::from(body).to_text()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(EXPIRES, headers::http_date(manifest.expires));
    response
}

/// The form of what is told of an export, which is JSON.
fn json_form(exchange: &Exchange) -> Result<Form, Failure> {
    let form = exchange.form()?;
    if form.media_type.format() == Format::Json {
        return Ok(form);
    }
    let text = "an export is asked for with Accept: application/fhir+json";
    Err(Failure::NotAcceptable(text.to_owned()))
}

fn target(exchange: &Exchange) -> Result<ExportOf, Failure> {
    Ok(match exchange.target.resource_type {
        None => ExportOf::System,
        Some(ResourceType::PATIENT) => ExportOf::Patient,
        Some(_) => ExportOf::Group(exchange.identity()?.id),
    })
}

/// The address that was asked, as clients know it.
fn address(exchange: &Exchange, of: &ExportOf) -> String {
    let path = match of {
        ExportOf::Group(id) => format!("Group/{id}/{PLACE}"),
        ExportOf::Patient => format!("Patient/{PLACE}"),
        ExportOf::System => PLACE.to_owned(),
    };
    let query = exchange.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{path}{query}", exchange.base())
}

/// The export that the path names; a text that names none is one that is not there.
fn job(exchange: &Exchange) -> Result<Uuid, Failure> {
    let id = match &exchange.target.id {
        Some(Ok(id)) => id.as_str().parse().ok(),
        _ => None,
    };
    Ok(id.ok_or_else(|| Error::NotFound("an export of this name".to_owned()))?)
}

fn takes_ndjson(exchange: &Exchange) -> bool {
    if !exchange.parts.headers.contains_key(ACCEPT) {
        return true;
    }
    let ranges = negotiation::ranges(&exchange.parts.headers);
    let is_taken = |range: &negotiation::Range<'_>| {
        !range.is_refused() && NDJSON_NAMES.iter().any(|name| range.name.eq_ignore_ascii_case(name))
    };
    ranges.iter().any(is_taken)
}
