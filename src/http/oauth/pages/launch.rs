//! `POST /auth/launch`: an EHR begins the launch of an app.
//!
//! Asked for by a browser that has logged in, or by a client with the scope `system/__launch`, which
//! names the user. JSON alone is read: no form of another site can send it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderValue};
use axum::http::{Response, StatusCode, request};
use serde_json::json;

use crate::access::interaction::Kind;
use crate::access::scope::Special;
use crate::access::{Actor, Outcome};
use crate::error::Error;
use crate::fhir::{Identity, LogicalId};
use crate::http::body;
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::launch::{Asked, NoLaunch, told};
use crate::oauth::login::{Account, Browser};
use crate::oauth::person::patient;

use super::picker;
use super::reply;
use super::visit::Visit;

/// Largest body, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// `POST /auth/launch`
pub(super) async fn make(
    server: Arc<Server>,
    mut parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !kind.eq_ignore_ascii_case(b"application/json") {
        return Err(Failure::UnsupportedMediaType(
            "a launch is sent as application/json".to_owned(),
        ));
    }
    let read = body::read(body, &parts.headers, MOST_BYTES).await?;
    let is_by_client = parts.headers.contains_key(AUTHORIZATION);
    if is_by_client {
        parts.headers.remove(COOKIE);
    }
    let headers = parts.headers.clone();
    let visit = Visit::of(server, &parts, String::new()).await?;
    let Ok(asked) = serde_json::from_slice::<Asked>(&read) else {
        return wrong(&visit, &visit.visitor.nobody(), "the body is not the JSON of a launch")
            .await;
    };
    if !is_by_client {
        let Some((browser, account)) = visit.whole() else {
            note(&visit, &visit.visitor.nobody(), "nobody has logged in").await?;
            return Ok(unknown());
        };
        if asked.user.is_some() {
            let actor = visit.visitor.actor(account);
            return wrong(&visit, &actor, "user is named by clients alone").await;
        }
        return launch(&visit, browser, account, &asked, &visit.visitor.actor(account)).await;
    }
    let principal = match visit.server.authenticator.authenticate(&headers).await {
        Ok(principal) => principal,
        Err(error) => return unauthenticated(&visit, error).await,
    };
    let actor = Actor { name: principal.actor().to_owned(), request: visit.visitor.0.clone() };
    let may = principal.grant().is_some_and(|grant| grant.scopes.has(Special::MakeLaunch));
    if !may {
        let text = "the scope system/__launch is missing";
        note(&visit, &actor, text).await?;
        return Ok(refused(StatusCode::FORBIDDEN, "insufficient_scope", text));
    }
    let Some(name) = asked.user.as_deref() else {
        return wrong(&visit, &actor, "user is missing").await;
    };
    let account = visit.authority.account_named(name).await.map_err(Failure::Interaction)?;
    let Some(account) = account else { return wrong(&visit, &actor, "user is not known").await };
    // Read as the user, under the token of the client.
    let browser = visit.authority.stand_in(principal.token().unwrap_or_default());
    launch(&visit, &browser, &account, &asked, &actor).await
}

async fn launch(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    asked: &Asked,
    actor: &Actor,
) -> Result<Response<Body>, Failure> {
    let (patient, encounter) = match asked.ids() {
        Ok(ids) => ids,
        Err(NoLaunch::Invalid(text)) => return wrong(visit, actor, text).await,
        Err(NoLaunch::Failed(error)) => return Err(Failure::Interaction(error)),
    };
    if !may_see(visit, browser, account, patient.as_ref(), encounter.as_ref()).await? {
        let text = "the user has no access to this patient or encounter";
        note(visit, actor, text).await?;
        return Ok(refused(StatusCode::FORBIDDEN, "access_denied", text));
    }
    match visit.authority.make_launch(asked, account, actor).await {
        Ok(made) => Ok(reply::json(StatusCode::CREATED, &told(&made))),
        Err(NoLaunch::Invalid(text)) => wrong(visit, actor, text).await,
        Err(NoLaunch::Failed(error)) => Err(Failure::Interaction(error)),
    }
}

/// Whether the user may see what the launch is about, by reading it as that user.
async fn may_see(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    patient_id: Option<&LogicalId>,
    encounter: Option<&LogicalId>,
) -> Result<bool, Failure> {
    let encounter = encounter.map(|id| {
        let resource_type = "Encounter".parse().map_err(Error::internal);
        resource_type.map(|resource_type| Identity { resource_type, id: id.clone() })
    });
    let asked = patient_id.map(patient).into_iter().chain(encounter.transpose()?);
    for identity in asked {
        if picker::read(visit, browser, account, &identity).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn note(visit: &Visit, actor: &Actor, text: &str) -> Result<(), Failure> {
    let noted = visit.authority.gate.note(Kind::Launch, actor, Outcome::Refused, text).await;
    noted.map_err(Failure::Interaction)
}

/// The answer to what makes no launch, once that is on record.
async fn wrong(visit: &Visit, actor: &Actor, text: &str) -> Result<Response<Body>, Failure> {
    note(visit, actor, text).await?;
    Ok(refused(StatusCode::BAD_REQUEST, "invalid_request", text))
}

/// The answer to a client whose token does not count, once that is on record; what failed is told as that.
async fn unauthenticated(visit: &Visit, error: Error) -> Result<Response<Body>, Failure> {
    if matches!(error, Error::Unauthenticated | Error::TokenExpired | Error::TokenUnknown) {
        note(visit, &visit.visitor.nobody(), "no token that counts").await?;
    }
    match error {
        Error::Unauthenticated => Ok(unknown()),
        error => Err(Failure::Interaction(error)),
    }
}

fn unknown() -> Response<Body> {
    refused(StatusCode::UNAUTHORIZED, "login_required", "nobody has logged in")
}

fn refused(status: StatusCode, code: &str, text: &str) -> Response<Body> {
    reply::json(status, &json!({ "error": code, "error_description": text }))
}
