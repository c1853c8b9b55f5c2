//! Pages for who runs the server: the messages of HL7 version 2, their queues, and one by one.
//!
//! Rendered here, without scripts, like the pages of the authorization server and by its markup. Where
//! tokens are asked for, they need a session of somebody whose role allows everything; else they are open
//! to whoever reaches the server, and a page of another site is refused as everywhere.
//!
//! | file | does |
//! |---|---|
//! | `guest` | who looks, and whether a form is ours |
//! | `list` | queues by state, and the messages in them |
//! | `message` | one message: what is known of it, replay and discard |
//! | `trace` | its segments beside the resources that they made |
//!
//! Spec: v2 P7

mod guest;
mod list;
mod message;
mod trace;

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, request};

use super::dispatch::Asked;
use super::oauth::pages::{assets, page, reply};
use super::outcome::Failure;
use super::server::Server;
use super::table::Route;
use crate::fhir::IssueCode;

const STYLE: &str = include_str!("console.css");

/// Every page.
pub fn all() -> Vec<Route> {
    vec![
        page!(GET "/v2" list::show),
        page!(POST "/v2" list::send),
        page!(GET "/v2/view/{name}" message::show),
        page!(POST "/v2/view/{name}" message::send),
        page!(GET "/v2/assets/{name}" asset),
    ]
}

/// `GET /v2/assets/{name}`: the look, also where there is no authorization server.
async fn asset(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let asked = parts.extensions.get::<Asked>().and_then(|asked| asked.name.clone());
    match asked.as_deref() {
        Some("console.css") => {
            let mut response = Response::new(Body::from(STYLE));
            let headers = response.headers_mut();
            reply::guard(headers);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/css;charset=utf-8"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
            Ok(response)
        }
        Some("kiln.css" | "mark.svg") => assets::asset(server, parts, body).await,
        _ => {
            let text = "there is no such file".to_owned();
            Err(Failure::UnknownRoute(IssueCode::NotFound, text))
        }
    }
}
