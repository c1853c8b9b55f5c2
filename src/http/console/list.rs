//! `/v2`: queues by state, and the messages in them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use uuid::Uuid;

use crate::engine::{Counted, MessageFilter, MessageRow, MessageState, Replay};
use crate::hl7v2::sites::Broken;
use crate::http::oauth::pages::html::Html;
use crate::http::oauth::pages::reply;
use crate::http::outcome::Failure;
use crate::http::server::Server;

use super::guest::{Guest, refused, with_guest};

/// Messages of a page.
const PAGE: i64 = 50;

/// `GET /v2`
pub(super) async fn show(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    with_guest(server, parts, body, async |guest| shown(&guest).await).await
}

/// `POST /v2`: has all work done again that failed, of the sender that is named.
pub(super) async fn send(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    with_guest(server, parts, body, async |guest| replayed(&guest).await).await
}

async fn replayed(guest: &Guest) -> Result<Response<Body>, Failure> {
    let reason = match guest.reason() {
        Ok(reason) => reason,
        Err(response) => return Ok(*response),
    };
    let site = Some(guest.value("site").to_owned()).filter(|site| !site.is_empty());
    let of = Replay::Failed { site: site.clone(), since: None };
    if let Err(error) = guest.server.engine.replay_messages(&of, false, &guest.saying(reason)).await
    {
        return refused(error);
    }
    guest.server.messages.wake();
    Ok(reply::see_other(&url(&Asked { site: site.unwrap_or_default(), ..Asked::default() }, None)))
}

/// What a list is asked by.
#[derive(Clone, Debug, Default)]
struct Asked {
    state: Option<MessageState>,
    site: String,
    kind: String,
}

async fn shown(guest: &Guest) -> Result<Response<Body>, Failure> {
    let asked = Asked {
        state: MessageState::parse(guest.value("state")),
        site: guest.value("site").trim().to_owned(),
        kind: guest.value("type").trim().to_owned(),
    };
    let (kind, event) = match asked.kind.split_once('^') {
        Some((kind, event)) => (kind, event),
        None => (asked.kind.as_str(), ""),
    };
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let filter = MessageFilter {
        state: asked.state,
        site: some(&asked.site),
        kind: some(kind),
        event: some(event),
        before: Uuid::try_parse(guest.value("before")).ok(),
        count: PAGE,
        ..MessageFilter::default()
    };
    let found = guest.server.engine.message_queues(&filter, &guest.caller).await;
    let (rows, counts) = match found {
        Ok(found) => found,
        Err(error) => return refused(error),
    };
    let html = profiles(Html::new(), &guest.server.messages.sites().broken());
    let html = queues(html, &counts);
    let html = form(html, &asked);
    let html = messages(html, &rows);
    let html = match rows.last().filter(|_| rows.len() as i64 == PAGE) {
        Some(last) => html
            .raw("<p><a")
            .attribute("href", &url(&asked, Some(last.id)))
            .raw(">Older messages</a></p>\n"),
        None => html,
    };
    let has_failed = counts.iter().any(|counted| is_stuck(counted.state));
    let html = html.when(has_failed, |html| again(html, guest, &asked));
    Ok(guest.page("Messages", html, StatusCode::OK))
}

fn is_stuck(state: MessageState) -> bool {
    matches!(state, MessageState::Failed | MessageState::Held)
}

/// Profiles that cannot be used: whoever looks at the queues is to see why they grow.
fn profiles(html: Html, broken: &[Broken]) -> Html {
    html.when(!broken.is_empty(), |html| {
        html.raw("<section aria-labelledby=\"profiles\">\n")
            .raw("<h2 id=\"profiles\">Profiles that cannot be used</h2>\n")
            .raw("<p>The messages of their senders wait until another version is installed.</p>\n<ul>\n")
            .each(broken, |html, one| {
                html.raw("<li>").text(&one.fault).raw("</li>\n")
            })
            .raw("</ul>\n</section>\n")
    })
}

/// How many wait or have failed, a row for each sender and state.
fn queues(html: Html, counts: &[Counted]) -> Html {
    let html = html.raw("<section aria-labelledby=\"queues\">\n<h2 id=\"queues\">Queues</h2>\n");
    if counts.is_empty() {
        return html.raw("<p>Nothing waits and nothing has failed.</p>\n</section>\n");
    }
    html.raw("<table class=\"cards\">\n<thead><tr><th scope=\"col\">Sender</th>")
        .raw("<th scope=\"col\">State</th><th scope=\"col\">Messages</th>")
        .raw("<th scope=\"col\">Oldest since</th></tr></thead>\n<tbody>\n")
        .each(counts, |html, counted| {
            let asked = Asked {
                state: Some(counted.state),
                site: counted.site.clone(),
                ..Asked::default()
            };
            html.raw("<tr><td data-label=\"Sender\">")
                .text(sender(&counted.site))
                .raw("</td><td data-label=\"State\"><a")
                .attribute("href", &url(&asked, None))
                .raw(">")
                .text(word(counted.state))
                .raw("</a></td><td data-label=\"Messages\">")
                .text(&counted.count.to_string())
                .raw("</td><td data-label=\"Oldest since\">")
                .text(&moment(counted.oldest))
                .raw("</td></tr>\n")
        })
        .raw("</tbody></table>\n</section>\n")
}

