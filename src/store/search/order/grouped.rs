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
    /// The parameter of the first key, where the order is by one with codes of its own and then by the
    /// primary date, newest first.
    pub(super) fn grouped_by(&self, sort: &[SortKey], types: &[ResourceType]) -> Option<i64> {
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
        (is_plain && date.is_descending && self.is_primary(dates, types)).then_some(stored.own)
    }

    /// The first `limit` of each code of a parameter and all beside the last; `None` where the source is
    /// no walk of its own.
    pub(super) fn first_of_codes(
        &mut self,
        parameter: i64,
        (source, rest): (&Source, &Cond),
        (limit, filters): (u32, &[&Filter]),
    ) -> Result<Option<First>, Error> {
        let Source { each: None, table, condition, row, is_walk: true, .. } = source else {
            return Ok(None);
        };
        let Some(s) = &row.s else { return Ok(None) };
        let (rid, rest) = (&row.rid, rest.and());
        let walk = |rows: &str, s: &str| {
            format!("({rows} ORDER BY {s} DESC FETCH FIRST {limit} ROWS WITH TIES)")
        };
        let of_search = walk(
            &format!(
                "SELECT {rid} AS rid FROM {table} WHERE {condition} AND EXISTS (SELECT FROM tok d \
                 WHERE d.h = u.h AND d.sysh = u.y AND d.s = {s} AND d.rid = {rid} OFFSET 0){rest}"
            ),
            s,
        );
        let alias = self.alias();
        let found = Row::key(&alias, true, row.types.to_vec());
        let holds = Cond::all([self.visible(&found)?, self.every(filters, &found)?]).and();
        let of_code = walk(
            &format!(
                "SELECT {alias}.rid AS rid FROM tok {alias} \
                 WHERE {alias}.h = u.h AND {alias}.sysh = u.y{holds}"
            ),
            &format!("{alias}.s"),
        );
        let codes = self.few_codes(parameter);
        let most = MAX_SORTED + 1;
        Ok(Some(First {
            before: format!(
                "u AS MATERIALIZED ({codes}), w AS MATERIALIZED (SELECT * FROM (\
                 SELECT x.rid FROM u CROSS JOIN LATERAL {of_code} x WHERE u.is_few UNION ALL \
                 SELECT x.rid FROM u CROSS JOIN LATERAL {of_search} x WHERE NOT u.is_few) w LIMIT {most}), "
            ),
            is_short: format!("(SELECT count(DISTINCT w.rid) < {limit} FROM w)"),
        }))
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
