//! Messages of HL7 version 2 over HTTP: taken in, looked for, worked on again, set aside.
//!
//! `POST /v2/messages` answers with the acknowledgement, whatever it says: the status is about HTTP.
//!
//! Spec: v2 P8

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use uuid::Uuid;

use crate::engine::{
    MessageEffect, MessageFilter, MessageIssue, MessageRow, MessageState, MessageView, Replay,
};
use crate::error::Error;
use crate::fhir::datetime::{DateTime, Zone};
use crate::fhir::json::{Object, Value};
use crate::fhir::query::date_text;
use crate::fhir::{Instant, IssueCode};
use crate::hl7v2::charset::Charset;
use crate::hl7v2::receive::{Application, Origin};

use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;

/// What messages are.
const ER7: HeaderValue = HeaderValue::from_static("application/hl7-v2");
/// What the others are.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Messages of a list, unless it says how many.
const PAGE: i64 = 50;
/// Most messages of a list.
const MOST: i64 = 1_000;

/// What a list is asked by.
const PARAMETERS: &[&str] = &[
    "state",
    "site",
    "type",
    "event",
    "since",
    "until",
    "control-id",
    "patient",
    "before",
    "_count",
];

/// `POST /v2/messages`
pub(in crate::http) async fn receive(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let most = exchange.server.settings.max_message_bytes;
    let body = exchange.read_within(most).await?;
    let origin = Origin {
        listener: "http",
        peer: exchange.caller.request.source,
        names: Vec::new(),
        is_framed: false,
        caller: Some(exchange.caller.clone()),
    };
    let receiver = exchange.server.messages.clone();
    let answers = receiver.receive(&body, &origin).await.map_err(Failure::Interaction)?;
    let application = match answers.application {
        Application::Silent => None,
        Application::Now(answer) => Some(answer),
        Application::Later(pending) => {
            pending.answer(&receiver).await.map_err(Failure::Interaction)?
        }
    };
    let Some(answer) = application.or(answers.accept) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    };
    Ok(of_bytes(answer, ER7))
}

/// `GET /v2/messages`
pub(in crate::http) async fn list(exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.query.check_known(PARAMETERS).map_err(Error::from)?;
    let filter = filter(&exchange)?;
    let found = exchange.server.engine.messages(&filter, &exchange.caller).await;
    let rows = found.map_err(Failure::Interaction)?;
    let mut page = Object::new();
    let is_full = rows.len() as i64 == filter.count;
    if let Some(last) = rows.last().filter(|_| is_full) {
        page.set("next", next(&exchange, last.id));
    }
    page.set("messages", Value::Array(rows.iter().map(|row| Value::Object(line(row))).collect()));
    Ok(of_json(page))
}

/// `GET /v2/messages/[id]`: JSON, or the bytes as they came for who takes `application/hl7-v2`.
pub(in crate::http) async fn read(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let id = id(&exchange)?;
    let found = exchange.server.engine.message(id, &exchange.caller).await;
    let view = found.map_err(Failure::Interaction)?;
    let accepted = exchange.parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("hl7-v2")) {
        let gone = || Failure::from(Error::NotFound(format!("the text of message {id}")));
        return Ok(of_bytes(view.raw.ok_or_else(gone)?, ER7));
    }
    Ok(of_json(whole(&view)))
}

/// `POST /v2/messages/[id]/$replay?prune=true`; a body says why.
pub(in crate::http) async fn replay(exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.query.check_known(&["prune"]).map_err(Error::from)?;
    let of = Replay::One(id(&exchange)?);
    replayed(exchange, of).await
}

/// `POST /v2/messages/$replay?state=failed&site=..&since=..&prune=true`; a body says why.
pub(in crate::http) async fn replay_failed(exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.query.check_known(&["state", "site", "since", "prune"]).map_err(Error::from)?;
    let state = once(&exchange, "state")?;
    if state != Some("failed") {
        let text = "state=failed is needed: others are replayed one by one";
        return Err(Error::invalid(IssueCode::Required, text).into());
    }
    let site = once(&exchange, "site")?.map(str::to_owned);
    let of = Replay::Failed { site, since: moment(&exchange, "since")? };
    replayed(exchange, of).await
}

