//! The order of matches, and where in it a page lies.
//!
//! Three ways lead to a page in order:
//! - the rows walked are in the order of the primary date already;
//! - `res` is walked in the order of `lastUpdated`, `ident` in that of ids;
//! - else all matches are found, up to a bound, and sorted by what `srow.keys`, `num` and `dat`
//!   have of them; or the first alone, where an index has the order of the first key (`first`).
//!   The later keys are looked up for what may be on the page by the first (`ties`).
//!
//! Resources without a value come last in both directions; ties go by the store's key.
//!
//! Spec: rest 4.177 to 4.183

use crate::error::Error;
use crate::fhir::{IssueCode, ResourceType};
use crate::search::request::compare::Comparison;
use crate::search::request::{Filter, ParameterKey, SortBy, SortKey};
use crate::spec::search_parameter::SearchType;
use crate::store::Stored;
use crate::store::cursor::Position;
use crate::store::hash::Hasher;
use crate::store::index::{PROFILE, inside};

use super::atom::Parameter;
use super::compile::{Compiler, Row};
use super::source::{Rows, Source, every};
use super::sql::Cond;

mod all;
mod first;
mod grouped;
mod score;
mod ties;

pub(super) use all::all_of;
pub(super) use score::score;

use all::candidates;
use score::ranked;
use ties::Ordered;

/// Most matches that are sorted.
pub(super) const MAX_SORTED: u32 = 200_000;

/// How a page is put in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// By the column that the walk is ordered by.
    Walked {
        /// Which.
        by: Walk,
        /// Largest first.
        is_descending: bool,
        /// Whether resources without a value (`-infinity`) are taken out of the order and put last.
        has_missing: bool,
    },
    /// By keys of each match.
    Sorted(Vec<SortKey>),
    /// The same, where an index has the order of the first key.
    First(Vec<SortKey>),
}

/// What a walk is ordered by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Walk {
    /// The primary date.
    Date,
    /// The id, of one type.
    Id,
    /// `lastUpdated`
    Updated,
}

/// One key of a sorted order, as SQL.
struct Key {
    sql: String,
    cast: &'static str,
    is_descending: bool,
}

impl Key {
    /// Whether it is in the row of `srow` as it is.
    fn is_at_hand(&self) -> bool {
        self.sql.contains("f.") && !self.sql.contains("SELECT")
    }
}

/// A stretch of a walk that is in order throughout.
struct Stretch {
    /// ` AND ..`
    condition: String,
    is_descending: bool,
}

/// A query of `n, rid, key, seen` of the matches of one page, and what it stands on.
pub(super) struct Keys {
    /// `name AS (..), ` ..
    pub(super) before: String,
    pub(super) query: String,
}

impl Order {
    /// The order that costs least.
    pub(super) const NATIVE: Self =
        Self::Walked { by: Walk::Date, is_descending: true, has_missing: false };

    /// The order that `sort` asks for. `is_small`: all matches can be found and sorted at no cost.
    pub(super) fn of(sort: &[SortKey], types: &[ResourceType], is_small: bool) -> Self {
        let sort = deciding(sort, types);
        let by = match sort {
            [SortKey { by: SortBy::LastUpdated, .. }] if !is_small => Walk::Updated,
            [SortKey { by: SortBy::Id, .. }] if !is_small && types.len() == 1 => Walk::Id,
            sort => return Self::Sorted(sort.to_vec()),
        };
        Self::Walked { by, is_descending: sort[0].is_descending, has_missing: false }
    }
}

/// The keys that decide: no two of one type have the same id.
fn deciding<'s>(sort: &'s [SortKey], types: &[ResourceType]) -> &'s [SortKey] {
    let id = sort.iter().position(|key| key.by == SortBy::Id);
    id.filter(|_| types.len() == 1).map_or(sort, |id| &sort[..=id])
}

