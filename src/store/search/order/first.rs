//! The first matches in an order that an index has, without sorting all of them.
//!
//! Dates, numbers and strings stand in an index by their values, and when they changed. The resources with the first
//! values, and all whose value equals the last of these, are what the other keys of the order
//! decide among. Where they do not fill a page, what has no value comes too, found by itself: where that is
//! much and nothing else decides, the first by the store's key alone. A page back from a value has none of
//! that. So pages go on to the last however many match, as long as what has the same first key, or none, is
//! not too much to sort.
//!
//! Beside a token the index of values is gone by where the token has more than are sorted: of the values that
//! come first, enough have it. What is less is sorted as a whole.

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::{Filter, ParameterKey, SortBy, SortKey};
use crate::spec::search_parameter::SearchType;
use crate::store::cursor::Position;

use super::super::atom::{HERE, Parameter};
use super::super::choice::is_tokens;
use super::super::compile::{Compiler, Row};
use super::super::driver::{Candidate, Driver};
use super::super::source::{Source, every};
use super::super::sql::Cond;
use super::MAX_SORTED;

mod index;

use index::{Index, indexes};

/// From this length on a text may be longer than what the order knows of it.
const CUT: usize = 253;
/// Up to so many resources without a value are sorted where only their keys order them.
const FEW: u32 = 2_000;
/// No resources that come first.
const NOTHING: &str = "(SELECT NULL::bigint AS rid, NULL::text AS v, true AS b WHERE false)";

/// Rows that an index has in the order of a key.
struct Walk {
    /// What each walk belongs to.
    each: Option<String>,
    table: String,
    condition: String,
    /// The column that is walked by.
    column: String,
    rid: String,
    /// Whether a resource may come twice within one walk.
    is_twice: bool,
}

/// Where the walks begin, and which way they go.
struct Way {
    /// The value that the page begins beside, bound.
    from: Option<String>,
    is_descending: bool,
    limit: u32,
}

/// The first key of an order.
struct First<'k> {
    /// `None`: when something changed.
    parameters: Option<&'k [ParameterKey]>,
    kind: SearchType,
    is_descending: bool,
    /// Whether nothing else decides.
    is_alone: bool,
}

/// What a page in order is made of.
struct Parts {
    /// What the walks stand on: `wm AS (..), ` where the order is gone by only if there are many.
    before: String,
    /// Queries of what has the first values.
    walks: Vec<String>,
    /// The condition that a row of the source has no value.
    lacks: String,
    /// A query of the first rows without a value by the store's key, where nothing else orders them.
    by_key: Option<String>,
}

/// Where a page begins.
#[derive(Clone, Copy)]
struct Begin<'p> {
    at: Option<&'p Position>,
    /// Whether that is among what has no value.
    is_lacking: bool,
    limit: u32,
}

impl Compiler<'_, '_> {
    /// Whether an index has the first key's order of what a candidate walks.
    pub(in crate::store::search) fn is_indexed(
        &self,
        sort: &[SortKey],
        candidate: &Candidate,
        types: &[ResourceType],
    ) -> bool {
        let is_all = candidate.driver == Driver::Resources || is_tokens(&candidate.driver);
        let Some(First { parameters, kind, .. }) = First::of(sort) else { return false };
        let Some(parameters) = parameters else { return is_all };
        if self.grouped_by(sort, types).is_some() {
            return matches!(candidate.driver, Driver::Resources | Driver::Tokens(_));
        }
        match kind {
            SearchType::Date if self.is_primary(parameters, types) => candidate.is_ordered(),
            SearchType::Date => {
                is_all && self.primary_types(&self.stored(parameters, types)).is_empty()
            }
            SearchType::Number | SearchType::Quantity | SearchType::String => is_all,
            _ => false,
        }
    }

