//! Headers of an answer that shows a version: cheap to make, because every read makes them.

use axum::http::header::{
    CACHE_CONTROL, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, VARY,
};

use crate::fhir::{Instant, Version, VersionId};

/// `X-Request-Id`
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `X-Correlation-Id`: the client's own id when the server could not keep it.
pub const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// `X-Security-Context`: what a Binary's access is judged by.
pub const X_SECURITY_CONTEXT: HeaderName = HeaderName::from_static("x-security-context");

/// The `Vary` of answers that may be kept: the headers of a request that they depend on.
pub const VARY_ON: HeaderValue =
    HeaderValue::from_static("Accept, Accept-Encoding, Prefer, Authorization");

/// The weak entity tag of a version.
pub fn etag(version: VersionId) -> HeaderValue {
    // W/" + 10 digits + " fits, and digits are always a valid header.
    let mut text = [0_u8; 16];
    let mut at = text.len() - 1;
    text[at] = b'"';
    let mut rest = version.0.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text[at - 3..at].copy_from_slice(b"W/\"");
    HeaderValue::from_bytes(&text[at - 3..]).unwrap_or(HeaderValue::from_static("W/\"0\""))
}

/// The HTTP date of an instant.
pub fn http_date(instant: Instant) -> HeaderValue {
    HeaderValue::try_from(instant.to_http_date())
        .unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// Sets `ETag` and `Last-Modified` of a version.
pub fn set_version(headers: &mut HeaderMap, version: &Version) {
    headers.insert(ETAG, etag(version.version));
    headers.insert(LAST_MODIFIED, http_date(version.last_updated));
}

/// Sets `Cache-Control` and `Vary` of an answer to a GET: this client may keep it, and asks again each
/// time. Old versions too: `$meta-add` and `$meta-delete` change their labels.
pub fn set_caching(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, VARY_ON);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_weak_and_has_the_version() {
        for (version, tag) in [
            (1, "W/\"1\""),
            (10, "W/\"10\""),
            (987_654, "W/\"987654\""),
            (i32::MAX, "W/\"2147483647\""),
        ] {
            assert_eq!(etag(VersionId(version)), tag);
        }
    }

    #[test]
    fn a_date_is_in_http_form() {
        let instant = Instant::parse("1994-11-06T08:49:37.700Z").expect("instant");
        assert_eq!(http_date(instant), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
