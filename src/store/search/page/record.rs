//! The ledger row of a page, added by the statement that finds the page.
//!
//! A search whose page is all that it shows costs one turn of the database less: what the row says
//! of the page, its patients, is taken from the rows that are shown.

use crate::access::LedgerRow;
use crate::search::request::{ContainedMode, SearchRequest, Total};
use crate::store::TENANT;
use crate::store::ledger::{client_and_token, if_kept, who_parts};
use crate::store::rows::Edge;

use super::super::Paging;
use super::super::order::MAX_SORTED;
use super::super::sql::{Bind, Binds};

/// A row, to which a page adds whose data it shows.
#[derive(Clone, Copy)]
pub(super) struct Record<'a>(pub(super) &'a LedgerRow);

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
        let Self(row) = self;
        let request = &row.caller.request;
        let source = request.source.map(|source| binds.text(source.to_string()));
        let rt = row.interaction.resource_type;
        let rt = rt.map(|of| binds.add(Bind::Short(of.code())));
        let (client, token) = client_and_token(row);
        let client = client.map(|client| binds.text(client));
        let token = token.map(|token| binds.text(token));
        let [actor, person, purpose] = who_parts(&row.caller.principal);
        let [person, purpose] =
            [person, purpose].map(|part| (!part.is_empty()).then(|| binds.text(part)));
        let null = || "NULL".to_owned();
        let values = [
            binds.add(Bind::Uuid(row.id)),
            binds.time(Edge::At(row.at)),
            binds.add(Bind::Uuid(row.group)),
            TENANT.to_string(),
            binds.add(Bind::Short(row.interaction.kind.number())),
            row.outcome.number().to_string(),
            rt.unwrap_or_else(null),
            binds.text(actor),
            person.unwrap_or_else(null),
            purpose.unwrap_or_else(null),
            client.unwrap_or_else(null),
            token.unwrap_or_else(null),
            source.unwrap_or_else(null),
            binds.text(&*request.id),
            binds.text(request.method),
            binds.text(&*request.path_and_query),
        ];
        format!(
            "INSERT INTO ledger (id, at, grp, tid, interaction, outcome, rt, actor, person, purpose, client, \
             token, source, request_id, method, query, pats, entities) SELECT {}, \
             ARRAY(SELECT DISTINCT unnest(p.pats) FROM p ORDER BY 1), '{{}}' \
             WHERE NOT EXISTS (SELECT FROM p WHERE p.seen > {MAX_SORTED}){}",
            values.join(", "),
            if_kept!(" AND")
        )
    }
}
