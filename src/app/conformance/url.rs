//! Addresses, queries and forms, as a client of OAuth needs them.

use hyper::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Names and values in order; a name may come twice.
pub(super) type Pairs = Vec<(String, String)>;

/// `text` as it stands in a query or a form.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The pairs as a form's body or a query.
pub(super) fn encode<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name.as_ref()), escape(value.as_ref())))
        .collect();
    pairs.join("&")
}

/// Reads a query or a form's body.
pub(super) fn decode(query: &str) -> Pairs {
    let text =
        |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (text(name), text(value))
        })
        .collect()
}

/// The first value of `name`.
pub(super) fn value<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// `url` with `query` at its end.
pub(super) fn with_query(url: &str, query: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{query}")
}

/// Scheme, host and port: what a browser sends as `Origin`.
pub(super) fn origin(url: &str) -> &str {
    let Some(scheme) = url.find("://") else { return url };
    let rest = &url[scheme + 3..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    &url[..scheme + 3 + end]
}

/// Whether requests to both go to the same host and port, in the same way.
pub(super) fn are_of_one_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        let port = match uri.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let is_secure = port == 443;
        Some((is_secure, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(port)))
    };
    origin(one).is_some_and(|one| origin(other) == Some(one))
}

/// What `reference` means on the page at `page`.
pub(super) fn join(page: &str, reference: &str) -> String {
    let page = page.split('#').next().unwrap_or_default();
    let is_absolute = reference.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if reference.is_empty() {
        return page.to_owned();
    }
    if is_absolute {
        return reference.to_owned();
    }
    let origin = origin(page);
    if let Some(rest) = reference.strip_prefix("//") {
        let scheme = page.split("://").next().unwrap_or("https");
        return format!("{scheme}://{rest}");
    }
    if reference.starts_with('/') {
        return format!("{origin}{reference}");
    }
    let path = page.split('?').next().unwrap_or_default();
    if reference.starts_with('?') {
        return format!("{path}{reference}");
    }
    let folder =
        path[origin.len()..].rfind('/').map_or("/", |at| &path[origin.len()..=origin.len() + at]);
    format!("{origin}{folder}{reference}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_written_and_read_back() {
        let pairs = vec![
            ("scope".to_owned(), "patient/*.rs openid".to_owned()),
            ("state".to_owned(), "a+b&c=ü%".to_owned()),
        ];
        let text = encode(&pairs);
        assert_eq!(text, "scope=patient%2F%2A.rs%20openid&state=a%2Bb%26c%3D%C3%BC%25");
        assert_eq!(decode(&text), pairs);
        assert_eq!(value(&decode("a=1+2&a=3&b"), "a"), Some("1 2"));
        assert_eq!(value(&decode("a=1&b"), "b"), Some(""));
        assert_eq!(value(&pairs, "code"), None);
        assert_eq!(with_query("http://x/?a=1", "b=2"), "http://x/?a=1&b=2");
    }

    #[test]
    fn references_are_resolved_as_a_browser_does() {
        let page = "https://x:1/auth/login?request=1#top";
        for (reference, expected) in [
            ("", "https://x:1/auth/login?request=1"),
            ("/auth/consent", "https://x:1/auth/consent"),
            ("consent?a=b", "https://x:1/auth/consent?a=b"),
            ("?a=b", "https://x:1/auth/login?a=b"),
            ("//y/z", "https://y/z"),
            ("http://127.0.0.1:9/cb?code=1", "http://127.0.0.1:9/cb?code=1"),
            ("app.x://cb", "https://x:1/auth/app.x://cb"),
        ] {
            assert_eq!(join(page, reference), expected, "{reference}");
        }
        assert_eq!(join("http://x", "a"), "http://x/a");
        assert_eq!(origin("http://x:1/a"), "http://x:1");
        assert_eq!(origin("http://x?a"), "http://x");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (base, url, expected) in [
            ("https://h/fhir", "https://h/fhir/$export/1", true),
            ("https://h/fhir", "https://H:443/elsewhere?a=b", true),
            ("http://127.0.0.1:8080/fhir", "http://127.0.0.1:8080/x", true),
            ("https://h/fhir", "http://h/fhir/$export/1", false),
            ("https://h/fhir", "https://h:8443/fhir/$export/1", false),
            ("https://h/fhir", "http://h:443/fhir/$export/1", false),
            ("https://h/fhir", "https://h.example/fhir", false),
            ("https://h/fhir", "https://h:443@elsewhere.example/fhir", false),
            ("https://h/fhir", "ftp://h/fhir", false),
            ("https://h/fhir", "/fhir/$export/1", false),
            ("https://h/fhir", "", false),
            ("h/fhir", "h/fhir", false),
        ] {
            assert_eq!(are_of_one_origin(base, url), expected, "{base} {url}");
        }
    }
}
