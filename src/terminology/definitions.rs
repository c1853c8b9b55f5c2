//! Definitions by canonical: url, perhaps with a version.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::fhir::Canonical;

use super::code_system::{CodeSystem, Content};
use super::value_set::ValueSet;

/// Code systems and value sets of one origin.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    systems: Vec<Arc<CodeSystem>>,
    value_sets: Vec<ValueSet>,
    /// Places by url, the newest version last.
    systems_by_url: HashMap<Box<str>, Vec<usize>>,
    value_sets_by_url: HashMap<Box<str>, Vec<usize>>,
    value_sets_by_id: HashMap<Box<str>, usize>,
    systems_by_value_set: HashMap<Box<str>, usize>,
}

impl Definitions {
    /// Adds a code system; supplements define no codes.
    pub(super) fn add_system(&mut self, system: Option<Arc<CodeSystem>>) {
        let Some(system) = system.filter(|it| it.content != Content::Supplement) else { return };
        let at = self.systems.len();
        let places = self.systems_by_url.entry(system.url.clone()).or_default();
        if let Some(value_set) = &system.value_set {
            self.systems_by_value_set.insert(value_set.clone(), at);
        }
        let version = system.version.clone();
        self.systems.push(system);
        insert(places, at, version.as_deref(), |at| self.systems[at].version.as_deref());
    }

    /// Adds a value set; `id` is that of a stored one.
    pub(super) fn add_value_set(&mut self, value_set: ValueSet, id: Option<&str>) {
        let at = self.value_sets.len();
        if let Some(id) = id {
            self.value_sets_by_id.insert(id.into(), at);
        }
        let (url, version) = (value_set.url.clone(), value_set.version.clone());
        self.value_sets.push(value_set);
        if let Some(url) = url {
            let places = self.value_sets_by_url.entry(url).or_default();
            insert(places, at, version.as_deref(), |at| self.value_sets[at].version.as_deref());
        }
    }

    /// The code system of this canonical; where nobody has the version, the newest with codes.
    pub(super) fn system(&self, canonical: &str) -> Option<&CodeSystem> {
        let Canonical { url, version, .. } = Canonical::parse(canonical);
        let places = self.systems_by_url.get(url)?;
        let newest_first = || places.iter().rev().map(|at| &*self.systems[*at]);
        let of_version =
            newest_first().find(|it| version.is_some() && it.version.as_deref() == version);
        let with_codes = || newest_first().find(|it| it.has_codes());
        of_version.or_else(with_codes).or_else(|| newest_first().next())
    }

    /// The value set of this canonical; with a version only that one.
    pub(super) fn value_set(&self, canonical: &str) -> Option<&ValueSet> {
        let Canonical { url, version, .. } = Canonical::parse(canonical);
        let places = self.value_sets_by_url.get(url)?;
        let mut newest_first = places.iter().rev().map(|at| &self.value_sets[*at]);
        newest_first.find(|it| version.is_none() || it.version.as_deref() == version)
    }

    /// The stored value set of this id.
    pub(super) fn value_set_of(&self, id: &str) -> Option<&ValueSet> {
        Some(&self.value_sets[*self.value_sets_by_id.get(id)?])
    }

    /// The code system that says that this value set is all of its codes.
    pub(super) fn system_of_value_set(&self, url: &str) -> Option<&CodeSystem> {
        Some(&self.systems[*self.systems_by_value_set.get(Canonical::parse(url).url)?])
    }
}

/// Puts a place among those of older and newer versions.
fn insert<'d>(
    places: &mut Vec<usize>,
    at: usize,
    version: Option<&str>,
    version_of: impl Fn(usize) -> Option<&'d str>,
) {
    let is_older = |other: &usize| compare(version_of(*other), version) != Ordering::Greater;
    places.insert(places.partition_point(is_older), at);
}

/// Compares versions: numbers by size, other parts by letters; none is the oldest.
fn compare(one: Option<&str>, other: Option<&str>) -> Ordering {
    let (Some(one), Some(other)) = (one, other) else { return one.cmp(&other) };
    let parts = |text: &'_ str| -> Vec<(u64, String)> {
        let parts = text.split(|letter: char| !letter.is_alphanumeric());
        parts.map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
    };
    parts(one).cmp(&parts(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        for (older, newer) in [
            (None, Some("1")),
            (Some("1.9"), Some("1.10")),
            (Some("2"), Some("10")),
            (Some("1.0"), Some("1.0.1")),
            (Some("2023-01"), Some("2023-09")),
            (Some("1.0-alpha"), Some("1.0-beta")),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older:?} {newer:?}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{older:?} {newer:?}");
        }
    }
}
