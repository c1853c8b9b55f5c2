//! `/auth/login` and `/auth/logout`

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use secrecy::SecretString;

use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::flow::Ticket;
use crate::oauth::login::account::LoggedIn;
use crate::oauth::login::{Browser, Stage};

use super::authorize::{over, url};
use super::html::{Field, Html};
use super::reply::{self, Page};
use super::visit::Visit;

/// `GET /auth/login`
pub(super) async fn show(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let (browser, is_new) = visit.or_begin().await?;
    let response = shown(&visit, &browser).await?;
    Ok(if is_new { visit.keep(&browser, response) } else { response })
}

async fn shown(visit: &Visit, browser: &Browser) -> Result<Response<Body>, Failure> {
    if visit.value("request").is_empty() {
        return Ok(match browser.stage() {
            Stage::Whole(_) => reply::see_other("/auth/apps"),
            Stage::Half(account) if account.has_factor => reply::see_other("/auth/second-factor"),
            Stage::Half(_) => reply::see_other("/auth/factors"),
            Stage::Nobody => form(visit, browser, None, None).await.answer(StatusCode::OK),
        });
    }
    let Some(mut ticket) = visit.ticket(browser).await? else { return Ok(over()) };
    let is_login_due = match browser.stage() {
        Stage::Nobody => true,
        Stage::Half(_) => false,
        Stage::Whole(_) => !ticket.pending.accepts_login(browser.session.auth_at),
    };
    if is_login_due && !ticket.pending.is_silent {
        return Ok(form(visit, browser, Some(&ticket), None).await.answer(StatusCode::OK));
    }
    visit.go_on(browser, &mut ticket).await
}

/// `POST /auth/login`
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
    let ticket = match visit.value("request") {
        "" => None,
        _ => match visit.ticket(browser).await? {
            Some(ticket) => Some(ticket),
            None => return Ok(over()),
        },
    };
    let password = SecretString::from(visit.value("password").to_owned());
    let name = visit.value("username").trim();
    let logged_in = visit.authority.log_in(name, password, Some(browser), &visit.visitor).await;
    match logged_in.map_err(Failure::Interaction)? {
        LoggedIn::Done(browser) => {
            let response = match ticket {
                Some(mut ticket) => visit.go_on(&browser, &mut ticket).await?,
                None => reply::see_other("/auth/login"),
            };
            Ok(visit.keep(&browser, response))
        }
        LoggedIn::Wrong => {
            let text = "The user name or the password is wrong.";
            let page = form(&visit, browser, ticket.as_ref(), Some(text)).await;
            Ok(page.answer(StatusCode::FORBIDDEN))
        }
        LoggedIn::Wait(seconds) => {
            let text = format!("There were too many attempts. Try again in {}.", spoken(seconds));
            let page = form(&visit, browser, ticket.as_ref(), Some(&text)).await;
            Ok(reply::wait(page.answer(StatusCode::TOO_MANY_REQUESTS), seconds))
        }
    }
}

/// A time to wait, in words.
pub(super) fn spoken(seconds: i64) -> String {
    match seconds {
        1 => "a second".to_owned(),
        2..=119 => format!("{seconds} seconds"),
        more => format!("{} minutes", more / 60 + 1),
    }
}

async fn form(
    visit: &Visit,
    browser: &Browser,
    ticket: Option<&Ticket>,
    problem: Option<&str>,
) -> Page<'static> {
    let hint = ticket.and_then(|ticket| ticket.pending.hint.as_deref()).unwrap_or_default();
    let typed = visit.value("username");
    let name = Field {
        name: "username",
        kind: "text",
        label: "User name",
        hint: "",
        value: if typed.is_empty() { hint } else { typed },
        autocomplete: "username",
        more: "required autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"100\"",
    };
    let password = Field {
        name: "password",
        kind: "password",
        label: "Password",
        hint: "",
        value: "",
        autocomplete: "current-password",
        more: "required",
    };
    let html = Html::new().alert(problem);
    let html = match ticket {
        Some(ticket) => html
            .raw("<p>To go on with <strong>")
            .text(&ticket.client.name)
            .raw("</strong>. Your password stays here: the app does not see it.</p>\n"),
        None => html,
    };
    let html = html
        .raw("<form method=\"post\" action=\"/auth/login\">\n")
        .hidden("csrf", &browser.csrf())
        .hidden("request", visit.value("request"))
        .field(name)
        .field(password)
        .raw("<div class=\"buttons\"><button type=\"submit\">Log in</button></div>\n</form>\n");
    let app = ticket.map(|ticket| ticket.pending.redirect_uri.as_str());
    let Some(provider) = &visit.authority.provider else {
        return Page::new("Log in", html).leading_to(app);
    };
    let html = html
        .raw("<form method=\"post\" action=\"/auth/upstream\">\n")
        .hidden("csrf", &browser.csrf())
        .hidden("request", visit.value("request"))
        .raw("<div class=\"buttons\"><button class=\"quiet\" type=\"submit\">Log in with ")
        .text(&provider.label)
        .raw("</button></div>\n</form>\n");
    let origin = provider.origin(&visit.authority.outbound).await;
    Page::new("Log in", html).leading_to(app).leading_to(origin.as_deref())
}

/// `GET /auth/logout`
pub(super) async fn show_out(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let someone = visit.browser.as_ref().and_then(|it| Some((it, it.account.as_ref()?)));
    let Some((browser, account)) = someone else { return Ok(reply::see_other("/auth/login")) };
    let html = Html::new()
        .raw("<p>You are logged in as <strong>")
        .text(&account.name)
        .raw("</strong>.</p>\n<form method=\"post\" action=\"/auth/logout\">\n")
        .hidden("csrf", &browser.csrf())
        .raw("<div class=\"buttons\"><button type=\"submit\">Log out</button></div>\n</form>\n")
        .when(browser.session.is_complete, |html| {
            html.raw("<p><a href=\"/auth/apps\">Apps</a></p>\n")
        });
    Ok(Page::new("Log out", html).answer(StatusCode::OK))
}

/// `POST /auth/logout`
pub(super) async fn send_out(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let browser = match visit.own_form() {
        Ok(browser) => browser,
        Err(response) => return Ok(*response),
    };
    let done = visit.authority.log_out(browser, &visit.visitor).await;
    done.map_err(Failure::Interaction)?;
    let html = Html::new()
        .raw("<p>Apps that you let go on without you still have their access: ")
        .raw("you see and end it when you log in again.</p>\n")
        .raw("<p><a href=\"/auth/login\">Log in again</a></p>\n");
    Ok(visit.forget(Page::new("You are logged out", html).answer(StatusCode::OK)))
}

/// To the page that is due for who is not wholly logged in.
pub(in crate::http) fn due(visit: &Visit) -> Response<Body> {
    let handle = visit.value("request");
    let to = |path: &str| {
        let is_plain = handle.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it));
        if handle.is_empty() || !is_plain { path.to_owned() } else { url(path, handle) }
    };
    let stage = visit.browser.as_ref().map_or(Stage::Nobody, Browser::stage);
    reply::see_other(&match stage {
        Stage::Half(account) if account.has_factor => to("/auth/second-factor"),
        Stage::Half(_) => to("/auth/factors"),
        Stage::Nobody | Stage::Whole(_) => to("/auth/login"),
    })
}
