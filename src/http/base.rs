//! The base that clients see: configured, told by a proxy, or the host they asked.
//!
//! Spec: RFC 7239, rest 1.8

use axum::http::Uri;
use axum::http::header::{FORWARDED, HOST, HeaderMap};
use axum::http::uri::Authority;

/// The path of the FHIR endpoint under the listener.
pub(super) const FHIR: &str = "/fhir";

/// The public base of this request, without a trailing slash.
///
/// A configured base beats everything. Without one the Forwarded header of a proxy counts, then its
/// X-Forwarded ones, then the host of the request, then `fallback`.
pub(super) fn public(
    configured: Option<&str>,
    headers: &HeaderMap,
    uri: &Uri,
    fallback: &str,
) -> String {
    if let Some(base) = configured {
        return base.trim_end_matches('/').to_owned();
    }
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        // Each proxy on the way adds its own; the first is the one that the client asked.
        let first = value.split(',').next().unwrap_or_default().trim();
        (!first.is_empty()).then_some(first)
    };
    let host = forwarded(headers, "host")
        .or_else(|| text("x-forwarded-host"))
        .or_else(|| uri.authority().map(Authority::as_str))
        .or_else(|| text(HOST.as_str()))
        .filter(|host| is_host(host));
    let Some(host) = host else { return fallback.to_owned() };
    let scheme = match forwarded(headers, "proto").or_else(|| text("x-forwarded-proto")) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        _ => "http",
    };
    let prefix = text("x-forwarded-prefix").filter(|prefix| is_path(prefix));
    let prefix = prefix.unwrap_or_default().trim_end_matches('/');
    format!("{scheme}://{host}{prefix}{FHIR}")
}

/// The value of `name` in the first element of `Forwarded`: that of the proxy which the client asked.
fn forwarded<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let first = headers.get(FORWARDED)?.to_str().ok()?.split(',').next()?;
    let value = first.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    });
    value.filter(|value| !value.is_empty())
}

/// Whether the text can stand as `host:port`, and as nothing else, in a URL.
fn is_host(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

/// Whether the text is an absolute path of plain characters.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_base_is_configured_forwarded_or_the_host_asked() {
        let host = ("host", "localhost:8080");
        let forwarded = ("x-forwarded-host", "fhir.example.org, inner");
        let https = ("x-forwarded-proto", "https");
        let prefix = ("x-forwarded-prefix", "/a/");
        for (configured, sent, expected) in [
            (Some("https://x.org/fhir/"), vec![host, forwarded], "https://x.org/fhir"),
            (None, vec![host], "http://localhost:8080/fhir"),
            (None, vec![host, forwarded], "http://fhir.example.org/fhir"),
            (None, vec![host, forwarded, https, prefix], "https://fhir.example.org/a/fhir"),
            (
                None,
                vec![host, ("forwarded", "for=10.0.0.1;Host=\"a.org:8\";proto=https, host=inner")],
                "https://a.org:8/fhir",
            ),
            (None, vec![host, ("forwarded", "host=\"\";by=x")], "http://localhost:8080/fhir"),
            (None, vec![host, ("forwarded", "host=a/b")], "http://bind/fhir"),
            (None, vec![("host", "a/b?c")], "http://bind/fhir"),
            (None, vec![host, ("x-forwarded-prefix", "//evil")], "http://localhost:8080/fhir"),
            (None, vec![], "http://bind/fhir"),
        ] {
            let headers: HeaderMap = sent
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect();
            let uri = Uri::from_static("/fhir/Patient");
            assert_eq!(
                public(configured, &headers, &uri, "http://bind/fhir"),
                expected,
                "{sent:?}"
            );
        }
    }
}