/// `POST /v2/messages/[id]/$discard`, with the reason as the body.
pub(in crate::http) async fn discard(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let id = id(&exchange)?;
    let reason = reason(&mut exchange, "discarded").await?;
    let done = exchange.server.engine.discard_message(id, &reason, &exchange.caller).await;
    done.map_err(Failure::Interaction)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// `POST /v2/messages/[id]/$unmerge`, with the reason as the body: takes the merges of a message back.
pub(in crate::http) async fn unmerge(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let id = id(&exchange)?;
    let reason = reason(&mut exchange, "taken back").await?;
    let done = exchange.server.messages.unmerge(id, &reason, &exchange.caller).await;
    let shown = done.map_err(Failure::Interaction)?.into_iter().map(|back| {
        let left = back.left.into_iter().map(|(resource, path)| {
            Value::Object(Object::new().with("resource", resource).with("path", path))
        });
        let since = back.since.into_iter().map(Value::from);
        let shown = Object::new()
            .with("source", back.source)
            .with("target", back.target)
            .with("restored", back.restored as u64)
            .with("left", left.collect::<Vec<_>>())
            .with("since", since.collect::<Vec<_>>());
        Value::Object(shown)
    });
    let mut body = Object::new();
    body.set("merges", Value::Array(shown.collect()));
    Ok(of_json(body))
}

/// Why something is done: the body.
async fn reason(exchange: &mut Exchange, done: &str) -> Result<String, Failure> {
    let text = format!("why the message is {done} is the body, as text");
    let missing = || Failure::from(Error::invalid(IssueCode::Required, text));
    said(exchange).await?.ok_or_else(missing)
}

/// The same where it need not be told.
async fn said(exchange: &mut Exchange) -> Result<Option<String>, Failure> {
    let body = exchange.read_at_most(4_096).await?;
    match str::from_utf8(body.trim_ascii()) {
        Ok("") => Ok(None),
        Ok(reason) if !reason.contains('\0') => Ok(Some(reason.to_owned())),
        _ => Err(Error::invalid(IssueCode::Value, "a reason is a text in UTF-8").into()),
    }
}

async fn replayed(mut exchange: Exchange, of: Replay) -> Result<Response<Body>, Failure> {
    let prunes = match once(&exchange, "prune")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Error::invalid(IssueCode::Value, "prune is true or false").into()),
    };
    let reason = said(&mut exchange).await?;
    let Exchange { server, caller, .. } = exchange;
    let caller = match reason {
        Some(reason) => caller.saying(&reason),
        None => caller,
    };
    let done = server.engine.replay_messages(&of, prunes, &caller).await;
    let ids = done.map_err(Failure::Interaction)?;
    server.messages.wake();
    let mut body = Object::new();
    body.set("replayed", Value::Array(ids.iter().map(|id| Value::from(id.to_string())).collect()));
    let mut response = of_json(body);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn id(exchange: &Exchange) -> Result<Uuid, Failure> {
    let text = exchange.target.id.as_ref().and_then(|id| id.as_ref().ok());
    let id = text.and_then(|id| Uuid::try_parse(id.as_str()).ok());
    id.ok_or_else(|| Error::NotFound("a message of this id".to_owned()).into())
}

pub(super) fn once<'a>(exchange: &'a Exchange, name: &str) -> Result<Option<&'a str>, Error> {
    exchange.query.once(name).map_err(Error::from)
}

fn filter(exchange: &Exchange) -> Result<MessageFilter, Error> {
    let text = |name: &str| once(exchange, name).map(|value| value.map(str::to_owned));
    let bad = |name: &str| Error::invalid(IssueCode::Value, format!("{name} cannot be that"));
    let state = once(exchange, "state")?;
    let state = state.map(|name| MessageState::parse(name).ok_or_else(|| bad("state")));
    let before = once(exchange, "before")?;
    let before = before.map(|id| Uuid::try_parse(id).map_err(|_| bad("before")));
    let count = once(exchange, "_count")?;
    let count = count.map(|count| count.parse::<i64>().map_err(|_| bad("_count")));
    let kind = text("type")?;
    // `ADT^A01` is both.
    let (kind, event) = match kind.as_deref().and_then(|kind| kind.split_once('^')) {
        Some((kind, event)) => (Some(kind.to_owned()), Some(event.to_owned())),
        None => (kind, text("event")?),
    };
    Ok(MessageFilter {
        state: state.transpose()?,
        site: text("site")?,
        kind,
        event,
        since: moment(exchange, "since")?,
        until: moment(exchange, "until")?,
        control_id: text("control-id")?,
        patient: text("patient")?.map(|id| id.trim_start_matches("Patient/").to_owned()),
        before: before.transpose()?,
        count: count.transpose()?.unwrap_or(PAGE).clamp(1, MOST),
    })
}

