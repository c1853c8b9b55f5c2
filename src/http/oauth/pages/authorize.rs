//! `/auth/authorize`: the app's question, and where the browser goes from each page.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{ALLOW, HeaderValue};
use axum::http::{Method, Response, StatusCode, request};
use secrecy::ExposeSecret as _;

use crate::fhir::LogicalId;
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::authorize::Code;
use crate::oauth::discovery::AUTHORIZE_POST;
use crate::oauth::flow::{Ended, NotBegun, Standing, Ticket};
use crate::oauth::login::{Account, Browser};

use super::encounter;
use super::login::due;
use super::picker::{Candidates, candidates};
use super::reply;
use super::visit::Visit;

/// `GET` and `POST /auth/authorize`
pub(super) async fn ask(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let is_form = parts.method == Method::POST;
    let visit = Visit::read(server, parts, body).await?;
    let authority = &visit.authority;
    if is_form && !authority.settings.offers(AUTHORIZE_POST) {
        return Ok(by_get_alone());
    }
    match authority.begin_request(&visit.sent, &visit.raw, &visit.visitor).await {
        // From another site a form comes without our cookie; what follows is asked for by GET, and so
        // with it.
        Ok(handle) => Ok(reply::see_other(&url("/auth/login", handle.expose_secret()))),
        Err(NotBegun::Refused(refusal)) => Ok(reply::refuse(&refusal, &authority.settings.issuer)),
        Err(NotBegun::Failed(error)) => Err(Failure::Interaction(error)),
    }
}