    /// The first `limit` of the resources of a source and all beside the last, as
    /// [`candidates`](super::candidates) has it; `None` where all are to be sorted.
    pub(in crate::store::search) fn first_in_order(
        &mut self,
        sort: &[SortKey],
        (source, rest): (&Source, &Cond),
        at: Option<&Position>,
        (limit, filters): (u32, &[&Filter]),
    ) -> Result<Option<(String, String)>, Error> {
        if let Some(by) = self.grouped_by(sort, &source.row.types) {
            return self.first_of_codes(by, (source, rest), at, (limit, filters));
        }
        let Some(first) = First::of(sort) else { return Ok(None) };
        let First { parameters, kind, is_descending, .. } = first;
        let place = at.map(|at| at.keys.first().and_then(Option::as_deref));
        let from = match place.flatten() {
            Some(value) if kind == SearchType::String && value.len() >= CUT => return Ok(None),
            Some(value) => Some(format!("({})::{}", self.binds.text(value), cast(kind))),
            None => None,
        };
        let begin = Begin { at, is_lacking: place == Some(None), limit };
        let is_back = at.is_some_and(|at| at.is_back);
        let way = Way { from, is_descending: is_descending != is_back, limit };
        let types = &*source.row.types;
        let is_primary = parameters.is_some_and(|it| self.is_primary(it, types));
        let parts = match Walk::of(source).filter(|_| is_primary) {
            Some(walk) => Some(Parts {
                before: String::new(),
                walks: walk.stretches(rest, &way),
                lacks: format!("{} = '-infinity'", walk.column),
                by_key: None,
            }),
            None if parameters.is_none() => Some(self.by_update(source, &way, filters)?),
            None => self.by_values(&first, source, (begin, &way), filters)?,
        };
        Ok(parts.map(|mut parts| {
            if begin.is_lacking && !is_back {
                // Whatever has a value was on the pages before.
                parts.walks = vec![NOTHING.to_owned()];
            }
            parts.candidates(kind == SearchType::String, begin, (source, rest))
        }))
    }

