//! `_contained`: matches among contained resources, which are shown themselves or as their containers.
//!
//! All matches are found first, up to a bound, and put in the order of what holds them: so a container
//! comes once however much of it matches, and the total is known.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#contained> (rest 4.176)

use std::collections::HashSet;

use crate::access::Disclosed;
use crate::error::Error;
use crate::search::request::{ContainedMode, Filter, SearchRequest, SortBy, SortKey, Total};
use crate::store::cursor::{Position, Seal};
use crate::store::failure;
use crate::store::index::inside;

use super::compile::Compiler;
use super::driver::conjuncts;
use super::order::all_of;
use super::page::{Search, WITH_BODIES, in_order, resources};
use super::run::Run;
use super::source::union;
use super::sql::Statement;
use super::{Count, Paging, SearchPage};

/// What changed last comes first, where no order is asked for.
const NEWEST: &[SortKey] = &[SortKey { by: SortBy::LastUpdated, is_descending: true }];

impl<'gate> Search<'_, 'gate> {
    /// A page of a search that looks at contained resources.
    pub(super) async fn page_of_contained(
        &self,
        run: &mut Run<'_>,
        request: &SearchRequest,
        paging: &Paging,
        (at, seal): (Option<&Position>, &Seal),
    ) -> Result<(SearchPage, Disclosed), Error> {
        run.step(|| "finds contained resources, each by itself, and sorts all of them".to_owned());
        let (mut page, mut disclosed) = (SearchPage::default(), Disclosed::default());
        if request.counts_only || paging.count == 0 {
            let none = HashSet::new();
            let mut compiler = self.compiler(&none);
            let every = self.every_contained(&mut compiler, request.contained)?;
            let text = format!("SELECT count(*) FROM ({every}) e");
            let rows = run.rows(&compiler.binds.finish(&text)).await?;
            let number: Option<i64> =
                rows.first().map(|row| row.try_get(0)).transpose().map_err(failure::error)?;
            page.total = number.map(exactly);
            page.explanation = run.explained();
            return Ok((page, disclosed));
        }
        let rows = in_order(run.rows(&self.contained_beside(request, at, paging.count)?).await?)?;
        page.total = match at {
            _ if request.total == Total::None => None,
            Some(at) => at.total,
            None => {
                let seen = rows.first().map(|row| row.try_get(2)).transpose();
                Some(exactly(seen.map_err(failure::error)?.unwrap_or_default()))
            }
        };
        let after = self.fill(&mut page, &mut disclosed, rows, (at, paging, || seal))?;
        // Gone back to, a page leads onward only while something comes after it.
        if let Some(after) = after
            && run.rows(&self.contained_beside(request, Some(&after), 0)?).await?.is_empty()
        {
            page.next = None;
        }
        disclosed.patients.sort_unstable();
        disclosed.patients.dedup();
        page.explanation = run.explained();
        Ok((page, disclosed))
    }

    /// The statement of a page of `count` matches beside a place, and of the key of one beyond.
    fn contained_beside(
        &self,
        request: &SearchRequest,
        at: Option<&Position>,
        count: u32,
    ) -> Result<Statement, Error> {
        let none = HashSet::new();
        let mut compiler = self.compiler(&none);
        let every = self.every_contained(&mut compiler, request.contained)?;
        let sort = if request.sort.is_empty() { NEWEST } else { &request.sort };
        let (filters, limit) = (conjuncts(self.filters), count + 1);
        let all = all_of(&every, false);
        let keys = compiler
            .within(true, |it| it.sorted(sort, (&all, self.types), at, (limit, &filters)))?;
        let columns = format!("NULL::bigint, {WITH_BODIES}");
        let text = resources(&keys, &columns, (&inside::home("k.rid"), count), None);
        Ok(compiler.binds.finish(&text))
    }

    /// The keys of all matches, each once: as a query.
    fn every_contained(
        &self,
        compiler: &mut Compiler<'_, 'gate>,
        mode: ContainedMode,
    ) -> Result<String, Error> {
        let filter = Filter::All(self.filters.to_vec());
        let mut all = Vec::new();
        let (has_own, shows_container) = match mode {
            ContainedMode::Both { shows_container } => (true, shows_container),
            ContainedMode::Inside { shows_container } => (false, shows_container),
            ContainedMode::Outside => (true, false),
        };
        if has_own {
            all.extend(compiler.found(self.types, &filter)?);
        }
        if mode != ContainedMode::Outside {
            let found = compiler.within(true, |it| it.found(self.types, &filter))?;
            all.extend(found.map(|found| {
                let container = inside::container("k.rid");
                if shows_container { format!("SELECT {container} FROM ({found}) k") } else { found }
            }));
        }
        Ok(format!("SELECT DISTINCT u.rid FROM ({}) u(rid)", union(&all)))
    }
}

fn exactly(number: i64) -> Count {
    Count { number: number.cast_unsigned(), is_exact: true }
}
