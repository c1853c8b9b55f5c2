//! One page: chosen, found, counted.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use crate::access::{Disclosed, Permit, Restriction};
use crate::error::Error;
use crate::fhir::{IssueCode, ResourceType, Version, VersionId};
use crate::search::request::{ContainedMode, Filter, SearchRequest, SortBy, SortKey, Total};
use crate::store::{Parameters, Store, failure, rows};

use super::compile::Compiler;
use super::cursor::{Position, Seal};
use super::definitions::Definitions;
use super::driver::{Candidate, Driver, conjuncts};
use super::include::{Included, included};
use super::order::{MAX_SORTED, Order, Walk, ranked};
use super::probe::{Choice, choose};
use super::reach::searchable;
use super::run::Run;
use super::source::{Source, every};
use super::sql::{Cond, Statement};
use super::{Count, Found, Match, Paging, SearchPage};

/// Up to how many matches a total is counted when nobody asked for one.
const COUNTED: u64 = 2_000;
/// Up to how many rows are looked at for that, where each must be looked up.
const LOOKED_UP: u64 = 500;
/// The same where each is asked for what it refers to, or what refers to it.
const FOLLOWED: u64 = 100;

/// What one search works with.
pub(super) struct Search<'a, 'gate> {
    pub(super) store: &'a Store,
    pub(super) parameters: &'a Parameters,
    pub(super) definitions: &'a Definitions,
    pub(super) permit: &'a Permit<'gate>,
    pub(super) types: &'a [ResourceType],
    /// The filters, with the lists in them read.
    pub(super) filters: &'a [Filter],
}

impl<'a, 'gate> Search<'a, 'gate> {
    fn compiler<'s>(&'s self, wide: &'s HashSet<usize>) -> Compiler<'s, 'gate>
    where
        'a: 's,
    {
        Compiler::new(self.parameters, self.definitions, self.store.hasher(), self.permit, wide)
    }

    /// A page of matches.
    pub(super) async fn page(
        &self,
        run: &mut Run<'_>,
        request: &SearchRequest,
        paging: &Paging,
    ) -> Result<(SearchPage, Disclosed), Error> {
        if request.contained != ContainedMode::Outside {
            return Err(Error::NotSupported("contained resources are not searched".to_owned()));
        }
        // What was shown, not the filters: the span of `ap` and the finds of the full text index
        // change from page to page.
        let SearchRequest { types, shown: said, sort, .. } = request;
        let seal = Seal::new(
            &format!("search {types:?} {said:?} {sort:?}"),
            self.permit,
            self.store.hasher(),
        );
        let unknown = || {
            let text = "this page link was not made by this server for this search";
            Error::invalid(IssueCode::Invalid, text)
        };
        let at = paging.cursor.as_deref().map(|text| seal.open(text).ok_or_else(unknown));
        let at = at.transpose()?;
        let filters = conjuncts(self.filters);
        let choice = self.choose(run, &filters, &request.sort).await?;
        let order = self.order(&choice, &request.sort);
        run.step(|| shown(&choice, &order));
        let mut page = SearchPage::default();
        let mut disclosed = Disclosed::default();
        if !request.counts_only && paging.count > 0 {
            let statement = self.statement(&choice, &order, at.as_ref(), paging.count + 1, true)?;
            let rows = run.rows(&statement).await?;
            let known = at.as_ref().and_then(|at| at.total);
            page.total = match known {
                None if at.is_none() => self.total(run, request, &choice, paging, &rows).await?,
                known => known,
            };
            fill(&mut page, &mut disclosed, rows, (at.as_ref(), paging, &seal))?;
            if !self.is_restricted()? {
                score(&mut page, &request.sort, &filters);
            }
            self.include(run, request, &mut page, &mut disclosed).await?;
            disclosed.patients.sort_unstable();
            disclosed.patients.dedup();
        } else {
            page.total = self.total(run, request, &choice, paging, &[]).await?;
        }
        page.explanation = run.explanation.take();
        Ok((page, disclosed))
    }

    /// Up to `limit` matches, without what is in them.
    pub(super) async fn few(&self, run: &mut Run<'_>, limit: u32) -> Result<Vec<Found>, Error> {
        let filters = conjuncts(self.filters);
        let choice = self.choose(run, &filters, &[]).await?;
        let statement = self.statement(&choice, &Order::NATIVE, None, limit, false)?;
        let rows = run.rows(&statement).await?;
        let found = rows.iter().map(|row| {
            let version = VersionId(row.try_get(3).map_err(failure::error)?);
            Ok(Found { rid: key(row)?, identity: rows::identity(row, 4)?, version })
        });
        found.collect()
    }

