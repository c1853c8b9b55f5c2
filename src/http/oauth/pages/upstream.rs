//! `/auth/upstream` and `/auth/callback`: logging in at an outside provider, and coming back.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};

use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::upstream::NotKnown;

use super::authorize::url;
use super::reply;
use super::visit::Visit;

/// `POST /auth/upstream`
pub(super) async fn ask(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let browser = match visit.own_form() {
        Ok(browser) => browser,
        Err(response) => return Ok(*response),
    };
    let request = Some(visit.value("request")).filter(|it| !it.is_empty());
    match visit.authority.ask_provider(browser, request).await {
        Ok(url) => Ok(reply::see_other(&url)),
        Err(error) => refused(error),
    }
}

/// `GET /auth/callback`
pub(super) async fn hear(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    let Some(browser) = &visit.browser else { return refused(NotKnown::Foreign) };
    let (state, code, issuer) = (visit.value("state"), visit.value("code"), visit.value("iss"));
    let heard =
        Box::pin(visit.authority.hear_provider(browser, state, code, issuer, &visit.visitor)).await;
    match heard {
        Ok(back) => {
            let next = match &back.request {
                Some(handle) => url("/auth/login", handle),
                None => "/auth/login".to_owned(),
            };
            Ok(visit.keep(&back.browser, reply::see_other(&next)))
        }
        Err(error) => refused(error),
    }
}

fn refused(error: NotKnown) -> Result<Response<Body>, Failure> {
    let text = match error {
        NotKnown::Failed(error) => return Err(Failure::Interaction(error)),
        NotKnown::Provider(_) => "The other service did not answer as it must. Try again later.",
        NotKnown::Foreign => "The answer does not belong to this browser. Log in anew.",
        NotKnown::Refused => "The other service did not log you in.",
        NotKnown::TooOld(_) => {
            "The app wants you to log in now, and the other service does not say that you did. Log out \
             there, and go back to the app."
        }
        NotKnown::Disabled(_) | NotKnown::Unlinked => {
            "Your user of the other service is not linked with an account here. Ask who runs this \
             server."
        }
    };
    Ok(reply::problem(StatusCode::FORBIDDEN, "You are not logged in", text))
}
