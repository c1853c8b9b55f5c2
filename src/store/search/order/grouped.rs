//! The first matches in the order of a token and then of the primary date, newest first, where the
//! token has few codes.
//!
//! What comes before a match among those that have the code it goes by, comes before it in the whole
//! order too: it goes by that code or by one that comes first. So the first of each code hold the first
//! of all, and `tok` has those of a code in the order of the date. What has no code comes last: `tok` has
//! it too where it is rare, and a walk of all comes upon it soon where it is not.
//!
//! Behind a place, and back from one, that holds as long as what is found has one code each. Where something
//! has several, where a walk is longer than what may be sorted and where the codes are many, all are sorted.

use std::fmt::Write as _;

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::{Filter, SortBy, SortKey};
use crate::spec::search_parameter::SearchType;
use crate::store::cursor::Position;
use crate::store::hash::Hasher;

use super::super::compile::{Compiler, Row};
use super::super::source::{Source, every};
use super::super::sql::Cond;
use super::MAX_SORTED;
use super::all::rows_of_all;

/// Most codes of a parameter: each is one walk more. What has a value that is no code counts as one.
const CODES: u32 = 4;
/// Up to so many resources a code is asked for the search, else what the search finds for the code.
const FEW: u32 = 500;

/// What is walked together.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Group {
    /// What has a code.
    Coded,
    /// What has none.
    Codeless,
}

impl Group {
    /// The table of what is found.
    fn table(self) -> &'static str {
        match self {
            Self::Coded => "wb",
            Self::Codeless => "nb",
        }
    }
}

impl Compiler<'_, '_> {
    /// The parameter of the first key and whether it descends, where the order is by one with codes of its own
    /// and then by the primary date, newest first.
    pub(super) fn grouped_by(
        &self,
        sort: &[SortKey],
        types: &[ResourceType],
    ) -> Option<(i64, bool)> {
        let [token, date] = sort else { return None };
        let (
            SortBy::Parameter(parameters, SearchType::Token),
            SortBy::Parameter(dates, SearchType::Date),
        ) = (&token.by, &date.by)
        else {
            return None;
        };
        let [(_, stored)] = &self.stored(parameters, types)[..] else { return None };
        let is_plain = types.len() == 1 && stored.parts.is_empty() && !self.is_inside;
        let is_so = is_plain && date.is_descending && self.is_primary(dates, types);
        is_so.then_some((stored.own, token.is_descending))
    }

    /// The first `limit` of each code of a parameter, and of what has none where those do not fill a page, as
    /// [`candidates`](super::candidates) has it; `None` where the source is no walk of its own.
    pub(super) fn first_of_codes(
        &mut self,
        (parameter, is_descending): (i64, bool),
        (source, rest): (&Source, &Cond),
        at: Option<&Position>,
        (limit, filters): (u32, &[&Filter]),
    ) -> Result<Option<(String, String)>, Error> {
        let Some(ways) = self.ways((source, rest), filters)? else { return Ok(None) };
        let place = at.and_then(|at| self.place_in_group(at));
        if at.is_some() && place.is_none() {
            return Ok(None);
        }
        let key = format!("f.keys->{}", self.binds.text(Hasher::sort_name(parameter)));
        let page = Page { key, place, is_descending, limit };
        let (mut before, known) = (String::new(), self.known_codes(parameter));
        // Writing into a text does not fail.
        let _ = write!(before, "o AS MATERIALIZED ({known}), ");
        let (groups, mut is_asked) = (page.groups(), "(SELECT o.ok FROM o)".to_owned());
        for &group in groups {
            before.push_str(&match group {
                Group::Coded => page.coded(&self.codes_of(parameter, &is_asked), &ways),
                Group::Codeless => page.codeless(&self.none_of(parameter, &is_asked), &ways),
            });
            let _ = write!(is_asked, " AND {}", page.is_thin(group));
        }
        let found = groups.iter().map(|group| format!("SELECT b.rid FROM {} b", group.table()));
        let (found, most) = (found.collect::<Vec<_>>().join(" UNION ALL "), MAX_SORTED + 1);
        let _ = write!(
            before,
            "w AS MATERIALIZED (SELECT b.rid FROM ({found}) b WHERE b.rid IS NOT NULL LIMIT {most}), \
             i AS MATERIALIZED (SELECT {} AS is_open), ",
            page.is_open(groups)
        );
        Ok(Some(first_or_all(&before, "(SELECT i.is_open FROM i)", (source, rest))))
    }

