//! One page: chosen, found, counted.

mod record;
mod statement;
mod total;

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Instant;

use bytes::BytesMut;
use tokio_postgres::Row;

use crate::access::restriction::Limits;
use crate::access::{Disclosed, LedgerRow, Permit, Restriction};
use crate::error::Error;
use crate::fhir::{ResourceType, Version, VersionId};
use crate::search::request::{ContainedMode, Filter, SearchRequest, SortBy, SortKey, Total};
use crate::store::cursor::{self, Position, Seal};
use crate::store::hash::Hasher;
use crate::store::index::inside;
use crate::store::{Parameters, Store, failure, rows};

use super::choice::{Choice, Chosen};
use super::compile::Compiler;
use super::definitions::Definitions;
use super::driver::{Driver, conjuncts};
use super::frames::Ran;
use super::include::{Included, included};
use super::order::{MAX_SORTED, Order, Walk, score};
use super::probe::choose;
use super::reach::searchable;
use super::run::Run;
use super::{Count, Found, Match, Paging, Place, SearchPage};

pub(super) use record::is_whole;
pub(super) use statement::{WITH_BODIES, in_order, resources};

use record::Record;
use statement::{Columns, Page};
use total::counted;

/// What one search works with.
pub(super) struct Search<'a, 'gate> {
    pub(super) store: &'a Store,
    pub(super) parameters: &'a Parameters,
    pub(super) definitions: &'a Definitions,
    pub(super) permit: &'a Permit<'gate>,
    pub(super) types: &'a [ResourceType],
    /// The filters, with the lists in them read.
    pub(super) filters: &'a [Filter],
    /// See [`Compiler::given_up`].
    pub(super) given_up: Option<&'a HashSet<i64>>,
    /// See [`Paging::is_placed`].
    pub(super) is_placed: bool,
}

impl<'a, 'gate> Search<'a, 'gate> {
    pub(super) fn compiler<'s>(&'s self, turned: &'s HashSet<usize>) -> Compiler<'s, 'gate>
    where
        'a: 's,
    {
        let Self { parameters, definitions, store, permit, given_up, is_placed, .. } = *self;
        let mut compiler = Compiler::new(parameters, definitions, store.hasher(), permit, turned);
        (compiler.given_up, compiler.is_placed) = (given_up, is_placed);
        compiler
    }

    /// A page of matches; `row` is on record with it. Only for a page that is all that is shown.
    pub(super) async fn page(
        &self,
        run: &mut Run<'_>,
        request: &SearchRequest,
        paging: &Paging,
        row: Option<&LedgerRow>,
    ) -> Result<(SearchPage, Disclosed), Error> {
        if row.is_some() && !record::is_whole(request, paging) {
            return Err(Error::internal("a row is written with a page that is all that is shown"));
        }
        // What a caller reaches is said in full for it, and pages without links need none.
        let seal = LazyLock::new(|| seal(request, self.permit, self.store.hasher()));
        let unknown = || cursor::unknown("search");
        let at = paging.cursor.as_deref().map(|text| seal.open(text).ok_or_else(unknown));
        let at = at.transpose()?;
        if request.contained != ContainedMode::Outside {
            return self.page_of_contained(run, request, paging, (at.as_ref(), &seal)).await;
        }
        let filters = conjuncts(self.filters);
        let is_page = !request.counts_only && paging.count > 0;
        let wanted = is_page.then_some(paging.count + 1);
        let chosen = self.choose(run, &filters, &request.sort, wanted).await?;
        let mut page = SearchPage::default();
        let mut disclosed = Disclosed::default();
        if let Some(limit) = wanted {
            let order = self.order(&chosen, &request.sort);
            run.step(|| shown(chosen.of(&order), &order));
            let record = match row {
                Some(row) => {
                    let parties = self.store.0.parties.keys([row]).await?;
                    parties.first().map(|party| Record { row, party: *party })
                }
                None => None,
            };
            let place = (at.as_ref(), limit);
            let rows = self.rows(run, request, (&chosen, &order), place, record).await?;
            let known = at.as_ref().and_then(|at| at.total);
            page.total = match known {
                None if at.is_none() => self.total(run, request, &chosen, paging, &rows).await?,
                known => known,
            };
            let told = (at.as_ref(), paging, || &*seal);
            let after = self.fill(&mut page, &mut disclosed, rows, told)?;
            self.trim(run, (chosen.of(&order), &order), after, &mut page).await?;
            if !self.is_restricted()? {
                score(&mut page, &request.sort, &filters);
            }
            if !request.includes.is_empty() {
                self.include(run, request, &mut page, &mut disclosed).await?;
            }
            disclosed.patients.sort_unstable();
            disclosed.patients.dedup();
        } else {
            run.step(|| shown(&chosen.all, &Order::Sorted(Vec::new())));
            let number = self.count_all(run, &chosen.all).await?;
            page.total = Some(Count { number, is_exact: true });
        }
        page.explanation = run.explained();
        Ok((page, disclosed))
    }

