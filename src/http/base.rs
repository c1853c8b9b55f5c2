//! The base that clients see: configured, told by a proxy, or the host they asked.
//!
//! Spec: RFC 7239, rest 1.8

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{FORWARDED, HOST, HeaderMap};
use axum::http::{Uri, request};

use crate::config::Network;

use super::caller;
use super::server::Settings;

/// The path of the FHIR endpoint under the listener.
pub(super) const FHIR: &str = "/fhir";

/// The public base of a request, without a trailing slash.
///
/// A configured base beats everything. Without one the Forwarded header of a proxy counts, then its
/// X-Forwarded ones, then the host of the request, then that of the listener.
pub(super) fn of(settings: &Settings, parts: &request::Parts) -> String {
    if let Some(base) = &settings.base_url {
        return base.trim_end_matches('/').to_owned();
    }
    let proxies = &settings.trusted_proxies;
    // Whoever else says where links lead could say it to others, by way of what they keep.
    let is_proxy = caller::source(parts).is_some_and(|peer| is_proxy(proxies, peer.to_canonical()));
    let nothing = HeaderMap::new();
    let told = if is_proxy { &parts.headers } else { &nothing };
    public(told, &parts.headers, &parts.uri, &settings.listener_base)
}

/// The address of who asks: what a known proxy says of it, else the other end of the connection.
pub(super) fn client(settings: &Settings, parts: &request::Parts) -> Option<IpAddr> {
    let peer = caller::source(parts)?.to_canonical();
    let proxies = &settings.trusted_proxies;
    if !is_proxy(proxies, peer) {
        return Some(peer);
    }
    // Each proxy adds whom it saw: the last that is no proxy of ours asked. What stands before a part
    // that nobody can read may be anybody's word.
    let told = parts.headers.get_all("x-forwarded-for").iter();
    let told = told.flat_map(|it| it.to_str().unwrap_or_default().split(','));
    let told: Vec<&str> = told.map(str::trim).collect();
    let mut readable = told.iter().rev().map_while(|it| address(it));
    let asked = readable.find(|it| !is_proxy(proxies, *it));
    Some(asked.unwrap_or(peer))
}

/// The address in a part of X-Forwarded-For; some proxies write the port too.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|it| it.ip());
    text.parse::<IpAddr>().ok().or_else(with_port).map(|it| it.to_canonical())
}

/// Whether the other end of a connection is one of these proxies, or this machine.
pub(super) fn is_proxy(proxies: &[Network], peer: IpAddr) -> bool {
    peer.is_loopback() || proxies.iter().any(|it| it.contains(peer))
}

/// The base by what a proxy `told`, else by the host that was asked.
fn public(told: &HeaderMap, headers: &HeaderMap, uri: &Uri, fallback: &str) -> String {
    let text = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        // Each proxy on the way adds its own; the first is the one that the client asked.
        let first = value.split(',').next().unwrap_or_default().trim();
        (!first.is_empty()).then(|| first.to_owned())
    };
    let host = forwarded(told, "host")
        .or_else(|| text(told, "x-forwarded-host"))
        .or_else(|| uri.authority().map(|it| it.as_str().to_owned()))
        .or_else(|| text(headers, HOST.as_str()))
        .filter(|host| is_host(host));
    let Some(host) = host else { return fallback.to_owned() };
    let scheme = match forwarded(told, "proto").or_else(|| text(told, "x-forwarded-proto")) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        None if fallback.starts_with("https:") => "https",
        _ => "http",
    };
    let prefix = text(told, "x-forwarded-prefix").filter(|prefix| is_path(prefix));
    let prefix = prefix.unwrap_or_default();
    let prefix = prefix.trim_end_matches('/');
    format!("{scheme}://{host}{prefix}{FHIR}")
}

