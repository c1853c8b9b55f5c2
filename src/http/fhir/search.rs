//! search: `GET [type]`, `GET [base]`, `GET [compartment]/[id]/[type]`, and `_search` of each.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#search>, rest 4.1 to 4.7, 4.184 to 4.199

use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, Response};

use crate::access::interaction::Kind;
use crate::engine::{CURSOR, EntryResult, Handling, Match, OF_FORM, SearchTarget, Searched};
use crate::error::Error;
use crate::fhir::json;
use crate::fhir::query::{MAX_URL_BYTES, Query};
use crate::fhir::{Issue, IssueCode, Version, operation_outcome};
use crate::http::bundle::{BundleWriter, Head};
use crate::http::caller;
use crate::http::exchange::Exchange;
use crate::http::headers;
use crate::http::negotiation::{self, ContentType};
use crate::http::outcome::Failure;
use crate::http::prefer::PREFERENCE_APPLIED;
use crate::http::query;
use crate::http::shape::Shape;
use crate::spec::Spec;

use super::{labels, link, tripwire};

/// The one form of the body of a search.
const FORM: &str = "application/x-www-form-urlencoded";

/// Largest body of a search, in bytes.
const MAX_FORM_BYTES: usize = 32 * MAX_URL_BYTES;

/// Asks to `wait` for the index of words; an answer says whether it is `current` or `behind`.
const KILN_FULLTEXT: HeaderName = HeaderName::from_static("kiln-fulltext");

/// `GET [type]`, `GET` and `POST [type]/_search`
pub(in crate::http) async fn of_type(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let target = SearchTarget::Type(exchange.resource_type()?);
    search(exchange, target).await
}

/// `GET [base]`, `GET` and `POST [base]/_search`
pub(in crate::http) async fn system(exchange: Exchange) -> Result<Response<Body>, Failure> {
    search(exchange, SearchTarget::System).await
}

/// `GET [compartment]/[id]/[type]`, `GET [compartment]/[id]/*`, and `_search` below them.
pub(in crate::http) async fn in_compartment(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let code = exchange.resource_type()?;
    let resource_type = exchange.target.member;
    let id = exchange.identity()?.id;
    search(exchange, SearchTarget::Compartment { code, id, resource_type }).await
}

async fn search(mut exchange: Exchange, target: SearchTarget) -> Result<Response<Body>, Failure> {
    if exchange.parts.method == Method::POST {
        read_form(&mut exchange).await?;
    }
    exchange.form()?;
    query::shape(&exchange.query)?;
    let engine = &exchange.server.engine;
    let waits_for_words = asks_to_wait(&exchange.parts.headers);
    let handling = Handling { is_strict: exchange.is_strict(), waits_for_words };
    let found = engine.search_as(&target, &exchange.query, handling, &exchange.caller).await;
    let found = found.map_err(Failure::Interaction)?;
    let words = found.words;
    tripwire::check(tripwire::Asking::of(&exchange), Kind::SearchType, versions(&found)).await?;
    let mut response = searchset(&exchange, found)?;
    set_words(response.headers_mut(), words);
    Ok(response)
}

/// A page as a Bundle.
pub(super) fn searchset(
    exchange: &Exchange,
    mut found: Searched,
) -> Result<Response<Body>, Failure> {
    tripwire::reveal(tripwire::Asking::of(exchange), versions_mut(&mut found))?;
    let form = exchange.form()?;
    let shape = query::shape(&exchange.query)?;
    let engine = &exchange.server.engine;
    let base = exchange.base();
    let links = links(&base, &exchange.query, &found);
    let head = Head {
        bundle_type: "searchset",
        label: labels::highest(versions(&found)),
        total: total(&found),
        links: &links,
    };
    let spec = engine.spec();
    let entries = SearchEntries::new(&base, shape, spec.clone());
    let writer = BundleWriter::new(form, spec.clone());
    let body = writer
        .into_body(&head, SearchEntry::all(found), move |entry, out| entries.write(&entry, out))?;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.media_type.content_type());
    headers::set_caching(headers);
    if let Some(applied) = exchange.preferences.applied(false) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// `Kiln-Fulltext: wait`: the words of everything that is committed are to be found.