    /// Where a page begins, bound.
    fn place_in_group(&mut self, at: &Position) -> Option<Place> {
        let [code, date] = &*at.keys else { return None };
        let date = self.binds.text(date.as_deref().unwrap_or("-infinity"));
        let of_row = format!("(({date})::timestamptz, {})", self.binds.long(at.rid));
        let code = code.as_ref().map(|code| self.binds.text(code.as_str()));
        Some(Place { code, of_row, is_back: at.is_back })
    }

    /// The ways to what the search finds for a code `u`; `None` where the source is no walk.
    fn ways(
        &mut self,
        (source, rest): (&Source, &Cond),
        filters: &[&Filter],
    ) -> Result<Option<Ways>, Error> {
        let Source { each: None, table, condition, row, is_walk: true, has_more_rows, .. } = source
        else {
            return Ok(None);
        };
        let (Some(s), rid) = (row.s.clone(), row.rid.clone()) else { return Ok(None) };
        let by_search = Way {
            table: table.clone(),
            condition: condition.clone(),
            holds: rest.and(),
            s,
            rid,
            is_twice: *has_more_rows,
        };
        let alias = self.alias();
        let own = Row::key(&alias, true, row.types.to_vec());
        let by_code = Way {
            table: format!("tok {alias}"),
            condition: format!("{alias}.h = u.h AND {alias}.sysh = u.y"),
            holds: Cond::all([self.visible(&own)?, self.every(filters, &own)?]).and(),
            s: format!("{alias}.s"),
            rid: own.rid,
            is_twice: false,
        };
        Ok(Some(Ways { by_code, by_search, is_all: row.idh.is_some() }))
    }

    /// Whether all codes of a parameter are known, and few.
    fn known_codes(&mut self, parameter: i64) -> String {
        let parameter = self.binds.long(parameter);
        format!(
            "SELECT count(*) BETWEEN 1 AND {CODES} AND bool_and(e.h <> 0) AS ok FROM \
             (SELECT e.h FROM token_code e WHERE e.p = {parameter} LIMIT {CODES} + 1) e"
        )
    }

    /// A query of the codes of a parameter, and whether few resources have each.
    fn codes_of(&mut self, parameter: i64, is_asked: &str) -> String {
        let codeless = self.binds.long(self.hasher.codeless(parameter));
        let parameter = self.binds.long(parameter);
        format!(
            "SELECT a.h, a.y, (SELECT count(*) FROM (SELECT FROM tok d WHERE d.h = a.h AND d.sysh = a.y \
             LIMIT {FEW}) d) < {FEW} AS is_few FROM token_code a \
             WHERE a.p = {parameter} AND a.h <> {codeless} AND {is_asked}"
        )
    }

    /// A query of what `tok` has for what has no code of a parameter, and whether not all rows tell of it.
    fn none_of(&mut self, parameter: i64, is_asked: &str) -> String {
        let codeless = self.binds.long(self.hasher.codeless(parameter));
        let absent = self.binds.long(self.hasher.absent(parameter));
        format!(
            "SELECT a.h, 0 AS y, EXISTS (SELECT FROM token_code e WHERE e.p = a.h AND e.h = 0) AS is_open \
             FROM (VALUES ({codeless}), ({absent})) a(h) WHERE {is_asked}"
        )
    }
}

/// The keys of what comes first (`w`), and of all where a condition holds; and a query of how many they are, as
/// [`candidates`](super::candidates) has it.
fn first_or_all(before: &str, is_open: &str, (source, rest): (&Source, &Cond)) -> (String, String) {
    let (rid, most) = (format!("{} AS rid", source.row.rid), MAX_SORTED + 1);
    let every = every(source, &rid, &Cond::all([Cond::sql(is_open), rest.clone()]));
    let (rows, all, is_cut) = if source.has_duplicates {
        let (rows, is_cut) = rows_of_all(&every);
        (rows, "SELECT a.rid FROM ca a".to_owned(), format!(" OR {is_cut}"))
    } else {
        (String::new(), format!("({every} LIMIT {most})"), String::new())
    };
    (
        format!(
            "{before}{rows}c AS MATERIALIZED (SELECT DISTINCT e.rid FROM \
             (SELECT w.rid FROM w UNION ALL {all}) e), "
        ),
        format!(
            "SELECT CASE WHEN (SELECT count(*) FROM w) >= {most}{is_cut} THEN {most} \
             WHEN {is_open} THEN count(*) ELSE 0 END FROM c"
        ),
    )
}

