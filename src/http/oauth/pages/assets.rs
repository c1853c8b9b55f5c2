//! What pages are made up with: the stylesheet, the mark, the one script; and the look as SMART's
//! style document tells it to apps.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode, request};
use serde_json::json;

use crate::fhir::IssueCode;
use crate::http::dispatch::Asked;
use crate::http::outcome::Failure;
use crate::http::server::Server;

use super::reply;

const ASSETS: [(&str, &str, &str); 3] = [
    ("kiln.css", "text/css;charset=utf-8", include_str!("assets/kiln.css")),
    ("mark.svg", "image/svg+xml", include_str!("assets/mark.svg")),
    ("security-key.js", "text/javascript;charset=utf-8", include_str!("assets/security-key.js")),
];

/// `GET /auth/assets/{name}`
pub(in crate::http) async fn asset(
    _: Arc<Server>,
    parts: request::Parts,
    _: Body,
) -> Result<Response<Body>, Failure> {
    let asked = parts.extensions.get::<Asked>().and_then(|asked| asked.name.clone());
    let found = ASSETS.iter().find(|(name, ..)| asked.as_deref() == Some(*name));
    let Some((_, kind, text)) = found else {
        let text = "there is no such file".to_owned();
        return Err(Failure::UnknownRoute(IssueCode::NotFound, text));
    };
    let mut response = Response::new(Body::from(*text));
    let headers = response.headers_mut();
    reply::guard(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}

/// `GET /auth/style`: the look of these pages, for apps that want to fit in.
///
/// Spec: SMART App Launch 2.2, styling
pub(in crate::http) async fn style(
    _: Arc<Server>,
    _: request::Parts,
    _: Body,
) -> Result<Response<Body>, Failure> {
    let style = json!({
        "color_background": "#f6f5f2",
        "color_error": "#8f1d14",
        "color_highlight": "#0b5563",
        "color_modal_backdrop": "#1d2327",
        "color_success": "#2d6a4f",
        "color_text": "#1d2327",
        "dim_border_radius": "6px",
        "dim_font_size": "16px",
        "dim_spacing_size": "16px",
        "font_family_body": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif",
        "font_family_heading": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif",
    });
    let mut response = reply::json(StatusCode::OK, &style);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}
