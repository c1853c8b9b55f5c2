//! `/auth/setup/{token}`: a password is chosen by a link that works once.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use secrecy::SecretString;

use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::login::Browser;
use crate::oauth::login::account::{Link, Unset};

use super::html::{Field, Html};
use super::reply::{self, Page};
use super::visit::Visit;

/// `GET /auth/setup/{token}`
pub(super) async fn show(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let Some(link) = visit.authority.link(&visit.name).await.map_err(Failure::Interaction)? else {
        return Ok(used_up());
    };
    let (browser, is_new) = match &visit.browser {
        Some(browser) => (browser.clone(), false),
        None => {
            let begun = visit.authority.begin_anonymous().await;
            (begun.map_err(Failure::Interaction)?, true)
        }
    };
    let response = page(&visit, &browser, &link, None);
    Ok(if is_new { visit.keep(&browser, response) } else { response })
}

/// `POST /auth/setup/{token}`
pub(super) async fn send(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let browser = match visit.own_form() {
        Ok(browser) => browser,
        Err(response) => return Ok(*response),
    };
    let authority = &visit.authority;
    let Some(link) = authority.link(&visit.name).await.map_err(Failure::Interaction)? else {
        return Ok(used_up());
    };
    let password = visit.value("password");
    if password != visit.value("again") {
        return Ok(page(&visit, browser, &link, Some("The two passwords differ.")));
    }
    let password = SecretString::from(password.to_owned());
    let name = visit.value("username").trim();
    match authority.use_link(&visit.name, name, password, &visit.visitor).await {
        Ok(()) => Ok(reply::see_other("/auth/login")),
        Err(Unset::Link) => Ok(used_up()),
        Err(Unset::Failed(error)) => Err(Failure::Interaction(error)),
        Err(other) => Ok(page(&visit, browser, &link, Some(&sentence(&other.to_string())))),
    }
}

/// A message as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|it| it.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn used_up() -> Response<Body> {
    reply::problem(
        StatusCode::NOT_FOUND,
        "This link cannot be used",
        "It was used, is older than a day, or another one was made after it. Ask for a new one.",
    )
}

fn page(visit: &Visit, browser: &Browser, link: &Link, problem: Option<&str>) -> Response<Body> {
    let hint = format!(
        "At least {} characters. Several words are easy to keep in mind.",
        visit.authority.persons.shortest_password
    );
    let password = |name, label, hint| Field {
        name,
        kind: "password",
        label,
        hint,
        value: "",
        autocomplete: "new-password",
        more: "required maxlength=\"256\"",
    };
    let html = Html::new().alert(problem);
    let html = match &link.name {
        Some(name) => html.raw("<p>For the account <strong>").text(name).raw("</strong>.</p>\n"),
        None => html.raw("<p>This makes the first account: that of an administrator.</p>\n"),
    };
    let html = html
        .raw("<form method=\"post\"")
        .attribute("action", &format!("/auth/setup/{}", visit.name))
        .raw(">\n")
        .hidden("csrf", &browser.csrf());
    let html = match &link.name {
        Some(name) => html
            .raw("<input type=\"hidden\" name=\"username\" autocomplete=\"username\"")
            .attribute("value", name)
            .raw(">\n"),
        None => html.field(Field {
            name: "username",
            kind: "text",
            label: "User name",
            hint: "",
            value: visit.value("username"),
            autocomplete: "username",
            more: "required autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"100\"",
        }),
    };
    let html = html
        .field(password("password", "New password", &hint))
        .field(password("again", "The same again", ""))
        .raw("<div class=\"buttons\"><button type=\"submit\">Set the password</button></div>\n")
        .raw("</form>\n");
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Page::new("Choose a password", html).answer(status)
}