fn by_get_alone() -> Response<Body> {
    let text = "Apps ask this server by GET alone. Go back to the app.";
    let mut response =
        reply::problem(StatusCode::METHOD_NOT_ALLOWED, "This app asks wrongly", text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

/// The address of a page with the handle of a request.
pub(super) fn url(path: &str, handle: &str) -> String {
    format!("{path}?request={handle}")
}

/// The page that says that a request is over.
pub(super) fn over() -> Response<Body> {
    reply::problem(
        StatusCode::BAD_REQUEST,
        "This request is over",
        "It was answered, has waited too long, or was begun in another browser. Go back to the app and \
         begin anew.",
    )
}

/// What a page of a request to authorize may do.
pub(super) enum Turn<'v> {
    /// The request stands elsewhere, or nowhere.
    Elsewhere(Response<Body>),
    /// It is the turn of this page.
    Here(&'v Browser, &'v Account, Box<Ticket>),
}

impl Visit {
    /// The request that a page is about, when it names one: none where this browser may not go on.
    pub(super) async fn ticket(&self, browser: &Browser) -> Result<Option<Ticket>, Failure> {
        let found = self.authority.ticket(self.value("request"), browser).await;
        found.map_err(Failure::Interaction)
    }

    /// Whose turn it is at a step of a request to authorize, or the way to the step where it stands.
    pub(super) async fn turn(
        &self,
        is_step: fn(&Standing<'_>) -> bool,
    ) -> Result<Turn<'_>, Failure> {
        let Some((browser, account)) = self.whole() else { return Ok(Turn::Elsewhere(due(self))) };
        let Some(mut ticket) = self.ticket(browser).await? else {
            return Ok(Turn::Elsewhere(over()));
        };
        let standing = self.authority.standing(&mut ticket, browser, &self.visitor).await;
        let standing = standing.map_err(Failure::Interaction)?;
        if is_step(&standing) {
            return Ok(Turn::Here(browser, account, Box::new(ticket)));
        }
        if let Standing::Refused(refusal) = standing {
            return self.end(&ticket, &refusal).await.map(Turn::Elsewhere);
        }
        self.go_on(browser, &mut ticket).await.map(Turn::Elsewhere)
    }

    /// Sends the browser to what is missing, or back to the app.
    pub(super) async fn go_on(
        &self,
        browser: &Browser,
        ticket: &mut Ticket,
    ) -> Result<Response<Body>, Failure> {
        let handle = ticket.handle.expose_secret().to_owned();
        // A patient or a visit that is chosen, or found not to be there, leads on to the consent.
        for _ in 0..4 {
            let standing = self.authority.standing(ticket, browser, &self.visitor).await;
            let path = match standing.map_err(Failure::Interaction)? {
                Standing::Login => "/auth/login",
                Standing::Factor => "/auth/second-factor",
                Standing::Enrol => "/auth/factors",
                Standing::Refused(refusal) => return self.end(ticket, &refusal).await,
                Standing::Consent(account) => return self.consent(browser, ticket, account).await,
                Standing::Patient(account) => {
                    if self.choose_alone(browser, account, ticket).await? {
                        continue;
                    }
                    if ticket.pending.is_silent {
                        let text = "a patient has to be chosen";
                        let refusal = ticket.pending.refuse(Code::InteractionRequired, text);
                        return self.end(ticket, &refusal).await;
                    }
                    "/auth/patient"
                }
                Standing::Encounter(account) => {
                    if encounter::choose_alone(self, browser, account, ticket).await? {
                        continue;
                    }
                    if ticket.pending.is_silent {
                        let text = "a visit has to be chosen";
                        let refusal = ticket.pending.refuse(Code::InteractionRequired, text);
                        return self.end(ticket, &refusal).await;
                    }
                    "/auth/encounter"
                }
            };
            return Ok(reply::see_other(&url(path, &handle)));
        }
        Ok(over())
    }

    /// Settles whose record it is about where there is nothing to choose.
    async fn choose_alone(
        &self,
        browser: &Browser,
        account: &Account,
        ticket: &mut Ticket,
    ) -> Result<bool, Failure> {
        let only: Option<LogicalId> = match candidates(self, browser, account).await? {
            Candidates::Search => return Ok(false),
            Candidates::Known(known) => match known.as_slice() {
                [] => None,
                [one] => Some(one.clone()),
                _ => return Ok(false),
            },
        };
        ticket.pending.has_no_patient = only.is_none();
        ticket.pending.patient = only.map(|id| id.as_str().to_owned());
        self.authority.keep(ticket, "patient").await.map_err(Failure::Interaction)?;
        Ok(true)
    }

    /// Asks for consent, unless it was given before.
    async fn consent(
        &self,
        browser: &Browser,
        ticket: &Ticket,
        account: &Account,
    ) -> Result<Response<Body>, Failure> {
        let pending = &ticket.pending;
        let remembered = self.authority.remembered(ticket, account).await;
        if let Some(granted) = remembered.map_err(Failure::Interaction)? {
            let (authority, visitor) = (&self.authority, &self.visitor);
            let granted = (&granted, None);
            let ended = authority.end_granted(ticket, browser, account, granted, visitor).await;
            return Ok(self.after(ended.map_err(Failure::Interaction)?));
        }
        if pending.is_silent {
            let refusal = pending.refuse(Code::ConsentRequired, "the user has to agree first");
            return self.end(ticket, &refusal).await;
        }
        Ok(reply::see_other(&url("/auth/consent", ticket.handle.expose_secret())))
    }

    /// Where the browser goes when a request has ended.
    pub(super) fn after(&self, ended: Ended) -> Response<Body> {
        match ended {
            Ended::Before => over(),
            Ended::Granted(url) => reply::see_other(&url),
            Ended::Refused(refusal) => reply::refuse(&refusal, &self.authority.settings.issuer),
        }
    }

    /// Ends a request with a no.
    pub(super) async fn end(
        &self,
        ticket: &Ticket,
        refusal: &crate::oauth::authorize::Refusal,
    ) -> Result<Response<Body>, Failure> {
        let is_ended = self.authority.end_refused(ticket).await.map_err(Failure::Interaction)?;
        if !is_ended {
            return Ok(over());
        }
        Ok(reply::refuse(refusal, &self.authority.settings.issuer))
    }
}