impl Compiler<'_, '_> {
    /// The order of the rows' own date, where `sort` asks for that or nothing.
    pub(super) fn native(&self, sort: &[SortKey], types: &[ResourceType]) -> Option<Order> {
        let [key] = sort else { return sort.is_empty().then_some(Order::NATIVE) };
        let SortBy::Parameter(parameters, SearchType::Date) = &key.by else { return None };
        self.is_primary(parameters, types).then_some(Order::Walked {
            by: Walk::Date,
            is_descending: key.is_descending,
            has_missing: !key.is_descending,
        })
    }

    /// The query of one page's keys.
    pub(super) fn keys(
        &mut self,
        order: &Order,
        source: &Source,
        rest: &Cond,
        at: Option<&Position>,
        (limit, filters): (u32, &[&Filter]),
    ) -> Result<Keys, Error> {
        match order {
            Order::Walked { is_descending, has_missing, .. } if source.is_walk => {
                let way = (*is_descending, *has_missing);
                let query = self.walked(way, source, rest, at, (limit, "0::bigint"))?;
                Ok(Keys { before: String::new(), query })
            }
            Order::Walked { is_descending, has_missing, .. } => {
                // All are found before the first is told, so they are counted too.
                let (before, found) = found(source, rest);
                let (way, seen) = ((*is_descending, *has_missing), "(SELECT count(*) FROM f)");
                let query = self.walked(way, &found, &Cond::True, at, (limit, seen))?;
                Ok(Keys { before, query })
            }
            Order::Sorted(sort) => {
                let all = candidates(source, rest);
                self.sorted(sort, (&all, &source.row.types), at, (limit, filters))
            }
            Order::First(sort) => {
                let first = self.first_in_order(sort, (source, rest), at, (limit, filters))?;
                let all = first.unwrap_or_else(|| candidates(source, rest));
                self.sorted(sort, (&all, &source.row.types), at, (limit, filters))
            }
        }
    }

    fn walked(
        &mut self,
        (is_descending, has_missing): (bool, bool),
        source: &Source,
        rest: &Cond,
        at: Option<&Position>,
        (limit, seen): (u32, &str),
    ) -> Result<String, Error> {
        let column = source.row.ordered_by();
        let cast =
            if source.row.s.is_none() && source.row.lu.is_none() { "text" } else { "timestamptz" };
        let is_back = at.is_some_and(|at| at.is_back);
        let is_descending = is_descending != is_back;
        let stretch = |condition: &str| Stretch { condition: condition.to_owned(), is_descending };
        let mut stretches = if has_missing {
            let there = format!(" AND {column} > '-infinity'");
            let missing = format!(" AND {column} = '-infinity'");
            vec![stretch(&there), stretch(&missing)]
        } else {
            vec![stretch("")]
        };
        if is_back {
            stretches.reverse();
        }
        if let Some(at) = at {
            let [Some(key)] = &*at.keys else { return Err(of_another_order()) };
            // Stretches before the one that the page begins in are done.
            let is_missing = key == "-infinity";
            if has_missing && is_missing != is_back {
                stretches.remove(0);
            }
            let key = format!("({})::{cast}", self.binds.text(key.clone()));
            let sign = if is_descending { "<" } else { ">" };
            let rid = self.binds.long(at.rid);
            let beyond = format!(" AND ({column}, {}) {sign} ({key}, {rid})", source.row.rid);
            stretches[0].condition.push_str(&beyond);
        }
        let way = if is_descending { "DESC" } else { "ASC" };
        let walks: Vec<String> =
            stretches.iter().map(|stretch| walk(source, rest, stretch, &column, limit)).collect();
        let rows = if let [walk] = &*walks {
            walk.clone()
        } else {
            let walks = walks.iter().enumerate();
            let walks = walks.map(|(m, walk)| format!("(SELECT {m} AS m, o, rid FROM ({walk}) w)"));
            let walks = walks.collect::<Vec<_>>().join(" UNION ALL ");
            format!(
                "SELECT m, o, rid FROM ({walks}) a ORDER BY m, o {way}, rid {way} LIMIT {limit}"
            )
        };
        // Links lead to what is beyond the first and the last row of a page: no others need a key.
        let key = if self.is_placed {
            "ARRAY[o::text]".to_owned()
        } else {
            let last = limit.saturating_sub(1);
            format!("CASE WHEN row_number() OVER () IN (1, {last}) THEN ARRAY[o::text] END")
        };
        Ok(format!(
            "SELECT row_number() OVER () AS n, rid, {key} AS key, {seen} AS seen FROM ({rows}) b"
        ))
    }

