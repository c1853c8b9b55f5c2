//! `/v2/view/{id}`: one message with all that is known of it, and what a person can do about it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use uuid::Uuid;

use crate::engine::{MessageEffect, MessageIssue, MessageState, MessageView, Replay};
use crate::error::Error;
use crate::fhir::json::parse;
use crate::fhir::{Identity, VersionId};
use crate::hl7v2::charset::Charset;
use crate::http::oauth::pages::html::Html;
use crate::http::oauth::pages::reply;
use crate::http::outcome::Failure;
use crate::http::server::Server;

use super::guest::{Guest, refused, said, with_guest};
use super::list::{moment, sender, trigger, word};
use super::trace;

/// `GET /v2/view/{id}`
pub(super) async fn show(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    with_guest(server, parts, body, async |guest| shown(&guest).await).await
}

/// `POST /v2/view/{id}`: replays or discards, for a reason.
pub(super) async fn send(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    with_guest(server, parts, body, async |guest| done(&guest).await).await
}

async fn done(guest: &Guest) -> Result<Response<Body>, Failure> {
    let Some(id) = id(guest) else { return unknown() };
    let reason = match guest.reason() {
        Ok(reason) => reason,
        Err(response) => return Ok(*response),
    };
    let (engine, caller) = (&guest.server.engine, guest.saying(reason));
    let done = match guest.value("do") {
        "replay" => engine.replay_messages(&Replay::One(id), false, &caller).await.map(drop),
        "discard" => engine.discard_message(id, reason, &caller).await,
        _ => {
            let text = "The form asks for nothing that can be done.";
            return Ok(said(StatusCode::BAD_REQUEST, "Nothing was done", text));
        }
    };
    if let Err(error) = done {
        return refused(error);
    }
    guest.server.messages.wake();
    Ok(reply::see_other(&format!("/v2/view/{id}")))
}

fn id(guest: &Guest) -> Option<Uuid> {
    Uuid::try_parse(&guest.name).ok()
}

fn unknown() -> Result<Response<Body>, Failure> {
    refused(Error::NotFound(String::new()))
}

async fn shown(guest: &Guest) -> Result<Response<Body>, Failure> {
    let Some(id) = id(guest) else { return unknown() };
    let view = match guest.server.engine.message(id, &guest.caller).await {
        Ok(view) => view,
        Err(error) => return refused(error),
    };
    let html = facts(Html::new(), &view);
    let html = issues(html, &view.issues);
    let html = stored(html, guest, &view).await?;
    let html = trace::shown(html, &guest.server, &view);
    let html = answer(html, &view);
    let html = actions(html, guest, &view);
    let title = format!("{} from {}", trigger(&view.row), sender(&view.row.site));
    Ok(guest.page(&title, html, StatusCode::OK))
}

/// What is known of the message, a line each.
fn facts(html: Html, view: &MessageView) -> Html {
    let row = &view.row;
    let html = html.when(!row.reason.is_empty(), |html| {
        html.raw("<div class=\"notice\"><p><strong>")
            .text(word(row.state))
            .raw("</strong>: ")
            .text(&row.reason)
            .raw("</p></div>\n")
    });
    let ended = row.processed_at.map(moment).unwrap_or_default();
    let way = match &view.peer {
        Some(peer) => format!("{} from {peer}", row.listener),
        None => row.listener.clone(),
    };
    let known = [
        ("State", word(row.state).to_owned()),
        ("Control id", row.control_id.clone()),
        ("Received", moment(row.received_at)),
        ("Ended", ended),
        ("Answer", row.ack_code.clone().unwrap_or_default()),
        ("Way", way),
        ("Certificate", view.tls_subject.clone().unwrap_or_default()),
        ("Version", view.version.clone()),
        ("Character set", view.charset.clone()),
        ("Attempts", row.attempts.to_string()),
        (
            "Came again",
            if view.repetitions > 0 { view.repetitions.to_string() } else { String::new() },
        ),
        ("Maps", view.map_hash.clone().unwrap_or_default()),
    ];
    let known = known.iter().filter(|(_, value)| !value.is_empty());
    let html = html.raw("<dl class=\"facts\">\n").each(known, |html, (name, value)| {
        html.raw("<div><dt>").text(name).raw("</dt><dd>").text(value).raw("</dd></div>\n")
    });
    let html = match row.duplicate_of {
        Some(first) => html
            .raw("<div><dt>Repeats</dt><dd><a")
            .attribute("href", &format!("/v2/view/{first}"))
            .raw(">this message</a></dd></div>\n"),
        None => html,
    };
    html.raw("</dl>\n")
}

fn issues(html: Html, issues: &[MessageIssue]) -> Html {
    if issues.is_empty() {
        return html;
    }
    html.raw("<section aria-labelledby=\"issues\">\n<h2 id=\"issues\">Issues</h2>\n")
        .raw("<table class=\"cards\">\n<thead><tr><th scope=\"col\">Severity</th>")
        .raw("<th scope=\"col\">Code</th><th scope=\"col\">Where</th>")
        .raw("<th scope=\"col\">What</th></tr></thead>\n<tbody>\n")
        .each(issues, |html, issue| {
            let severity = match issue.severity.as_str() {
                "E" | "F" => "error",
                "W" => "warning",
                _ => "information",
            };
            html.raw("<tr><td data-label=\"Severity\">")
                .text(severity)
                .raw("</td><td data-label=\"Code\">")
                .text(&issue.code.to_string())
                .raw("</td><td data-label=\"Where\">")
                .text(&place(issue))
                .raw("</td><td data-label=\"What\">")
                .text(&issue.name)
                .raw(if issue.text.is_empty() { "" } else { ": " })
                .text(&issue.text)
                .raw("</td></tr>\n")
        })
        .raw("</tbody></table>\n</section>\n")
}

