//! `_list`: the resources that a List has as entries.
//!
//! Which entries are flagged deleted stands in the body alone, so the list is read first; its
//! entries then take the place of the filter.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#list> (rest 4.166)

use std::borrow::Cow;
use std::collections::HashSet;

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::json::{Value, parse};
use crate::fhir::reference::Target;
use crate::search::request::{Filter, Keys};
use crate::store::failure;
use crate::store::hash::Hasher;
use crate::store::rows::JsonText;

use super::super::Asked;
use super::super::compile::Compiler;
use super::super::run::Run;

/// Most Lists that one filter reads.
const MOST_LISTS: usize = 100;

impl Asked<'_, '_> {
    /// `filters` with the entries of lists in the place of their names.
    pub(in crate::store::search) async fn read_lists<'f>(
        &self,
        run: &mut Run<'_>,
        filters: &'f [Filter],
    ) -> Result<Cow<'f, [Filter]>, Error> {
        if !filters.iter().any(|filter| filter.has(&|it| matches!(it, Filter::List(_)))) {
            return Ok(Cow::Borrowed(filters));
        }
        let mut filters = filters.to_vec();
        let mut rest: Vec<&mut Filter> = filters.iter_mut().collect();
        while let Some(filter) = rest.pop() {
            if let Filter::List(lists) = filter {
                let rids = self.entries(run, lists).await?;
                *filter = Filter::Keys(Keys { rids, scores: Vec::new() });
            }
            rest.extend(filter.parts_mut(&[]).into_iter().map(|(part, _)| part));
        }
        Ok(Cow::Owned(filters))
    }

    /// The keys of the resources here that the Lists have as entries for which a filter holds.
    async fn entries(&self, run: &mut Run<'_>, lists: &Filter) -> Result<Vec<i64>, Error> {
        let hasher = self.store.hasher();
        let none = HashSet::new();
        let compiler =
            || Compiler::new(self.parameters, self.definitions, hasher, self.permit, &none);
        let mut asked = compiler();
        let Some(found) = asked.found(&[ResourceType::LIST], lists)? else { return Ok(Vec::new()) };
        let limit = MOST_LISTS + 1;
        let text = format!(
            "SELECT r.body FROM (SELECT DISTINCT k.rid FROM ({found}) k(rid) LIMIT {limit}) k \
             JOIN res r ON r.rid = k.rid"
        );
        let rows = run.rows(&asked.binds.finish(&text)).await?;
        if rows.len() > MOST_LISTS {
            return Err(Error::TooCostly(format!("more than {MOST_LISTS} lists would be read")));
        }
        let mut wanted = Vec::new();
        for row in &rows {
            let body: Option<JsonText<'_>> = row.try_get(0).map_err(failure::error)?;
            let body = body.map_or(&b"{}"[..], |body| body.0);
            wanted.extend(references(body, self.parameters.extractor.base(), hasher)?);
        }
        let mut asked = compiler();
        let wanted = asked.binds.longs(wanted);
        let text = format!("SELECT f.rid FROM srow f WHERE f.idh = ANY ({wanted})");
        let rows = run.rows(&asked.binds.finish(&text)).await?;
        rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
    }
}

/// The identities that the entries of a list's body refer to, without those flagged deleted.
fn references(body: &[u8], base: &str, hasher: &Hasher) -> Result<Vec<i64>, Error> {
    let body = parse(body).map_err(Error::internal)?;
    let mut identities = Vec::new();
    for entry in body.items_at("entry") {
        let is_deleted = entry.get("deleted").and_then(Value::as_bool).unwrap_or_default();
        let reference = entry.get("item").and_then(|item| item.str_at("reference"));
        let target = reference.filter(|_| !is_deleted).map(|text| Target::parse(text, base));
        if let Some(Target::Local { resource_type, id, .. }) = target {
            identities.push(hasher.identity(resource_type, &id));
        }
    }
    Ok(identities)
}