    /// The query of the keys of one page of candidates of these types ([`candidates`]).
    pub(super) fn sorted(
        &mut self,
        sort: &[SortKey],
        ((candidates, seen), types): (&(String, String), &[ResourceType]),
        at: Option<&Position>,
        (limit, filters): (u32, &[&Filter]),
    ) -> Result<Keys, Error> {
        let mut keys = Vec::new();
        for key in sort {
            keys.push(self.key(key, types, filters)?);
        }
        if at.is_some_and(|at| at.keys.len() != keys.len()) {
            return Err(of_another_order());
        }
        let ranks = self.ranks(sort, filters);
        let ordered = Ordered::new(&keys, at, &mut self.binds);
        let texts: Vec<String> = (0..keys.len()).map(|at| format!("k{at}::text")).collect();
        let (before, table) = ordered.looked_up(limit, &ranks);
        Ok(Keys {
            before: format!("{candidates}{before}"),
            query: format!(
                "SELECT row_number() OVER () AS n, rid, ARRAY[{}] AS key, \
                 ({seen}) AS seen \
                 FROM (SELECT * FROM {table} WHERE true{} ORDER BY {} LIMIT {limit}) b",
                texts.join(", "),
                ordered.beyond(),
                ordered.order()
            ),
        })
    }

    /// The places of full text finds as a join, where the order goes by them.
    fn ranks(&mut self, sort: &[SortKey], filters: &[&Filter]) -> String {
        if !sort.iter().any(|key| key.by == SortBy::Score) {
            return String::new();
        }
        let rids = self.binds.longs(ranked(filters).into_iter().map(|(rid, _)| rid));
        format!(" LEFT JOIN unnest({rids}) WITH ORDINALITY p(rid, n) ON p.rid = c.rid")
    }

    fn key(
        &mut self,
        key: &SortKey,
        types: &[ResourceType],
        filters: &[&Filter],
    ) -> Result<Key, Error> {
        let is_descending = key.is_descending;
        let (sql, cast) = match &key.by {
            SortBy::Id => (self.of_resource("id"), "text COLLATE \"C\""),
            SortBy::LastUpdated => (self.of_resource("lu"), "timestamptz"),
            SortBy::Parameter(parameters, kind) => {
                self.parameter_key(parameters, *kind, is_descending, types)?
            }
            SortBy::Present(parameters) => {
                let present = self.presence(parameters, types);
                (format!("CASE WHEN {present} THEN 1 END"), "int")
            }
            SortBy::Distance => (self.distance_key(types, filters)?, "float8"),
            // Best first, whatever the sign: nobody looks for what fits worst.
            SortBy::Score => {
                return Ok(Key { sql: "p.n".to_owned(), cast: "bigint", is_descending: false });
            }
        };
        Ok(Key { sql, cast, is_descending })
    }

    /// The condition that one of the parameters has a value.
    fn presence(&mut self, parameters: &[ParameterKey], types: &[ResourceType]) -> String {
        let (mut asked, mut signs) = (Vec::new(), Vec::new());
        for (of, stored) in self.stored(parameters, types) {
            match stored.bit {
                Some(bit) => asked.push((self.code(of), 1 << bit)),
                None => signs.push(self.hasher.present(stored.own)),
            }
        }
        let mut any = Vec::new();
        if !asked.is_empty() {
            any.push(Self::is_present(&mut self.binds, ("f.present", "f.rt"), &asked, types));
        }
        if !signs.is_empty() {
            any.push(Self::overlaps(&mut self.binds, "f.toks", &signs));
        }
        if any.is_empty() { "false".to_owned() } else { any.join(" OR ") }
    }

