//! The statement of a page: keys, the resources behind them, the total where that is cheap, and the
//! page's ledger row.

use std::fmt::Write as _;

use tokio_postgres::Row;

use crate::error::Error;
use crate::search::request::Filter;
use crate::store::cursor::Position;
use crate::store::failure;

use super::super::choice::Choice;
use super::super::compile::Compiler;
use super::super::driver::{Candidate, Driver, conjuncts};
use super::super::order::{Keys, Order, Walk};
use super::super::probe::Mark;
use super::super::source::{Source, every};
use super::super::sql::{Cond, Statement};
use super::Search;
use super::record::Record;

/// Up to how many matches a total is counted when nobody asked for one.
pub(super) const COUNTED: u64 = 1_000;
/// Up to how many rows are looked at for that where each is asked something, or must be found beside what is
/// walked for the page: as many as take no longer than half a page.
const LOOKED_AT: u64 = 100;
/// The same where somebody wants to know about how many there are.
const LOOKED_AT_IF_ASKED: u64 = 500;

/// What a page shows of its resources.
pub(in crate::store::search) const WITH_BODIES: &str =
    "r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rt, r.id";
/// What a statement tells of each match.
#[derive(Clone, Copy)]
pub(super) enum Columns<'c> {
    /// Everything; beside it the total, by what is walked for that, where it is cheap (and somebody asked for
    /// it or not); and it adds the page's ledger row.
    All(Option<(&'c Choice, bool)>, Option<Record<'c>>),
    /// Its key, identity and version.
    Keys,
}

/// The statement of a page.
pub(super) struct Page {
    pub(super) statement: Statement,
    /// What the total that it tells is known by.
    pub(super) counted: Option<Mark>,
}

