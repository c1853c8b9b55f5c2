//! `_list`: the resources that a List has as entries.
//!
//! Which entries are flagged deleted stands in the body alone, so the list is read first; its
//! entries then take the place of the filter.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#list> (rest 4.166)

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::error::Error;
use crate::fhir::json::{Value, parse};
use crate::fhir::{LogicalId, ResourceType};
use crate::search::request::Filter;
use crate::store::failure;
use crate::store::hash::Hasher;
use crate::store::rows::JsonText;

use super::Asked;
use super::atom::Parameter;
use super::compile::{Compiler, Row};
use super::run::Run;

impl Asked<'_, '_> {
    /// `filters` with the entries of lists in the place of their names.
    pub(super) async fn read_lists<'f>(
        &self,
        run: &mut Run<'_>,
        filters: &'f [Filter],
    ) -> Result<Cow<'f, [Filter]>, Error> {
        let mut names = Vec::new();
        for filter in filters {
            collect(filter, &mut names);
        }
        if names.is_empty() {
            return Ok(Cow::Borrowed(filters));
        }
        let mut entries = HashMap::new();
        for name in names {
            entries.insert(name.clone(), self.entries(run, name).await?);
        }
        Ok(Cow::Owned(filters.iter().map(|filter| replace(filter, &entries)).collect()))
    }

    /// The keys of the resources here that a list has as entries.
    async fn entries(&self, run: &mut Run<'_>, list: &LogicalId) -> Result<Vec<i64>, Error> {
        let Ok(of) = "List".parse::<ResourceType>() else { return Ok(Vec::new()) };
        let hasher = self.store.hasher();
        let none = HashSet::new();
        let mut compiler =
            Compiler::new(self.parameters, self.definitions, hasher, self.permit, &none);
        let row = Row::resource("f", vec![of]);
        let visible = compiler.visible(&row)?.and();
        let identity = compiler.binds.long(hasher.identity(of, list));
        let statement = compiler.binds.finish(&format!(
            "SELECT r.body, f.toks FROM srow f JOIN res r ON r.rid = f.rid \
             WHERE f.idh = {identity}{visible}"
        ));
        let rows = run.rows(&statement).await?;
        let Some(found) = rows.first() else { return Ok(Vec::new()) };
        let body: Option<JsonText<'_>> = found.try_get(0).map_err(failure::error)?;
        let held: Vec<i64> = found.try_get(1).map_err(failure::error)?;
        let Some(item) = self.parameters.stored(of, "item") else { return Ok(Vec::new()) };
        let items = Parameter::of(vec![item]).values();
        // Only what the index took for a reference to a resource here is one.
        let known = held.iter().flat_map(|hash| items.iter().map(move |item| hash ^ item));
        let known: HashSet<i64> = known.collect();
        let mut wanted = references(body.map_or(b"{}", |body| body.0), hasher)?;
        wanted.retain(|identity| known.contains(identity));
        let mut compiler =
            Compiler::new(self.parameters, self.definitions, hasher, self.permit, &none);
        let wanted = compiler.binds.longs(wanted);
        let text = format!("SELECT f.rid FROM srow f WHERE f.idh = ANY ({wanted})");
        let rows = run.rows(&compiler.binds.finish(&text)).await?;
        rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
    }
}

/// The identities that the entries of a list's body refer to, without those flagged deleted.
fn references(body: &[u8], hasher: &Hasher) -> Result<Vec<i64>, Error> {
    let body = parse(body).map_err(Error::internal)?;
    let mut identities = Vec::new();
    for entry in body.items_at("entry") {
        let is_deleted = entry.get("deleted").and_then(Value::as_bool).unwrap_or_default();
        let reference = entry.get("item").and_then(|item| item.str_at("reference"));
        if let (false, Some(reference)) = (is_deleted, reference) {
            identities.extend(identity(reference, hasher));
        }
    }
    Ok(identities)
}

/// The identity at the end of a reference, whatever its base.
fn identity(reference: &str, hasher: &Hasher) -> Option<i64> {
    let reference = reference.split_once("/_history/").map_or(reference, |(path, _)| path);
    let mut parts = reference.rsplit('/');
    let id = parts.next()?.parse().ok()?;
    let of = parts.next()?.parse().ok()?;
    Some(hasher.identity(of, &id))
}

fn collect<'f>(filter: &'f Filter, names: &mut Vec<&'f LogicalId>) {
    match filter {
        Filter::All(filters) | Filter::Any(filters) => {
            for filter in filters {
                collect(filter, names);
            }
        }
        Filter::Chain { targets, .. } => {
            for (_, filter) in targets {
                collect(filter, names);
            }
        }
        Filter::Has { filter, .. } | Filter::Not(filter) => collect(filter, names),
        Filter::List(name) => names.push(name),
        _ => {}
    }
}

fn replace(filter: &Filter, entries: &HashMap<LogicalId, Vec<i64>>) -> Filter {
    let all = |filters: &[Filter]| filters.iter().map(|filter| replace(filter, entries)).collect();
    match filter {
        Filter::All(filters) => Filter::All(all(filters)),
        Filter::Any(filters) => Filter::Any(all(filters)),
        Filter::Chain { reference, targets } => Filter::Chain {
            reference: reference.clone(),
            targets: targets.iter().map(|(of, it)| (*of, replace(it, entries))).collect(),
        },
        Filter::Has { source, reference, filter } => Filter::Has {
            source: *source,
            reference: reference.clone(),
            filter: Box::new(replace(filter, entries)),
        },
        Filter::List(name) => Filter::Keys(entries.get(name).cloned().unwrap_or_default()),
        Filter::Not(filter) => Filter::Not(Box::new(replace(filter, entries))),
        other => other.clone(),
    }
}
