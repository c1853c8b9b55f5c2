//! Who looks at a page for who runs the server, and whether a form is ours.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Method, Response, StatusCode, request};

use crate::access::interaction::Kind;
use crate::access::{Caller, Outcome, Principal};
use crate::error::Error;
use crate::fhir::query::Query;
use crate::http::body;
use crate::http::caller;
use crate::http::cors::origin;
use crate::http::dispatch::Asked;
use crate::http::oauth::pages::html::Html;
use crate::http::oauth::pages::reply::Page;
use crate::http::oauth::pages::{login, visit::Visit};
use crate::http::outcome::Failure;
use crate::http::server::Server;

/// Largest form, in bytes.
const MOST_BYTES: usize = 16 * 1024;
/// The one form of forms.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Somebody who may look.
pub(super) struct Guest {
    /// The endpoint.
    pub(super) server: Arc<Server>,
    /// Who it is.
    pub(super) caller: Caller,
    /// What was sent: the form of a POST, the query of a GET.
    pub(super) sent: Query,
    /// `{name}` of the path.
    pub(super) name: String,
    /// What makes forms ours; `None` where nobody logs in.
    csrf: Option<String>,
}

/// A guest, or the page that somebody else gets.
pub(super) type Admitted = Result<Guest, Box<Response<Body>>>;

impl Guest {
    /// Finds out who sends a request.
    ///
    /// # Errors
    /// Those of reading it, and of the database.
    pub(super) async fn read(
        server: Arc<Server>,
        parts: request::Parts,
        body: Body,
    ) -> Result<Admitted, Failure> {
        if server.oauth.is_some() {
            return Self::with_session(server, parts, body).await;
        }
        origin::check(&parts, &server.cors, server.settings.base_url.as_deref())?;
        let raw = if parts.method == Method::POST {
            let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            let kind = kind.unwrap_or_default().split(|byte| *byte == b';').next();
            if !kind.unwrap_or_default().trim_ascii().eq_ignore_ascii_case(FORM) {
                let text = "a form is sent as application/x-www-form-urlencoded";
                return Err(Failure::UnsupportedMediaType(text.to_owned()));
            }
            let read = body::read(body, &parts.headers, MOST_BYTES).await?;
            String::from_utf8_lossy(&read).into_owned()
        } else {
            parts.uri.query().unwrap_or_default().to_owned()
        };
        let sent = Query::parse(&raw).map_err(Error::from)?;
        let asked = parts.extensions.get::<Asked>().cloned();
        let id = asked.as_ref().and_then(|asked| asked.id.to_str().ok()).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let request = caller::context(&server.settings, &parts, id, path);
        let caller = Caller::new(Principal::open(), request);
        let name = asked.and_then(|asked| asked.name).unwrap_or_default().into_string();
        Ok(Ok(Self { server, caller, sent, name, csrf: None }))
    }

    async fn with_session(
        server: Arc<Server>,
        parts: request::Parts,
        body: Body,
    ) -> Result<Admitted, Failure> {
        let is_form = parts.method == Method::POST;
        let visit = Visit::read(server, parts, body).await?;
        if is_form && let Err(response) = visit.own_form() {
            return Ok(Err(response));
        }
        let Some((browser, account)) = visit.whole() else {
            return Ok(Err(Box::new(login::due(&visit))));
        };
        let principal = visit.authority.operator_of(account, browser.session.id).await;
        let principal = match principal {
            Ok(principal) => principal,
            Err(Error::Forbidden) => {
                let (kind, actor) = (Kind::SearchMessages, visit.visitor.actor(account));
                let gate = &visit.authority.gate;
                gate.note(kind, &actor, Outcome::Refused, "no role that sees messages").await?;
                return Ok(Err(Box::new(forbidden())));
            }
            Err(error) => return Err(error.into()),
        };
        let caller = visit.caller(principal);
        let csrf = Some(browser.csrf());
        let Visit { server, sent, name, .. } = visit;
        Ok(Ok(Self { server, caller, sent, name, csrf }))
    }

    /// What a field holds; nothing where it is missing.
    pub(super) fn value(&self, name: &str) -> &str {
        self.sent.first(name).unwrap_or_default()
    }

    /// Why something is to be done, as the guest says, or the page that asks for it.
    pub(super) fn reason(&self) -> Result<&str, Box<Response<Body>>> {
        let reason = self.value("reason").trim();
        if reason.is_empty() || reason.contains('\0') {
            let text = "Say why: it is kept in the record.";
            return Err(Box::new(said(StatusCode::BAD_REQUEST, "A reason is missing", text)));
        }
        Ok(reason)
    }

    /// The field of a form that proves that it is ours.
    pub(super) fn proof(&self, html: Html) -> Html {
        match &self.csrf {
            Some(csrf) => html.hidden("csrf", csrf),
            None => html,
        }
    }

    /// The same request with what somebody said about it, for the ledger.
    pub(super) fn saying(&self, reason: &str) -> Caller {
        self.caller.saying(reason)
    }

    /// A page for this guest.
    pub(super) fn page(&self, title: &str, content: Html, status: StatusCode) -> Response<Body> {
        Page::of_console(title, content, self.csrf.is_some()).answer(status)
    }
}

/// Answers a guest by `page`; somebody else gets the page that is for them.
pub(super) async fn with_guest(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
    page: impl AsyncFnOnce(Guest) -> Result<Response<Body>, Failure>,
) -> Result<Response<Body>, Failure> {
    match Guest::read(server, parts, body).await? {
        Ok(guest) => page(guest).await,
        Err(response) => Ok(*response),
    }
}

/// What an interaction is answered with that did not happen: a page where a person can do something
/// about it.
pub(super) fn refused(error: Error) -> Result<Response<Body>, Failure> {
    match error {
        Error::Forbidden => Ok(forbidden()),
        Error::NotFound(_) => Ok(said(
            StatusCode::NOT_FOUND,
            "There is no such message",
            "It may be older than messages are kept.",
        )),
        Error::Conflict(text) => Ok(said(StatusCode::CONFLICT, "This cannot be done now", &text)),
        error => Err(error.into()),
    }
}

/// A page that says one thing.
pub(super) fn said(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    Page::of_console(title, Html::new().element("<p>", text, "</p>\n"), false).answer(status)
}

fn forbidden() -> Response<Body> {
    said(
        StatusCode::FORBIDDEN,
        "This page is not for you",
        "Messages are shown to who may see everything: the role is that of an administrator.",
    )
}