fn moment(exchange: &Exchange, name: &str) -> Result<Option<Instant>, Error> {
    let Some(text) = once(exchange, name)? else { return Ok(None) };
    let text = date_text(text);
    let read = DateTime::parse_search(&text).map(|moment| moment.lower(Zone::UTC));
    let bad = || Error::invalid(IssueCode::Value, format!("{name} is no date and no time"));
    read.map(Some).ok_or_else(bad)
}

/// Where the page after this one is.
fn next(exchange: &Exchange, last: Uuid) -> Value<'static> {
    let others = exchange.query.without(&["before"]);
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let mut url = String::from("/v2/messages?");
    for (name, value) in others.iter() {
        // Writing to a String does not fail.
        let _ = write!(url, "{}={}&", encode(name), encode(value));
    }
    let _ = write!(url, "before={last}");
    Value::from(url)
}

fn text(value: &str) -> Value<'static> {
    Value::from(value.to_owned())
}

fn line(row: &MessageRow) -> Object<'static> {
    let mut line = Object::new();
    line.set("id", Value::from(row.id.to_string()));
    line.set("received", Value::from(row.received_at.to_string()));
    line.set("state", text(row.state.as_str()));
    line.set("type", text(&row.kind));
    line.set("event", text(&row.event));
    line.set("controlId", text(&row.control_id));
    line.set("site", text(&row.site));
    line.set("listener", text(&row.listener));
    line.set("attempts", u64::from(row.attempts.unsigned_abs()));
    if let Some(code) = &row.ack_code {
        line.set("answer", text(code));
    }
    if !row.reason.is_empty() {
        line.set("reason", text(&row.reason));
    }
    if let Some(at) = row.processed_at {
        line.set("ended", Value::from(at.to_string()));
    }
    if let Some(first) = row.duplicate_of {
        line.set("duplicateOf", Value::from(first.to_string()));
    }
    line
}

fn whole(view: &MessageView) -> Object<'static> {
    let mut body = line(&view.row);
    body.set("version", text(&view.version));
    body.set("charset", text(&view.charset));
    if let Some(peer) = &view.peer {
        body.set("peer", text(peer));
    }
    if let Some(subject) = &view.tls_subject {
        body.set("certificate", text(subject));
    }
    if let Some(hash) = &view.map_hash {
        body.set("maps", text(hash));
    }
    if view.repetitions > 0 {
        body.set("repetitions", view.repetitions.unsigned_abs());
    }
    let charset = Charset::named(&view.charset).unwrap_or_default();
    if let Some(raw) = &view.raw {
        body.set("message", decoded(raw, charset));
    }
    if let Some(ack) = &view.ack {
        body.set("acknowledgement", decoded(ack, charset));
    }
    body.set("issues", Value::Array(view.issues.iter().map(issue).collect()));
    body.set("effects", Value::Array(view.effects.iter().map(effect).collect()));
    body
}

/// The text; what is in no character set is shown byte by byte.
fn decoded(bytes: &[u8], charset: Charset) -> Value<'static> {
    let text = charset.decode(bytes).map(std::borrow::Cow::into_owned);
    Value::from(text.unwrap_or_else(|| bytes.iter().map(|byte| char::from(*byte)).collect()))
}

fn issue(issue: &MessageIssue) -> Value<'static> {
    let mut shown = Object::new();
    shown.set("severity", text(&issue.severity));
    shown.set("code", u64::from(issue.code.unsigned_abs()));
    if !issue.name.is_empty() {
        shown.set("name", text(&issue.name));
    }
    if !issue.segment.is_empty() {
        let [sequence, field, ..] = issue.numbers;
        shown.set("place", Value::from(format!("{}[{sequence}]-{field}", issue.segment)));
    }
    if !issue.text.is_empty() {
        shown.set("text", text(&issue.text));
    }
    Value::Object(shown)
}

fn effect(effect: &MessageEffect) -> Value<'static> {
    let MessageEffect { action, resource_type, id, version, rule } = effect;
    let mut shown = Object::new();
    shown.set("action", text(action));
    shown.set("resource", Value::from(format!("{resource_type}/{id}/_history/{version}")));
    shown.set("rule", text(rule));
    Value::Object(shown)
}

pub(super) fn of_json(body: Object<'static>) -> Response<Body> {
    of_bytes(Value::Object(body).to_text().into_bytes().into(), JSON)
}

fn of_bytes(body: Bytes, kind: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
