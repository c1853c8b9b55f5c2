//! `/auth/consent`: what the app may do.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use secrecy::ExposeSecret as _;

use crate::access::scope::{ScopeSet, Special};
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::authorize::Code;
use crate::oauth::consent::{self, Choice};
use crate::oauth::discovery::V2;
use crate::oauth::flow::{NOT_THEIRS, Standing, Ticket};
use crate::oauth::login::{Account, Browser};

use super::authorize::Turn;
use super::html::Html;
use super::picker;
use super::reply::Page;
use super::visit::Visit;

/// The shortest reason, and the longest, in bytes.
const REASON: std::ops::RangeInclusive<usize> = 10..=2_000;

fn is_here(standing: &Standing<'_>) -> bool {
    matches!(standing, Standing::Consent(_))
}

/// `GET /auth/consent`
pub(super) async fn show(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let (browser, account, ticket) = match visit.turn(is_here).await? {
        Turn::Here(browser, account, ticket) => (browser, account, ticket),
        Turn::Elsewhere(response) => return Ok(response),
    };
    page(&visit, (browser, account), &ticket, None).await
}

/// `POST /auth/consent`
pub(super) async fn send(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    if let Err(response) = visit.own_form() {
        return Ok(*response);
    }
    let (browser, account, ticket) = match visit.turn(is_here).await? {
        Turn::Here(browser, account, ticket) => (browser, account, ticket),
        Turn::Elsewhere(response) => return Ok(response),
    };
    let (authority, visitor) = (&visit.authority, &visit.visitor);
    let asked = authority.grantable(&ticket.pending);
    let granted = match visit.value("decision") {
        "allow" => consent::granted(&asked, &visit.values("scope"), authority.parameters()),
        _ => ScopeSet::default(),
    };
    let granted = authority.settings.offered(&granted);
    let reason = visit.value("reason").trim();
    let needs_reason = authority.needs_reason(account, &granted);
    if needs_reason && (!REASON.contains(&reason.len()) || reason.contains('\0')) {
        return page(&visit, (browser, account), &ticket, Some(reason)).await;
    }
    let decided = authority.decide(&ticket.pending, account, &granted, visitor).await;
    decided.map_err(Failure::Interaction)?;
    if granted.is_empty() {
        let refusal = ticket.pending.refuse(Code::AccessDenied, "the user did not agree");
        return visit.end(&ticket, &refusal).await;
    }
    let granted = (&granted, needs_reason.then_some(reason));
    let ended = authority.end_granted(&ticket, browser, account, granted, visitor).await;
    Ok(visit.after(ended.map_err(Failure::Interaction)?))
}

