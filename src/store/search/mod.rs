//! Search: from a [`SearchRequest`] to SQL, pages, totals and page links.
//!
//! A page is made in four steps: each filter becomes a condition over a row (`compile` and the
//! files of the kinds), one of the filters, or the order, becomes the rows that are walked
//! (`driver`, by what `probe` counts and `choice` makes of it), the order says how far (`order`,
//! `first`, `cursor`), and one statement finds the keys, reads the bodies behind them and tells the
//! total where that is cheap (`page`).
//!
//! The text of a statement depends on the form of the search alone; every value is bound. So the
//! database prepares each form once. What a permit does not reach is no row for any part of a
//! search: not for the matches, nor for what chains and `_has` go through (`reach`).
//!
//! Spec: <https://hl7.org/fhir/R4/search.html>, rest section 4

mod atom;
mod choice;
mod compile;
mod composite;
mod contained;
mod date;
mod definitions;
mod driver;
mod existing;
mod frames;
mod include;
mod link;
mod lookups;
mod number;
mod order;
mod page;
mod probe;
mod reach;
mod run;
mod source;
mod sql;
mod string;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashSet;
use std::time::Duration;

use crate::access::{Disclosed, Draft, LedgerRow, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Identity, ResourceType, Version, VersionId};
use crate::search::request::{ContainedMode, Filter, SearchRequest};

use super::connection::Reader;
use super::cursor::Position;
use super::index::codes::given_up;
use super::{Parameters, Store, WriteTx};

use include::Included;
use page::{Search, is_whole};
use reach::shared;
use run::Run;

pub use definitions::Definitions;
pub(super) use existing::readable_among;
pub(super) use page::seal;
pub(super) use probe::Counts;
pub(in crate::store) use reach::{ATTACHING, followed};
pub(super) use reach::{looked_in_vain, reached, reached_of};
pub(in crate::store) use source::bulk;

/// Every static statement of a search, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    [bulk::STATEMENTS, existing::STATEMENTS, include::STATEMENTS, probe::STATEMENTS]
        .into_iter()
        .flatten()
        .copied()
}

/// Which page of a search.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Paging {
    /// Most matches on the page: what was asked for, capped; 0 asks for the total alone.
    pub count: u32,
    /// Where it starts: what [`SearchPage::next`] or [`SearchPage::previous`] said.
    pub cursor: Option<String>,
    /// Whether it is told where each match stands.
    pub is_placed: bool,
}

/// How many matches there are on all pages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Count {
    /// The number.
    pub number: u64,
    /// Whether they were counted, else it is the database's guess.
    pub is_exact: bool,
}

/// A resource that matches.
#[derive(Clone, Debug)]
pub struct Match {
    /// Its current version.
    pub version: Version,
    /// Which of the resources that it contains is the match; `None`: it is the match itself.
    pub contained: Option<usize>,
    /// How well it fits, from 0 to 1, where the order goes by that.
    pub score: Option<f64>,
    /// The store's key of it; 0 for what is not in the store.
    rid: i64,
}

impl Match {
    /// A match that is not in the store.
    pub(crate) fn beside(version: Version) -> Self {
        Self { version, contained: None, score: None, rid: 0 }
    }
}

/// Where a match stands in the order, and of which patients it tells.
#[derive(Clone, Debug)]
pub struct Place {
    pub(in crate::store) position: Position,
    pub(in crate::store) patients: Vec<i64>,
}

/// One page of matches.
#[derive(Debug, Default)]
pub struct SearchPage {
    /// How many there are on all pages; `None` where that was not asked for and is not cheap.
    pub total: Option<Count>,
    /// The matches, in order.
    pub matches: Vec<Match>,
    /// Where each of them stands, if that was asked for.
    pub places: Vec<Place>,
    /// What comes along with them (`_include`, `_revinclude`), each once and none of the matches.
    pub included: Vec<Version>,
    /// Whether more would have come along than a page may have.
    pub is_included_cut: bool,
    /// Where the next page starts; `None` on the last.
    pub next: Option<String>,
    /// Where the page before starts; `None` on the first.
    pub previous: Option<String>,
    /// How it was found, where that was asked for.
    pub explanation: Option<Explanation>,
}

