//! The first matches in an order that an index has, without sorting all of them.
//!
//! Dates, numbers and strings stand in an index by their values. The resources with the first
//! values, and all whose value equals the last of these, are what the other keys of the order
//! decide among. Where they do not fill a page, what has no value comes too: then all are sorted. A page
//! back from a value has none of that.

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::{Filter, ParameterKey, SortBy, SortKey};
use crate::spec::search_parameter::SearchType;
use crate::store::cursor::Position;

use super::super::atom::{HERE, Parameter};
use super::super::compile::{Compiler, Row};
use super::super::driver::{Candidate, Driver};
use super::super::source::Source;
use super::super::sql::Cond;
use super::MAX_SORTED;

/// From this length on a text may be longer than what the order knows of it.
const CUT: usize = 253;

/// Rows that an index has in the order of a key.
struct Walk {
    /// What each walk belongs to.
    each: Option<String>,
    table: String,
    condition: String,
    /// The column that is walked by.
    column: String,
    rid: String,
}

/// Where the walks begin, and which way they go.
struct Way {
    /// The value that the page begins beside, bound.
    from: Option<String>,
    is_descending: bool,
    limit: u32,
}

/// The resources that come first, as a table called `w`.
pub(in crate::store::search) struct First {
    /// `w AS (..), `
    pub(in crate::store::search) before: String,
    /// The condition that they are too few for a page.
    pub(in crate::store::search) is_short: String,
}

impl Compiler<'_, '_> {
    /// Whether an index has the first key's order of what a candidate walks.
    pub(in crate::store::search) fn is_indexed(
        &self,
        sort: &[SortKey],
        candidate: &Candidate,
        types: &[ResourceType],
    ) -> bool {
        let Some(SortKey { by: SortBy::Parameter(parameters, kind), .. }) = sort.first() else {
            return false;
        };
        if self.grouped_by(sort, types).is_some() {
            return matches!(candidate.driver, Driver::Resources | Driver::Tokens(_));
        }
        let is_all = candidate.driver == Driver::Resources;
        match kind {
            SearchType::Date if self.is_primary(parameters, types) => candidate.is_ordered(),
            SearchType::Date => {
                is_all && self.primary_types(&self.stored(parameters, types)).is_empty()
            }
            SearchType::Number | SearchType::Quantity | SearchType::String => is_all,
            _ => false,
        }
    }

    /// The first `limit` of the resources of a source and all beside the last; `None` where the
    /// page begins among those without a value.
    pub(in crate::store::search) fn first_in_order(
        &mut self,
        sort: &[SortKey],
        (source, rest): (&Source, &Cond),
        at: Option<&Position>,
        (limit, filters): (u32, &[&Filter]),
    ) -> Result<Option<First>, Error> {
        if let Some(by) = self.grouped_by(sort, &source.row.types) {
            return self.first_of_codes(by, (source, rest), at, (limit, filters));
        }
        let [SortKey { by: SortBy::Parameter(parameters, kind), is_descending }, ..] = sort else {
            return Ok(None);
        };
        let is_text = *kind == SearchType::String;
        let from = match at.map(|at| at.keys.first().cloned().flatten()) {
            None => None,
            Some(Some(value)) if !is_text || value.len() < CUT => {
                Some(format!("({})::{}", self.binds.text(value), cast(*kind)))
            }
            Some(_) => return Ok(None),
        };
        let is_back = at.is_some_and(|at| at.is_back);
        let way = Way { from, is_descending: *is_descending != is_back, limit };
        let mut walks = Vec::new();
        let types = &*source.row.types;
        if let Some(walk) = Walk::of(source).filter(|_| self.is_primary(parameters, types)) {
            walks.extend(walk.stretches(rest, &way));
        } else {
            for (walk, row) in self.walks(parameters, *kind, *is_descending, types) {
                let rest = Cond::all([self.visible(&row)?, self.every(filters, &row)?]);
                walks.extend(walk.stretches(&rest, &way));
            }
        }
        let is_cut = is_text.then(|| format!(" OR max(octet_length(w.v)) >= {CUT}"));
        let is_cut = is_cut.unwrap_or_default();
        // What comes before a value has values: the walks find it all, even where it does not fill a page.
        let is_few = if is_back {
            "bool_or(false)".to_owned()
        } else {
            format!("count(DISTINCT w.rid) FILTER (WHERE w.b) < {limit}")
        };
        let (most, walks) = (MAX_SORTED + 1, walks.join(" UNION ALL "));
        Ok((!walks.is_empty()).then(|| First {
            before: format!("w AS MATERIALIZED (SELECT * FROM ({walks}) w LIMIT {most}), "),
            is_short: format!("(SELECT {is_few}{is_cut} FROM w)"),
        }))
    }

    pub(super) fn every(&mut self, filters: &[&Filter], row: &Row<'_>) -> Result<Cond, Error> {
        let conditions = filters.iter().map(|filter| self.filter(filter, row));
        Ok(Cond::all(conditions.collect::<Result<Vec<_>, _>>()?))
    }