    /// The rows of a page and one beyond, with the total where it is asked for and cheap.
    async fn rows(
        &self,
        run: &mut Run<'_>,
        request: &SearchRequest,
        (chosen, order): (&Chosen, &Order),
        (at, limit): (Option<&Position>, u32),
        record: Option<Record<'_>>,
    ) -> Result<Vec<Row>, Error> {
        let choice = chosen.of(order);
        // What is found or sorted as a whole is counted by that.
        let is_whole = match order {
            Order::Walked { by: Walk::Date, .. } => !choice.candidate.is_ordered(),
            order => matches!(order, Order::Sorted(_)),
        };
        let is_asked =
            at.is_none() && matches!(request.total, Total::Estimate | Total::Unspecified);
        let is_some = is_asked && !is_whole && !self.counts_hidden(&chosen.all)?;
        let some = is_some.then_some((&chosen.all, request.total == Total::Estimate));
        let Page { statement, counted: mark } =
            self.statement(choice, order, at, limit, Columns::All(some, record))?;
        let rows = in_order(run.rows(&statement).await?)?;
        if let Some(mark) = mark
            && rows.len() >= limit as usize
            && counted(&rows)?.is_none()
        {
            self.store.0.counts.too_many(mark);
        }
        Ok(rows)
    }

    /// Up to `limit` matches, without what is in them.
    pub(super) async fn few(&self, run: &mut Run<'_>, limit: u32) -> Result<Vec<Found>, Error> {
        let filters = conjuncts(self.filters);
        let chosen = self.choose(run, &filters, &[], Some(limit)).await?;
        let mut wanted = limit;
        loop {
            let by = &chosen.page;
            let page = self.statement(by, &Order::NATIVE, None, wanted, Columns::Keys)?;
            let rows = in_order(run.rows(&page.statement).await?)?;
            let mut found = Vec::with_capacity(rows.len());
            for row in rows.iter().filter(|row| is_there(row, 3)) {
                let version = VersionId(row.try_get(3).map_err(failure::error)?);
                found.push(Found { rid: key(row)?, identity: rows::identity(row, 4)?, version });
            }
            if found.len() >= limit as usize || rows.len() < wanted as usize {
                found.truncate(limit as usize);
                return Ok(found);
            }
            // Keys of nothing took the places of matches.
            wanted = wanted.saturating_mul(2);
        }
    }

    /// `wanted`: how many matches, where a page is asked for.
    async fn choose(
        &self,
        run: &mut Run<'_>,
        filters: &[&Filter],
        sort: &[SortKey],
        wanted: Option<u32>,
    ) -> Result<Chosen, Error> {
        let none = HashSet::new();
        let compiler = self.compiler(&none);
        let in_order = wanted.filter(|_| compiler.native(sort, self.types).is_some());
        let counts = &self.store.0.counts;
        choose(run, counts, compiler, (filters, self.types), in_order).await
    }

