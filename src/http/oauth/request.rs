//! A request to one of the endpoints for programs: its form, and how its sender is known.
//!
//! Spec: security T3

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode, request};

use crate::access::interaction::Kind;
use crate::access::{Actor, RequestContext, party_of};
use crate::error::Error;
use crate::http::body;
use crate::http::caller;
use crate::http::cors::OfClient;
use crate::http::dispatch::Asked;
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::Authority;
use crate::oauth::client::{Basic, Client};
use crate::oauth::form::Form;
use crate::oauth::limits::Rate;
use crate::oauth::refusal::Refusal;

use super::failure;

/// Largest body, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// The one form of forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// A request before its form is read.
pub(super) struct Call {
    /// The authorization server.
    pub(super) authority: Arc<Authority>,
    /// For the ledger.
    pub(super) context: Arc<RequestContext>,
    parts: request::Parts,
    address: String,
}

impl Call {
    /// What is known of a request by its head.
    pub(super) fn new(server: &Server, parts: request::Parts) -> Result<Self, Failure> {
        let authority = server.oauth.clone();
        let authority =
            authority.ok_or_else(|| Error::internal("an endpoint without its server"))?;
        let asked = parts.extensions.get::<Asked>();
        let id = asked.and_then(|asked| asked.id.to_str().ok()).unwrap_or_default();
        // Without a query, which may hold what nobody should see.
        let path = parts.uri.path().to_owned();
        let context = caller::context(&server.settings, &parts, id, path);
        let address = party_of(context.source);
        Ok(Self { authority, context: Arc::new(context), parts, address })
    }

    /// `{name}` of the path.
    pub(super) fn name(&self) -> Option<&str> {
        self.parts.extensions.get::<Asked>()?.name.as_deref()
    }

    /// Whether the body is said to be of this media type.
    pub(super) fn is_of_type(&self, media_type: &str) -> bool {
        let kind = self.parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let kind = kind.unwrap_or_default().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
    }

    /// Counts the request, which is one of a `kind`, for its address. What is too many is on record.
    pub(super) async fn count(&self, rate: &Rate, kind: Kind) -> Result<(), Refusal> {
        let counted = rate.count(&format!("address:{}", self.address));
        let by = Actor { name: "anonymous".to_owned(), request: self.context.clone() };
        self.authority.counted(counted, kind, &by).await
    }

    /// The form of the body.
    pub(super) async fn form(&self, body: Body) -> Result<Form, Refusal> {
        if self.parts.uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(Refusal::request("parameters belong into the body, not into the URL"));
        }
        if !self.is_of_type(FORM) {
            return Err(Refusal::request("the body is sent as application/x-www-form-urlencoded"));
        }
        let text = self.text(body).await?;
        Form::parse(&text)
    }

    /// The body as a text.
    pub(super) async fn text(&self, body: Body) -> Result<String, Refusal> {
        let read = body::read(body, &self.parts.headers, MAX_BYTES).await;
        let read = read.map_err(|failure| match failure.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
            _ => Refusal::request("the body cannot be read"),
        })?;
        String::from_utf8(read.to_vec()).map_err(|_| Refusal::request("the body is not UTF-8"))
    }

    /// The Authorization header, when there is one and it can be read.
    fn authorization(&self) -> Result<Option<&str>, Refusal> {
        let mut all = self.parts.headers.get_all(AUTHORIZATION).iter();
        let first = all.next();
        if all.next().is_some() {
            return Err(Refusal::request("two Authorization headers"));
        }
        let unread = || Refusal::client("the Authorization header cannot be read");
        first.map(|value| value.to_str().map_err(|_| unread())).transpose()
    }

    /// Id and secret of HTTP Basic.
    pub(super) fn basic(&self) -> Result<Option<Basic>, Refusal> {
        self.authorization()?.map_or(Ok(None), Basic::parse)
    }

    /// A bearer token.
    pub(super) fn bearer(&self) -> Result<Option<&str>, Refusal> {
        Ok(self.authorization()?.and_then(bearer_of))
    }

    /// The answer of a refusal to this request.
    pub(super) fn refused(&self, refusal: &Refusal) -> Response<Body> {
        let sent = self.parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let scheme = sent.and_then(|value| value.split(' ').next());
        failure::refused(refusal, scheme, &self.context.id)
    }
}

/// The token of a Bearer header.
pub(super) fn bearer_of(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `response`, for the pages of `client` alone.
pub(super) fn for_client(mut response: Response<Body>, client: Option<Client>) -> Response<Body> {
    if let Some(client) = client {
        response.extensions_mut().insert(OfClient(client.origins));
    }
    response
}
