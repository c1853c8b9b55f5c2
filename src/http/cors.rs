//! Calls from web pages of other origins (CORS).
//!
//! A preflight is answered here, without authentication: it asks about the endpoint, not for data.
//!
//! Spec: <https://fetch.spec.whatwg.org/#http-cors-protocol>, rest 1.34 to 1.36

pub(super) mod origin;
pub(super) mod registered;

use axum::http::Method;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};

const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag, Last-Modified, Location, Content-Location, X-Request-Id, X-Correlation-Id, \
     X-Progress, Retry-After, Preference-Applied, Warning, WWW-Authenticate",
);
const ALLOWED: HeaderValue = HeaderValue::from_static(
    "Accept, Accept-Encoding, Authorization, Cache-Control, Content-Encoding, Content-Type, \
     If-Match, If-Modified-Since, If-None-Exist, If-None-Match, Origin, Prefer, X-Correlation-Id, \
     X-Provenance, X-Request-Id, X-Security-Context",
);
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Which origins may call.
#[derive(Debug)]
pub(super) enum Cors {
    /// Every one.
    Any,
    /// These, none when empty.
    Listed(Vec<HeaderValue>),
}

impl Cors {
    /// The origins of the configuration; `*` means every one.
    pub(super) fn new(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        let values = origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok());
        Self::Listed(values.collect())
    }

    /// Whether the page at `origin` may call.
    pub(super) fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.contains(origin),
        }
    }

    /// Whether a request is a preflight of the protocol, not merely OPTIONS.
    pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        *method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Adds to an answer what lets the page at `origin` read it; nothing when it may not.
    pub(super) fn mark(
        &self,
        origin: Option<&HeaderValue>,
        is_preflight: bool,
        headers: &mut HeaderMap,
    ) {
        let readers = match (self, origin) {
            (Self::Any, _) => Readers::All,
            (_, Some(origin)) if self.allows(origin) => Readers::Asker,
            _ => Readers::Nobody,
        };
        readers.mark(origin, is_preflight, headers);
    }
}

/// The pages of one client's origins are those that may read an answer: an extension of it.
#[derive(Clone, Debug)]
pub(super) struct OfClient(pub(super) Vec<String>);

/// Which pages may read an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Readers {
    /// All.
    All,
    /// Those of the origin that asks.
    Asker,
    /// None.
    Nobody,
}

impl Readers {
    /// Adds to an answer what lets pages of `origin` read it.
    pub(super) fn mark(
        self,
        origin: Option<&HeaderValue>,
        is_preflight: bool,
        headers: &mut HeaderMap,
    ) {
        let Some(origin) = origin else { return };
        let allowed = match self {
            Self::All => HeaderValue::from_static("*"),
            Self::Asker | Self::Nobody => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                if self == Self::Nobody {
                    return;
                }
                origin.clone()
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if is_preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_may_read_an_answer() {
        let listed = ["https://a.org".to_owned()];
        for (origins, origin, allowed) in [
            (&listed[..], Some("https://a.org"), Some("https://a.org")),
            (&listed, Some("https://b.org"), None),
            (&listed, None, None),
            (&[], Some("https://a.org"), None),
            (&["*".to_owned()], Some("https://a.org"), Some("*")),
        ] {
            let mut headers = HeaderMap::new();
            let origin = origin.map(HeaderValue::from_static);
            Cors::new(origins).mark(origin.as_ref(), false, &mut headers);
            let found = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(found.map(|value| value.to_str().expect("text")), allowed, "{origin:?}");
            assert_eq!(headers.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS), allowed.is_some());
        }
    }

    #[test]
    fn a_preflight_learns_methods_headers_and_age() {
        let origin = HeaderValue::from_static("https://a.org");
        let mut headers = HeaderMap::new();
        Cors::Any.mark(Some(&origin), true, &mut headers);
        for name in
            [ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_MAX_AGE]
        {
            assert!(headers.contains_key(&name), "{name}");
        }
        let mut request = HeaderMap::new();
        assert!(!Cors::is_preflight(&Method::OPTIONS, &request));
        request.insert(ORIGIN, origin);
        assert!(!Cors::is_preflight(&Method::OPTIONS, &request));
        request.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
        assert!(Cors::is_preflight(&Method::OPTIONS, &request));
        assert!(!Cors::is_preflight(&Method::GET, &request));
    }
}
