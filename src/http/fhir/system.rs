//! batch and transaction: `POST [base]`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#transaction>, rest 3.1 to 3.3

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, WARNING};

use crate::engine::BundleOptions;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::codec::Format;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::http::bundle::{BundleWriter, Head};
use crate::http::exchange::Exchange;
use crate::http::outcome::{Failure, placed};
use crate::http::prefer::PREFERENCE_APPLIED;
use crate::http::shape::Shape;
use crate::http::{negotiation, query};

use super::entry::{ResultEntries, View};
use super::{convert, labels, metadata, provenance, search, tripwire};

/// `POST [base]`
pub(in crate::http) async fn bundle(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    let format = negotiation::body(&exchange.parts.headers)?;
    let text = exchange.read_body().await?;
    let base = exchange.base();
    let languages = exchange.parts.headers.get(ACCEPT_LANGUAGE);
    let mut options = BundleOptions {
        capability_statement: Some(metadata::of_entries(&exchange)),
        convert: Some(convert::of_entries(&exchange)),
        is_strict: exchange.is_strict(),
        languages: languages.and_then(|it| it.to_str().ok()).map(str::to_owned),
        waits_for_words: search::asks_to_wait(&exchange.parts.headers),
        wish: exchange.preferences.wish(),
        ..Default::default()
    };
    let engine = &exchange.server.engine;
    let views;
    let outcome = {
        let bundle = exchange.parse(&text, format)?;
        views = self::views(&bundle)?;
        options.provenance = provenance::read_with(&exchange, &bundle)?;
        let done = engine.bundle(bundle, &options, &exchange.caller).await;
        done.map_err(|error| {
            let is_json = format == Format::Json;
            Failure::Interaction(if is_json { placed(error, &text) } else { error })
        })?
    };
    drop(text);

    let bundle_type =
        if outcome.is_transaction { "transaction-response" } else { "batch-response" };
    let spec = engine.spec();
    let request_id = exchange.caller.request.id.clone();
    let returned = exchange.preferences.returned;
    let mut entries = ResultEntries::new(&base, returned, request_id, views, spec.clone());
    let writer = BundleWriter::new(form, spec.clone());
    let mut results = Vec::with_capacity(outcome.entries.len());
    for result in outcome.entries {
        results.push(tripwire::hold(tripwire::Asking::of(&exchange), result).await);
    }
    let label = labels::highest_of(&results);
    let words = search::of_entries(&results);
    let head = Head { bundle_type, label, total: None, links: &[] };
    let body = writer.into_body(&head, results, move |result, out| entries.write(result, out))?;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.media_type.content_type());
    if let Some(applied) = exchange.preferences.applied(true) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    search::set_words(headers, words);
    if options.provenance.is_none()
        && let Some(warning) = provenance::not_read(&exchange)
    {
        headers.append(WARNING, warning);
    }
    Ok(response)
}

/// How the GET and HEAD entries of a Bundle want their results shown, by their place.
///
/// # Errors
/// [`Error::Entry`] for what cannot be shown, in a transaction: there it fails the whole.
fn views(bundle: &Value<'_>) -> Result<BTreeMap<usize, View>, Error> {
    let is_transaction = bundle.str_at("type") == Some("transaction");
    let mut views = BTreeMap::new();
    for (index, entry) in bundle.items_at("entry").iter().enumerate() {
        let Some(request) = entry.get("request") else { continue };
        let url = request.str_at("url").and_then(|url| url.split_once('?'));
        let view = match (request.str_at("method"), url) {
            (Some("HEAD"), _) => View::Head,
            (Some(method), Some((path, query))) if is_reading(method, path) => {
                match shape(path, query) {
                    Ok(Shape::Whole | Shape::Count) => continue,
                    Ok(shape) => View::Shaped(shape),
                    Err(cause) if is_transaction => {
                        return Err(Error::Entry { index, cause: Box::new(cause) });
                    }
                    Err(error) => View::Refused(error),
                }
            }
            _ => continue,
        };
        views.insert(index, view);
    }
    Ok(views)
}

fn is_reading(method: &str, path: &str) -> bool {
    method == "GET" || method == "POST" && path.trim_end_matches('/').ends_with("_search")
}

/// The part that the URL of an entry asks for; only what gives many can be counted.
fn shape(path: &str, query: &str) -> Result<Shape, Error> {
    let query = Query::parse(query)?;
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_many = matches!(last, "" | "_history" | "_search" | "*" | "fhir")
        || last.parse::<ResourceType>().is_ok();
    if is_many { query::shape(&query) } else { query::shape_of_one(&query) }
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    #[test]
    fn reading_entries_say_how_they_are_shown() {
        for (method, url, expected) in [
            ("GET", "Patient/1", "Ok({})"),
            ("GET", "Patient/1?_pretty=true", "Ok({})"),
            ("HEAD", "Patient/1", "Ok({1: Head})"),
            ("GET", "Patient/1?_summary=true", "Ok({1: Shaped(Summary)})"),
            ("PUT", "Patient/1?_summary=true", "Ok({})"),
            ("GET", "Patient/_history?_summary=count", "Ok({})"),
            ("GET", "Patient/1/_history?_summary=count", "Ok({})"),
            ("GET", "Patient?_summary=count", "Ok({})"),
            ("GET", "Patient/1/Observation?_summary=count", "Ok({})"),
            ("GET", "Patient?_summary=text", "Ok({1: Shaped(Text)})"),
            ("POST", "Patient/_search?_summary=text", "Ok({1: Shaped(Text)})"),
        ] {
            let entry = format!(r#"{{"request":{{"method":"{method}","url":"{url}"}}}}"#);
            let text = format!(r#"{{"type":"batch","entry":[{{}},{entry}]}}"#);
            let bundle = parse(text.as_bytes()).expect("JSON");
            assert_eq!(format!("{:?}", views(&bundle)), expected, "{method} {url}");
        }
    }

    #[test]
    fn what_cannot_be_shown_fails_its_entry_or_the_whole_transaction() {
        for (kind, summary, fails) in [
            ("batch", "x", false),
            ("batch", "count", false),
            ("transaction", "x", true),
            ("transaction", "count", true),
        ] {
            let url = format!("Patient/1?_summary={summary}");
            let entry = format!(r#"{{"request":{{"method":"GET","url":"{url}"}}}}"#);
            let text = format!(r#"{{"type":"{kind}","entry":[{entry}]}}"#);
            let bundle = parse(text.as_bytes()).expect("JSON");
            match views(&bundle) {
                Ok(views) => assert!(!fails && matches!(views[&0], View::Refused(_)), "{kind}"),
                Err(error) => assert!(fails && matches!(error, Error::Entry { index: 0, .. })),
            }
        }
    }
}
