//! The ledger row of a page, added by the statement that finds the page.
//!
//! A search whose page is all that it shows costs one turn of the database less: what the row says
//! of the page, its patients, is taken from the rows that are shown.

use uuid::Uuid;

use crate::access::LedgerRow;
use crate::search::request::{ContainedMode, SearchRequest, Total};
use crate::store::TENANT;
use crate::store::ledger::{self, if_kept, packed};
use crate::store::rows::Edge;

use super::super::Paging;
use super::super::order::MAX_SORTED;
use super::super::sql::{Bind, Binds};

/// A row, to which a page adds whose data it shows.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) row: &'a LedgerRow,
    /// The key of its party.
    pub(super) party: i64,
}

/// Whether one statement finds all that is shown, and nothing is asked after it.
pub(in crate::store::search) fn is_whole(request: &SearchRequest, paging: &Paging) -> bool {
    let is_page = !request.counts_only && paging.count > 0;
    let is_alone = request.includes.is_empty() && request.contained == ContainedMode::Outside;
    let is_counted = matches!(request.total, Total::Accurate | Total::Estimate);
    is_page && is_alone && !is_counted && !request.explain
}

impl Record<'_> {
    /// The statement that adds the row, over a page `p`. What is refused
    /// because there is too much to sort is no success.
    pub(super) fn insert(self, binds: &mut Binds) -> String {
        let Self { row, party } = self;
        let request = &row.caller.request;
        let rt = row.interaction.resource_type;
        let rt = rt.map(|of| binds.add(Bind::Short(of.code())));
        let mut uuid = |of: Option<Uuid>| of.map(|of| binds.add(Bind::Uuid(of)));
        let (token, token_name) = row.caller.principal.token_on_record();
        let (group, token) = (uuid(ledger::group(row)), uuid(token));
        let (request_uuid, request_id) = packed(&request.id);
        let request_uuid = uuid(request_uuid);
        let request_id = request_id.map(|id| binds.text(id));
        let token_name = token_name.map(|name| binds.text(name));
        let null = || "NULL".to_owned();
        let values = [
            binds.add(Bind::Uuid(row.id)),
            binds.time(Edge::At(row.at)),
            group.unwrap_or_else(null),
            TENANT.to_string(),
            binds.add(Bind::Short(row.interaction.kind.number())),
            row.outcome.number().to_string(),
            rt.unwrap_or_else(null),
            binds.add(Bind::Long(party)),
            token.unwrap_or_else(null),
            token_name.unwrap_or_else(null),
            request_uuid.unwrap_or_else(null),
            request_id.unwrap_or_else(null),
            binds.text(&*request.path_and_query),
        ];
        format!(
            "INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, rt, party, token_id, token, request, \
             request_id, query, pat, pats) SELECT {}, \
             CASE WHEN cardinality(t.pats) = 1 THEN t.pats[1] END, CASE WHEN cardinality(t.pats) > 1 THEN t.pats END \
             FROM (SELECT ARRAY(SELECT DISTINCT unnest(p.pats) FROM p ORDER BY 1) AS pats) t \
             WHERE NOT EXISTS (SELECT FROM p WHERE p.seen > {MAX_SORTED}){}",
            values.join(", "),
            if_kept!(" AND")
        )
    }
}