/// The page; `unfit` is the reason that was sent and does not do.
async fn page(
    visit: &Visit,
    (browser, account): (&Browser, &Account),
    ticket: &Ticket,
    unfit: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let asked = visit.authority.grantable(&ticket.pending);
    let patient = match ticket.pending.patient.as_deref().and_then(|id| id.parse().ok()) {
        Some(id) => {
            let found = picker::find(visit, browser, account, &id).await?;
            // Nobody agrees to what is not shown.
            if found.is_none() {
                let refusal = ticket.pending.refuse(Code::AccessDenied, NOT_THEIRS);
                return visit.end(ticket, &refusal).await;
            }
            found
        }
        None => None,
    };
    let html = Html::new().raw("<p><strong>").text(&ticket.client.name).raw("</strong>");
    let html = to_whom(html.raw(" asks for access"), patient.as_ref())
        .raw(". Take away what it should not have.</p>\n")
        .when(ticket.client.is_registered, |html| {
            html.raw("<div class=\"notice\"><p>This app has registered itself: nobody here has ")
                .raw("looked at it.</p></div>\n")
        })
        .raw("<form method=\"post\" action=\"/auth/consent\">\n")
        .hidden("csrf", &browser.csrf())
        .hidden("request", ticket.handle.expose_secret());
    let mut choices = consent::choices(&asked, visit.authority.parameters());
    // Parts of a scope can be said in version 2 alone.
    if !visit.authority.settings.offers(V2) {
        for choice in &mut choices {
            choice.parts.clear();
        }
    }
    let is_about_data = |choice: &&(usize, &Choice)| choice.1.scope.contains('/');
    let numbered: Vec<(usize, &Choice)> = choices.iter().enumerate().collect();
    let (data, other): (Vec<_>, Vec<_>) =
        numbered.iter().partition(|it| is_about_data(it) && !it.1.scope.starts_with("launch/"));
    let html = group(html, "Data", &data);
    let html = group(html, "The app may", &other);
    let html = html.when(visit.authority.needs_reason(account, &asked), |html| why(html, unfit));
    let html = html
        .when(asked.has(Special::OfflineAccess), |html| {
            html.raw("<p class=\"soft\">You see and end the access of apps at any time under Apps.</p>\n")
        })
        .raw("<p class=\"soft\">You go on to ")
        .text(host(&ticket.pending.redirect_uri))
        .raw(".</p>\n<div class=\"buttons\">")
        .raw("<button type=\"submit\" name=\"decision\" value=\"allow\">Allow</button>")
        .raw("<button class=\"quiet\" type=\"submit\" name=\"decision\" value=\"deny\">")
        .raw("Do not allow</button></div>\n</form>\n<p class=\"soft\">You are logged in as ")
        .text(&account.name)
        .raw(". <a href=\"/auth/logout\">Log out</a></p>\n");
    let leads_to = Some(ticket.pending.redirect_uri.as_str());
    let status = if unfit.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(Page::new("Allow access?", html).leading_to(leads_to).answer(status))
}

/// Whose record is asked for, where it is one patient's.
fn to_whom(html: Html, patient: Option<&picker::Shown>) -> Html {
    let Some(patient) = patient else { return html };
    html.raw(" to the record of <strong>")
        .text(&patient.name)
        .raw("</strong> (")
        .text(&patient.details)
        .raw(")")
}

/// Asks whoever may do everything why they want to.
fn why(html: Html, unfit: Option<&str>) -> Html {
    let html = html
        .when(unfit.is_some(), |html| {
            html.raw("<div class=\"notice\" role=\"alert\"><p>Say why, in ten letters at least.</p></div>\n")
        })
        .raw("<p>Everything of everybody is open to you, and to the app with it, if you allow ")
        .raw("all of it.</p>\n<p><label for=\"reason\">Why? It is kept in the record.</label>\n")
        .raw("<input id=\"reason\" name=\"reason\" autocomplete=\"off\" maxlength=\"2000\"");
    html.attribute("value", unfit.unwrap_or_default()).raw("></p>\n")
}

/// Where an address leads, without what is of no use to people.
fn host(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn group(html: Html, title: &'static str, choices: &[(usize, &Choice)]) -> Html {
    if choices.is_empty() {
        return html;
    }
    html.raw("<fieldset><legend>")
        .raw(title)
        .raw("</legend>\n")
        .each(choices, |html, (place, choice)| {
            let id = format!("scope-{place}");
            let html = tick(html, &id, &choice.scope, &choice.words, choice.warning, true);
            if choice.parts.is_empty() {
                return html;
            }
            html.raw("<fieldset><legend>Or only a part of it:</legend>\n")
                .each(choice.parts.iter().enumerate(), |html, (part, (scope, words))| {
                    tick(html, &format!("{id}-{part}"), scope, words, None, false)
                })
                .raw("</fieldset>\n")
        })
        .raw("</fieldset>\n")
}

fn tick(
    html: Html,
    id: &str,
    scope: &str,
    words: &str,
    warning: Option<&str>,
    is_ticked: bool,
) -> Html {
    html.raw("<div class=\"choice\"><input type=\"checkbox\" name=\"scope\"")
        .attribute("id", id)
        .attribute("value", scope)
        .when(is_ticked, |html| html.raw(" checked"))
        .raw("><label")
        .attribute("for", id)
        .raw(">")
        .text(words)
        .element("<small class=\"code\">", scope, "</small>")
        .when(warning.is_some(), |html| {
            html.element("<small>", warning.unwrap_or_default(), "</small>")
        })
        .raw("</label></div>\n")
}
