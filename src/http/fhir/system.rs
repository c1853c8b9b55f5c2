//! batch and transaction: `POST [base]`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#transaction>, rest 3.1 to 3.3

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;

use crate::engine::BundleOptions;
use crate::http::bundle::{BundleWriter, Head};
use crate::http::capability::Mode;
use crate::http::exchange::Exchange;
use crate::http::negotiation;
use crate::http::outcome::Failure;
use crate::http::prefer::PREFERENCE_APPLIED;

use super::entry::ResultEntries;

/// `POST [base]`
pub(in crate::http) async fn bundle(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.query.check_known(&[], exchange.is_strict())?;
    let format = negotiation::body(&exchange.parts.headers)?;
    let text = exchange.read_body().await?;
    let base = exchange.base();
    let statement = exchange.server.capability.statement(&base, Mode::Full);
    let options = BundleOptions { capability_statement: Some(statement.json.clone()) };
    let engine = &exchange.server.engine;
    let outcome = {
        let bundle = exchange.parse(&text, format)?;
        engine.bundle(bundle, &options, &exchange.caller).await.map_err(Failure::Interaction)?
    };
    drop(text);

    let bundle_type =
        if outcome.is_transaction { "transaction-response" } else { "batch-response" };
    let spec = engine.spec();
    let request_id = exchange.caller.request.id.clone();
    let returned = exchange.preferences.returned;
    let mut entries = ResultEntries::new(&base, returned, request_id, spec.clone());
    let head = Head { bundle_type, total: None, links: &[] };
    let writer = BundleWriter::new(form, spec.clone());
    let body =
        writer.into_body(&head, outcome.entries, move |result, out| entries.write(result, out))?;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.media_type.content_type());
    if let Some(applied) = exchange.preferences.applied(true) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}
