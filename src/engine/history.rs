//! history: `GET [type]/[id]/_history`, `GET [type]/_history`, `GET _history`.
//!
//! What its parameters mean is read here, for requests and for the entries of Bundles alike.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#history>, rest 2g

use crate::access::interaction::Kind;
use crate::access::{Caller, Interaction, Unaudited};
use crate::error::Error;
use crate::fhir::datetime::{DateTime, Zone};
use crate::fhir::query::{Query, date_text};
use crate::fhir::{Instant, IssueCode};

use super::{Engine, HistoryPage, HistoryRequest, HistoryScope};

/// Where a page starts; made by this server, opaque to clients.
pub const CURSOR: &str = "_cursor";

/// The parameters that mean something to a history; each may stand once.
pub const HISTORY_PARAMETERS: [&str; 6] = ["_at", "_count", CURSOR, "_list", "_since", "_sort"];

/// How long a page of many is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageSize {
    /// When the request does not say.
    pub default: u32,
    /// At most.
    pub max: u32,
}

impl Engine {
    /// What `query` asks of the history of `scope`; strictly, `_since` must be an instant.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that is none or a name that is repeated;
    /// [`Error::NotSupported`] for another order than the newest first.
    pub fn history_request(
        &self,
        scope: HistoryScope,
        query: &Query,
        is_strict: bool,
    ) -> Result<HistoryRequest, Error> {
        request(scope, query, is_strict, self.settings.page)
    }

    /// A page of versions, newest first; a definition of the packs has one.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an instance that never existed or lies out of reach (a deleted one
    /// has a history); [`Error::Invalid`] for a cursor of another server or history.
    ///
    /// <https://hl7.org/fhir/R4/http.html#history>
    pub async fn history(
        &self,
        request: &HistoryRequest,
        caller: &Caller,
    ) -> Result<HistoryPage, Error> {
        let interaction = interaction(&request.scope);
        self.gate
            .run(interaction, caller, async |permit| {
                let stored = self.store.history(request, permit).await;
                stored.or_else(|error| {
                    let (page, told) = self.history_instead(error, request, permit)?;
                    Ok(Unaudited::new(page, told))
                })
            })
            .await
    }
}

pub(super) fn interaction(scope: &HistoryScope) -> Interaction {
    match scope {
        HistoryScope::Instance(identity) => Kind::HistoryInstance.of(identity.resource_type),
        HistoryScope::System => Kind::HistorySystem.of_system(),
        HistoryScope::Type(resource_type) => Kind::HistoryType.of(*resource_type),
    }
}

fn request(
    scope: HistoryScope,
    query: &Query,
    is_strict: bool,
    page: PageSize,
) -> Result<HistoryRequest, Error> {
    let no_list = "_list is the id of a List; the current lists of a patient are for searches";
    let list = query.once("_list")?.map(|text| {
        text.strip_prefix("List/").unwrap_or(text).parse().map_err(|_| invalid(no_list))
    });
    if query.once("_sort")?.is_some_and(|sort| sort != "-_lastUpdated") {
        let text = "history is sorted by -_lastUpdated and by nothing else";
        return Err(Error::NotSupported(text.to_owned()));
    }
    let count = match query.once("_count")? {
        None => page.default,
        Some(text) => text.parse().map_err(|_| invalid("_count is a whole number from 0"))?,
    };
    let count = if query.once("_summary")? == Some("count") { 0 } else { count.min(page.max) };
    let since = query.once("_since")?.map(|text| since(text, is_strict)).transpose()?;
    let at = query
        .once("_at")?
        .map(|text| period(text).ok_or_else(|| invalid("_at is a dateTime, such as 2020-05-04")));
    let cursor = query.once(CURSOR)?.map(str::to_owned);
    let (at, list) = (at.transpose()?, list.transpose()?);
    Ok(HistoryRequest { scope, since, at, list, count, cursor })
}

fn invalid(text: &str) -> Error {
    Error::invalid(IssueCode::Value, text)
}

/// An instant; a date without time or zone is the start of its period where that is forgiven.
fn since(text: &str, is_strict: bool) -> Result<Instant, Error> {
    let exact = Instant::parse(&date_text(text));
    let forgiven = || period(text).filter(|_| !is_strict).map(|(start, _)| start);
    exact
        .or_else(forgiven)
        .ok_or_else(|| invalid("_since is an instant with a zone, such as 2020-05-04T10:00:00Z"))
}

/// From the first to before the second moment of a dateTime; without a zone it is UTC.
fn period(text: &str) -> Option<(Instant, Instant)> {
    let text = date_text(text);
    let moment = DateTime::parse_search(&text)?;
    let (first, after) = (moment.lower(Zone::UTC), moment.upper(Zone::UTC));
    // A point has no length, yet what is current then is asked for: times are kept to this.
    let next = Instant::from_micros(first.as_micros() + 1);
    Some((first, after.max(next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str, is_strict: bool) -> Result<HistoryRequest, Error> {
        let query = Query::parse(query).expect(query);
        let page = PageSize { default: 50, max: 1000 };
        request(HistoryScope::System, &query, is_strict, page)
    }

    fn instant(text: &str) -> Instant {
        Instant::parse(text).expect("instant")
    }

    #[test]
    fn a_query_asks_for_a_page_or_is_refused() {
        let second = instant("2020-05-04T10:00:00Z");
        let day = instant("2020-05-04T00:00:00Z");
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
            ("_list=x", true, Some((50, None))),
            ("_list=List/x", true, Some((50, None))),
            ("_list=$current-problems", false, None),
            ("_list=x&_list=y", false, None),
            ("foo=x", false, Some((50, None))),
        ] {
            let found = asked(query, is_strict).ok().map(|request| (request.count, request.since));
            assert_eq!(found, expected, "{query:?} {is_strict}");
        }
    }

    #[test]
    fn at_is_a_period_of_its_precision() {
        for (text, expected) in [
            ("2020", Some(("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"))),
            ("2020-02", Some(("2020-02-01T00:00:00Z", "2020-03-01T00:00:00Z"))),
            ("2020-02-29", Some(("2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z"))),
            ("2020-02-29T10:11", Some(("2020-02-29T10:11:00Z", "2020-02-29T10:12:00Z"))),
            ("2020-02-29T10:11:12 02:00", Some(("2020-02-29T08:11:12Z", "2020-02-29T08:11:13Z"))),
            ("2020-02-29T10:11:12-02:00", Some(("2020-02-29T12:11:12Z", "2020-02-29T12:11:13Z"))),
            (
                "2020-02-29T10:11:12.5Z",
                Some(("2020-02-29T10:11:12.5Z", "2020-02-29T10:11:12.500001Z")),
            ),
            ("2021-02-29", None),
            ("2020-02-29T10", None),
            ("0000", None),
            ("yesterday", None),
            ("", None),
        ] {
            let expected = expected.map(|(start, end)| (instant(start), instant(end)));
            assert_eq!(period(text), expected, "{text:?}");
        }
    }
}