    /// What `res` has of a match, or of the container of one.
    fn of_resource(&self, column: &str) -> String {
        let rid = if self.is_inside { inside::home("c.rid") } else { "c.rid".to_owned() };
        format!("(SELECT r.{column} FROM res r WHERE r.rid = {rid})")
    }

    fn parameter_key(
        &mut self,
        parameters: &[ParameterKey],
        kind: SearchType,
        is_descending: bool,
        types: &[ResourceType],
    ) -> Result<(String, &'static str), Error> {
        let stored = self.stored(parameters, types);
        let most = if is_descending { "max" } else { "min" };
        let end = if is_descending { "hi" } else { "lo" };
        let values = Parameter::of(stored.iter().map(|(_, stored)| stored.clone()).collect());
        let values = values.values();
        Ok(match kind {
            SearchType::Number | SearchType::Quantity => {
                let hashes: Vec<i64> = values.iter().map(|&it| self.hasher.number(it)).collect();
                let is_here = self.binds.is_one_of("t.h", &hashes);
                (
                    format!(
                        "(SELECT {most}(t.{end}) FROM num t WHERE t.rid = c.rid AND {is_here})"
                    ),
                    "numeric",
                )
            }
            SearchType::Date => (self.date_key(&stored, is_descending), "timestamptz"),
            SearchType::Uri
                if !self.is_inside && parameters.iter().all(|key| &*key.code == PROFILE) =>
            {
                (profile_key(most), "text COLLATE \"C\"")
            }
            SearchType::Reference | SearchType::String | SearchType::Token | SearchType::Uri => {
                (self.text_key(&values, is_descending), "text COLLATE \"C\"")
            }
            SearchType::Composite | SearchType::Special => {
                return Err(Error::NotSupported(format!(
                    "nothing is in the order of a {} parameter",
                    kind.as_str()
                )));
            }
        })
    }

    /// Spans go by their beginnings; one without is as good as missing.
    fn date_key(&mut self, stored: &[(ResourceType, Stored)], is_descending: bool) -> String {
        let (most, outer) = if is_descending { ("max", "greatest") } else { ("min", "least") };
        let types = self.primary_types(stored);
        let rest = self.without_primary(stored);
        let mut all = Vec::new();
        if !types.is_empty() {
            let codes: Vec<i16> = types.iter().map(|of| self.code(*of)).collect();
            let of_type = self.binds.is_type("f.rt", &codes);
            all.push(format!("CASE WHEN {of_type} THEN nullif(f.s, '-infinity') END"));
        }
        if !rest.is_empty() {
            let hashes: Vec<i64> = rest.into_iter().map(|it| self.hasher.date(it)).collect();
            let is_here = self.binds.is_one_of("t.h", &hashes);
            all.push(format!(
                "(SELECT {most}(nullif(t.lo, '-infinity')) FROM dat t \
                 WHERE t.rid = c.rid AND {is_here})"
            ));
        }
        if all.is_empty() {
            "NULL::timestamptz".to_owned()
        } else {
            format!("{outer}({})", all.join(", "))
        }
    }