/// How a search was done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// The plan in words, a step each.
    pub steps: Vec<String>,
    /// The statements, with what the database expects of each and how long it took.
    pub statements: Vec<Explained>,
}

/// One statement of a search. The values are not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Its text.
    pub sql: String,
    /// The plan of the database, a line each.
    pub plan: Vec<String>,
    /// How many rows the database expected.
    pub expected_rows: f64,
    /// How long it took.
    pub took: Duration,
}

/// A resource that criteria match.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// The store's key of it.
    pub(crate) rid: i64,
    /// Type and id.
    pub(crate) identity: Identity,
    /// Its current version.
    pub(crate) version: VersionId,
}

impl Store {
    /// A page of what matches, as far as `permit` reaches. Where one statement finds all that is shown
    /// and no other search is at work, it puts the row of `draft` on record, if there is one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a page link that this server did not make for this search;
    /// [`Error::TimedOut`] when it takes too long; [`Error::TooCostly`] when an order would have to compare
    /// too much. Then nothing is on record yet.
    pub async fn search(
        &self,
        request: &SearchRequest,
        paging: &Paging,
        definitions: &Definitions,
        permit: &Permit<'_>,
        draft: Option<Draft>,
    ) -> Result<Unaudited<SearchPage>, Error> {
        let before = self.0.unflushed.before();
        let mut run = Run::alone(self, permit, request.explain).await?;
        let parameters = &*self.parameters()?;
        let asked = Asked { store: self, parameters, definitions, permit };
        // Of many searches at a time, the ledger's writer commits the rows together at a lower cost.
        let is_cut = shared::is_some_in_part(permit, &request.types)?;
        let is_whole = !is_cut && is_whole(request, paging);
        let draft = draft.filter(|_| run.is_alone() && is_whole);
        let Some(draft) = draft else {
            let (page, disclosed) = asked.page(&mut run, request, paging, None).await?;
            return Ok(Unaudited::new(page, disclosed));
        };
        let (row, taken) = draft.take_row();
        let (page, disclosed) = asked.page(&mut run, request, paging, Some(&row)).await?;
        let row = LedgerRow { disclosed, ..row };
        self.0.unflushed.keep(before, std::iter::once(row)).await;
        Ok(taken.with(page))
    }

    /// A page that goes on record with more than is on it.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub(super) async fn search_page(
        &self,
        request: &SearchRequest,
        paging: &Paging,
        definitions: &Definitions,
        permit: &Permit<'_>,
    ) -> Result<(SearchPage, Disclosed), Error> {
        let mut run = Run::alone(self, permit, request.explain).await?;
        let parameters = &*self.parameters()?;
        let asked = Asked { store: self, parameters, definitions, permit };
        asked.page(&mut run, request, paging, None).await
    }

    /// What comes along with matches that were found before.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub(super) async fn included(
        &self,
        request: &SearchRequest,
        matches: &[&Version],
        permit: &Permit<'_>,
    ) -> Result<Included, Error> {
        let connection = self.0.searchers.connection(permit).await?;
        let reader = (Reader::Alone(&connection), None);
        include::included(request, matches, reader, self, permit).await
    }

    /// Up to `limit` of what `filters` match, for what a chain leads through.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub(crate) async fn find_matches(
        &self,
        types: &[ResourceType],
        filters: &[Filter],
        limit: u32,
        definitions: &Definitions,
        permit: &Permit<'_>,
    ) -> Result<Vec<Found>, Error> {
        let mut run = Run::alone(self, permit, false).await?;
        let parameters = &*self.parameters()?;
        let asked = Asked { store: self, parameters, definitions, permit };
        asked.few(&mut run, types, filters, limit).await
    }
}