fn form(html: Html, asked: &Asked) -> Html {
    html.raw("<section aria-labelledby=\"found\">\n<h2 id=\"found\">Newest first</h2>\n")
        .raw("<form method=\"get\" action=\"/v2\" class=\"filter\">\n")
        .raw("<div class=\"field\"><label for=\"state\">State</label>\n")
        .raw("<select id=\"state\" name=\"state\"><option value=\"\">All</option>\n")
        .each(MessageState::ALL, |html, state| {
            html.raw("<option")
                .attribute("value", state.as_str())
                .when(asked.state == Some(*state), |html| html.raw(" selected"))
                .raw(">")
                .text(word(*state))
                .raw("</option>\n")
        })
        .raw("</select></div>\n<div class=\"field\"><label for=\"site\">Sender</label>\n")
        .raw("<input id=\"site\" name=\"site\" type=\"text\" autocomplete=\"off\"")
        .attribute("value", &asked.site)
        .raw("></div>\n<div class=\"field\"><label for=\"type\">Type</label>\n")
        .raw("<input id=\"type\" name=\"type\" type=\"text\" autocomplete=\"off\"")
        .attribute("value", &asked.kind)
        .raw("></div>\n<div class=\"buttons\"><button type=\"submit\">Show</button></div>\n</form>\n")
}

fn messages(html: Html, rows: &[MessageRow]) -> Html {
    if rows.is_empty() {
        return html.raw("<p>There are no such messages.</p>\n</section>\n");
    }
    html.raw("<table class=\"cards\">\n<thead><tr><th scope=\"col\">Received</th>")
        .raw("<th scope=\"col\">Message</th><th scope=\"col\">Sender</th>")
        .raw("<th scope=\"col\">State</th><th scope=\"col\">Answer</th>")
        .raw("<th scope=\"col\">Why</th></tr></thead>\n<tbody>\n")
        .each(rows, |html, row| {
            html.raw("<tr><td data-label=\"Received\">")
                .text(&moment(row.received_at))
                .raw("</td><td data-label=\"Message\"><a")
                .attribute("href", &format!("/v2/view/{}", row.id))
                .raw(">")
                .text(&trigger(row))
                .raw(" ")
                .text(&row.control_id)
                .raw("</a></td><td data-label=\"Sender\">")
                .text(sender(&row.site))
                .raw("</td><td data-label=\"State\">")
                .raw(if is_stuck(row.state) { "<strong>" } else { "" })
                .text(word(row.state))
                .raw(if is_stuck(row.state) { "</strong>" } else { "" })
                .raw("</td><td data-label=\"Answer\">")
                .text(answered(row))
                .raw("</td><td data-label=\"Why\">")
                .text(&row.reason)
                .raw("</td></tr>\n")
        })
        .raw("</tbody></table>\n</section>\n")
}

/// The form that has all failed messages worked on again.
fn again(html: Html, guest: &Guest, asked: &Asked) -> Html {
    let whose = match asked.site.as_str() {
        "" => "All that failed, of all senders.".to_owned(),
        site => format!("All that failed, of {site}."),
    };
    let html = html
        .raw("<section aria-labelledby=\"again\">\n<h2 id=\"again\">Work on them again</h2>\n<p>")
        .text(&whose)
        .raw(" What is newer is not overwritten.</p>\n<form method=\"post\" action=\"/v2\">\n");
    guest
        .proof(html)
        .hidden("site", &asked.site)
        .raw("<div class=\"field\"><label for=\"reason\">Reason</label>\n")
        .raw("<input id=\"reason\" name=\"reason\" type=\"text\" autocomplete=\"off\" required ")
        .raw("maxlength=\"500\"></div>\n<div class=\"buttons\">")
        .raw("<button type=\"submit\">Replay all that failed</button></div>\n</form>\n</section>\n")
}

fn url(asked: &Asked, before: Option<Uuid>) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let before = before.map(|id| id.to_string()).unwrap_or_default();
    let state = asked.state.map_or("", MessageState::as_str);
    let pairs =
        [("state", state), ("site", &asked.site), ("type", &asked.kind), ("before", &before)];
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if pairs.is_empty() { "/v2".to_owned() } else { format!("/v2?{}", pairs.join("&")) }
}

/// The sender; something to read where a message names none.
pub(super) fn sender(site: &str) -> &str {
    if site.is_empty() || site == "|" { "unknown" } else { site }
}

/// How a message was answered.
fn answered(row: &MessageRow) -> &str {
    match &row.ack_code {
        Some(code) => code,
        None if row.duplicate_of.is_some() => "as the first",
        None => "none yet",
    }
}

/// `ADT^A01`
pub(super) fn trigger(row: &MessageRow) -> String {
    match (row.kind.as_str(), row.event.as_str()) {
        ("", _) => "unreadable".to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, event) => format!("{kind}^{event}"),
    }
}

/// A state in words.
pub(super) fn word(state: MessageState) -> &'static str {
    match state {
        MessageState::ProcessedWithIssues => "processed with issues",
        other => other.as_str(),
    }
}

/// A moment, to the second.
pub(super) fn moment(at: crate::fhir::Instant) -> String {
    let text = at.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} UTC", time.chars().take(8).collect::<String>())
}
