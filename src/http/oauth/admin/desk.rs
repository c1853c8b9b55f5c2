//! One request of an administrator: who asks, what is asked, and how it is answered.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode, request};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::access::interaction::Kind;
use crate::access::{Actor, Caller, Outcome};
use crate::error::{Error, root_cause};
use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::Authority;
use crate::oauth::admin::Fault;
use crate::oauth::bearer::Rejected;
use crate::oauth::refusal::Refusal;

use super::super::failure;
use super::super::request::Call;

/// What an act gives: a status, and the body of the answer.
pub(super) type Done = Result<(StatusCode, Value), Fault>;

/// A request of somebody who may administer.
pub(super) struct Desk {
    /// What does it.
    pub(super) authority: Arc<Authority>,
    /// Who asks.
    pub(super) by: Caller,
    call: Call,
    body: Body,
}

/// Answers a request by `act`, when whoever sent it may administer.
pub(super) async fn answer(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
    act: fn(Desk) -> BoxFuture<'static, Done>,
) -> Result<Response<Body>, Failure> {
    let call = Call::new(&server, parts)?;
    let by = match known(&call).await {
        Ok(by) => by,
        Err(stopped) => return Ok(stopped.response(&call)),
    };
    let (authority, request) = (call.authority.clone(), call.context.id.clone());
    let answered = act(Desk { authority, by, call, body }).await;
    Ok(match answered {
        Ok((status, told)) => failure::answer(status, told.to_string()),
        Err(fault) => told(&fault, &request),
    })
}

impl Desk {
    /// `{name}` of the path.
    pub(super) fn name(&self) -> String {
        self.call.name().unwrap_or_default().to_owned()
    }

    /// The body, which is on record as refused when it cannot be read.
    pub(super) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        let body = std::mem::take(&mut self.body);
        let read = read(&self.call, body).await;
        self.authority.acted(&self.by, read).await
    }
}

async fn read<T: DeserializeOwned>(call: &Call, body: Body) -> Result<T, Fault> {
    if !call.is_of_type("application/json") {
        return Err(Fault::Invalid("the body is sent as application/json".to_owned()));
    }
    let text = call.text(body).await?;
    serde_json::from_str(&text).map_err(|error| {
        // What the library says may quote what was sent, such as a password.
        let (line, column) = (error.line(), error.column());
        let text = format!("the body is not what is read here: line {line}, column {column}");
        Fault::Invalid(text)
    })
}

/// Why a request gets no further.
enum Stopped {
    /// It says it twice, or too often.
    Refused(Refusal),
    /// It has no token that counts; whether it has one at all.
    Unknown(bool),
    /// Its token does not administer.
    Unfit,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Stopped {
    fn response(&self, call: &Call) -> Response<Body> {
        let (status, code, text, challenge) = match self {
            Self::Refused(refusal) => return call.refused(refusal),
            Self::Unknown(false) => {
                let text = "an access token that administers is needed";
                (StatusCode::UNAUTHORIZED, "invalid_token", text, "Bearer realm=\"administration\"")
            }
            Self::Unknown(true) => {
                let challenge = "Bearer realm=\"administration\", error=\"invalid_token\"";
                let text = "the access token does not count, or counts no more";
                (StatusCode::UNAUTHORIZED, "invalid_token", text, challenge)
            }
            Self::Unfit => {
                let challenge = "Bearer realm=\"administration\", error=\"insufficient_scope\"";
                let text = "the access token does not administer: it needs system/__admin, or \
                            user/__admin and a role that administers";
                (StatusCode::FORBIDDEN, "insufficient_scope", text, challenge)
            }
        };
        let mut response = said(status, code, text);
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}

/// Who asks, when that party may administer.
async fn known(call: &Call) -> Result<Caller, Stopped> {
    let authority = &call.authority;
    let shown = match call.bearer() {
        Ok(shown) => shown,
        Err(refusal) => {
            note_stranger(call, &refusal.told()).await?;
            return Err(refusal.into());
        }
    };
    let found = match shown {
        Some(token) => authority.bearer(token).await,
        None => Err(Rejected::Unknown),
    };
    let known = match found {
        Ok(known) => known,
        Err(Rejected::Fault(error)) => return Err(error.into()),
        Err(Rejected::Expired | Rejected::Unknown) => {
            note_stranger(call, "no token that counts").await?;
            return Err(Stopped::Unknown(shown.is_some()));
        }
    };
    let by = Caller { principal: known.principal.clone(), request: call.context.clone() };
    if let Some(grant) = by.principal.grant() {
        let counted = authority.limits.requests.count(&grant.party());
        authority.counted_of(counted, Kind::Admin, &by).await?;
    }
    if authority.administers(&by.principal) {
        return Ok(by);
    }
    let text = "the token does not administer";
    authority.gate.note_by(Kind::Admin, &by, Outcome::Refused, text).await?;
    Err(Stopped::Unfit)
}

/// Puts on record that somebody unknown was refused. Beyond what an address may ask, the ledger grows by a few rows.
async fn note_stranger(call: &Call, text: &str) -> Result<(), Stopped> {
    call.count(&call.authority.limits.refusals, Kind::Admin).await?;
    let actor = Actor { name: "anonymous".to_owned(), request: call.context.clone() };
    Ok(call.authority.gate.note(Kind::Admin, &actor, Outcome::Refused, text).await?)
}

/// The answer to an act that was not done.
fn told(fault: &Fault, request: &str) -> Response<Body> {
    match fault {
        Fault::Invalid(text) => said(StatusCode::BAD_REQUEST, "invalid_request", text),
        Fault::Missing(text) => said(StatusCode::NOT_FOUND, "not_found", text),
        Fault::Taken(text) => said(StatusCode::CONFLICT, "conflict", text),
        Fault::Failed(Error::Unavailable(_) | Error::Unconfirmed(_) | Error::Busy(_)) => {
            let text = "the server cannot reach its database";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let mut response = said(status, "temporarily_unavailable", text);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
        Fault::Failed(error) => {
            let cause = root_cause(error);
            tracing::error!(request.id = request, cause, "an act of administration failed");
            said(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal error")
        }
    }
}

fn said(status: StatusCode, code: &str, text: &str) -> Response<Body> {
    failure::answer(status, json!({ "error": code, "error_description": text }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_status_and_tells_nothing_of_the_inside() {
        for (fault, status) in [
            (Fault::Invalid("x".into()), 400),
            (Fault::Missing("x".into()), 404),
            (Fault::Taken("x".into()), 409),
            (Fault::Failed(Error::Unavailable("SQL".into())), 503),
            (Fault::Failed(Error::internal("SQL")), 500),
        ] {
            let response = told(&fault, "r");
            assert_eq!(response.status(), status, "{fault:?}");
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
    }
}