pub(super) fn asks_to_wait(headers: &HeaderMap) -> bool {
    let asked = headers.get(KILN_FULLTEXT).map(|value| value.as_bytes().trim_ascii());
    asked.is_some_and(|asked| asked.eq_ignore_ascii_case(b"wait"))
}

/// Whether all words were found that entries waited for; `None`: none did.
pub(super) fn of_entries(results: &[EntryResult]) -> Option<bool> {
    let found = results.iter().filter_map(|result| match result {
        EntryResult::Search(found, _) => found.words,
        _ => None,
    });
    found.reduce(|one, other| one && other)
}

/// Says whether the words that were waited for are found.
pub(super) fn set_words(headers: &mut HeaderMap, words: Option<bool>) {
    if let Some(is_current) = words {
        let state = if is_current { "current" } else { "behind" };
        headers.insert(KILN_FULLTEXT, HeaderValue::from_static(state));
    }
}

/// Adds the parameters in the body to those of the URL (rest 4.3, 4.4).
async fn read_form(exchange: &mut Exchange) -> Result<(), Failure> {
    let headers = &exchange.parts.headers;
    let content_type = ContentType::read(headers);
    let is_form = content_type.as_ref().is_some_and(|sent| sent.is(FORM));
    let is_named = content_type.is_some();
    if let Some(sent) = content_type.filter(|_| is_form) {
        sent.check(headers)?;
    }
    let is_other = is_named && !is_form;
    let body = if is_other { None } else { Some(exchange.read_at_most(MAX_FORM_BYTES).await?) };
    let Some(body) = body.filter(|body| is_form || body.is_empty()) else {
        return Err(Failure::UnsupportedMediaType(format!("a search is sent as {FORM}")));
    };
    let text = std::str::from_utf8(&body)
        .map_err(|fault| Error::invalid(IssueCode::Invalid, format!("not UTF-8: {fault}")))?;
    if !text.trim_ascii().is_empty() {
        caller::with_form(&mut exchange.caller, text);
    }
    let sent = Query::parse(text.trim_ascii()).map_err(Error::from)?;
    exchange.query = std::mem::take(&mut exchange.query).and(sent);
    // The body may ask for a form of the answer too.
    let format = exchange.query.first("_format");
    exchange.accepted = negotiation::answer(format, &exchange.parts.headers).ok();
    Ok(())
}

/// The versions on a page.
pub(super) fn versions(found: &Searched) -> impl Iterator<Item = &Version> {
    found.page.matches.iter().map(|found| &found.version).chain(&found.page.included)
}

/// The same, to be shown otherwise.
pub(super) fn versions_mut(found: &mut Searched) -> impl Iterator<Item = &mut Version> {
    let page = &mut found.page;
    page.matches.iter_mut().map(|found| &mut found.version).chain(&mut page.included)
}

/// `Bundle.total`
pub(super) fn total(found: &Searched) -> Option<u64> {
    found.page.total.map(|total| total.number)
}

/// `self` with what was understood, `previous` and `next` where there is more (rest 4.189 to 4.195).
pub(super) fn links(base: &str, query: &Query, found: &Searched) -> Vec<(&'static str, String)> {
    let is_of_form = |(name, value): &(&str, &str)| OF_FORM.contains(name) && !value.is_empty();
    let url = |cursor: Option<&str>| {
        let shown = found.shown.iter().map(|(name, value)| (&**name, &**value));
        let of_form = query.iter().filter(is_of_form);
        let cursor = cursor.map(|cursor| (CURSOR, cursor));
        link::url(base, &found.path, shown.chain(of_form).chain(cursor))
    };
    let own = query.first(CURSOR).filter(|cursor| !cursor.is_empty());
    let mut links = vec![("self", url(own))];
    for (relation, cursor) in [("previous", &found.page.previous), ("next", &found.page.next)] {
        links.extend(cursor.as_ref().map(|cursor| (relation, url(Some(cursor)))));
    }
    links
}