    fn order(&self, chosen: &Chosen, sort: &[SortKey]) -> Order {
        let none = HashSet::new();
        let compiler = self.compiler(&none);
        if let Some(native) = compiler.native(sort, self.types) {
            return native;
        }
        let Choice { candidate, is_small, .. } = &chosen.all;
        // What is found by its time of change is in that order, and need not all be found.
        let is_in_order = candidate.driver == Driver::Updated
            && matches!(sort, [SortKey { by: SortBy::LastUpdated, .. }]);
        match Order::of(sort, self.types, *is_small && !is_in_order) {
            Order::Sorted(sort)
                if !is_small && compiler.is_indexed(&sort, candidate, self.types) =>
            {
                Order::First(sort)
            }
            order => order,
        }
    }

    /// Puts the rows of a page into it, without the one beyond. Where the page was gone back to, it gives the place
    /// of its last match: what came after that may be gone meanwhile.
    pub(super) fn fill<'s>(
        &self,
        page: &mut SearchPage,
        disclosed: &mut Disclosed,
        mut rows: Vec<Row>,
        (at, paging, seal): (Option<&Position>, &Paging, impl Fn() -> &'s Seal),
    ) -> Result<Option<Position>, Error> {
        if let Some(row) = rows.first() {
            let seen: i64 = row.try_get(2).map_err(failure::error)?;
            if seen > i64::from(MAX_SORTED) {
                return Err(Error::TooCostly(format!(
                    "more than {MAX_SORTED} resources match, too many to sort: narrow the search \
                     or leave the order out"
                )));
            }
        }
        let count = paging.count as usize;
        let has_more = rows.len() > count;
        rows.truncate(count);
        let is_back = at.is_some_and(|at| at.is_back);
        if is_back {
            rows.reverse();
        }
        let total = page.total;
        let position = |row: &Row, is_back| -> Result<Position, Error> {
            let keys = row.try_get(1).map_err(failure::error)?;
            Ok(Position { keys, rid: key(row)?, is_back, total })
        };
        let beside = |row: Option<&Row>, is_back| -> Result<Option<String>, Error> {
            let position = row.map(|row| position(row, is_back)).transpose()?;
            Ok(position.map(|position| seal().close(&position)))
        };
        // Where the link came from, there was something; on the other side the row beyond tells.
        let (is_last, is_first) =
            if is_back { (false, !has_more) } else { (!has_more, at.is_none()) };
        page.next = beside(rows.last().filter(|_| !is_last), false)?;
        page.previous = beside(rows.first().filter(|_| !is_first), true)?;
        let after = rows.last().filter(|_| is_back).map(|row| position(row, false)).transpose()?;
        let bytes: usize = rows.iter().map(Row::raw_size_bytes).sum();
        let mut room = BytesMut::with_capacity(bytes);
        page.matches.reserve(rows.len());
        for row in &rows {
            if !is_there(row, 4) {
                continue;
            }
            let version = rows::version_in(row, 4, rows::identity(row, 10)?, &mut room)?;
            let found = (version, row.try_get(9).map_err(failure::error)?);
            let (version, patients) =
                self.store.cut_by(found, self.permit.finds_by(), self.permit)?;
            let rid = key(row)?;
            if paging.is_placed {
                let keys = row.try_get(1).map_err(failure::error)?;
                let position = Position { keys, rid, is_back: false, total: None };
                page.places.push(Place { position, patients: patients.clone() });
            }
            disclosed.patients.extend(patients);
            page.matches.push(Match { version, score: None, rid, contained: inside::place(rid) });
        }
        Ok(after)
    }

    /// Takes the link onward off a page that was gone back to where nothing comes after it any more: no
    /// page is empty (rest 4.189). `after`: where [`Self::fill`] says to look.
    async fn trim(
        &self,
        run: &mut Run<'_>,
        (choice, order): (&Choice, &Order),
        after: Option<Position>,
        page: &mut SearchPage,
    ) -> Result<(), Error> {
        let Some(after) = after else { return Ok(()) };
        let next = self.statement(choice, order, Some(&after), 1, Columns::Keys)?;
        if run.rows(&next.statement).await?.is_empty() {
            page.next = None;
        }
        Ok(())
    }

