//! `/auth/patient`: whose record it is about.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use secrecy::ExposeSecret as _;

use crate::fhir::LogicalId;
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::flow::{Standing, Ticket};
use crate::oauth::login::{Account, Browser};

use super::authorize::Turn;
use super::html::{Field, Html};
use super::picker::{self, Candidates, Shown};
use super::reply::Page;
use super::visit::Visit;

fn is_here(standing: &Standing<'_>) -> bool {
    matches!(standing, Standing::Patient(_))
}

/// `GET /auth/patient`
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
    page(&visit, browser, account, &ticket, None).await
}

/// `POST /auth/patient`: a search, or a choice.
pub(super) async fn send(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    if let Err(response) = visit.own_form() {
        return Ok(*response);
    }
    let (browser, account, mut ticket) = match visit.turn(is_here).await? {
        Turn::Here(browser, account, ticket) => (browser, account, ticket),
        Turn::Elsewhere(response) => return Ok(response),
    };
    let chosen = visit.value("patient");
    if visit.value("action") == "search" || chosen.is_empty() {
        let asks = ["name", "identifier", "birthdate"].iter().any(|it| !visit.value(it).is_empty());
        let text = if asks { None } else { Some("Choose a patient, or search for one.") };
        return page(&visit, browser, account, &ticket, text).await;
    }
    let text = "This patient cannot be chosen.";
    let Ok(id) = chosen.parse::<LogicalId>() else {
        return page(&visit, browser, account, &ticket, Some(text)).await;
    };
    // Whoever stands for patients chooses among these alone.
    let is_open = match picker::candidates(&visit, browser, account).await? {
        Candidates::Known(known) => known.contains(&id),
        Candidates::Search => picker::find(&visit, browser, account, &id).await?.is_some(),
    };
    if !is_open {
        return page(&visit, browser, account, &ticket, Some(text)).await;
    }
    ticket.pending.patient = Some(id.as_str().to_owned());
    visit.authority.keep(&ticket, "patient").await.map_err(Failure::Interaction)?;
    visit.go_on(browser, &mut ticket).await
}

async fn page(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    ticket: &Ticket,
    problem: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let mut is_more = false;
    let (found, searches) = match picker::candidates(visit, browser, account).await? {
        Candidates::Known(known) => {
            let mut found = Vec::new();
            for id in &known {
                found.extend(picker::find(visit, browser, account, id).await?);
            }
            (Some(found), false)
        }
        Candidates::Search => {
            let found = picker::search(visit, browser, account).await?;
            let found = found.map(|(found, more)| {
                is_more = more;
                found
            });
            (found, true)
        }
    };
    let start = |html: Html| {
        html.raw("<form method=\"post\" action=\"/auth/patient\">\n")
            .hidden("csrf", &browser.csrf())
            .hidden("request", ticket.handle.expose_secret())
    };
    let html = Html::new().alert(problem).raw("<p><strong>").text(&ticket.client.name);
    let html = html.raw("</strong> asks for the record of one patient.</p>\n");
    let html = if searches { search_form(start(html), visit) } else { html };
    let html = match &found {
        None => html,
        Some(none) if none.is_empty() => {
            html.raw("<p role=\"status\">No patient was found that you may see.</p>\n")
        }
        Some(found) => choices(start(html), found, is_more),
    };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let leads_to = Some(ticket.pending.redirect_uri.as_str());
    Ok(Page::new("Choose a patient", html).leading_to(leads_to).answer(status))
}

fn search_form(html: Html, visit: &Visit) -> Html {
    let field = |name, kind, label, hint| Field {
        name,
        kind,
        label,
        hint,
        value: visit.value(name),
        autocomplete: "off",
        more: "maxlength=\"200\"",
    };
    html.field(field("name", "text", "Name", "The beginning of a name is enough."))
        .field(field("identifier", "text", "Identifier", "Such as a medical record number."))
        .field(field("birthdate", "date", "Birth date", ""))
        .raw("<div class=\"buttons\"><button class=\"quiet\" type=\"submit\" name=\"action\" ")
        .raw("value=\"search\">Search</button></div>\n</form>\n")
}

fn choices(html: Html, found: &[Shown], is_more: bool) -> Html {
    let html = html.raw("<fieldset><legend>Patients</legend>\n").each(found, |html, patient| {
        let id = format!("patient-{}", patient.id);
        html.raw("<div class=\"choice\"><input type=\"radio\" name=\"patient\" required")
            .attribute("id", &id)
            .attribute("value", &patient.id)
            .raw("><label")
            .attribute("for", &id)
            .raw(">")
            .text(&patient.name)
            .element("<small>", &patient.details, "</small></label></div>\n")
    });
    html.raw("</fieldset>\n")
        .when(is_more, |html| {
            html.raw("<p class=\"soft\">There are more: say more about the patient.</p>\n")
        })
        .raw("<div class=\"buttons\"><button type=\"submit\" name=\"action\" value=\"choose\">")
        .raw("Go on with this patient</button></div>\n</form>\n")
}
