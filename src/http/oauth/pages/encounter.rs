//! `/auth/encounter`: which visit of the patient it is about, where an app asks for one by itself.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret as _;

use crate::engine::SearchTarget;
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::query::Query;
use crate::fhir::{LogicalId, Version};
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::flow::{Standing, Ticket};
use crate::oauth::login::{Account, Browser};

use super::authorize::Turn;
use super::html::Html;
use super::reply::Page;
use super::visit::Visit;

/// Most visits on the page: the newest.
const MOST: usize = 20;

/// What is shown of a visit.
struct Shown {
    id: String,
    when: String,
    details: String,
}

fn is_here(standing: &Standing<'_>) -> bool {
    matches!(standing, Standing::Encounter(_))
}

/// `GET /auth/encounter`
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

/// `POST /auth/encounter`: a choice, or that it is about none.
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
    if visit.value("action") != "none" {
        let chosen = match visit.value("encounter").parse::<LogicalId>() {
            Ok(id) => find(&visit, browser, account, &ticket, Some(&id)).await?.pop(),
            Err(_) => None,
        };
        let Some(chosen) = chosen else {
            let text = "Choose one of these visits.";
            return page(&visit, browser, account, &ticket, Some(text)).await;
        };
        ticket.pending.encounter = Some(chosen.id);
    }
    ticket.pending.has_no_encounter = ticket.pending.encounter.is_none();
    visit.authority.keep(&ticket, "encounter").await.map_err(Failure::Interaction)?;
    visit.go_on(browser, &mut ticket).await
}

/// Settles which visit it is about where there is nothing to choose.
pub(super) async fn choose_alone(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    ticket: &mut Ticket,
) -> Result<bool, Failure> {
    let mut found = find(visit, browser, account, ticket, None).await?;
    if found.len() > 1 {
        return Ok(false);
    }
    ticket.pending.encounter = found.pop().map(|visit| visit.id);
    ticket.pending.has_no_encounter = ticket.pending.encounter.is_none();
    visit.authority.keep(ticket, "encounter").await.map_err(Failure::Interaction)?;
    Ok(true)
}

/// The newest visits of the patient that the person may see, or the one of this id.
async fn find(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    ticket: &Ticket,
    id: Option<&LogicalId>,
) -> Result<Vec<Shown>, Failure> {
    let Some(patient) = &ticket.pending.patient else { return Ok(Vec::new()) };
    let patient = utf8_percent_encode(patient, NON_ALPHANUMERIC);
    let only = id.map_or_else(String::new, |id| format!("&_id={id}"));
    let text = format!("patient=Patient/{patient}&_sort=-date&_count={MOST}{only}");
    let query = Query::parse(&text).map_err(Error::from)?;
    let of = "Encounter".parse().map_err(Error::internal)?;
    let principal = visit.authority.principal_of(account, browser.session.id).await;
    let caller = visit.caller(principal.map_err(Failure::Interaction)?);
    let target = SearchTarget::Type(of);
    match visit.server.engine.search(&target, &query, false, &caller).await {
        Ok(found) => Ok(found.page.matches.iter().map(|it| shown(&it.version)).collect()),
        Err(Error::Forbidden) => Ok(Vec::new()),
        Err(error) => Err(Failure::Interaction(error)),
    }
}

fn shown(version: &Version) -> Shown {
    let parsed = version.body.as_deref().and_then(|bytes| json::parse(bytes).ok());
    let body = parsed.unwrap_or_else(|| Value::from(""));
    let time = |name| body.get("period").and_then(|period| period.str_at(name));
    let day = |time: &str| time.get(..10).unwrap_or(time).to_owned();
    let when = match (time("start").map(day), time("end").map(day)) {
        (Some(start), Some(end)) if start != end => format!("{start} to {end}"),
        (Some(day), _) => day,
        (None, Some(end)) => format!("until {end}"),
        (None, None) => "no date".to_owned(),
    };
    let kind = body.items_at("type").first().and_then(named);
    let class = body.get("class").and_then(|class| {
        class.str_at("display").or_else(|| class.str_at("code")).map(str::to_owned)
    });
    let provider = body.get("serviceProvider").and_then(|it| it.str_at("display"));
    let details =
        [kind.or(class), provider.map(str::to_owned), body.str_at("status").map(str::to_owned)];
    Shown {
        id: version.identity.id.as_str().to_owned(),
        when,
        details: details.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

/// A CodeableConcept in words.
fn named(concept: &Value<'_>) -> Option<String> {
    let coding = || concept.items_at("coding").first().and_then(|it| it.str_at("display"));
    concept.str_at("text").or_else(coding).map(str::to_owned)
}

async fn page(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    ticket: &Ticket,
    problem: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let found = find(visit, browser, account, ticket, None).await?;
    let html = Html::new()
        .alert(problem)
        .raw("<p><strong>")
        .text(&ticket.client.name)
        .raw("</strong> asks which visit it is about.</p>\n")
        .raw("<form method=\"post\" action=\"/auth/encounter\">\n")
        .hidden("csrf", &browser.csrf())
        .hidden("request", ticket.handle.expose_secret())
        .raw("<fieldset><legend>Newest visits</legend>\n")
        .each(&found, |html, visit| {
            let id = format!("encounter-{}", visit.id);
            html.raw("<div class=\"choice\"><input type=\"radio\" name=\"encounter\" required")
                .attribute("id", &id)
                .attribute("value", &visit.id)
                .raw("><label")
                .attribute("for", &id)
                .raw(">")
                .text(&visit.when)
                .element("<small>", &visit.details, "</small></label></div>\n")
        })
        .raw("</fieldset>\n<div class=\"buttons\">")
        .raw("<button type=\"submit\" name=\"action\" value=\"choose\">")
        .raw("Go on with this visit</button>")
        .raw("<button class=\"quiet\" type=\"submit\" name=\"action\" value=\"none\" ")
        .raw("formnovalidate>Go on without a visit</button></div>\n</form>\n");
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let leads_to = Some(ticket.pending.redirect_uri.as_str());
    Ok(Page::new("Choose a visit", html).leading_to(leads_to).answer(status))
}
