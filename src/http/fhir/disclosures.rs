//! `GET Patient/[id]/$disclosures`: who had access to a patient's data.
//!
//! Spec: security A14

use axum::body::Body;
use axum::http::Response;

use crate::engine::{CURSOR, DISCLOSURES_PARAMETERS};
use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;

use super::search;

/// `GET Patient/[id]/$disclosures`
pub(in crate::http) async fn disclosures(exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.form()?;
    let mut known = DISCLOSURES_PARAMETERS.to_vec();
    known.push(CURSOR);
    exchange.check_known(&known)?;
    let id = exchange.identity()?.id;
    let engine = &exchange.server.engine;
    let found = engine.disclosures(&id, &exchange.query, &exchange.caller).await;
    search::searchset(&exchange, found.map_err(Failure::Interaction)?)
}