    /// Whether some of what matches may be out of reach: places among all finds would tell of it.
    fn is_restricted(&self) -> Result<bool, Error> {
        for &of in self.types {
            if searchable(self.permit, of)? != Some(Restriction::Everything) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether what is in reach is the records of patients, and nothing else decides.
    fn reaches_records(&self) -> Result<bool, Error> {
        let none = HashSet::new();
        let compiler = self.compiler(&none);
        let is_plain = |limits: &Limits| limits.plain_members().is_some();
        for &of in self.types {
            let reach = compiler.reach(of)?;
            if !reach.as_ref().and_then(Restriction::limits).is_some_and(is_plain) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether rows that are counted up to a bound may be out of reach: that they are too many
    /// would tell of them.
    fn counts_hidden(&self, by: &Choice) -> Result<bool, Error> {
        if !self.is_restricted()? {
            return Ok(false);
        }
        if !self.reaches_records()? {
            return Ok(true);
        }
        let none = HashSet::new();
        let reach = self.compiler(&none).common_reach(self.types)?.unwrap_or_default();
        let is_within = |walked: &Vec<i64>| walked.iter().all(|it| reach.contains(it));
        Ok(!matches!(&by.candidate.driver, Driver::Compartment(walked) if is_within(walked)))
    }

    /// Adds what comes along with the matches.
    async fn include(
        &self,
        run: &mut Run<'_>,
        request: &SearchRequest,
        page: &mut SearchPage,
        disclosed: &mut Disclosed,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let matches: Vec<&Version> = page.matches.iter().map(|it| &it.version).collect();
        let (store, permit) = (self.store, self.permit);
        let ran = run.is_explained().then(Ran::default);
        let reader = (run.reader(), ran.as_ref());
        let found = included(request, &matches, reader, store, permit);
        let Included { versions, is_cut, disclosed: told } = found.await?;
        let (count, took) = (versions.len(), start.elapsed());
        run.step(|| format!("{count} resources come along, took {took:?}"));
        if let Some(ran) = ran {
            run.tell(ran).await?;
        }
        page.included = versions;
        page.is_included_cut = is_cut;
        disclosed.patients.extend(told.patients);
        Ok(())
    }
}

/// What binds the links of a search. What was shown is told, not the filters: the span of `ap` and the
/// finds of the full text index change from page to page.
pub(in crate::store) fn seal(
    request: &SearchRequest,
    permit: &Permit<'_>,
    hasher: &Hasher,
) -> Seal {
    let SearchRequest { types, shown: said, sort, .. } = request;
    Seal::new(&format!("search {types:?} {said:?} {sort:?}"), permit, hasher)
}

/// Whether there is a resource behind a key; `at` is the column of its version. A row of the index that
/// belongs to nothing must not end the pages.
fn is_there(row: &Row, at: usize) -> bool {
    row.try_get::<_, Option<i32>>(at).is_ok_and(|version| version.is_some())
}

fn key(row: &Row) -> Result<i64, Error> {
    row.try_get(0).map_err(failure::error)
}

/// The plan in words.
fn shown(choice: &Choice, order: &Order) -> String {
    let walked = choice.candidate.driver.name();
    let is_updated = choice.candidate.driver == Driver::Updated
        && matches!(order, Order::Walked { by: Walk::Updated, .. });
    let few = if choice.is_small && !is_updated { ", which are few" } else { "" };
    let sorted = match order {
        Order::Walked { .. } if choice.candidate.is_ordered() || is_updated => {
            "in their order, until a page is full"
        }
        Order::Walked { .. } => "of which the first are taken",
        Order::First(_) => "of which an index tells the first, which are sorted",
        Order::Sorted(_) => "all of which are sorted",
    };
    let rest = match choice.candidate.driver {
        Driver::Resources => "every other filter is asked of each",
        _ => "the other filters are asked of each",
    };
    format!("walks {walked}{few}, {sorted}; {rest}")
}