/// The value of `name` in the first element of `Forwarded`: that of the proxy which the client asked.
fn forwarded(headers: &HeaderMap, name: &str) -> Option<String> {
    let first = headers.get(FORWARDED)?.to_str().ok()?.split(',').next()?;
    let value = first.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    });
    value.filter(|value| !value.is_empty()).map(str::to_owned)
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
    use std::time::Duration;

    use axum::extract::ConnectInfo;
    use axum::http::Request;

    use super::*;

    fn settings(base_url: Option<&str>) -> Settings {
        Settings {
            base_url: base_url.map(str::to_owned),
            listener_base: "http://bind/fhir".to_owned(),
            cors_origins: Vec::new(),
            trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
            max_body_bytes: 0,
            max_binary_bytes: 0,
            max_message_bytes: 0,
            max_depth: 0,
            max_url_bytes: 0,
            timeout: Duration::ZERO,
            with_admin: true,
            with_metrics: true,
        }
    }

    fn seen(base_url: Option<&str>, peer: &str, sent: &[(&str, &str)]) -> String {
        let mut request = Request::get("/fhir/Patient");
        for (name, value) in sent {
            request = request.header(*name, *value);
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        let (parts, ()) = request.extension(ConnectInfo(peer)).body(()).unwrap().into_parts();
        of(&settings(base_url), &parts)
    }

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
            assert_eq!(seen(configured, "127.0.0.1", &sent), expected, "{sent:?}");
        }
        let nothing = HeaderMap::new();
        for (told, expected) in [(None, "https"), (Some("http"), "http"), (Some("https"), "https")]
        {
            let told =
                told.map(|scheme| ("x-forwarded-proto".parse().unwrap(), scheme.parse().unwrap()));
            let told: HeaderMap = told.into_iter().collect();
            let uri = Uri::from_static("https://h/fhir");
            let base = public(&told, &nothing, &uri, "https://bind/fhir");
            assert_eq!(base, format!("{expected}://h/fhir"), "{told:?}, a listener with TLS");
        }
    }

    /// Covers: security A3.
    #[test]
    fn who_asks_is_the_last_address_that_is_no_proxy() {
        for (peer, told, expected) in [
            ("198.51.100.1", None, "198.51.100.1"),
            ("198.51.100.1", Some("203.0.113.9"), "198.51.100.1"),
            ("192.0.2.9", Some("203.0.113.9"), "203.0.113.9"),
            ("192.0.2.9", Some("10.0.0.1, 203.0.113.9, 192.0.2.8"), "203.0.113.9"),
            ("192.0.2.9", Some("nonsense"), "192.0.2.9"),
            ("192.0.2.9", Some("203.0.113.9, nonsense"), "192.0.2.9"),
            ("192.0.2.9", Some("10.0.0.1, 203.0.113.9:4711"), "203.0.113.9"),
            ("192.0.2.9", Some("[2001:db8::7]:4711"), "2001:db8::7"),
            ("192.0.2.9", Some("::ffff:203.0.113.9"), "203.0.113.9"),
            ("::ffff:192.0.2.9", Some("203.0.113.9"), "203.0.113.9"),
            ("::ffff:198.51.100.1", Some("203.0.113.9"), "198.51.100.1"),
            ("127.0.0.1", None, "127.0.0.1"),
        ] {
            let mut request = Request::get("/");
            if let Some(told) = told {
                request = request.header("x-forwarded-for", told);
            }
            let from = SocketAddr::new(peer.parse().unwrap(), 1);
            let (parts, ()) = request.extension(ConnectInfo(from)).body(()).unwrap().into_parts();
            let found = client(&settings(None), &parts).map(|it| it.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{peer} {told:?}");
            // The ledger has the same.
            let kept = caller::context(&settings(None), &parts, "id", "/".to_owned()).source;
            assert_eq!(kept.map(|it| it.to_string()).as_deref(), Some(expected), "{peer} {told:?}");
        }
    }

    /// Covers: security V38.
    #[test]
    fn only_a_proxy_that_is_known_says_what_was_asked() {
        let own = "http://fhir.example.org/fhir";
        let other = "https://evil.example/p/fhir";
        for (peer, expected) in [
            ("127.0.0.1", other),
            ("::1", other),
            ("192.0.2.9", other),
            ("::ffff:192.0.2.9", other),
            ("198.51.100.1", own),
            ("2001:db8::1", own),
        ] {
            let host = ("host", "fhir.example.org");
            let prefix = ("x-forwarded-prefix", "/p");
            let forwarded = ("forwarded", "host=evil.example;proto=https");
            assert_eq!(seen(None, peer, &[host, prefix, forwarded]), expected, "{peer}");
            let old = [
                host,
                prefix,
                ("x-forwarded-host", "evil.example"),
                ("x-forwarded-proto", "https"),
            ];
            assert_eq!(seen(None, peer, &old), expected, "{peer}");
        }
    }
}
