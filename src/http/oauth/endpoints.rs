//! The endpoints for programs: token, introspection, revocation, registration.
//!
//! Spec: RFC 6749, 7009, 7591, 7592, 7662; security T, R

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use serde_json::Value;

use crate::access::interaction::Kind;
use crate::access::{Actor, Outcome};
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::client::Basic;
use crate::oauth::form::Form;
use crate::oauth::limits::Rate;
use crate::oauth::refusal::Refusal;

use super::failure::answer;
use super::request::{Call, for_client};

type Answered = Result<Response<Body>, Failure>;

/// What every form of these endpoints comes with.
async fn read(
    call: &Call,
    (rate, kind): (&Rate, Kind),
    body: Body,
) -> Result<(Form, Option<Basic>), Refusal> {
    call.count(rate, kind).await?;
    let basic = call.basic()?;
    Ok((call.form(body).await?, basic))
}

/// The answer to what nobody could read, once that is on record.
async fn unread(call: &Call, kind: Kind, refusal: Refusal) -> Answered {
    let Err(refusal) = recorded::<Infallible>(call, kind, "", Err(refusal)).await;
    Ok(call.refused(&refusal))
}

/// `POST /auth/token`
pub(super) async fn token(server: Arc<Server>, parts: request::Parts, body: Body) -> Answered {
    let call = Call::new(&server, parts)?;
    let authority = &call.authority;
    let (form, basic) = match read(&call, (&authority.limits.tokens, Kind::Token), body).await {
        Ok(read) => read,
        Err(refusal) => return unread(&call, Kind::Token, refusal).await,
    };
    let asked = authority.token(&form, basic.as_ref(), &call.context).await;
    let response = match asked.result {
        Ok(tokens) => answer(StatusCode::OK, tokens.to_json()),
        Err(refusal) => call.refused(&refusal),
    };
    Ok(for_client(response, asked.client))
}

/// `POST /auth/introspect`
pub(super) async fn introspect(server: Arc<Server>, parts: request::Parts, body: Body) -> Answered {
    let call = Call::new(&server, parts)?;
    let authority = &call.authority;
    let read = read(&call, (&authority.limits.introspections, Kind::Introspect), body).await;
    let read = read.and_then(|(form, basic)| Ok((form, basic, call.bearer()?)));
    let (form, basic, bearer) = match read {
        Ok(read) => read,
        Err(refusal) => return unread(&call, Kind::Introspect, refusal).await,
    };
    let asked = authority.introspect(&form, basic.as_ref(), bearer, &call.context).await;
    let response = match asked.result {
        Ok(told) => answer(StatusCode::OK, Value::from(told).to_string()),
        Err(refusal) => call.refused(&refusal),
    };
    Ok(for_client(response, asked.client))
}

/// `POST /auth/revoke`
pub(super) async fn revoke(server: Arc<Server>, parts: request::Parts, body: Body) -> Answered {
    let call = Call::new(&server, parts)?;
    let authority = &call.authority;
    let (form, basic) = match read(&call, (&authority.limits.tokens, Kind::Revoke), body).await {
        Ok(read) => read,
        Err(refusal) => return unread(&call, Kind::Revoke, refusal).await,
    };
    let asked = authority.revoke(&form, basic.as_ref(), &call.context).await;
    let response = match asked.result {
        Ok(()) => answer(StatusCode::OK, "{}".to_owned()),
        Err(refusal) => call.refused(&refusal),
    };
    Ok(for_client(response, asked.client))
}

/// `POST /auth/break-glass`
pub(super) async fn break_glass(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Answered {
    let call = Call::new(&server, parts)?;
    let authority = &call.authority;
    let read = read(&call, (&authority.limits.tokens, Kind::BreakGlass), body).await;
    let read = read.and_then(|(form, _)| Ok((form, call.bearer()?)));
    let (form, bearer) = match read {
        Ok(read) => read,
        Err(refusal) => return unread(&call, Kind::BreakGlass, refusal).await,
    };
    Ok(match authority.break_glass(&form, bearer, &call.context).await {
        Ok(told) => answer(StatusCode::OK, told.to_string()),
        Err(refusal) => call.refused(&refusal),
    })
}

/// `POST /auth/register`
pub(super) async fn register(server: Arc<Server>, parts: request::Parts, body: Body) -> Answered {
    let call = Call::new(&server, parts)?;
    let authority = call.authority.clone();
    let registered = async {
        call.count(&authority.limits.registrations, Kind::Register).await?;
        let token = call.bearer()?;
        let text = call.text(body).await?;
        let asked = serde_json::from_str(&text);
        let asked = asked.map_err(|_| Refusal::request("the body is no JSON"))?;
        authority.register(&asked, token).await
    };
    let registered = registered.await;
    let id = registered.as_ref().ok().and_then(|told| told.get("client_id")?.as_str());
    let about = format!("client {}", id.unwrap_or_default());
    let recorded = recorded(&call, Kind::Register, &about, registered).await;
    Ok(match recorded {
        Ok(told) => answer(StatusCode::CREATED, Value::from(told).to_string()),
        Err(refusal) => call.refused(&refusal),
    })
}

/// What a client hears that cannot be asked who it is, as it registers itself or manages that: once it is on record.
async fn recorded<T>(
    call: &Call,
    kind: Kind,
    about: &str,
    done: Result<T, Refusal>,
) -> Result<T, Refusal> {
    let (outcome, about) = match &done {
        Ok(_) => (Outcome::Success, about.to_owned()),
        Err(Refusal::Fault(_) | Refusal::TooMany) => return done,
        Err(refusal) => (Outcome::Refused, refusal.told()),
    };
    let actor = Actor { name: "anonymous".to_owned(), request: call.context.clone() };
    call.authority.gate.note(kind, &actor, outcome, &about).await?;
    done
}

/// What a client does with its own registration.
#[derive(Clone, Copy)]
enum Managed {
    Changed,
    Ended,
    Shown,
}

/// `GET /auth/register/{name}`
pub(super) async fn registration(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Answered {
    manage(&server, parts, body, Managed::Shown).await
}

/// `PUT /auth/register/{name}`
pub(super) async fn change_registration(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Answered {
    manage(&server, parts, body, Managed::Changed).await
}

/// `DELETE /auth/register/{name}`
pub(super) async fn end_registration(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Answered {
    manage(&server, parts, body, Managed::Ended).await
}

async fn manage(server: &Server, parts: request::Parts, body: Body, what: Managed) -> Answered {
    let call = Call::new(server, parts)?;
    let authority = call.authority.clone();
    let id = call.name().unwrap_or_default();
    let managed = async {
        call.count(&authority.limits.registrations, Kind::ManageClient).await?;
        let token = call.bearer()?;
        match what {
            Managed::Shown => authority.registration(id, token).await.map(Some),
            Managed::Ended => authority.end_registration(id, token).await.map(|()| None),
            Managed::Changed => {
                let text = call.text(body).await?;
                let asked = serde_json::from_str(&text);
                let asked = asked.map_err(|_| Refusal::request("the body is no JSON"))?;
                authority.change_registration(id, token, &asked).await.map(Some)
            }
        }
    };
    let managed = managed.await;
    let about = format!("client {id}");
    Ok(match recorded(&call, Kind::ManageClient, &about, managed).await {
        Ok(Some(told)) => answer(StatusCode::OK, Value::from(told).to_string()),
        Ok(None) => answer(StatusCode::NO_CONTENT, String::new()),
        Err(refusal) => call.refused(&refusal),
    })
}