    /// The parts of a page by the values that an index has; `None` where there is nothing to go by.
    fn by_values(
        &mut self,
        first: &First<'_>,
        source: &Source,
        (begin, way): (Begin<'_>, &Way),
        filters: &[&Filter],
    ) -> Result<Option<Parts>, Error> {
        let First { parameters, kind, is_descending, is_alone } = *first;
        let types = &*source.row.types;
        let hashes = self.value_hashes(parameters.unwrap_or_default(), kind, types);
        if hashes.is_empty() {
            return Ok(None);
        }
        let (before, asked) = if_many(source);
        let mut walks = Vec::new();
        for index in indexes(kind, is_descending) {
            let (walk, row) = self.value_walk(index, &hashes, is_descending, types);
            let visible = self.visible(&row)?;
            let rest = Cond::all([asked.clone(), visible, self.every(filters, &row)?]);
            walks.extend(walk.stretches(&rest, way));
        }
        let lacks = self.lacking(kind, &hashes, &source.row.rid);
        let by_key = if is_alone {
            Some(self.lacking_by_key((kind, &hashes), types, (begin, way), filters)?)
        } else {
            None
        };
        Ok(Some(Parts { before, walks, lacks, by_key }))
    }

    /// The parts of a page by when resources changed: nothing lacks that.
    fn by_update(
        &mut self,
        source: &Source,
        way: &Way,
        filters: &[&Filter],
    ) -> Result<Parts, Error> {
        let (before, asked) = if_many(source);
        let Source { each, table, condition, row, has_more_rows: is_twice, .. } =
            self.updated_rows(&source.row.types);
        let visible = self.visible(&row)?;
        let rest = Cond::all([asked, visible, self.every(filters, &row)?]);
        let (column, rid) = (row.ordered_by(), row.rid);
        let walk = Walk { each, table, condition, column, rid, is_twice };
        let walks = walk.stretches(&rest, way);
        Ok(Parts { before, walks, lacks: "false".to_owned(), by_key: None })
    }

    pub(super) fn every(&mut self, filters: &[&Filter], row: &Row<'_>) -> Result<Cond, Error> {
        let conditions = filters.iter().map(|filter| self.filter(filter, row));
        Ok(Cond::all(conditions.collect::<Result<Vec<_>, _>>()?))
    }

    /// The hashes of a parameter's values.
    fn value_hashes(
        &self,
        parameters: &[ParameterKey],
        kind: SearchType,
        types: &[ResourceType],
    ) -> Vec<i64> {
        let stored = self.stored(parameters, types);
        let values = if kind == SearchType::Date {
            self.without_primary(&stored)
        } else {
            Parameter::of(stored.into_iter().map(|(_, stored)| stored).collect()).values()
        };
        let hasher = self.hasher;
        let of = |hash: &dyn Fn(i64) -> i64| values.iter().map(|&it| hash(it)).collect();
        match kind {
            SearchType::Date => of(&|it| hasher.date(it)),
            SearchType::String => of(&|it| hasher.string(it)),
            _ => of(&|it| hasher.number(it)),
        }
    }

    /// The condition that a row has none of the values that are walked.
    fn lacking(&mut self, kind: SearchType, hashes: &[i64], rid: &str) -> String {
        // The same rows for each part of an index.
        let Index { table, counts, .. } = &indexes(kind, false)[0];
        let alias = self.alias();
        let is_here = self.binds.is_one_of(&format!("{alias}.h"), hashes);
        let counts = counts.replace(HERE, &format!("{alias}."));
        format!(
            "NOT EXISTS (SELECT FROM {table} {alias} WHERE {alias}.rid = {rid} AND {is_here} \
             AND {counts} OFFSET 0)"
        )
    }

    /// A query of the first resources without a value by the store's key, from where the page begins among them:
    /// only run where it is known that there are many.
    fn lacking_by_key(
        &mut self,
        (kind, hashes): (SearchType, &[i64]),
        types: &[ResourceType],
        (begin, way): (Begin<'_>, &Way),
        filters: &[&Filter],
    ) -> Result<String, Error> {
        let alias = self.alias();
        let row = Row::resource(&alias, types.to_vec());
        let codes: Vec<i16> = types.iter().map(|of| self.code(*of)).collect();
        let of_type = self.binds.is_type(&format!("{alias}.rt"), &codes);
        let holds = Cond::all([self.visible(&row)?, self.every(filters, &row)?]).and();
        let lacks = self.lacking(kind, hashes, &row.rid);
        let (order, sign) = if way.is_descending { ("DESC", "<") } else { ("ASC", ">") };
        let at = begin.at.filter(|_| begin.is_lacking);
        let beyond = at.map(|at| format!(" AND {alias}.rid {sign} {}", self.binds.long(at.rid)));
        let (beyond, limit) = (beyond.unwrap_or_default(), way.limit);
        Ok(format!(
            "SELECT {alias}.rid FROM srow {alias} WHERE (SELECT wi.is_few AND NOT wi.is_all FROM wi) \
             AND (SELECT count(*) > {FEW} FROM wl) AND {of_type}{beyond}{holds} AND {lacks} \
             ORDER BY {alias}.rid {order} LIMIT {limit}"
        ))
    }

    fn value_walk(
        &mut self,
        index: &Index,
        hashes: &[i64],
        is_descending: bool,
        types: &[ResourceType],
    ) -> (Walk, Row<'static>) {
        let Index { table, column, key, counts, is_in, rest } = index;
        let (alias, other, list) = (self.alias(), self.alias(), self.alias());
        let hashes = self.binds.longs(hashes.iter().copied());
        let sign = if is_descending { ">" } else { "<" };
        let counts = |alias: &str| counts.replace(HERE, &format!("{alias}."));
        let place = |alias: &str| {
            format!("({alias}.{key}, {alias}.h, {})", rest.replace(HERE, &format!("{alias}.")))
        };
        let walk = Walk {
            each: Some(format!("unnest({hashes}) {list}(h)")),
            table: format!("{table} {alias}"),
            // A resource has its place by the first of its values alone, and by one row of that: a walk that
            // came twice upon it would end before the page is full.
            condition: format!(
                "{alias}.h = {list}.h AND {} AND {} AND NOT EXISTS (SELECT FROM {table} {other} \
                 WHERE {other}.rid = {alias}.rid AND {other}.h = ANY ({hashes}) AND {} \
                 AND {} {sign} {} OFFSET 0)",
                counts(&alias),
                is_in.replace(HERE, &format!("{alias}.")),
                counts(&other),
                place(&other),
                place(&alias),
            ),
            column: format!("{alias}.{column}"),
            rid: format!("{alias}.rid"),
            is_twice: false,
        };
        (walk, Row::key(&alias, false, types.to_vec()))
    }
}

/// A table `wm` of whether a source has more rows than are sorted, and the condition that it has: of nothing but
/// tokens, as all of a type are gone through in order anyway.
fn if_many(source: &Source) -> (String, Cond) {
    if source.row.idh.is_some() {
        return (String::new(), Cond::True);
    }
    let rows = every(source, "1", &Cond::True);
    let before = format!(
        "wm AS MATERIALIZED (SELECT EXISTS (SELECT FROM ({rows}) e OFFSET {MAX_SORTED} LIMIT 1) AS is_many), "
    );
    (before, Cond::sql("(SELECT wm.is_many FROM wm)"))
}

impl<'k> First<'k> {
    /// `None` where no index has the order of it.
    fn of(sort: &'k [SortKey]) -> Option<Self> {
        let [SortKey { by, is_descending }, later @ ..] = sort else { return None };
        let (parameters, kind) = match by {
            SortBy::LastUpdated => (None, SearchType::Date),
            SortBy::Parameter(parameters, kind) => (Some(&**parameters), *kind),
            _ => return None,
        };
        let (is_descending, is_alone) = (*is_descending, later.is_empty());
        Some(Self { parameters, kind, is_descending, is_alone })
    }
}

impl Parts {
    /// The keys of what comes first by the walks (`w`), of what has no value where those do not fill the page (`wl`,
    /// `wr`), and of all where the walks do not tell (`wi.is_all`); and a query of how many they are, as
    /// [`candidates`](super::candidates) has it.
    fn candidates(
        self,
        is_text: bool,
        begin: Begin<'_>,
        (source, rest): (&Source, &Cond),
    ) -> (String, String) {
        let Self { before, walks, lacks, by_key } = self;
        let (walks, most, rid) =
            (walks.join(" UNION ALL "), MAX_SORTED + 1, format!("{} AS rid", source.row.rid));
        let is_all = is_all(!before.is_empty(), is_text);
        let asked = match &is_all {
            None => format!("(SELECT wi.is_few FROM wi) AND {lacks}"),
            Some(_) => format!(
                "(SELECT wi.is_all OR wi.is_few FROM wi) AND ((SELECT wi.is_all FROM wi) OR {lacks})"
            ),
        };
        let every = every(source, &rid, &Cond::all([Cond::sql(asked), rest.clone()]));
        // Of many that only their keys order, the first are found by those.
        let bound = match &by_key {
            None => most.to_string(),
            Some(_) => {
                format!("CASE WHEN (SELECT wi.is_all FROM wi) THEN {most} ELSE {FEW} + 1 END")
            }
        };
        let (by_key, more) = match by_key {
            None => (String::new(), ""),
            Some(by_key) => {
                (format!("wr AS MATERIALIZED ({by_key}), "), " UNION ALL SELECT wr.rid FROM wr")
            }
        };
        // From the beginning on, what has values and what has none is all there is.
        let is_whole = match begin.at {
            Some(_) => "wi.is_all".to_owned(),
            None if more.is_empty() => "wi.is_all OR wi.is_few".to_owned(),
            None => format!("wi.is_all OR (wi.is_few AND (SELECT count(*) FROM wl) <= {FEW})"),
        };
        let (is_all, is_few) = (is_all.unwrap_or_else(|| "false".to_owned()), begin.is_few());
        (
            format!(
                "{before}w AS MATERIALIZED (SELECT * FROM ({walks}) w LIMIT {most}), \
                 wi AS MATERIALIZED (SELECT {is_all} AS is_all, {is_few} AS is_few, count(*) AS n FROM w), \
                 wl AS MATERIALIZED ({every} LIMIT {bound}), {by_key}\
                 c AS MATERIALIZED (SELECT DISTINCT e.rid FROM (SELECT w.rid FROM w \
                 UNION ALL SELECT wl.rid FROM wl{more}) e), "
            ),
            format!(
                "SELECT CASE WHEN (SELECT wi.n FROM wi) >= {most} OR (SELECT count(*) FROM wl) >= {most} \
                 THEN {most} WHEN (SELECT {is_whole} FROM wi) THEN count(*) ELSE 0 END FROM c"
            ),
        )
    }
}

impl Begin<'_> {
    /// The condition, over `w`, that what has no value may be on the page too.
    fn is_few(self) -> String {
        let Self { at, is_lacking, limit } = self;
        match at {
            Some(_) if is_lacking => "true".to_owned(),
            // What comes before a value has values: the walks find it all, even where it does not fill a page.
            Some(at) if at.is_back => "false".to_owned(),
            _ => format!("count(DISTINCT w.rid) FILTER (WHERE w.b) < {limit}"),
        }
    }
}

/// The condition, over `w`, that the walks do not tell what comes first; `None`: they do.
fn is_all(may_be_few: bool, is_text: bool) -> Option<String> {
    let few = may_be_few.then(|| "NOT (SELECT wm.is_many FROM wm)".to_owned());
    let long = is_text.then(|| format!("coalesce(max(octet_length(w.v)) >= {CUT}, false)"));
    let any: Vec<String> = few.into_iter().chain(long).collect();
    (!any.is_empty()).then(|| any.join(" OR "))
}

/// What a key's value is cast to.
fn cast(kind: SearchType) -> &'static str {
    match kind {
        SearchType::Date => "timestamptz",
        SearchType::String => "text COLLATE \"C\"",
        _ => "numeric",
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
            is_twice: source.has_more_rows,
        })
    }

    /// The queries of `rid, v, b`: of what is beside the value that the page begins at, and beyond it
    /// (`b`), which alone fills a page for sure.
    fn stretches(&self, rest: &Cond, way: &Way) -> Vec<String> {
        let Self { each, table, condition, column, rid, is_twice } = self;
        let Way { from, is_descending, limit } = way;
        let (order, sign) = if *is_descending { ("DESC", "<") } else { ("ASC", ">") };
        let rest = rest.and();
        let stretch = |rows: String| match each {
            None => format!("({rows})"),
            Some(each) => {
                format!("(SELECT x.rid, x.v, x.b FROM {each} CROSS JOIN LATERAL ({rows}) x)")
            }
        };
        let first = |bound: &str| {
            let rows = format!("FROM {table} WHERE {condition}{bound}{rest}");
            let end = format!("FETCH FIRST {limit} ROWS WITH TIES");
            stretch(if *is_twice {
                format!(
                    "SELECT y.rid, y.v, true AS b FROM (SELECT DISTINCT {rid} AS rid, {column} AS v {rows} \
                     ORDER BY v {order}, rid {order}) y ORDER BY y.v {order} {end}"
                )
            } else {
                format!(
                    "SELECT {rid} AS rid, {column} AS v, true AS b {rows} ORDER BY {column} {order} {end}"
                )
            })
        };
        let Some(from) = from else { return vec![first("")] };
        let beside = format!(
            "SELECT {rid} AS rid, {column} AS v, false AS b FROM {table} \
             WHERE {condition} AND {column} = {from}{rest} OFFSET 0"
        );
        vec![stretch(beside), first(&format!(" AND {column} {sign} {from}"))]
    }
}