/// One entry of a searchset.
pub(super) enum SearchEntry {
    Included(Version),
    Match(Match),
    Outcome(Vec<Issue>),
}

impl SearchEntry {
    /// The entries of a page in their order.
    pub(super) fn all(found: Searched) -> Vec<Self> {
        let Searched { page, issues, .. } = found;
        let matches = page.matches.into_iter().map(Self::Match);
        let included = page.included.into_iter().map(Self::Included);
        let outcome = (!issues.is_empty()).then_some(Self::Outcome(issues));
        matches.chain(included).chain(outcome).collect()
    }
}

/// Makes the entries of a searchset.
pub(super) struct SearchEntries {
    base: String,
    shape: Shape,
    spec: Arc<Spec>,
}

impl SearchEntries {
    pub(super) fn new(base: &str, shape: Shape, spec: Arc<Spec>) -> Self {
        let base = json::Value::from(base).to_text().trim_matches('"').to_owned();
        Self { base, shape, spec }
    }

    /// Appends one entry as compact JSON. Writing to memory cannot fail, here and below.
    pub(super) fn write(&self, entry: &SearchEntry, out: &mut Vec<u8>) -> Result<(), Error> {
        match entry {
            SearchEntry::Included(version) => {
                // Elements are those of the matches (rest 1.79).
                let whole = matches!(self.shape, Shape::Elements(_));
                self.resource(version, if whole { &Shape::Whole } else { &self.shape }, out)?;
                out.extend_from_slice(b",\"search\":{\"mode\":\"include\"}}");
            }
            SearchEntry::Match(found) => {
                match found.contained {
                    None => self.resource(&found.version, &self.shape, out)?,
                    Some(place) => self.contained(&found.version, place, out)?,
                }
                out.extend_from_slice(b",\"search\":{\"mode\":\"match\"");
                if let Some(score) = found.score {
                    let _ = write!(out, ",\"score\":{score:.4}");
                }
                out.extend_from_slice(b"}}");
            }
            SearchEntry::Outcome(issues) => {
                out.extend_from_slice(b"{\"resource\":");
                operation_outcome(issues).write(out);
                out.extend_from_slice(b",\"search\":{\"mode\":\"outcome\"}}");
            }
        }
        Ok(())
    }

    /// An open entry with a resource that another contains: its URL is that of the container and its
    /// own id behind `#` (rest 4.176).
    fn contained(&self, version: &Version, place: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let stored = version.to_json();
        let value = json::parse(&stored).map_err(Error::internal)?;
        let missing = || Error::internal("a version has not what the index says it contains");
        let mut contained = value.items_at("contained").get(place).cloned().ok_or_else(missing)?;
        let id = contained.str_at("id").map_or_else(String::new, |id| format!("#{id}"));
        let url = json::Value::from(format!("{}{id}", version.identity)).to_text();
        let head =
            format!("{{\"fullUrl\":\"{}/{},\"resource\":", self.base, url.trim_start_matches('"'));
        out.extend_from_slice(head.as_bytes());
        self.shape.cut(&mut contained, &self.spec.schema);
        contained.write(out);
        Ok(())
    }

    /// An open entry with the URL of a resource and as much of it as `shape` shows.
    fn resource(&self, version: &Version, shape: &Shape, out: &mut Vec<u8>) -> Result<(), Error> {
        let _ = write!(out, "{{\"fullUrl\":\"{}/{}\",\"resource\":", self.base, version.identity);
        if shape.is_whole() {
            version.write_json(out);
            return Ok(());
        }
        let stored = version.to_json();
        let mut value = json::parse(&stored).map_err(Error::internal)?;
        shape.cut(&mut value, &self.spec.schema);
        value.write(out);
        Ok(())
    }
}