    /// The walks of a parameter's values, and how a row of each looks.
    fn walks(
        &mut self,
        parameters: &[ParameterKey],
        kind: SearchType,
        is_descending: bool,
        types: &[ResourceType],
    ) -> Vec<(Walk, Row<'static>)> {
        let stored = self.stored(parameters, types);
        let values = if kind == SearchType::Date {
            self.without_primary(&stored)
        } else {
            Parameter::of(stored.into_iter().map(|(_, stored)| stored).collect()).values()
        };
        let hasher = self.hasher;
        let of = |hash: &dyn Fn(i64) -> i64| values.iter().map(|&it| hash(it)).collect();
        let found: Vec<i64> = match kind {
            SearchType::Date => of(&|it| hasher.date(it)),
            SearchType::String => of(&|it| hasher.string(it)),
            _ => of(&|it| hasher.number(it)),
        };
        if found.is_empty() {
            return Vec::new();
        }
        let walks = indexes(kind, is_descending).iter();
        walks.map(|index| self.value_walk(index, &found, is_descending, types)).collect()
    }

    fn value_walk(
        &mut self,
        index: &Index,
        hashes: &[i64],
        is_descending: bool,
        types: &[ResourceType],
    ) -> (Walk, Row<'static>) {
        let Index { table, column, key, counts, is_in } = index;
        let (alias, other, list) = (self.alias(), self.alias(), self.alias());
        let hashes = self.binds.longs(hashes.iter().copied());
        let sign = if is_descending { ">" } else { "<" };
        let counts = |alias: &str| counts.replace(HERE, &format!("{alias}."));
        let walk = Walk {
            each: Some(format!("unnest({hashes}) {list}(h)")),
            table: format!("{table} {alias}"),
            // A resource has its place by the first of its values alone.
            condition: format!(
                "{alias}.h = {list}.h AND {} AND {} AND NOT EXISTS (SELECT FROM {table} {other} \
                 WHERE {other}.rid = {alias}.rid AND {other}.h = ANY ({hashes}) AND {} \
                 AND {other}.{key} {sign} {alias}.{key} OFFSET 0)",
                counts(&alias),
                is_in.replace(HERE, &format!("{alias}.")),
                counts(&other),
            ),
            column: format!("{alias}.{column}"),
            rid: format!("{alias}.rid"),
        };
        (walk, Row::key(&alias, false, types.to_vec()))
    }
}

/// What a key's value is cast to.
fn cast(kind: SearchType) -> &'static str {
    match kind {
        SearchType::Date => "timestamptz",
        SearchType::String => "text COLLATE \"C\"",
        _ => "numeric",
    }
}

/// An index, and which rows are walked by it.
struct Index {
    table: &'static str,
    /// The column that it is ordered by.
    column: &'static str,
    /// The column that the order goes by: the same for the rows that are walked.
    key: &'static str,
    /// Whether a row counts for the order.
    counts: &'static str,
    /// Whether it is one of those that are walked.
    is_in: &'static str,
}

/// The indexes that have an order, each for a part of the values.
fn indexes(kind: SearchType, is_descending: bool) -> &'static [Index] {
    const DATES: &[Index] = &[Index {
        table: "dat",
        column: "lo",
        key: "lo",
        counts: "%row.lo > '-infinity'",
        is_in: "true",
    }];
    const STRINGS: &[Index] = &[Index {
        table: "str",
        column: "v",
        key: "v",
        counts: "%row.exact IS NOT NULL",
        is_in: "true",
    }];
    const LOW: &[Index] =
        &[Index { table: "num", column: "lo", key: "lo", counts: "true", is_in: "true" }];
    // Most numbers are exact, and ranges have an index of their own by their ends.
    const HIGH: &[Index] = &[
        Index { table: "num", column: "lo", key: "hi", counts: "true", is_in: "%row.lo = %row.hi" },
        Index { table: "num", column: "hi", key: "hi", counts: "true", is_in: "%row.lo < %row.hi" },
    ];
    match kind {
        SearchType::Date => DATES,
        SearchType::String => STRINGS,
        _ if is_descending => HIGH,
        _ => LOW,
    }
}

impl Walk {
    /// The rows of a source, where those have the primary date.
    fn of(source: &Source) -> Option<Self> {
        let s = source.row.s.clone()?;
        Some(Self {
            each: source.each.clone(),
            table: source.table.clone(),
            condition: format!("{} AND {s} > '-infinity'", source.condition),
            column: s,
            rid: source.row.rid.clone(),
        })
    }

    /// The queries of `rid, v, b`: of what is beside the value that the page begins at, and beyond it
    /// (`b`), which alone fills a page for sure.
    fn stretches(&self, rest: &Cond, way: &Way) -> Vec<String> {
        let Self { each, table, condition, column, rid } = self;
        let Way { from, is_descending, limit } = way;
        let (order, sign) = if *is_descending { ("DESC", "<") } else { ("ASC", ">") };
        let rest = rest.and();
        let stretch = |bound: &str, end: &str, is_beyond: bool| {
            let rows = format!(
                "SELECT {rid} AS rid, {column} AS v, {is_beyond} AS b FROM {table} WHERE {condition}{bound}{rest}{end}"
            );
            match each {
                None => format!("({rows})"),
                Some(each) => {
                    format!("(SELECT x.rid, x.v, x.b FROM {each} CROSS JOIN LATERAL ({rows}) x)")
                }
            }
        };
        let end = format!(" ORDER BY {column} {order} FETCH FIRST {limit} ROWS WITH TIES");
        match from {
            None => vec![stretch("", &end, true)],
            Some(from) => vec![
                stretch(&format!(" AND {column} = {from}"), " OFFSET 0", false),
                stretch(&format!(" AND {column} {sign} {from}"), &end, true),
            ],
        }
    }
}
