//! What is there already of what may come along.
//!
//! A Bundle may have a resource more than once only in different versions.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html> (bdl-7), rest 4.208

use std::collections::HashSet;

use crate::fhir::{Identity, Version, VersionId};

/// The matches and what came along: no resource twice, and no version twice.
#[derive(Default)]
pub(super) struct Known {
    /// Resources that are there because they were meant as they are now.
    current: HashSet<Identity>,
    /// All that is there.
    versions: HashSet<(Identity, VersionId)>,
}

impl Known {
    /// These matches.
    pub(super) fn of(matches: &[&Version]) -> Self {
        let mut known = Self::default();
        for version in matches {
            known.note(version, true);
        }
        known
    }

    /// How many versions there are.
    pub(super) fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether what a reference leads to is there; one to no version leads to the current one.
    pub(super) fn has(&self, identity: &Identity, version: Option<VersionId>) -> bool {
        match version {
            None => self.current.contains(identity),
            Some(version) => self.versions.contains(&(identity.clone(), version)),
        }
    }

    /// Whether a version would be new. Where the current one is meant, one that is there is enough, though
    /// a newer one was written meanwhile.
    pub(super) fn lacks(&self, version: &Version, is_current: bool) -> bool {
        let identity = &version.identity;
        !(self.has(identity, Some(version.version)) || is_current && self.has(identity, None))
    }

    /// Takes note of a version that is there.
    pub(super) fn note(&mut self, version: &Version, is_current: bool) {
        if is_current {
            self.current.insert(version.identity.clone());
        }
        self.versions.insert((version.identity.clone(), version.version));
    }
}