    async fn choose(
        &self,
        run: &mut Run<'_>,
        filters: &[&Filter],
        sort: &[SortKey],
    ) -> Result<Choice, Error> {
        let none = HashSet::new();
        let compiler = self.compiler(&none);
        let is_in_order = compiler.native(sort, self.types).is_some();
        let counts = &self.store.0.counts;
        choose(run, counts, compiler, (filters, self.types), is_in_order).await
    }

    fn order(&self, choice: &Choice, sort: &[SortKey]) -> Order {
        let none = HashSet::new();
        let native = self.compiler(&none).native(sort, self.types);
        native.unwrap_or_else(|| Order::of(sort, self.types, choice.is_small))
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

    /// The rows that are walked, and what is asked of each.
    fn walk(
        &self,
        compiler: &mut Compiler<'_, '_>,
        choice: &Choice,
        order: &Order,
        filters: &[&Filter],
    ) -> Result<(Source, Cond), Error> {
        let (source, candidate) = match (order, self.types) {
            (Order::Walked { by: Walk::Updated, .. }, types) => {
                (compiler.updated_rows(types), &Candidate::RESOURCES)
            }
            (Order::Walked { by: Walk::Id, .. }, &[of]) => {
                (compiler.id_rows(of), &Candidate::RESOURCES)
            }
            (_, types) => {
                let candidate = &choice.candidate;
                (compiler.source(candidate, filters, types)?, candidate)
            }
        };
        let rest = compiler.rest(candidate, filters, &source.row)?;
        Ok((source, rest))
    }

    /// The statement of one page, or of the keys of one.
    pub(super) fn statement(
        &self,
        choice: &Choice,
        order: &Order,
        at: Option<&Position>,
        limit: u32,
        has_bodies: bool,
    ) -> Result<Statement, Error> {
        let filters = conjuncts(self.filters);
        let mut compiler = self.compiler(&choice.wide);
        let (source, rest) = self.walk(&mut compiler, choice, order, &filters)?;
        let keys = compiler.keys(order, &source, &rest, at, (limit, &filters))?;
        let columns = if has_bodies {
            "r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rt, r.id"
        } else {
            "r.vid, r.rt, r.id"
        };
        // Looked up one by one: joined freely, the database may read the whole table.
        let text = format!(
            "WITH {}k AS MATERIALIZED ({}) SELECT k.rid, k.key, k.seen, {columns} FROM k \
             CROSS JOIN LATERAL (SELECT * FROM res w WHERE w.rid = k.rid AND w.op <> 'D' OFFSET 0) r \
             ORDER BY k.n",
            keys.before, keys.query
        );
        Ok(compiler.binds.finish(&text))
    }

    /// Adds what comes along with the matches.
    async fn include(
        &self,
        run: &Run<'_>,
        request: &SearchRequest,
        page: &mut SearchPage,
        disclosed: &mut Disclosed,
    ) -> Result<(), Error> {
        let matches: Vec<&Version> = page.matches.iter().map(|it| &it.version).collect();
        let (store, permit) = (self.store, self.permit);
        let reader = run.reader();
        let found = included(&request.includes, &matches, reader, store, permit);
        let Included { versions, is_cut, disclosed: told } = found.await?;
        page.included = versions;
        page.is_included_cut = is_cut;
        disclosed.patients.extend(told.patients);
        disclosed.entities.extend(told.entities);
        Ok(())
    }

    /// How many matches there are; `rows` are those of the first page and one beyond.
    async fn total(
        &self,
        run: &mut Run<'_>,
        request: &SearchRequest,
        choice: &Choice,
        paging: &Paging,
        rows: &[Row],
    ) -> Result<Option<Count>, Error> {
        let has_page = !request.counts_only && paging.count > 0;
        if has_page && request.total == Total::None {
            return Ok(None);
        }
        if has_page && rows.len() <= paging.count as usize {
            return Ok(Some(Count { number: rows.len() as u64, is_exact: true }));
        }
        if !has_page || request.total == Total::Accurate {
            let number = self.count_all(run, choice).await?;
            return Ok(Some(Count { number, is_exact: true }));
        }
        if let Some(number) = self.count_some(run, choice).await? {
            return Ok(Some(Count { number, is_exact: true }));
        }
        if request.total == Total::Estimate {
            let number = run.estimate(&self.all(choice)?).await?.max(COUNTED);
            return Ok(Some(Count { number, is_exact: false }));
        }
        Ok(None)
    }

    /// The keys of all matches.
    fn all(&self, choice: &Choice) -> Result<Statement, Error> {
        let filters = conjuncts(self.filters);
        let mut compiler = self.compiler(&choice.wide);
        let (source, rest) = self.walk(&mut compiler, choice, &Order::NATIVE, &filters)?;
        let distinct = if source.has_duplicates { "DISTINCT " } else { "" };
        let every = every(&source, &format!("{distinct}{} AS rid", source.row.rid), &rest);
        Ok(compiler.binds.finish(&every))
    }

    async fn count_all(&self, run: &mut Run<'_>, choice: &Choice) -> Result<u64, Error> {
        let Statement { sql, binds } = self.all(choice)?;
        let statement = Statement { sql: format!("SELECT count(*) FROM ({sql}) e"), binds };
        let rows = run.rows(&statement).await?;
        let row = rows.first().ok_or_else(|| Error::internal("a count gives a row"))?;
        Ok(row.try_get::<_, i64>(0).map_err(failure::error)?.cast_unsigned())
    }

    /// The number of matches, unless there are too many rows to look at.
    async fn count_some(&self, run: &mut Run<'_>, choice: &Choice) -> Result<Option<u64>, Error> {
        let filters = conjuncts(self.filters);
        let mut compiler = self.compiler(&choice.wide);
        let (source, rest) = self.walk(&mut compiler, choice, &Order::NATIVE, &filters)?;
        let follows = |(at, filter): (usize, &&Filter)| {
            choice.candidate.of != Some(at)
                && matches!(filter, Filter::Chain { .. } | Filter::Has { .. })
        };
        let most = match rest {
            Cond::True => COUNTED,
            _ if filters.iter().enumerate().any(follows) => FOLLOWED,
            _ => LOOKED_UP,
        } + 1;
        let holds = match rest {
            Cond::True => "true".to_owned(),
            Cond::False => return Ok(Some(0)),
            Cond::Sql(text) => text,
        };
        let columns = format!("{} AS rid, ({holds}) AS holds", source.row.rid);
        let some = format!("{} LIMIT {most}", every(&source, &columns, &Cond::True));
        let distinct = if source.has_duplicates { "DISTINCT " } else { "" };
        let statement = compiler.binds.finish(&format!(
            "SELECT count(*), count({distinct}rid) FILTER (WHERE holds) FROM ({some}) e"
        ));
        let rows = run.rows(&statement).await?;
        let row = rows.first().ok_or_else(|| Error::internal("a count gives a row"))?;
        let seen: i64 = row.try_get(0).map_err(failure::error)?;
        let number: i64 = row.try_get(1).map_err(failure::error)?;
        Ok((seen.cast_unsigned() < most).then_some(number.cast_unsigned()))
    }
}

/// Puts the rows of a page into it, without the one beyond.
fn fill(
    page: &mut SearchPage,
    disclosed: &mut Disclosed,
    mut rows: Vec<Row>,
    (at, paging, seal): (Option<&Position>, &Paging, &Seal<'_>),
) -> Result<(), Error> {
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
    let beside = |row: Option<&Row>, is_back| -> Result<Option<String>, Error> {
        let Some(row) = row else { return Ok(None) };
        let keys = row.try_get(1).map_err(failure::error)?;
        let position = Position { keys, rid: key(row)?, is_back, total: page.total };
        Ok(Some(seal.close(&position)))
    };
    // Where the link came from, there is something; on the other side the row beyond tells.
    let (is_last, is_first) = if is_back { (false, !has_more) } else { (!has_more, at.is_none()) };
    page.next = beside(rows.last().filter(|_| !is_last), false)?;
    page.previous = beside(rows.first().filter(|_| !is_first), true)?;
    for row in rows {
        let version = rows::version(&row, 3, rows::identity(&row, 9)?)?;
        let patients: Vec<i64> = row.try_get(8).map_err(failure::error)?;
        disclosed.patients.extend(patients);
        disclosed.entities.push(version.versioned_path());
        page.matches.push(Match { version, score: None, rid: key(&row)? });
    }
    Ok(())
}

/// Says how well each match fits, where the order goes by that: by its place among all finds.
fn score(page: &mut SearchPage, sort: &[SortKey], filters: &[&Filter]) {
    if !sort.iter().any(|key| key.by == SortBy::Score) {
        return;
    }
    let ranked = ranked(filters);
    let places: HashMap<i64, usize> = ranked.iter().copied().zip(0..).collect();
    for found in &mut page.matches {
        let place = places.get(&found.rid);
        found.score = place.map(|&place| 1.0 - place as f64 / ranked.len() as f64);
    }
}

fn key(row: &Row) -> Result<i64, Error> {
    row.try_get(0).map_err(failure::error)
}

/// The plan in words.
fn shown(choice: &Choice, order: &Order) -> String {
    let walked = choice.candidate.driver.name();
    let few = if choice.is_small { ", which are few" } else { "" };
    let sorted = match order {
        Order::Walked { .. } if choice.candidate.is_ordered() => {
            "in their order, until a page is full"
        }
        Order::Walked { .. } => "of which the first are taken",
        Order::Sorted(_) => "all of which are sorted",
    };
    let rest = match choice.candidate.driver {
        Driver::Resources => "every other filter is asked of each",
        _ => "the other filters are asked of each",
    };
    format!("walks {walked}{few}, {sorted}; {rest}")
}
