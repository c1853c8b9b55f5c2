//! A principal and the request it made: what the gate and the ledger need to know of it.

use std::net::IpAddr;
use std::sync::Arc;

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

    /// The same for a GET of a Bundle: the ledger keeps what the entry asks for.
    #[must_use]
    pub fn of_entry(&self, asked: &str) -> Self {
        let root = self.request.path_and_query.split('?').next().unwrap_or_default();
        let path_and_query = format!("{}/{asked}", root.trim_end_matches('/'));
        let request = RequestContext { method: "GET", path_and_query, ..(*self.request).clone() };
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

/// What the ledger keeps of a request.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The request id, as in `X-Request-Id`.
    pub id: String,
    /// The HTTP method.
    pub method: &'static str,
    /// Path and query as sent, undecoded.
    pub path_and_query: String,
    /// Where it came from.
    pub source: Option<IpAddr>,
}