/// A page on its way.
struct Page {
    /// What `srow` (as `f`) has to sort by.
    key: String,
    place: Option<Place>,
    /// Whether the code descends.
    is_descending: bool,
    limit: u32,
}

/// Where a page begins, bound.
struct Place {
    /// `None`: among what has none.
    code: Option<String>,
    /// `(s, rid)`
    of_row: String,
    is_back: bool,
}

impl Page {
    fn is_back(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_back)
    }

    /// What is walked: the second only where the first does not fill the page.
    fn groups(&self) -> &'static [Group] {
        let is_coded = self.place.as_ref().is_none_or(|place| place.code.is_some());
        match (is_coded, self.is_back()) {
            // A first page that few fill is sorted: its statement is short enough to be kept.
            (true, false) if self.place.is_none() => &[Group::Coded],
            (true, false) => &[Group::Coded, Group::Codeless],
            (true, true) => &[Group::Coded],
            (false, false) => &[Group::Codeless],
            (false, true) => &[Group::Codeless, Group::Coded],
        }
    }

    /// Where the walks of a group begin: what they are joined to for that, and a condition (` AND ..`). What goes by
    /// another code than the place does is beyond it from its first on, or not at all.
    fn bound(&self, group: Group, way: &Way) -> (String, String) {
        let Some(Place { code, of_row, is_back }) = &self.place else { return Default::default() };
        let (sign, first) = if *is_back {
            (">", "'-infinity'::timestamptz, '-9223372036854775808'::bigint")
        } else {
            ("<", "'infinity'::timestamptz, 9223372036854775807::bigint")
        };
        let row = format!("({}, {})", way.s, way.rid);
        match (group, code) {
            (Group::Coded, Some(_)) => (
                format!(" CROSS JOIN (VALUES ({first}), {of_row}) z(s, rid)"),
                format!(" AND {row} {sign} (z.s, z.rid)"),
            ),
            (Group::Codeless, None) => (String::new(), format!(" AND {row} {sign} {of_row}")),
            _ => Default::default(),
        }
    }

    /// The tables of what has a code: `wu`, the codes; `wa`, what the search finds for them, with a row without a
    /// key for one that is too rare there; `wb`, that and what has the others, with the keys behind a place.
    fn coded(&self, codes: &str, ways: &Ways) -> String {
        let Ways { by_code, by_search, is_all } = ways;
        let (s, rid) = (&by_search.s, &by_search.rid);
        let has_code = format!(
            " AND EXISTS (SELECT FROM tok d WHERE d.h = u.h AND d.sysh = u.y AND d.s = {s} \
             AND d.rid = {rid} OFFSET 0)"
        );
        let key = match self.place {
            None => String::new(),
            Some(_) => {
                format!(", (SELECT {} FROM srow f WHERE f.rid = b.rid) AS key", self.key)
            }
        };
        let (known, searched) =
            ("SELECT a.rid, a.s FROM wa a WHERE a.rid IS NOT NULL UNION ALL ", "u.h, u.y, ");
        // A walk of all resources of a type has no fewer rows than that of a code among them.
        let (before, known, rest) = if *is_all {
            (String::new(), "", "wu u")
        } else {
            let at_once =
                self.walks(Group::Coded, by_search, (searched, "wu u", "NOT u.is_few"), &has_code);
            let rest = "(SELECT u.h, u.y FROM wu u WHERE u.is_few \
                        UNION SELECT a.h, a.y FROM wa a WHERE a.rid IS NULL) u";
            (format!("wa AS MATERIALIZED ({at_once}), "), known, rest)
        };
        let later = self.walks(Group::Coded, by_code, ("", rest, "true"), "");
        format!(
            "wu AS MATERIALIZED ({codes}), {before}\
             wb AS MATERIALIZED (SELECT b.rid, b.s{key} FROM ({known}{later}) b), "
        )
    }

    /// The tables of what has no code: `nu`, what stands in `tok` for that; `nb`, what is found.
    fn codeless(&self, none: &str, Ways { by_code, by_search, .. }: &Ways) -> String {
        let by_rows = self.walks(Group::Codeless, by_code, ("", "nu u", "NOT u.is_open"), "");
        let has_none = format!(
            " AND NOT EXISTS (SELECT FROM srow f WHERE f.rid = {} AND {} IS NOT NULL OFFSET 0)",
            by_search.rid, self.key
        );
        let open = self.walks(Group::Codeless, by_search, ("", "nu u", "u.is_open"), &has_none);
        format!("nu AS MATERIALIZED ({none}), nb AS MATERIALIZED ({by_rows} UNION ALL {open}), ")
    }

    /// The walks of a group by one way, for each `u` of some codes of which `is_asked` holds.
    fn walks(
        &self,
        group: Group,
        way: &Way,
        (columns, codes, is_asked): (&str, &str, &str),
        holds_too: &str,
    ) -> String {
        let (places, bound) = self.bound(group, way);
        let walk = way.walk(&bound, holds_too, (self.is_back(), self.limit));
        format!(
            "SELECT {columns}x.rid, x.s FROM {codes}{places} CROSS JOIN LATERAL ({walk}) x WHERE {is_asked}"
        )
    }

    /// The condition that a group does not fill the page.
    fn is_thin(&self, group: Group) -> String {
        let (table, limit) = (group.table(), self.limit);
        let beyond = match (&self.place, group) {
            (Some(Place { code: Some(code), of_row, .. }), Group::Coded) => {
                let sign = if self.is_descending { "<" } else { ">" };
                format!(
                    " FILTER (WHERE (b.key->>0) COLLATE \"C\" {sign} {code} \
                     OR ((b.key->>0) = {code} AND (b.s, b.rid) < {of_row}))"
                )
            }
            _ => String::new(),
        };
        format!("(SELECT count(DISTINCT b.rid){beyond} < {limit} FROM {table} b)")
    }

    /// The condition that something else may be on the page.
    fn is_open(&self, groups: &[Group]) -> String {
        let mut any = "NOT (SELECT o.ok FROM o)".to_owned();
        if self.place.is_none() {
            let _ = write!(any, " OR {}", self.is_thin(Group::Coded));
        }
        for &group in groups {
            // What goes by another of its codes may stand in the way of those that go by this one.
            let is_several = match (group, &self.place) {
                (Group::Coded, Some(_)) => " OR jsonb_typeof(b.key) = 'array'",
                _ => "",
            };
            let table = group.table();
            let _ =
                write!(any, " OR EXISTS (SELECT FROM {table} b WHERE b.rid IS NULL{is_several})");
        }
        any
    }
}

