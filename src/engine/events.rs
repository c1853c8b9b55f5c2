//! AuditEvents of the ledger: read and searched like what is stored, and never changed.
//!
//! What clients have created as AuditEvents of their own is stored like any resource. A search that is
//! sorted by date has both in one order. Any other has what is stored first, and then, on the rest of the
//! last page and on pages of their own, the events of the ledger, newest first unless asked otherwise.
//!
//! Spec: <https://hl7.org/fhir/R4/auditevent.html>, <https://profiles.ihe.net/ITI/BALP/>

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::json;

use crate::access::principal::unchangeable;
use crate::access::{Permit, Unaudited};
use crate::audit::balp::{Entry, Event, place_of};
use crate::audit::query::{Reader, Untold};
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{
    Identity, Issue, IssueCode, Operation, ResourceType, Severity, Version, VersionId,
};
use crate::search::request::{ContainedMode, Include, SearchRequest, SearchTarget, SortBy, Total};
use crate::store::search::{Count, Match, Paging, SearchPage};
use crate::store::{Along, EventsPage, EventsRequest, InOrder};

use super::Engine;
use super::chain;

/// How cursors of pages of events begin; those of the store have no dots.
const BEGINNING: &str = "events.";

impl Engine {
    /// `stored`, or the event of the ledger where nothing is stored.
    ///
    /// # Errors
    /// That of `stored`, where there is no event either.
    pub(super) async fn or_event(
        &self,
        stored: Result<Unaudited<Version>, Error>,
        (identity, version): (&Identity, Option<VersionId>),
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Version>, Error> {
        let error = match stored {
            Err(error @ Error::NotFound(_)) => error,
            other => return other,
        };
        let is_event = identity.resource_type == ResourceType::AUDIT_EVENT;
        let is_first = version.is_none_or(|version| version == VersionId(1));
        let place = place_of(identity.id.as_str()).filter(|_| is_event && is_first);
        let Some(place) = place else { return Err(error) };
        let found = self.store.event(&identity.id, place, permit).await?;
        let of = |((entry, number), base): ((Entry, usize), String)| shown(&entry, number, &base);
        Ok(found.with(self.settings.base.clone()).map(of))
    }

    /// Refuses to store what would stand before an event of the ledger, whoever asks.
    ///
    /// # Errors
    /// [`Error::MethodNotAllowed`]; [`Error::Unavailable`] without a database.
    pub(super) async fn refuse_over_event(
        &self,
        identity: &Identity,
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        let Some(place) = place_of(identity.id.as_str()) else { return Ok(()) };
        match self.store.event(&identity.id, place, permit).await {
            Ok(_) => Err(unchangeable()),
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Refuses a search of AuditEvents that does not say of which time, where the settings want that.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    ///
    /// Spec: IHE ITI TF-2 3.81.4.1.2
    pub(super) fn refuse_undated_events(
        &self,
        target: &SearchTarget,
        query: &Query,
    ) -> Result<(), Error> {
        let says_when = || query.iter().any(|(name, value)| name == "date" && !value.is_empty());
        if !self.settings.events_need_date || !is_of_events(target) || says_when() {
            return Ok(());
        }
        let text = "date: a search of AuditEvents says of which time (ITI-81), such as \
                    date=ge2026-01-01";
        Err(Error::invalid(IssueCode::Required, text))
    }

    /// What a search asks of the events of the ledger; takes a cursor of theirs out of `paging`. `None`
    /// for a search that has none, and an issue where it cannot be told which.
    pub(super) fn events_asked(
        &self,
        target: &SearchTarget,
        request: &SearchRequest,
        paging: &mut Paging,
        issues: &mut Vec<Issue>,
    ) -> Result<Option<EventsRequest>, Error> {
        let is_outside = !matches!(request.contained, ContainedMode::Inside { .. });
        if !is_of_events(target) || !is_outside {
            return Ok(None);
        }
        let is_here = |cursor: &mut String| cursor.starts_with(BEGINNING);
        let cursor = paging.cursor.take_if(is_here).map(|it| it[BEGINNING.len()..].to_owned());
        let hash = |id: &crate::fhir::LogicalId| self.store.hasher().patient(id);
        let reader = Reader { base: &self.settings.base, hash: &hash };
        let mut filters = request.filters.clone();
        if let SearchTarget::Compartment { code, id, .. } = target {
            let filter =
                crate::search::request::Filter::Compartment { code: *code, id: id.clone() };
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        // Where a chain leads is looked up once it is decided that the caller may ask.
        filters.retain(|filter| !chain::is_in(filter));
        let condition = match reader.read_all(&filters) {
            Ok(condition) => condition,
            Err(Untold(name)) => {
                issues.push(warning(format!(
                    "{name}: events of the ledger cannot be found by it and are left out"
                )));
                return Ok(None);
            }
        };
        let (along, others) = along(&request.includes);
        if others {
            let text = "_include and _revinclude: with events of the ledger comes along what they refer \
                        to, and nothing by way of that";
            issues.push(warning(text.to_owned()));
        }
        Ok(Some(EventsRequest {
            condition,
            is_ascending: is_ascending(request, issues),
            count: usize::try_from(paging.count).map_err(Error::internal)?,
            is_counted: request.counts_only || request.total == Total::Accurate,
            cursor,
            along,
            said: format!("{:?} {:?}", request.shown, request.sort),
        }))
    }

    /// A page of what is stored and of events, in one order.
    pub(super) async fn in_order(
        &self,
        asked: (&SearchRequest, &Paging),
        events: &EventsRequest,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<SearchPage>, Error> {
        let found = self.store.search_in_order(asked, events, &self.definitions, permit).await?;
        Ok(found.with(self.settings.base.clone()).map(ordered))
    }

    /// A page of what is stored, with the events that belong on it.
    pub(super) async fn with_events(
        &self,
        stored: Unaudited<SearchPage>,
        events: EventsRequest,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<SearchPage>, Error> {
        let found = self.store.events(&events, permit).await?;
        let shape = (self.settings.base.clone(), events.count, events.along);
        let both = stored.and(found.with(shape));
        let both = both.ok_or_else(|| Error::internal("a page is on record before it is whole"))?;
        Ok(both.map(joined))
    }
}

/// Whether a search is sorted by time and nothing else: so events of the ledger are in its order too.
pub(super) fn is_by_time(request: &SearchRequest) -> bool {
    let [key] = &*request.sort else { return false };
    let is_time = match &key.by {
        SortBy::LastUpdated => true,
        SortBy::Parameter(keys, _) => keys.iter().any(|key| &*key.code == "date"),
        SortBy::Distance | SortBy::Id | SortBy::Present(_) | SortBy::Score => false,
    };
    is_time && !request.counts_only && request.contained == ContainedMode::Outside
}

fn is_of_events(target: &SearchTarget) -> bool {
    match target {
        SearchTarget::Type(of) | SearchTarget::Compartment { resource_type: Some(of), .. } => {
            *of == ResourceType::AUDIT_EVENT
        }
        _ => false,
    }
}

/// How a page is made: the server's own address, how many matches it has, and what comes along.
type Shape = (String, usize, Vec<Along>);

/// A page with its matches, which come in one order.
fn ordered(((mut page, found), base): ((SearchPage, Vec<InOrder>), String)) -> SearchPage {
    page.matches.extend(found.into_iter().map(|one| match one {
        InOrder::Event(entry, number) => Match::beside(shown(&entry, number, &base)),
        InOrder::Stored(stored) => stored.1,
    }));
    page
}

/// A page of at most `count` matches: events come where what is stored leaves room. The ledger has the
/// patients of all events that were found, also where they are shown on the next page only.
fn joined(
    (mut page, (events, (base, count, along))): (SearchPage, (EventsPage, Shape)),
) -> SearchPage {
    let room = match page.next {
        Some(_) => 0,
        None => count.saturating_sub(page.matches.len()),
    };
    let on_page = events.events.iter().take(room);
    let refers = |(entry, number): &(Entry, usize)| -> Vec<Identity> {
        along.iter().flat_map(|along| entry.references(*number, along.code.as_deref())).collect()
    };
    let named: BTreeSet<Identity> = on_page.clone().flat_map(refers).collect();
    let known: BTreeSet<Identity> =
        page.included.iter().map(|version| version.identity.clone()).collect();
    let is_new =
        |version: &Version| named.contains(&version.identity) && !known.contains(&version.identity);
    page.included.extend(events.included.into_iter().filter(is_new));
    page.is_included_cut |= events.is_included_cut;
    page.matches.extend(on_page.map(|(entry, number)| Match::beside(shown(entry, *number, &base))));
    let next = events.links.get(room).or(events.next.as_ref());
    if page.next.is_none() && count > 0 {
        page.next = next.map(|next| format!("{BEGINNING}{next}"));
    }
    page.previous = match page.previous {
        None => events.previous.map(|previous| format!("{BEGINNING}{previous}")),
        stored => stored,
    };
    // A total of what is stored alone would be wrong.
    page.total = match (page.total, events.total) {
        (Some(stored), Some(number)) => {
            Some(Count { number: stored.number + number, is_exact: stored.is_exact })
        }
        (None, Some(number)) => Some(Count { number, is_exact: true }),
        (_, None) => None,
    };
    page
}

/// What of these comes along with events of the ledger, and whether there are others.
fn along(includes: &[Include]) -> (Vec<Along>, bool) {
    let is_ours = |include: &&Include| {
        let source = include.source.is_none_or(|of| of == ResourceType::AUDIT_EVENT);
        source && !include.is_reverse
    };
    let ours = includes.iter().filter(is_ours);
    let all: Vec<Along> =
        ours.map(|it| Along { code: it.code.clone(), target: it.target }).collect();
    let others = all.len() < includes.len();
    (all, others)
}

/// The order of events, which is that of time.
fn is_ascending(request: &SearchRequest, issues: &mut Vec<Issue>) -> bool {
    let is_time = |by: &SortBy| match by {
        SortBy::LastUpdated | SortBy::Id => true,
        SortBy::Parameter(keys, _) => keys.iter().any(|key| &*key.code == "date"),
        SortBy::Distance | SortBy::Present(_) | SortBy::Score => false,
    };
    match request.sort.first() {
        None => false,
        Some(key) if is_time(&key.by) => !key.is_descending,
        Some(_) => {
            issues.push(warning(
                "_sort: events of the ledger are sorted by date, newest first".to_owned(),
            ));
            false
        }
    }
}

fn warning(text: String) -> Issue {
    Issue { severity: Severity::Warning, ..Issue::error(IssueCode::Incomplete, text) }
}

/// An event as the first and only version of a resource.
fn shown(entry: &Entry, number: usize, base: &str) -> Version {
    version_of(entry.event(number, base))
}

/// The same of what is made of it already.
pub(super) fn version_of(event: Event) -> Version {
    let Event { id, recorded, profiles, body, .. } = event;
    let meta = (!profiles.is_empty()).then(|| json!({ "profile": profiles }));
    Version {
        identity: Identity { resource_type: ResourceType::AUDIT_EVENT, id },
        version: VersionId(1),
        last_updated: recorded,
        operation: Operation::Created,
        is_relabeled: false,
        meta: meta.map(|meta| Bytes::from(meta.to_string())),
        body: Some(Bytes::from(body.to_string())),
    }
}