impl Search<'_, '_> {
    /// The rows that are walked, and what is asked of each.
    pub(super) fn walk(
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

    /// The statement of one page.
    pub(super) fn statement(
        &self,
        choice: &Choice,
        order: &Order,
        at: Option<&Position>,
        limit: u32,
        columns: Columns<'_>,
    ) -> Result<Page, Error> {
        let filters = conjuncts(self.filters);
        let mut compiler = self.compiler(&choice.turned);
        let (mut source, rest) = self.walk(&mut compiler, choice, order, &filters)?;
        let Columns::All(by, record) = columns else {
            let keys = compiler.keys(order, &source, &rest, at, (limit, &filters))?;
            let text = resources(&keys, "r.vid, r.rt, r.id", ("k.rid", limit), None);
            return Ok(Page { statement: compiler.binds.finish(&text), counted: None });
        };
        // Where the total is of the same walk, what that is of is found once.
        let is_same = by.is_some_and(|(by, _)| *order == Order::NATIVE && by.is_like(choice));
        let found_once = is_same.then(|| source.found_once()).flatten();
        let mut keys = compiler.keys(order, &source, &rest, at, (limit, &filters))?;
        keys.before.insert_str(0, &found_once.unwrap_or_default());
        let mut total = None;
        if let Some(by) = by {
            compiler.turned = &by.0.turned;
            let shown = (*order == Order::NATIVE && at.is_none()).then_some(limit - 1);
            let walked = if is_same {
                (source, rest)
            } else {
                self.walk(&mut compiler, by.0, &Order::NATIVE, &filters)?
            };
            total = self.some(by, walked, shown);
        }
        let counts = &self.store.0.counts;
        let counted = total
            .as_ref()
            .map(|total| counts.mark(&(&keys.before, &keys.query, total, &compiler.binds)));
        // Known to be too many, they are not counted.
        let counted = counted.filter(|mark| !counts.is_too_many(*mark));
        let total = total.filter(|_| counted.is_some());
        let total = match total {
            Some(total) => {
                format!("CASE WHEN (SELECT count(*) FROM k) >= {limit} THEN ({total}) END")
            }
            None => "NULL::bigint".to_owned(),
        };
        let columns = format!("{total}, {WITH_BODIES}");
        let record = record.map(|record| record.insert(&mut compiler.binds));
        let text = resources(&keys, &columns, ("k.rid", limit - 1), record.as_deref());
        Ok(Page { statement: compiler.binds.finish(&text), counted })
    }

    /// A query of the number of matches among the rows of a walk for which all holds, which is NULL when
    /// there are too many rows to look at; `None` when that is known. `shown`: so many come first in the
    /// order of a walk, and are not gone through again.
    fn some(
        &self,
        (by, is_asked): (&Choice, bool),
        (mut source, rest): (Source, Cond),
        shown: Option<u32>,
    ) -> Option<String> {
        let filters = conjuncts(self.filters);
        let follows = |(at, filter): (usize, &&Filter)| {
            by.candidate.of != Some(at)
                && matches!(filter, Filter::Chain { .. } | Filter::Has { .. })
        };
        let is_found_again = !is_asked && by.candidate.driver == Driver::Links;
        let most = match rest {
            _ if !by.candidate.is_ordered() || is_found_again => LOOKED_AT,
            Cond::True => COUNTED,
            _ if is_asked && !filters.iter().enumerate().any(follows) => LOOKED_AT_IF_ASKED,
            _ => LOOKED_AT,
        };
        if by.number.is_some_and(|number| number.cast_unsigned() > most) {
            return None;
        }
        let most = most + 1;
        let mut before = 0;
        if let (Some(shown), true, Some(s)) = (shown, source.is_walk, &source.row.s) {
            let last = format!("SELECT (k.key[1])::timestamptz, k.rid FROM k WHERE k.n = {shown}");
            let rid = &source.row.rid;
            // Writing into a text does not fail.
            let _ = write!(source.condition, " AND ({s}, {rid}) < ({last})");
            before = shown;
        }
        let rid = &source.row.rid;
        let distinct = if source.has_duplicates { "DISTINCT " } else { "" };
        // Each row is asked as it is seen: seen and counted in two walks, most are walked twice.
        let (matches, holds) = match &rest {
            Cond::True => ("", String::new()),
            rest => (" FILTER (WHERE m)", format!(", (true{}) AS m", rest.and())),
        };
        let seen = every(&source, &format!("{rid} AS rid{holds}"), &Cond::True);
        Some(format!(
            "SELECT CASE WHEN count(*) < {most} THEN {before} + count({distinct}rid){matches} END \
             FROM ({seen} LIMIT {most}) e"
        ))
    }
}

/// The resources behind the first `most` keys of a page; `rid` is which. `record` is a statement over
/// them, as `p`. The rows are to be put [`in_order`]: the database would copy the bodies for that.
pub(in crate::store::search) fn resources(
    keys: &Keys,
    columns: &str,
    (rid, most): (&str, u32),
    record: Option<&str>,
) -> String {
    let Keys { before, query } = keys;
    // Looked up one by one: joined freely, the database may read the whole table.
    let page = format!(
        "SELECT k.rid, k.key, k.seen, {columns}, k.n FROM k \
         LEFT JOIN LATERAL (SELECT * FROM res w WHERE w.rid = {rid} AND w.op <> 'D' AND k.n <= {most} \
         OFFSET 0) r ON true"
    );
    let keys = format!("WITH {before}k AS MATERIALIZED ({query})");
    match record {
        None => format!("{keys} {page}"),
        Some(record) => {
            format!("{keys}, p AS MATERIALIZED ({page}), l AS ({record}) SELECT * FROM p")
        }
    }
}

/// The rows of such a page in the order of its keys, which the last column tells.
pub(in crate::store::search) fn in_order(rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    let of = |row: &Row| row.try_get::<_, i64>(row.len().saturating_sub(1));
    let places: Result<Vec<i64>, _> = rows.iter().map(of).collect();
    let places = places.map_err(failure::error)?;
    // They mostly come so.
    if places.is_sorted() {
        return Ok(rows);
    }
    let mut all: Vec<(i64, Row)> = places.into_iter().zip(rows).collect();
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, row)| row).collect())
}
