//! The first matches in the order of a token and then of the primary date, newest first, where the
//! token has few codes.
//!
//! What comes before a match among those that have the code it goes by, comes before it in the whole
//! order too: it goes by that code or by one that comes first. So the first of each code hold the first
//! of all, and `tok` has those of a code in the order of the date. What has no code comes last: where
//! the others do not fill a page, all are sorted.

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::{Filter, SortBy, SortKey};
use crate::spec::search_parameter::SearchType;
use crate::store::cursor::Position;
use crate::store::hash::Hasher;

use super::super::compile::{Compiler, Row};
use super::super::source::Source;
use super::super::sql::Cond;
use super::MAX_SORTED;
use super::first::First;

/// Most codes of a parameter: each is one walk more. What has a value that is no code counts as one.
const CODES: u32 = 4;
/// Up to so many resources a code is asked for the search, else what the search finds for the code.
const FEW: u32 = 500;

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

    /// The first `limit` of each code of a parameter and all beside the last, from a position on those behind it
    /// too; `None` where the source is no walk of its own, and where a page goes back or lies behind all codes.
    pub(super) fn first_of_codes(
        &mut self,
        (parameter, is_descending): (i64, bool),
        (source, rest): (&Source, &Cond),
        at: Option<&Position>,
        (limit, filters): (u32, &[&Filter]),
    ) -> Result<Option<First>, Error> {
        let Some(ways) = self.ways((source, rest), filters)? else { return Ok(None) };
        let place = at.and_then(|at| self.place(at));
        if at.is_some() && place.is_none() {
            return Ok(None);
        }
        let codes = self.few_codes(parameter);
        let behind = place.as_ref().map(|place| &*place.of_row);
        let walks = ways.iter().flat_map(|way| way.walks(behind, limit)).collect::<Vec<_>>();
        let (walks, most) = (walks.join(" UNION ALL "), MAX_SORTED + 1);
        let found = format!("(SELECT * FROM ({walks}) w LIMIT {most}) w");
        let begin = format!("u AS MATERIALIZED ({codes}), w AS MATERIALIZED");
        let Some(Place { code, of_row }) = place else {
            return Ok(Some(First {
                before: format!("{begin} (SELECT w.rid FROM {found}), "),
                is_short: format!("(SELECT count(DISTINCT w.rid) < {limit} FROM w)"),
            }));
        };
        let name = self.binds.text(Hasher::sort_name(parameter));
        let sign = if is_descending { "<" } else { ">" };
        // What goes by another of its codes may take the places of those behind the position.
        Ok(Some(First {
            before: format!(
                "{begin} (SELECT w.rid, w.s, f.key FROM {found} CROSS JOIN LATERAL \
                 (SELECT f.keys->{name} AS key FROM srow f WHERE f.rid = w.rid OFFSET 0) f), "
            ),
            is_short: format!(
                "(SELECT count(DISTINCT w.rid) FILTER (WHERE (w.key->>0) COLLATE \"C\" {sign} {code} \
                 OR ((w.key->>0) = {code} AND (w.s, w.rid) < {of_row})) < {limit} \
                 OR coalesce(bool_or(jsonb_typeof(w.key) = 'array'), false) FROM w)"
            ),
        }))
    }

    /// Where a page begins; `None` where that leads to no walk.
    fn place(&mut self, at: &Position) -> Option<Place> {
        let ([Some(code), date], false) = (&*at.keys, at.is_back) else { return None };
        let date = self.binds.text(date.as_deref().unwrap_or("-infinity"));
        let of_row = format!("(({date})::timestamptz, {})", self.binds.long(at.rid));
        Some(Place { code: self.binds.text(code.as_str()), of_row })
    }

    /// What the search finds for a code `u`, by the code where few have it, else by the source.
    fn ways(
        &mut self,
        (source, rest): (&Source, &Cond),
        filters: &[&Filter],
    ) -> Result<Option<[Way; 2]>, Error> {
        let Source { each: None, table, condition, row, is_walk: true, has_more_rows, .. } = source
        else {
            return Ok(None);
        };
        let (Some(s), rid) = (row.s.clone(), row.rid.clone()) else { return Ok(None) };
        let rest = rest.and();
        let of_search = format!(
            "{table} WHERE {condition} AND EXISTS (SELECT FROM tok d WHERE d.h = u.h AND d.sysh = u.y \
             AND d.s = {s} AND d.rid = {rid} OFFSET 0){rest}"
        );
        let alias = self.alias();
        let own = Row::key(&alias, true, row.types.to_vec());
        let holds = Cond::all([self.visible(&own)?, self.every(filters, &own)?]).and();
        let of_code = format!("tok {alias} WHERE {alias}.h = u.h AND {alias}.sysh = u.y{holds}");
        // A walk of all resources of a type has no fewer rows than that of a code among them.
        let (by_code, by_search) =
            if row.idh.is_some() { ("true", "false") } else { ("u.is_few", "NOT u.is_few") };
        let own_s = format!("{alias}.s");
        Ok(Some([
            Way { rows: of_code, s: own_s, rid: own.rid, is_twice: false, is_asked: by_code },
            Way { rows: of_search, s, rid, is_twice: *has_more_rows, is_asked: by_search },
        ]))
    }

    /// A query of the codes of a parameter, and whether few resources have each; of none where they are
    /// many or not known.
    fn few_codes(&mut self, parameter: i64) -> String {
        let codeless = self.binds.long(self.hasher.codeless(parameter));
        let parameter = self.binds.long(parameter);
        format!(
            "SELECT a.h, a.y, (SELECT count(*) FROM (SELECT FROM tok d WHERE d.h = a.h AND d.sysh = a.y \
             LIMIT {FEW}) d) < {FEW} AS is_few FROM token_code a WHERE a.p = {parameter} AND a.h <> {codeless} \
             AND (SELECT count(*) <= {CODES} AND bool_and(e.h <> 0) FROM \
             (SELECT e.h FROM token_code e WHERE e.p = {parameter} LIMIT {CODES} + 1) e)"
        )
    }
}

/// Where a page begins, bound.
struct Place {
    code: String,
    /// `(s, rid)`
    of_row: String,
}

/// Rows in the order of the date.
struct Way {
    /// What follows FROM.
    rows: String,
    s: String,
    rid: String,
    /// Whether a resource may have several rows.
    is_twice: bool,
    /// The condition on `u` that it goes this way.
    is_asked: &'static str,
}

impl Way {
    /// Queries of the first rows of each code, and of the first behind a place.
    fn walks(&self, behind: Option<&str>, limit: u32) -> Vec<String> {
        let Self { rows, s, rid, is_twice, is_asked } = self;
        let distinct = if *is_twice { "DISTINCT " } else { "" };
        let behind = behind.map(|place| format!(" AND ({s}, {rid}) < {place}"));
        let bounds = std::iter::once(String::new()).chain(behind);
        let walk = |bound: String| {
            format!(
                "SELECT x.rid, x.s FROM u CROSS JOIN LATERAL (SELECT {distinct}{rid} AS rid, {s} AS s \
                 FROM {rows}{bound} ORDER BY {s} DESC, {rid} DESC LIMIT {limit}) x WHERE {is_asked}"
            )
        };
        bounds.map(walk).collect()
    }
}