impl WriteTx {
    /// A page as this unit's own writes left it, for an entry that searches.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub async fn search(
        &mut self,
        request: &SearchRequest,
        paging: &Paging,
        definitions: &Definitions,
        permit: &Permit<'_>,
    ) -> Result<(SearchPage, Disclosed), Error> {
        let store = self.store().clone();
        let mut run = self.run(&store, permit, request.explain).await?;
        let parameters = &*store.parameters()?;
        let asked = Asked { store: &store, parameters, definitions, permit };
        let found = asked.page(&mut run, request, paging, None).await?;
        run.end().await?;
        Ok(found)
    }

    /// Up to `limit` of what `filters` match, as this unit's own writes left it, for conditional
    /// interactions.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub(crate) async fn find_matches(
        &mut self,
        types: &[ResourceType],
        filters: &[Filter],
        limit: u32,
        definitions: &Definitions,
        permit: &Permit<'_>,
    ) -> Result<Vec<Found>, Error> {
        let store = self.store().clone();
        let mut run = self.run(&store, permit, false).await?;
        let parameters = &*store.parameters()?;
        let asked = Asked { store: &store, parameters, definitions, permit };
        let found = asked.few(&mut run, types, filters, limit).await?;
        run.end().await?;
        Ok(found)
    }

    /// Where its statements run: in its transaction, when one is open.
    async fn run(
        &self,
        store: &Store,
        permit: &Permit<'_>,
        explain: bool,
    ) -> Result<Run<'_>, Error> {
        if let Some(transaction) = self.connection() {
            return Run::inside(transaction, store, explain).await;
        }
        Run::alone(store, permit, explain).await
    }
}

/// Who asks whom.
struct Asked<'a, 'gate> {
    store: &'a Store,
    parameters: &'a Parameters,
    definitions: &'a Definitions,
    permit: &'a Permit<'gate>,
}

impl<'gate> Asked<'_, 'gate> {
    async fn page(
        &self,
        run: &mut Run<'_>,
        request: &SearchRequest,
        paging: &Paging,
        row: Option<&LedgerRow>,
    ) -> Result<(SearchPage, Disclosed), Error> {
        self.refuse_order(request)?;
        let filters = self.read_lists(run, &request.filters).await?;
        let is_inside = request.contained != ContainedMode::Outside;
        let filters = self.read_profiles(run, filters, is_inside).await?;
        let filters = self.apart(filters, &request.types)?;
        let given_up = self.given_up(&filters).await?;
        let search = Search {
            is_placed: paging.is_placed,
            ..self.about(&request.types, (&filters, given_up.as_ref()))
        };
        search.page(run, request, paging, row).await
    }

    async fn few(
        &self,
        run: &mut Run<'_>,
        types: &[ResourceType],
        filters: &[Filter],
        limit: u32,
    ) -> Result<Vec<Found>, Error> {
        let filters = self.read_lists(run, filters).await?;
        let filters = self.read_profiles(run, filters, false).await?;
        let filters = self.apart(filters, types)?;
        let given_up = self.given_up(&filters).await?;
        self.about(types, (&filters, given_up.as_ref())).few(run, limit).await
    }

    /// What is not to be found by what it has instead; only asked for where something may be.
    async fn given_up(&self, filters: &[Filter]) -> Result<Option<HashSet<i64>>, Error> {
        if !filters.iter().any(has_negative) {
            return Ok(None);
        }
        let pipeline = self.store.0.readers.pipeline().await?;
        given_up(&pipeline).await.map(Some)
    }

    fn about<'s>(
        &'s self,
        types: &'s [ResourceType],
        (filters, given_up): (&'s [Filter], Option<&'s HashSet<i64>>),
    ) -> Search<'s, 'gate> {
        let Self { store, parameters, definitions, permit } = *self;
        let is_placed = false;
        Search { store, parameters, definitions, permit, types, filters, given_up, is_placed }
    }
}

/// Whether a filter, or one in it, is a negation.
fn has_negative(filter: &Filter) -> bool {
    match filter {
        Filter::Not(_) => true,
        Filter::All(filters) | Filter::Any(filters) => filters.iter().any(has_negative),
        Filter::Chain { targets, .. } => targets.iter().any(|(_, filter)| has_negative(filter)),
        Filter::Has { filter, .. } => has_negative(filter),
        _ => false,
    }
}
