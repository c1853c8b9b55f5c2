//! A principal and the request it made: what the gate and the ledger need to know of it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::fhir::query::decode;

use super::principal::Principal;

/// Who asks, and by which request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The party.
    pub principal: Principal,
    /// The request, shared by all interactions that it causes.
    pub request: Arc<RequestContext>,
}

impl Caller {
    /// A caller of one request.
    pub fn new(principal: Principal, request: RequestContext) -> Self {
        Self { principal, request: Arc::new(request) }
    }

    /// The same with what somebody said of why, for the ledger.
    #[must_use]
    pub fn saying(&self, reason: &str) -> Self {
        let said =
            percent_encoding::utf8_percent_encode(reason, percent_encoding::NON_ALPHANUMERIC);
        let asked = &self.request.path_and_query;
        let mark = if asked.contains('?') { '&' } else { '?' };
        let path_and_query = format!("{asked}{mark}reason={said}");
        let request = RequestContext { path_and_query, ..(*self.request).clone() };
        Self { request: Arc::new(request), ..self.clone() }
    }

    /// The same for a GET of a Bundle: the ledger keeps what the entry asks for.
    #[must_use]
    pub fn of_entry(&self, asked: &str) -> Self {
        self.of_request("GET", asked)
    }

    /// The same for any entry.
    pub(super) fn of_request(&self, method: &'static str, asked: &str) -> Self {
        let root = self.request.path_and_query.split('?').next().unwrap_or_default();
        let asked = format!("{}/{asked}", root.trim_end_matches('/'));
        let path_and_query = shown(&asked).into_owned();
        let request = RequestContext { method, path_and_query, ..(*self.request).clone() };
        Self { request: Arc::new(request), ..self.clone() }
    }
}

/// Who an event of the authorization server is about: a party without a way to data.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The name under which the ledger knows the party: `client:ID`, `user:NAME`, `anonymous`.
    pub name: String,
    /// The request.
    pub request: Arc<RequestContext>,
}

impl Actor {
    /// The same as a caller that may do nothing, for what the ledger has to say of it and of patients.
    pub fn caller(&self) -> Caller {
        Caller { principal: Principal::named(&self.name), request: self.request.clone() }
    }
}

/// What the ledger keeps of a request.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The request id, as in `X-Request-Id`.
    pub id: String,
    /// The HTTP method.
    pub method: &'static str,
    /// Path and query as sent, undecoded, as far as they may be kept; with what was said of why, where a
    /// reason came otherwise.
    pub path_and_query: String,
    /// The address of who asks, which a known proxy tells.
    pub source: Option<IpAddr>,
}

/// Bits of an address of version 6 that are not one's own to choose: a line has the others to itself.
const NETWORK: u128 = !0 << 64;

/// The party that who asks from an address is, for whatever is counted by addresses.
pub fn party_of(address: Option<IpAddr>) -> String {
    match address.map(|it| it.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            format!("{}/64", Ipv6Addr::from_bits(address.to_bits() & NETWORK))
        }
    }
}

/// Parameters whose values nobody should see. No interaction has them, but who sends a token at the
/// wrong place sends it all the same.
const SECRETS: &[&str] =
    &["access_token", "client_assertion", "client_secret", "id_token", "refresh_token"];

/// Path and query as the ledger may keep them.
pub fn shown(text: &str) -> Cow<'_, str> {
    let Some((path, query)) = text.split_once('?') else { return Cow::Borrowed(text) };
    let is_secret = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        decode(name, true)
            .is_ok_and(|name| SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret)))
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(text);
    }
    let pairs = query.split('&').map(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if is_secret(pair) { format!("{name}=***") } else { pair.to_owned() }
    });
    Cow::Owned(format!("{path}?{}", pairs.collect::<Vec<_>>().join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_says_of_why_is_kept_with_the_request() {
        let request = |path: &str| RequestContext {
            id: "1".to_owned(),
            method: "POST",
            path_and_query: path.to_owned(),
            source: None,
        };
        for (path, expected) in [
            ("/v2/messages/1/$replay", "/v2/messages/1/$replay?reason=the%20map%20is%20mended"),
            ("/v2?prune=true", "/v2?prune=true&reason=the%20map%20is%20mended"),
        ] {
            let caller = Caller::new(Principal::service("v2"), request(path));
            let said = caller.saying("the map is mended");
            assert_eq!(said.request.path_and_query, expected, "{path}");
        }
    }

    #[test]
    fn addresses_of_one_line_are_one_party() {
        for (address, expected) in [
            (Some("192.0.2.1"), "192.0.2.1"),
            (Some("::ffff:192.0.2.1"), "192.0.2.1"),
            (Some("2001:db8:1:2::1"), "2001:db8:1:2::/64"),
            (Some("2001:db8:1:2:ffff:ffff:ffff:ffff"), "2001:db8:1:2::/64"),
            (Some("2001:db8:1:3::1"), "2001:db8:1:3::/64"),
            (Some("::1"), "::/64"),
            (None, "unknown"),
        ] {
            let read = address.map(|it| it.parse().unwrap());
            assert_eq!(party_of(read), expected, "{address:?}");
        }
    }

    #[test]
    fn a_token_in_a_url_is_not_kept() {
        for (sent, expected) in [
            ("/fhir/Patient?name=a&_count=1", "/fhir/Patient?name=a&_count=1"),
            ("/fhir/Patient?access_token=x&name=a", "/fhir/Patient?access_token=***&name=a"),
            ("/fhir/Patient?a=1&access%5Ftoken=x", "/fhir/Patient?a=1&access%5Ftoken=***"),
            ("/fhir/Patient?Access_Token=x=y", "/fhir/Patient?Access_Token=***"),
            ("/fhir/Patient", "/fhir/Patient"),
            ("/fhir/Observation?code=x", "/fhir/Observation?code=x"),
        ] {
            assert_eq!(shown(sent), expected);
        }
    }

    #[test]
    fn an_entry_of_a_bundle_is_kept_as_a_request_of_its_own() {
        let request = RequestContext {
            id: "r".to_owned(),
            method: "POST",
            path_and_query: "/fhir/?_format=json".to_owned(),
            source: None,
        };
        let caller = Caller::new(Principal::open(), request);
        let request = caller.of_entry("Patient?name=a&access_token=x").request;
        assert_eq!(request.path_and_query, "/fhir/Patient?name=a&access_token=***");
        assert_eq!((request.method, &*request.id), ("GET", "r"));
    }
}
