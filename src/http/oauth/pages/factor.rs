//! `/auth/second-factor`: the proof that is missing after the password.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};

use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::flow::Ticket;
use crate::oauth::login::factor::{KeyProof, Proof, Proved, key_ids};
use crate::oauth::login::{Account, Browser, Stage};

use super::authorize::over;
use super::html::{Field, Html};
use super::login::{due, spoken};
use super::reply::{self, Page};
use super::visit::Visit;

/// `GET /auth/second-factor`
pub(super) async fn show(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let Some((browser, account)) = half(&visit) else { return Ok(due(&visit)) };
    let ticket = match visit.value("request") {
        "" => None,
        _ => match visit.ticket(browser).await? {
            Some(ticket) => Some(ticket),
            None => return Ok(over()),
        },
    };
    page(&visit, browser, account, ticket.as_ref(), (StatusCode::OK, None)).await
}

/// What a security key signed, as the script of the page sends it.
pub(super) fn key_proof(visit: &Visit) -> KeyProof<'_> {
    KeyProof {
        credential: visit.value("credential"),
        client_data: visit.value("client_data"),
        authenticator_data: visit.value("authenticator_data"),
        signature: visit.value("signature"),
    }
}

/// The hidden fields of a form that a security key answers.
pub(super) fn key_fields(html: Html) -> Html {
    html.hidden("credential", "")
        .hidden("client_data", "")
        .hidden("authenticator_data", "")
        .hidden("signature", "")
        .raw("<p role=\"status\"></p>\n")
}

/// Who has given a password and has a second factor to prove.
fn half(visit: &Visit) -> Option<(&Browser, &Account)> {
    let browser = visit.browser.as_ref()?;
    match browser.stage() {
        Stage::Half(account) if account.has_factor => Some((browser, account)),
        _ => None,
    }
}

/// `POST /auth/second-factor`
pub(super) async fn send(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    if let Err(response) = visit.own_form() {
        return Ok(*response);
    }
    let Some((browser, account)) = half(&visit) else { return Ok(due(&visit)) };
    let ticket = match visit.value("request") {
        "" => None,
        _ => match visit.ticket(browser).await? {
            Some(ticket) => Some(ticket),
            None => return Ok(over()),
        },
    };
    let proof = match visit.value("signature") {
        "" => Proof::Code(visit.value("code")),
        _ => Proof::Key(key_proof(&visit)),
    };
    let proved = visit.authority.prove(browser, account, proof, &visit.visitor).await;
    match proved.map_err(Failure::Interaction)? {
        Proved::Done(browser) => {
            let response = match ticket {
                Some(mut ticket) => visit.go_on(&browser, &mut ticket).await?,
                None => reply::see_other("/auth/apps"),
            };
            Ok(visit.keep(&browser, response))
        }
        Proved::Wrong => {
            let text = "This was not right, or it was used before.";
            let told = (StatusCode::FORBIDDEN, Some(text));
            page(&visit, browser, account, ticket.as_ref(), told).await
        }
        Proved::Wait(seconds) => {
            let text = format!("There were too many attempts. Try again in {}.", spoken(seconds));
            let told = (StatusCode::TOO_MANY_REQUESTS, Some(text.as_str()));
            let response = page(&visit, browser, account, ticket.as_ref(), told).await?;
            Ok(reply::wait(response, seconds))
        }
    }
}

async fn page(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    ticket: Option<&Ticket>,
    (status, problem): (StatusCode, Option<&str>),
) -> Result<Response<Body>, Failure> {
    let factors = visit.authority.factors(account).await.map_err(Failure::Interaction)?;
    let keys = key_ids(&factors);
    let has = |kind: &str| factors.iter().any(|it| it.kind == kind && it.is_confirmed);
    let code = Field {
        name: "code",
        kind: "text",
        label: "Code",
        hint: if has("totp") {
            "The six digits that your authenticator app shows, or one of your recovery codes."
        } else {
            "One of your recovery codes."
        },
        value: "",
        autocomplete: "one-time-code",
        more: "required spellcheck=\"false\" maxlength=\"40\"",
    };
    let csrf = browser.csrf();
    let mut html = Html::new().alert(problem).raw("<p>One more proof that it is you.</p>\n");
    if !keys.is_empty() {
        let challenge = visit.authority.challenge(browser).await.map_err(Failure::Interaction)?;
        html = html
            .raw("<h2>Security key</h2>\n")
            .raw("<form method=\"post\" action=\"/auth/second-factor\" data-key=\"assert\"")
            .attribute("data-challenge", &challenge)
            .attribute("data-party", visit.authority.relying_party())
            .attribute("data-credentials", &keys.join(" "))
            .raw(">\n")
            .hidden("csrf", &csrf)
            .hidden("request", visit.value("request"));
        html = key_fields(html)
            .raw("<div class=\"buttons\">")
            .raw("<button type=\"submit\" hidden>Use the security key</button></div>\n</form>\n")
            .raw("<h2>Code</h2>\n");
    }
    html = html
        .raw("<form method=\"post\" action=\"/auth/second-factor\">\n")
        .hidden("csrf", &csrf)
        .hidden("request", visit.value("request"))
        .field(code)
        .raw("<div class=\"buttons\"><button type=\"submit\">Go on</button></div>\n</form>\n")
        .raw("<p><a href=\"/auth/logout\">Log in as somebody else</a></p>\n");
    let leads_to = ticket.map(|ticket| ticket.pending.redirect_uri.as_str());
    let page = Page { with_script: !keys.is_empty(), ..Page::new("Second factor", html) };
    Ok(page.leading_to(leads_to).answer(status))
}
