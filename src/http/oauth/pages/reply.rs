//! Answers of pages, with the headers that keep them from being framed, kept, or scripted.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::error::Error;
use crate::http::outcome::Failure;
use crate::oauth::Authority;
use crate::oauth::authorize::{Refusal, answer};

use super::html::{Html, console_page, page};

/// Where our pages are: those of the authorization server, and those for who runs the server.
const OWN: [&str; 2] = ["/auth", "/v2"];
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// A page in the making.
pub(in crate::http) struct Page<'a> {
    /// Its heading.
    pub(in crate::http) title: &'a str,
    /// What is below.
    pub(in crate::http) content: Html,
    /// Whether it asks for a security key, which needs the one script.
    pub(in crate::http) with_script: bool,
    /// Addresses that a form may lead to: that of an app, that of a provider.
    pub(in crate::http) leads_to: Vec<String>,
    /// Whether it is of the console, and whether somebody has logged in there.
    pub(in crate::http) console: Option<bool>,
}

impl<'a> Page<'a> {
    /// A page without a script whose forms stay here.
    pub(in crate::http) fn new(title: &'a str, content: Html) -> Self {
        Self { title, content, with_script: false, leads_to: Vec::new(), console: None }
    }

    /// A page for who runs the server.
    pub(in crate::http) fn of_console(title: &'a str, content: Html, has_session: bool) -> Self {
        Self { console: Some(has_session), ..Self::new(title, content) }
    }

    /// The same whose forms may lead to these addresses too.
    pub(in crate::http) fn leading_to<'u>(
        mut self,
        urls: impl IntoIterator<Item = &'u str>,
    ) -> Self {
        self.leads_to.extend(urls.into_iter().map(str::to_owned));
        self
    }

    /// The answer.
    pub(in crate::http) fn answer(self, status: StatusCode) -> Response<Body> {
        let text = match self.console {
            None => page(self.title, &self.content, self.with_script),
            Some(has_session) => console_page(self.title, &self.content, has_session),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html;charset=utf-8"));
        guard(headers);
        // Browsers hold a form to this list even where its answer leads elsewhere.
        let sources = self.leads_to.iter().filter_map(|url| source(url));
        let others = sources.fold(String::new(), |all, it| all + " " + &it);
        let script = if self.with_script { "; script-src 'self'" } else { "" };
        let policy = format!(
            "default-src 'none'; style-src 'self'; img-src 'self'{script}; form-action 'self'{others}; \
             frame-ancestors 'none'; base-uri 'none'"
        );
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// What every answer of ours has.
pub(in crate::http) fn guard(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    );
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER, HeaderValue::from_static("same-origin"));
}

/// The origin of an address, or its scheme where it has no host, as a policy names it.
fn source(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once(':')?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return None;
    }
    if scheme != "http" && scheme != "https" {
        return Some(format!("{scheme}:"));
    }
    let host = rest.strip_prefix("//")?.split(['/', '?', '#']).next()?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_host)).then(|| format!("{scheme}://{host}"))
}

/// A page that says what is wrong and leads nowhere.
pub(in crate::http) fn problem(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    Page::new(title, Html::new().element("<p>", text, "</p>\n")).answer(status)
}

/// A page that says how long to wait.
pub(in crate::http) fn wait(mut response: Response<Body>, seconds: i64) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// To another page: the browser asks for it by GET.
pub(in crate::http) fn see_other(url: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    guard(response.headers_mut());
    match HeaderValue::try_from(url) {
        Ok(url) => {
            response.headers_mut().insert(LOCATION, url);
            response
        }
        Err(_) => {
            problem(StatusCode::BAD_REQUEST, "The way back is broken", "The app's address is none.")
        }
    }
}

/// What an app, or whoever came from it, is told.
pub(in crate::http) fn refuse(refusal: &Refusal, issuer: &str) -> Response<Body> {
    match refusal {
        Refusal::Page(text) => {
            problem(StatusCode::BAD_REQUEST, "This request cannot be answered", text)
        }
        Refusal::Redirect { url, code, text, state } => {
            let pairs = [("error", code.as_str()), ("error_description", *text), ("iss", issuer)];
            see_other(&answer(url, &pairs, state.as_deref()))
        }
    }
}

/// The path under which a proxy shows this server, when it is not the root.
pub(in crate::http) fn prefix(authority: Option<&Authority>) -> String {
    let Some(authority) = authority else { return String::new() };
    let path = authority.settings.issuer.strip_prefix(authority.origin()).unwrap_or_default();
    path.strip_suffix(OWN[0]).unwrap_or_default().to_owned()
}

/// An answer whose links and redirects to our pages lead below `prefix`.
pub(in crate::http) async fn below(
    prefix: String,
    answer: impl Future<Output = Result<Response<Body>, Failure>>,
) -> Result<Response<Body>, Failure> {
    let mut response = answer.await?;
    if prefix.is_empty() {
        return Ok(response);
    }
    let to = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(to) =
        to.filter(|to| OWN.iter().any(|own| to.starts_with(own))).map(|to| format!("{prefix}{to}"))
    {
        let to = HeaderValue::try_from(to).map_err(Error::internal)?;
        response.headers_mut().insert(LOCATION, to);
    }
    let is_page = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let page = body.collect().await.map_err(Error::internal)?.to_bytes();
    let page = String::from_utf8_lossy(&page);
    // Texts from outside cannot look like this: their quotes are escaped.
    let page = page.replace("=\"/auth/", &format!("=\"{prefix}/auth/"));
    let page = page.replace("=\"/v2", &format!("=\"{prefix}/v2"));
    Ok(Response::from_parts(parts, Body::from(page)))
}

/// A JSON document.
pub(in crate::http) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    guard(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn behind_a_path_links_and_redirects_lead_below_it() {
        let page = || {
            let html = Html::new().raw("<a href=\"/auth/apps\">").text("=\"/auth/");
            Page::new("A", html).answer(StatusCode::OK)
        };
        for (prefix, expected) in [("", "href=\"/auth/apps\""), ("/a", "href=\"/a/auth/apps\"")] {
            let found = below(prefix.to_owned(), async { Ok(page()) }).await.ok().unwrap();
            let text = found.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(text.contains(expected) && text.contains("=&quot;/auth/"), "{text}");
        }
        for (to, expected) in
            [("/auth/login", "/a/auth/login"), ("https://x.example", "https://x.example")]
        {
            let answer = async { Ok(see_other(to)) };
            let found = below("/a".to_owned(), answer).await.ok().unwrap();
            assert_eq!(found.headers()[LOCATION], expected);
        }
    }

    #[test]
    fn a_policy_names_the_origin_or_the_scheme_of_an_app() {
        for (url, expected) in [
            ("https://app.example/cb?x=1", Some("https://app.example")),
            ("http://127.0.0.1:5000/cb", Some("http://127.0.0.1:5000")),
            ("org.example.app:/cb", Some("org.example.app:")),
            ("https://a; script-src *", None),
            ("https://", None),
            ("no", None),
            ("ja va:x", None),
        ] {
            assert_eq!(source(url).as_deref(), expected, "{url}");
        }
    }
}
