//! Compressed answers, for clients that ask and bodies that are worth it.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, HeaderValue};
use axum::http::{Request, Response};
use tower::{ServiceExt, service_fn};
use tower_http::compression::Compression;
use tower_http::compression::predicate::SizeAbove;

/// Smaller bodies go out as they are: a packet is a packet.
const WORTH_BYTES: u64 = 1024;

/// The answer in the best coding of `Accept-Encoding`. Only called when that header was sent: other
/// answers do not pass here at all.
pub(super) async fn compress(response: Response<Body>, encodings: HeaderValue) -> Response<Body> {
    // Nothing at all has no coding, whoever asks.
    let worth = if refuses_identity(&encodings) { 1 } else { WORTH_BYTES };
    let mut asked = Request::new(Body::empty());
    asked.headers_mut().insert(ACCEPT_ENCODING, encodings);
    let mut response = Some(response);
    let inner = service_fn(move |_: Request<Body>| {
        let response = response.take().unwrap_or_default();
        async move { Ok::<_, Infallible>(response) }
    });
    let service = Compression::new(inner).compress_when(SizeAbove::new(worth));
    match service.oneshot(asked).await {
        Ok(compressed) => compressed.map(Body::new),
        Err(never) => match never {},
    }
}

/// Whether the client does not take a body as it is: `identity;q=0`, or `*;q=0` without a word on
/// identity (RFC 9110 section 12.5.3).
fn refuses_identity(encodings: &HeaderValue) -> bool {
    let refused = |wanted: &str| {
        let mut items = encodings.to_str().unwrap_or_default().split(',');
        items.find_map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let quality = parameters.trim().strip_prefix("q=").unwrap_or("1");
            let is_zero = quality.parse() == Ok(0.0_f32);
            name.trim().eq_ignore_ascii_case(wanted).then_some(is_zero)
        })
    };
    refused("identity").or_else(|| refused("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_ENCODING;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_is_compressed_once_when_it_is_asked_for_and_large() {
        let large = "x".repeat(5000);
        for (encodings, text, coding) in [
            ("gzip", large.as_str(), Some("gzip")),
            ("br", &large, Some("br")),
            ("zstd", &large, Some("zstd")),
            ("deflate", &large, Some("deflate")),
            ("identity", &large, None),
            ("gzip", "small", None),
            ("gzip;q=0", &large, None),
            ("gzip, identity;q=0", "small", Some("gzip")),
            ("gzip, identity; q=0.0", "small", Some("gzip")),
            ("br, *;q=0", "small", Some("br")),
            ("gzip, identity, *;q=0", "small", None),
            ("gzip, identity;q=0", "", None),
            ("identity;q=0", "small", None),
        ] {
            let response = Response::new(Body::from(text.to_owned()));
            let response = compress(response, HeaderValue::from_static(encodings)).await;
            let found = response.headers().get(CONTENT_ENCODING).cloned();
            assert_eq!(found.as_ref().map(|value| value.to_str().expect("text")), coding);
            let body = response.into_body().collect().await.expect("body").to_bytes();
            assert_eq!(body != text.as_bytes(), coding.is_some(), "{encodings}");
            assert!(text.len() < 1000 || coding.is_none() || body.len() < text.len());
        }
    }
}