fn place(issue: &MessageIssue) -> String {
    let [sequence, field, ..] = issue.numbers;
    match (issue.segment.as_str(), field) {
        ("", _) => String::new(),
        (segment, 0) => format!("{segment}[{sequence}]"),
        (segment, field) => format!("{segment}[{sequence}]-{field}"),
    }
}

/// What the message did, with links to each version; and the version that is asked for.
async fn stored(html: Html, guest: &Guest, view: &MessageView) -> Result<Html, Failure> {
    if view.effects.is_empty() {
        return Ok(html);
    }
    let html = html
        .raw("<section aria-labelledby=\"did\">\n<h2 id=\"did\">What it did</h2>\n<ul>\n")
        .each(&view.effects, |html, effect| {
            let name = named(effect);
            html.raw("<li>")
                .text(&effect.action)
                .raw(" <a")
                .attribute("href", &format!("/v2/view/{}?show={name}#shown", view.row.id))
                .raw(">")
                .text(&name)
                .raw("</a> by <code>")
                .text(&effect.rule)
                .raw("</code></li>\n")
        })
        .raw("</ul>\n");
    let asked = guest.value("show");
    let Some(effect) = view.effects.iter().find(|effect| named(effect) == asked) else {
        return Ok(html.raw("</section>\n"));
    };
    let html = html
        .raw("<h3 id=\"shown\" tabindex=\"-1\">")
        .text(asked)
        .raw("</h3>\n<pre tabindex=\"0\" aria-label=\"The resource\"><code>");
    let text = read(guest, effect).await?;
    Ok(html.text(&text).raw("</code></pre>\n</section>\n"))
}

/// `Patient/1/_history/2`
fn named(effect: &MessageEffect) -> String {
    format!("{}/{}/_history/{}", effect.resource_type, effect.id, effect.version)
}

/// A version that the message made, as this guest may see it.
async fn read(guest: &Guest, effect: &MessageEffect) -> Result<String, Failure> {
    let missing = || Error::internal("an effect on a resource that cannot be");
    let resource_type = effect.resource_type.parse().map_err(|_| missing())?;
    let id = effect.id.parse().map_err(|_| missing())?;
    let identity = Identity { resource_type, id };
    let found =
        guest.server.engine.vread(&identity, VersionId(effect.version), &guest.caller).await;
    let json = match found {
        Ok(version) => version.to_json(),
        Err(Error::Deleted { .. }) => return Ok("It was deleted by this version.".to_owned()),
        Err(Error::NotFound(_)) => return Ok("This version is not kept.".to_owned()),
        Err(error) => return Err(error.into()),
    };
    let mut pretty = Vec::new();
    match parse(&json) {
        Ok(value) => value.write_pretty(&mut pretty),
        Err(error) => return Err(Error::internal(error).into()),
    }
    Ok(String::from_utf8_lossy(&pretty).into_owned())
}

/// The acknowledgement, a segment a line.
fn answer(html: Html, view: &MessageView) -> Html {
    let Some(ack) = &view.ack else { return html };
    let charset = Charset::named(&view.charset).unwrap_or_default();
    let text = charset.decode(ack).map(|text| text.replace('\r', "\n")).unwrap_or_default();
    html.raw("<section aria-labelledby=\"ack\">\n<h2 id=\"ack\">Acknowledgement</h2>\n")
        .raw("<pre tabindex=\"0\" aria-label=\"The acknowledgement\"><code>")
        .text(text.trim_end())
        .raw("</code></pre>\n</section>\n")
}

/// Replay and discard, as far as the state lets them be done.
fn actions(html: Html, guest: &Guest, view: &MessageView) -> Html {
    let state = view.row.state;
    // What was rejected for its type, event, processing id or version is judged once more, and nothing else.
    let is_judged_again = || {
        let mut issues = view.issues.iter().filter(|issue| issue.severity == "E");
        issues.any(|issue| (200..=203).contains(&issue.code))
    };
    let may_replay = view.raw.is_some()
        && match state {
            MessageState::Received | MessageState::Processing | MessageState::Duplicate => false,
            MessageState::Rejected => is_judged_again(),
            _ => true,
        };
    let may_discard =
        matches!(state, MessageState::Received | MessageState::Failed | MessageState::Held);
    if !may_replay && !may_discard {
        return html;
    }
    let html = html
        .raw("<section aria-labelledby=\"act\">\n<h2 id=\"act\">What can be done</h2>\n")
        .when(may_replay, |html| {
            html.raw("<p>A replay does the work again by the maps of now; what is newer is not ")
                .raw("overwritten.</p>\n")
        })
        .when(may_discard, |html| {
            html.raw("<p>A message that is discarded is set aside without an effect.</p>\n")
        })
        .raw("<form method=\"post\"")
        .attribute("action", &format!("/v2/view/{}", view.row.id))
        .raw(">\n");
    guest
        .proof(html)
        .raw("<div class=\"field\"><label for=\"reason\">Reason</label>\n")
        .raw("<p class=\"hint\" id=\"reason-hint\">It is kept in the record. No names, please.</p>\n")
        .raw("<input id=\"reason\" name=\"reason\" type=\"text\" autocomplete=\"off\" required ")
        .raw("maxlength=\"500\" aria-describedby=\"reason-hint\"></div>\n<div class=\"buttons\">")
        .when(may_replay, |html| {
            html.raw("<button type=\"submit\" name=\"do\" value=\"replay\">Replay</button>\n")
        })
        .when(may_discard, |html| {
            html.raw("<button class=\"quiet\" type=\"submit\" name=\"do\" value=\"discard\">")
                .raw("Discard</button>\n")
        })
        .raw("</div>\n</form>\n</section>\n")
}
