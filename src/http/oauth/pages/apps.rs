//! `/auth/apps`: what apps may do, and ending it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};

use crate::access::interaction::Kind;
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::apps::App;
use crate::oauth::consent;

use super::html::Html;
use super::login::due;
use super::reply::{self, Page};
use super::visit::Visit;

/// `GET /auth/apps`
pub(super) async fn show(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let Some((browser, account)) = visit.whole() else { return Ok(due(&visit)) };
    let apps = visit.authority.apps(account).await.map_err(Failure::Interaction)?;
    let html = Html::new().raw("<p>You are logged in as <strong>").text(&account.name);
    let html = html
        .raw("</strong>.</p>\n")
        .when(apps.is_empty(), |html| html.raw("<p>No app has access by you at the moment.</p>\n"));
    let html = html.when(!apps.is_empty(), |html| {
        html.raw("<ul class=\"list\">\n")
            .each(&apps, |html, app| one(html, app, &visit, &browser.csrf()))
            .raw("</ul>\n")
    });
    let operator = visit.authority.operator_of(account, browser.session.id).await;
    let messages = Kind::SearchMessages.of_system();
    let sees_messages = operator.is_ok_and(|operator| operator.reach(messages).is_some());
    let html = html
        .raw("<p>")
        .when(sees_messages, |html| html.raw("<a href=\"/v2\">Messages</a> "))
        .raw("<a href=\"/auth/factors\">Second factors</a> ")
        .raw("<a href=\"/auth/logout\">Log out</a></p>\n");
    Ok(Page::new("Apps", html).answer(StatusCode::OK))
}

fn one(html: Html, app: &App, visit: &Visit, csrf: &str) -> Html {
    let date = |at: crate::fhir::Instant| at.to_string().chars().take(10).collect::<String>();
    let scopes = visit.authority.persons.roles.scopes(&app.scopes.join(" "));
    html.element("<li><h2>", &app.name, "</h2>\n<ul>\n")
        .each(consent::choices(&scopes, visit.authority.parameters()), |html, choice| {
            html.element("<li>", &choice.words, "</li>\n")
        })
        .raw("</ul>\n<p class=\"soft\">Since ")
        .text(&date(app.since))
        .raw(", last used ")
        .text(&date(app.used))
        .raw(if app.is_offline { ", also while you are away" } else { "" })
        .raw(".</p>\n<form method=\"post\" action=\"/auth/apps\">\n")
        .hidden("csrf", csrf)
        .hidden("client", &app.client)
        .raw("<button class=\"quiet\" type=\"submit\"")
        .attribute("aria-label", &format!("End access: {}", app.name))
        .raw(">End access</button></form></li>\n")
}

/// `POST /auth/apps`: ends what an app may do.
pub(super) async fn send(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    if let Err(response) = visit.own_form() {
        return Ok(*response);
    }
    let Some((_, account)) = visit.whole() else { return Ok(due(&visit)) };
    let client = visit.value("client");
    let ended = visit.authority.revoke_app(account, client, &visit.visitor).await;
    ended.map_err(Failure::Interaction)?;
    Ok(reply::see_other("/auth/apps"))
}
