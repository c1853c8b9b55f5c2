//! Where a request comes from, for an endpoint that lets in whoever reaches it.
//!
//! Such an endpoint is on a loopback address, and so is every browser of the machine: a page of
//! another site can send it forms, and a name that is turned to this address makes a page of that
//! site one of this server's own. A browser says both, by `Origin` and `Host`; programs that are no
//! browser are not what this is about.
//!
//! Spec: RFC 6454, <https://www.w3.org/TR/fetch-metadata/>

use std::net::IpAddr;

use axum::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{Uri, request};

use crate::http::outcome::Failure;

use super::Cors;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a browser sends for a page of another site.
///
/// # Errors
/// [`Failure::ForeignPage`] for a host that is neither this machine nor the `configured` base's, and
/// for a page that `cors` does not list.
pub(in crate::http) fn check(
    parts: &request::Parts,
    cors: &Cors,
    configured: Option<&str>,
) -> Result<(), Failure> {
    let headers = &parts.headers;
    let configured = configured.and_then(|base| base.parse::<Uri>().ok()?.into_parts().authority);
    let asked = asked(&parts.uri, headers)?;
    let is_own = |host: &Authority| {
        let own = configured.as_ref().map(Authority::host);
        is_loopback(host.host()) || own.is_some_and(|own| own.eq_ignore_ascii_case(host.host()))
    };
    if !asked.as_ref().is_none_or(is_own) {
        return Err(foreign_host());
    }
    let refused = || {
        let text = "authorization is off: pages of other sites are not served unless \
                    http.cors_origins lists them";
        Err(Failure::ForeignPage(text.to_owned()))
    };
    if let Some(origin) = headers.get(ORIGIN) {
        let page = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
        let page = page.and_then(|page| page.into_parts().authority);
        let is_own = page.is_some() && (page == asked || page == configured);
        return if is_own || cors.allows(origin) { Ok(()) } else { refused() };
    }
    let is_foreign = headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
    if is_foreign { refused() } else { Ok(()) }
}

/// The host that is asked, by the URL or else by the header, where there is one.
fn asked(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Failure> {
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let mut sent = headers.get_all(HOST).iter();
    let host = match (sent.next().map(HeaderValue::to_str), sent.next()) {
        (None, _) | (Some(Ok("")), None) => return Ok(None),
        (Some(Ok(host)), None) => host.parse().ok(),
        _ => None,
    };
    host.map(Some).ok_or_else(foreign_host)
}

fn foreign_host() -> Failure {
    let text = "authorization is off: only the names of this machine are served, and that of \
                http.base_url";
    Failure::ForeignPage(text.to_owned())
}

/// Whether a host is this machine: by a loopback address, or by the name that no resolver turns to
/// another one (RFC 6761).
fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
    let is_address = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_address || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn pages_of_other_sites_are_told_from_those_of_this_machine() {
        let evil = Some("https://evil.example");
        let listed = Some("https://app.example.org");
        for (host, origin, site, is_served) in [
            (Some("127.0.0.1:8080"), None, None, true),
            (Some("127.8.9.1"), None, None, true),
            (Some("localhost:8080"), None, None, true),
            (Some("LocalHost."), None, None, true),
            (Some("kiln.localhost:1"), None, None, true),
            (Some("[::1]:8080"), None, None, true),
            (Some("fhir.example.org"), None, None, true),
            (None, None, None, true),
            (Some(""), None, None, true),
            (Some("evil.example:8080"), None, None, false),
            (Some("127.0.0.1.evil.example"), None, None, false),
            (Some("notlocalhost"), None, None, false),
            (Some("10.0.0.1"), None, None, false),
            (Some("[::2]"), None, None, false),
            (Some("a b"), None, None, false),
            (Some("localhost:1"), Some("http://localhost:1"), Some("same-origin"), true),
            (Some("localhost:1"), Some("http://localhost:2"), Some("same-site"), false),
            (Some("localhost:1"), Some("https://fhir.example.org"), None, true),
            (Some("localhost:1"), evil, None, false),
            (Some("localhost:1"), evil, Some("cross-site"), false),
            (Some("localhost:1"), Some("null"), None, false),
            (Some("localhost:1"), listed, Some("cross-site"), true),
            (Some("evil.example"), listed, None, false),
            (Some("evil.example"), evil, Some("same-origin"), false),
            (Some("localhost:1"), None, Some("cross-site"), false),
            (Some("localhost:1"), None, Some("none"), true),
            (Some("localhost:1"), None, Some("same-origin"), true),
        ] {
            let headers = [(HOST, host), (ORIGIN, origin), (SEC_FETCH_SITE, site)];
            let request =
                headers.into_iter().fold(Request::builder(), |request, header| match header {
                    (name, Some(value)) => request.header(name, value),
                    (_, None) => request,
                });
            let (parts, ()) = request.body(()).expect("request").into_parts();
            let cors = Cors::new(&["https://app.example.org".to_owned()]);
            let found = check(&parts, &cors, Some("https://fhir.example.org/r4"));
            assert_eq!(found.is_ok(), is_served, "{host:?} {origin:?} {site:?}");
            let found = check(&parts, &Cors::Any, Some("https://fhir.example.org/r4"));
            let is_called = origin.is_some() && host == Some("localhost:1");
            assert_eq!(found.is_ok(), is_served || is_called, "*: {host:?} {origin:?} {site:?}");
        }
    }
}