/// The ways to what the search finds for a code.
struct Ways {
    by_code: Way,
    by_search: Way,
    /// Whether the search walks all of a type.
    is_all: bool,
}

/// Rows in the order of the date.
struct Way {
    /// Table and alias.
    table: String,
    condition: String,
    /// What is asked of each (` AND ..`).
    holds: String,
    s: String,
    rid: String,
    /// Whether a resource may have several rows.
    is_twice: bool,
}

impl Way {
    /// A query of `rid, s` of the first rows for which all holds; one without a key comes behind them where
    /// there are more rows than are looked at: as many as would be sorted. That is found out once for all codes
    /// where the rows are the same for each.
    fn walk(&self, bound: &str, holds_too: &str, (is_back, limit): (bool, u32)) -> String {
        let Self { table, condition, holds, s, rid, is_twice } = self;
        let alias = table.rsplit(' ').next().unwrap_or_default();
        let distinct = if *is_twice { "DISTINCT " } else { "" };
        let way = if is_back { "ASC" } else { "DESC" };
        let order = format!("ORDER BY {s} {way}, {rid} {way}");
        let rows = format!("FROM {table} WHERE {condition}{bound}");
        format!(
            "SELECT q.rid, q.s FROM ((SELECT {distinct}{rid} AS rid, {s} AS s \
             FROM (SELECT {alias}.* {rows} {order} LIMIT {MAX_SORTED}) {alias} WHERE true{holds}{holds_too} \
             {order} LIMIT {limit}) UNION ALL \
             (SELECT NULL::bigint, NULL::timestamptz WHERE EXISTS (SELECT {rows} OFFSET {MAX_SORTED} LIMIT 1))) q \
             LIMIT {limit}"
        )
    }
}
