//! What statements find without knowing all that limits a permit, brought within it.
//!
//! Types are put together by how far they may be seen ([`permitted`]); what a [`Frame`] lets through
//! and is no proof is asked of the compiler ([`within`]).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::access::interaction::Kind;
use crate::access::{Permit, Restriction};
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::store::Store;
use crate::store::connection::Reader;
use crate::store::frame::Frame;

use super::reach::{reach_by, reached_of};

/// Who asks where.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a, 'gate> {
    pub(super) store: &'a Store,
    pub(super) reader: Reader<'a>,
    pub(super) permit: &'a Permit<'gate>,
    pub(super) kind: Kind,
    /// Where it is noted what was run, if that is to be told.
    pub(super) ran: Option<&'a Ran>,
}

impl Asking<'_, '_> {
    /// The rows of `sql`.
    pub(super) async fn query(
        self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let Some(ran) = self.ran else { return self.reader.query(sql, parameters).await };
        let began = Instant::now();
        let rows = self.reader.query(sql, parameters).await?;
        ran.add(sql, parameters.len(), began.elapsed());
        Ok(rows)
    }
}

/// Static statements that were run, each once, with the number of its parameters and the time of all its runs.
#[derive(Debug, Default)]
pub(super) struct Ran(Mutex<Vec<(&'static str, usize, Duration)>>);

impl Ran {
    fn add(&self, sql: &'static str, parameters: usize, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|(known, ..)| *known == sql) {
            Some((.., sum)) => *sum += took,
            None => all.push((sql, parameters, took)),
        }
    }

    pub(super) fn into_statements(self) -> Vec<(&'static str, usize, Duration)> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What may be seen within one frame.
pub(super) type Group<T> = (Frame, Vec<T>);

/// What of `items` is reached under `permit` by an interaction of a kind, put together by how far their types may be seen.
pub(super) fn permitted<T>(
    permit: &Permit<'_>,
    kind: Kind,
    items: impl IntoIterator<Item = (ResourceType, T)>,
) -> Result<Vec<Group<T>>, Error> {
    let mut reaches: HashMap<ResourceType, Option<Restriction>> = HashMap::new();
    let mut groups: Vec<Group<T>> = Vec::new();
    for (of, item) in items {
        let reach = match reaches.entry(of) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(entry) => entry.insert(reach_by(kind, permit, of)?),
        };
        // What the caller may not search does not come along either.
        let Some(restriction) = reach else { continue };
        let frame = Frame::within(restriction);
        match groups.iter_mut().find(|(known, _)| *known == frame) {
            Some((_, items)) => items.push(item),
            None => groups.push((frame, vec![item])),
        }
    }
    Ok(groups)
}

/// Those of `found`, by type and key, that the permit lets such an interaction find where the frame that they
/// were found within is no proof, and they are not sure to be by themselves.
pub(super) async fn within<T>(
    frame: &Frame,
    found: Vec<T>,
    (key, is_sure): (impl Fn(&T) -> (ResourceType, i64), impl Fn(&T) -> bool),
    at: Asking<'_, '_>,
) -> Result<Vec<T>, Error> {
    if frame.is_exact() {
        return Ok(found);
    }
    let mut by_type: HashMap<ResourceType, Vec<i64>> = HashMap::new();
    for (of, rid) in found.iter().filter(|it| !is_sure(it)).map(&key) {
        by_type.entry(of).or_default().push(rid);
    }
    let mut seen: HashSet<i64> = HashSet::new();
    for (of, rids) in by_type {
        let Some(reach) = reach_by(at.kind, at.permit, of)? else { continue };
        match reach.limits() {
            None => seen.extend(rids),
            Some(limits) => {
                let asked = (of, &*rids);
                seen.extend(reached_of(at.store, at.reader, asked, limits, at.permit).await?);
            }
        }
    }
    Ok(found.into_iter().filter(|it| is_sure(it) || seen.contains(&key(it).1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_ran_often_is_told_once_with_the_time_of_all_its_runs() {
        let ran = Ran::default();
        for (sql, parameters, ms) in [("a", 2, 10), ("b", 6, 1), ("a", 2, 5)] {
            ran.add(sql, parameters, Duration::from_millis(ms));
        }
        let ms = Duration::from_millis;
        assert_eq!(ran.into_statements(), [("a", 2, ms(15)), ("b", 6, ms(1))]);
    }
}
