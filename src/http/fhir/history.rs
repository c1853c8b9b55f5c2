//! history: `GET [type]/[id]/_history`, `GET [type]/_history`, `GET _history`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#history>, rest 2g

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;

use crate::engine::{HistoryPage, HistoryRequest, HistoryScope};
use crate::error::Error;
use crate::fhir::{Instant, IssueCode};
use crate::http::bundle::{BundleWriter, Head};
use crate::http::exchange::Exchange;
use crate::http::headers::{self, Keeping};
use crate::http::outcome::Failure;
use crate::http::query::Query;
use crate::http::shape::Shape;

use super::entry::VersionEntries;
use super::period;

/// Where a page starts; made by this server, opaque to clients.
const CURSOR: &str = "_cursor";

/// Parameters that mean something here; each may stand once.
const KNOWN: [&str; 6] = ["_at", "_count", CURSOR, "_list", "_since", "_sort"];

/// `GET [type]/[id]/_history`
pub(in crate::http) async fn instance(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let scope = HistoryScope::Instance(exchange.identity()?);
    history(exchange, scope).await
}

/// `GET [type]/_history`
pub(in crate::http) async fn of_type(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let scope = HistoryScope::Type(exchange.resource_type()?);
    history(exchange, scope).await
}

/// `GET _history`
pub(in crate::http) async fn system(exchange: Exchange) -> Result<Response<Body>, Failure> {
    history(exchange, HistoryScope::System).await
}

async fn history(exchange: Exchange, scope: HistoryScope) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    let settings = &exchange.server.settings;
    let is_strict = exchange.is_strict();
    let limits = (settings.default_page, settings.max_page);
    let request = request(scope, &exchange.query, is_strict, limits)?;
    let shape = exchange.query.shape()?;
    let page = exchange.server.engine.history(&request, &exchange.caller).await;
    let page = page.map_err(Failure::Interaction)?;

    let base = exchange.base();
    let links = links(&base, &request.scope, &exchange.query, &page);
    let HistoryPage { total, versions, .. } = page;
    let head = Head { bundle_type: "history", total, links: &links };
    let spec = exchange.server.engine.spec();
    let mut entries = VersionEntries::new(&base, shape, spec.clone());
    let writer = BundleWriter::new(form, spec.clone());
    let body =
        writer.into_body(&head, versions, move |version, out| entries.write(&version, out))?;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.media_type.content_type());
    headers::set_caching(headers, Keeping::Revalidate);
    Ok(response)
}

/// What the query asks for; a page is at most `limits.1` long, `limits.0` when it does not say.
fn request(
    scope: HistoryScope,
    query: &Query,
    is_strict: bool,
    limits: (u32, u32),
) -> Result<HistoryRequest, Error> {
    query.check_known(&KNOWN, is_strict)?;
    if query.once("_list")?.is_some() {
        return Err(Error::NotSupported("_list is not offered for history".to_owned()));
    }
    if let Some(sort) = query.once("_sort")?
        && sort != "-_lastUpdated"
    {
        let text = "history is sorted by -_lastUpdated and by nothing else";
        return Err(Error::NotSupported(text.to_owned()));
    }
    let invalid =
        |name: &str, wanted: &str| Error::invalid(IssueCode::Value, format!("{name} is {wanted}"));
    let count = match query.once("_count")? {
        None => limits.0,
        Some(text) => text.parse().map_err(|_| invalid("_count", "a whole number from 0"))?,
    };
    let count = if query.shape()? == Shape::Count { 0 } else { count.min(limits.1) };
    let since = query.once("_since")?.map(|text| since(text, is_strict)).transpose()?;
    let at = query.once("_at")?.map(|text| {
        period::read(text).ok_or_else(|| invalid("_at", "a dateTime, such as 2020-05-04"))
    });
    let cursor = query.once(CURSOR)?.map(str::to_owned);
    Ok(HistoryRequest { scope, since, at: at.transpose()?, count, cursor })
}