    /// The smallest or largest text that `srow.keys` has of the parameters.
    fn text_key(&mut self, values: &[i64], is_descending: bool) -> String {
        // A text alone is as good as a list of it: its first and its last.
        let (place, outer) = if is_descending { (-1, "greatest") } else { (0, "least") };
        let mut all = Vec::new();
        for &value in values {
            let name = self.binds.text(Hasher::sort_name(value));
            all.push(format!("f.keys->{name}->>{place}"));
        }
        if all.is_empty() {
            return "NULL::text COLLATE \"C\"".to_owned();
        }
        let mut all = all.into_iter().map(|one| format!("({one}) COLLATE \"C\""));
        // What has no value counts for neither.
        match (all.next(), all.len()) {
            (Some(only), 0) => only,
            (first, _) => {
                let all: Vec<String> = first.into_iter().chain(all).collect();
                format!("{outer}({})", all.join(", "))
            }
        }
    }

    fn distance_key(
        &mut self,
        types: &[ResourceType],
        filters: &[&Filter],
    ) -> Result<String, Error> {
        let found = filters.iter().find_map(|filter| {
            let Filter::Test(test) = filter else { return None };
            let place = test.any.iter().find_map(|comparison| match comparison {
                Comparison::Position { latitude, longitude, .. } => Some((*latitude, *longitude)),
                _ => None,
            });
            place.map(|place| (test, place))
        });
        let missing = || Error::NotSupported("a distance is measured from a place".to_owned());
        let (test, (latitude, longitude)) = found.ok_or_else(missing)?;
        let stored = self.stored(&test.parameters, types).into_iter().map(|(_, it)| it).collect();
        let values = Parameter::of(stored).values();
        let hashes: Vec<i64> = values.into_iter().map(|it| self.hasher.position(it)).collect();
        let is_here = self.binds.is_one_of("t.h", &hashes);
        let distance = self.distance(latitude, longitude, ("t.lo", "t.hi"));
        Ok(format!("(SELECT min({distance}) FROM num t WHERE t.rid = c.rid AND {is_here})"))
    }
}

/// The smallest or largest profile of a resource: each is that of many, so `srow.keys` has none of them.
fn profile_key(most: &str) -> String {
    format!(
        "(SELECT {most}(split_part(p #>> '{{}}', '|', 1) COLLATE \"C\") FROM res r \
         CROSS JOIN LATERAL jsonb_path_query(r.meta, '$.profile[*]') p WHERE r.rid = c.rid)"
    )
}

/// All that a source finds, as a table called `f`, and the rows of that.
fn found(source: &Source, rest: &Cond) -> (String, Source) {
    let (column, rid) = (source.row.ordered_by(), &source.row.rid);
    let every = every(source, &format!("{column} AS s, {rid} AS rid"), rest);
    let row = Row::key("f", true, source.row.types.clone());
    let found = Source::walk(None, "f".to_owned(), "true".to_owned(), row);
    (format!("f AS MATERIALIZED ({every}), "), found)
}

/// One stretch: `o, rid` of its first rows.
fn walk(source: &Source, rest: &Cond, stretch: &Stretch, column: &str, limit: u32) -> String {
    let Source { each, row, has_duplicates, has_more_rows, .. } = source;
    let (rid, way) = (&row.rid, if stretch.is_descending { "DESC" } else { "ASC" });
    let distinct = |is_wanted: bool| if is_wanted { "DISTINCT " } else { "" };
    let order = format!(" ORDER BY {column} {way}, {rid} {way}");
    let Rows { from, texts: [rest], .. } = source.rows(&stretch.condition, &order, [rest.and()]);
    let columns = format!("{}{column} AS o, {rid} AS rid", distinct(*has_more_rows));
    let distinct = distinct(*has_duplicates);
    let rows = format!("SELECT {columns} FROM {from}{rest}{order} LIMIT {limit}");
    let Some(each) = each else { return rows };
    format!(
        "SELECT {distinct}x.o, x.rid FROM {each} CROSS JOIN LATERAL ({rows}) x \
         ORDER BY x.o {way}, x.rid {way} LIMIT {limit}"
    )
}

/// A link that this server made when it put the same search in order by other keys.
fn of_another_order() -> Error {
    let text =
        "this page link was made by another version of this server: ask for the first page again";
    Error::invalid(IssueCode::Invalid, text)
}
