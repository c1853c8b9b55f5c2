//! One request to a page: what it says, whose browser it is, and whether its form is ours.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, COOKIE, HeaderValue, SET_COOKIE};
use axum::http::{Method, Response, StatusCode, request};
use secrecy::ExposeSecret as _;

use crate::access::{Caller, Principal, RequestContext};
use crate::error::Error;
use crate::fhir::query::Query;
use crate::http::body;
use crate::http::caller;
use crate::http::dispatch::Asked;
use crate::http::outcome::Failure;
use crate::http::server::{Server, Settings};
use crate::oauth::Authority;
use crate::oauth::login::{Account, Browser, Stage, Visitor, handle};

use super::reply;

/// Largest form, in bytes.
const MOST_BYTES: usize = 64 * 1024;
/// The one form of forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// A request to a page.
pub(in crate::http) struct Visit {
    /// The endpoint.
    pub(in crate::http) server: Arc<Server>,
    /// The authorization server.
    pub(in crate::http) authority: Arc<Authority>,
    /// What was sent: the form of a POST, the query of a GET.
    pub(in crate::http) sent: Query,
    /// The same as it came.
    pub(in crate::http) raw: String,
    /// Where it comes from, for the ledger.
    pub(in crate::http) visitor: Visitor,
    /// Whose browser it is.
    pub(in crate::http) browser: Option<Browser>,
    /// `{name}` of the path.
    pub(in crate::http) name: String,
}

impl Visit {
    /// Reads a request.
    pub(in crate::http) async fn read(
        server: Arc<Server>,
        parts: request::Parts,
        body: Body,
    ) -> Result<Self, Failure> {
        let raw = if parts.method == Method::POST {
            let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            let kind = kind.unwrap_or_default().split(|byte| *byte == b';').next();
            if !kind.unwrap_or_default().trim_ascii().eq_ignore_ascii_case(FORM.as_bytes()) {
                return Err(Failure::UnsupportedMediaType(format!("a form is sent as {FORM}")));
            }
            let read = body::read(body, &parts.headers, MOST_BYTES).await?;
            String::from_utf8_lossy(&read).into_owned()
        } else {
            parts.uri.query().unwrap_or_default().to_owned()
        };
        Self::of(server, &parts, raw).await
    }

    /// A request whose body was read: `raw`.
    pub(in crate::http) async fn of(
        server: Arc<Server>,
        parts: &request::Parts,
        raw: String,
    ) -> Result<Self, Failure> {
        let authority = server.oauth.clone();
        let authority = authority.ok_or_else(|| Error::internal("a page without its server"))?;
        let sent = Query::parse(&raw).map_err(Error::from)?;
        let asked = parts.extensions.get::<Asked>().cloned();
        let visitor = Visitor(Arc::new(context(&server.settings, parts, asked.as_ref())));
        let cookie = cookie(parts, &cookie_name(&authority));
        let browser = authority.browser(cookie.as_deref()).await?;
        let name = asked.and_then(|asked| asked.name).unwrap_or_default().into_string();
        Ok(Self { server, authority, sent, raw, visitor, browser, name })
    }

    /// The browser, with a session of nobody where it has none; whether that is new.
    pub(in crate::http) async fn or_begin(&self) -> Result<(Browser, bool), Failure> {
        if let Some(browser) = &self.browser {
            return Ok((browser.clone(), false));
        }
        let begun = self.authority.begin_anonymous().await;
        Ok((begun.map_err(Failure::Interaction)?, true))
    }

    /// What a field holds; nothing where it is missing.
    pub(in crate::http) fn value(&self, name: &str) -> &str {
        self.sent.first(name).unwrap_or_default()
    }

    /// All that fields of this name hold.
    pub(in crate::http) fn values(&self, name: &str) -> Vec<&str> {
        self.sent.iter().filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
    }

    /// The browser whose page sent this form, or the page that says that it was another.
    pub(in crate::http) fn own_form(&self) -> Result<&Browser, Box<Response<Body>>> {
        let sent = self.value("csrf");
        let is_ours = |browser: &&Browser| handle::is_csrf(&browser.cookie, sent);
        self.browser.as_ref().filter(is_ours).ok_or_else(|| {
            Box::new(reply::problem(
                StatusCode::FORBIDDEN,
                "This form cannot be used any more",
                "The form is too old, or does not come from this page. Go back and begin anew.",
            ))
        })
    }

    /// Who has logged in entirely, with the browser; nobody else may use most pages.
    pub(in crate::http) fn whole(&self) -> Option<(&Browser, &Account)> {
        let browser = self.browser.as_ref()?;
        match browser.stage() {
            Stage::Whole(account) => Some((browser, account)),
            Stage::Half(_) | Stage::Nobody => None,
        }
    }

    /// Somebody's request to the engine, from a page.
    pub(in crate::http) fn caller(&self, principal: Principal) -> Caller {
        Caller { principal, request: self.visitor.0.clone() }
    }

    /// `response` for a browser that has a new session.
    pub(in crate::http) fn keep(
        &self,
        browser: &Browser,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let value = browser.cookie.expose_secret();
        self.set_cookie(&mut response, value, "");
        response
    }

    /// `response` for a browser whose session is over.
    pub(in crate::http) fn forget(&self, mut response: Response<Body>) -> Response<Body> {
        self.set_cookie(&mut response, "", "; Max-Age=0");
        response
    }

    fn set_cookie(&self, response: &mut Response<Body>, value: &str, more: &str) {
        let name = cookie_name(&self.authority);
        let secure = if is_secure(&self.authority) { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}");
        if let Ok(mut value) = HeaderValue::try_from(text) {
            value.set_sensitive(true);
            response.headers_mut().append(SET_COOKIE, value);
        }
    }
}

/// What the ledger keeps of a request to a page: the path without what it names, and no query, which
/// may hold what opens something.
fn context(settings: &Settings, parts: &request::Parts, asked: Option<&Asked>) -> RequestContext {
    let path = parts.uri.path();
    let path = match asked.and_then(|asked| asked.name.as_deref()) {
        Some(_) => path.rsplit_once('/').map_or(path, |(before, _)| before),
        None => path,
    };
    let id = asked.and_then(|asked| asked.id.to_str().ok()).unwrap_or_default();
    caller::context(settings, parts, id, path.to_owned())
}

/// Whether browsers reach us by TLS; without it, only those of this machine do.
fn is_secure(authority: &Authority) -> bool {
    authority.settings.issuer.starts_with("https:")
}

/// The prefix makes browsers keep the cookie to this host and to TLS. Servers that share a host, as
/// tenants do by their paths, have cookies of their own.
fn cookie_name(authority: &Authority) -> String {
    let name = if is_secure(authority) { "__Host-kiln-session" } else { "kiln-session" };
    let path = reply::prefix(Some(authority));
    let plain = |it: char| if it.is_ascii_alphanumeric() { it } else { '-' };
    format!("{name}{}", path.chars().map(plain).collect::<String>())
}

fn cookie(parts: &request::Parts, name: &str) -> Option<String> {
    let all = parts.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = all.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    });
    let first = found.next();
    // Two of one name: one was planted.
    if found.next().is_some() { None } else { first }
}