/// An instant; a date without time or zone is the start of its period where that is forgiven.
fn since(text: &str, is_strict: bool) -> Result<Instant, Error> {
    let exact = Instant::parse(&text.replace(' ', "+"));
    let forgiven = || period::read(text).filter(|_| !is_strict).map(|(start, _)| start);
    exact.or_else(forgiven).ok_or_else(|| {
        let wanted = "_since is an instant with a zone, such as 2020-05-04T10:00:00Z";
        Error::invalid(IssueCode::Value, wanted)
    })
}

/// `self` with what was understood, and `next` when there is more.
fn links(
    base: &str,
    scope: &HistoryScope,
    query: &Query,
    page: &HistoryPage,
) -> Vec<(&'static str, String)> {
    let path = match scope {
        HistoryScope::Instance(identity) => format!("{identity}/_history"),
        HistoryScope::System => "_history".to_owned(),
        HistoryScope::Type(resource_type) => format!("{resource_type}/_history"),
    };
    let kept = ["_at", "_count", "_elements", "_format", "_pretty", "_since", "_sort", "_summary"];
    let url = |cursor: Option<&str>| {
        let known = query.iter().filter(|(name, value)| kept.contains(name) && !value.is_empty());
        let all = known.chain(cursor.map(|cursor| (CURSOR, cursor)));
        let mut text = format!("{base}/{path}");
        for (at, (name, value)) in all.enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            encode(value, &mut text);
        }
        text
    };
    let mut links = vec![("self", url(query.first(CURSOR)))];
    if let Some(next) = &page.next {
        links.push(("next", url(Some(next))));
    }
    links
}

/// Appends `value` so that it stands for itself in a query.
fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:,/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
            out.extend(['%', digit(byte >> 4), digit(byte)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str, is_strict: bool) -> Result<HistoryRequest, Error> {
        let query = Query::parse(Some(query)).expect(query);
        request(HistoryScope::System, &query, is_strict, (50, 1000))
    }

    #[test]
    fn a_query_asks_for_a_page_or_is_refused() {
        let second = Instant::parse("2020-05-04T10:00:00Z").expect("instant");
        let day = Instant::parse("2020-05-04T00:00:00Z").expect("instant");
        for (query, is_strict, expected) in [
            ("", false, Some((50, None))),
            ("_count=7", false, Some((7, None))),
            ("_count=0", false, Some((0, None))),
            ("_summary=count", false, Some((0, None))),
            ("_count=99999", false, Some((1000, None))),
            ("_count=-1", false, None),
            ("_count=x", false, None),
            ("_count=1&_count=1", false, None),
            ("_since=2020-05-04T10:00:00Z", true, Some((50, Some(second)))),
            ("_since=2020-05-04T12:00:00+02:00", true, Some((50, Some(second)))),
            ("_since=2020-05-04T12:00:00%2B02:00", true, Some((50, Some(second)))),
            ("_since=2020-05-04", false, Some((50, Some(day)))),
            ("_since=2020-05-04", true, None),
            ("_since=junk", false, None),
            ("_since=2020&_since=2021", false, None),
            ("_at=junk", false, None),
            ("_sort=-_lastUpdated", true, Some((50, None))),
            ("_sort=_lastUpdated", false, None),
            ("_list=x", false, None),
            ("foo=x", false, Some((50, None))),
            ("foo=x", true, None),
        ] {
            let found = asked(query, is_strict).ok().map(|request| (request.count, request.since));
            assert_eq!(found, expected, "{query:?} {is_strict}");
        }
    }

    #[test]
    fn links_keep_what_was_understood() {
        let query = Query::parse(Some("_since=2020-05-04T12:00:00%2B02:00&foo=1&_count=2"));
        let query = query.expect("query");
        let page = HistoryPage { total: None, versions: vec![], next: Some("a b".to_owned()) };
        let links = links("http://a/fhir", &HistoryScope::System, &query, &page);
        let own = "http://a/fhir/_history?_since=2020-05-04T12:00:00%2B02:00&_count=2";
        let next = format!("{own}&_cursor=a%20b");
        assert_eq!(links, [("self", own.to_owned()), ("next", next)]);
    }
}
