//! What a question sees of an image: which versions of code systems count, which supplements.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-operation-expand.html>

use std::cell::Cell;
use std::collections::HashSet;

use crate::fhir::Canonical;
use crate::spec::terminology::TerminologyFault;

use super::Image;
use super::code_system::CodeSystem;
use super::expand::MAX_DEPTH;
use super::moment::Moment;
use super::value_set::{ValueSet, canonical};

/// Concepts and codes that may be looked at for one answer, however often each.
pub(super) const MAX_WORK: usize = 10_000_000;

/// Which versions of code systems are used, each as `url|version`.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    /// Whatever a value set says.
    pub(super) forced: Vec<Box<str>>,
    /// Where a value set says nothing.
    pub(super) preferred: Vec<Box<str>>,
    /// Anything else is an error.
    pub(super) checked: Vec<Box<str>>,
    /// None of their codes; without a version, of none of a system's versions.
    pub(super) excluded: Vec<Box<str>>,
}

/// What a question sees.
#[derive(Debug)]
pub(super) struct Scope<'i> {
    pub(super) image: &'i Image,
    pub(super) versions: Versions,
    /// Those that were asked for.
    pub(super) supplements: Vec<&'i CodeSystem>,
    /// Whether another version than the one that is named is none.
    pub(super) is_strict: bool,
    /// When, if that is not now.
    pub(super) moment: Option<Moment>,
    /// How much more may be looked at.
    work: Cell<usize>,
}

/// What was looked at for an answer, each once.
#[derive(Debug, Default)]
pub(super) struct Used<'i> {
    pub(super) systems: Vec<&'i CodeSystem>,
    /// With whether another one imports it.
    pub(super) value_sets: Vec<(&'i ValueSet, bool)>,
}

impl<'i> Scope<'i> {
    /// All that is there, the nearest version where nobody has the one that is named.
    pub(super) fn lenient(image: &'i Image) -> Self {
        Self { is_strict: false, ..Self::strict(image, Versions::default(), Vec::new()) }
    }

    /// The versions that are named and no others.
    pub(super) fn strict(
        image: &'i Image,
        versions: Versions,
        supplements: Vec<&'i CodeSystem>,
    ) -> Self {
        let (is_strict, moment, work) = (true, None, Cell::new(MAX_WORK));
        Self { image, versions, supplements, is_strict, moment, work }
    }

    /// The same at a moment of the past.
    pub(super) fn at(self, moment: Option<Moment>) -> Self {
        Self { moment, ..self }
    }

    /// Refuses a value set that may have been another one at the moment that is asked about.
    ///
    /// # Errors
    /// [`TerminologyFault::OtherDate`].
    pub(super) fn check_moment(&self, value_set: &ValueSet) -> Result<(), TerminologyFault> {
        let Some(moment) = &self.moment else { return Ok(()) };
        moment.check(|| value_set.canonical(), value_set.since.as_deref())
    }

    /// Whether no code of the system `named` counts; `known` is what it turned out to be.
    pub(super) fn excludes(&self, named: &str, known: Option<&CodeSystem>) -> bool {
        let Canonical { url, version, .. } = Canonical::parse(named);
        self.versions.excluded.iter().any(|it| {
            let excluded = Canonical::parse(it);
            excluded.url == url
                && excluded.version.is_none_or(|of| {
                    version == Some(of) || known.is_some_and(|known| is_version(known, of))
                })
        })
    }

    /// Takes from what may be looked at for the answer about `name`.
    ///
    /// # Errors
    /// [`TerminologyFault::Laborious`].
    pub(super) fn spend(&self, name: &str, looks: usize) -> Result<(), TerminologyFault> {
        let left = self.work.get().checked_sub(looks);
        self.work.set(left.unwrap_or(0));
        left.map(drop).ok_or_else(|| TerminologyFault::Laborious(name.to_owned()))
    }

    /// How much was looked at.
    #[cfg(test)]
    pub(super) fn spent(&self) -> usize {
        MAX_WORK - self.work.get()
    }

    /// The code system `url` or `url|version`; `None` where nothing is known of it.
    ///
    /// # Errors
    /// [`TerminologyFault::UnknownVersion`], [`TerminologyFault::OtherVersion`],
    /// [`TerminologyFault::OtherDate`].
    pub(super) fn system(&self, named: &str) -> Result<Option<&'i CodeSystem>, TerminologyFault> {
        let Canonical { url, version, .. } = Canonical::parse(named);
        let of =
            |all: &'_ [Box<str>]| all.iter().find_map(|it| version_of(it, url)).map(str::to_owned);
        let version = of(&self.versions.forced)
            .or_else(|| version.map(str::to_owned))
            .or_else(|| of(&self.versions.preferred));
        let checked = of(&self.versions.checked);
        let wanted = version.as_deref().or(checked.as_deref());
        let Some(found) = self.image.system(&canonical(url, wanted)) else { return Ok(None) };
        if let (Some(wanted), true) = (wanted, self.is_strict)
            && !is_version(found, wanted)
        {
            let known = self.image.versions(url);
            let (system, version) = (url.to_owned(), wanted.to_owned());
            return Err(TerminologyFault::UnknownVersion { system, version, known });
        }
        if let Some(moment) = &self.moment {
            moment.check(|| found.canonical(), found.about.since.as_deref())?;
        }
        match checked {
            Some(expected) if !is_version(found, &expected) => {
                let version = found.version.as_deref().unwrap_or_default().to_owned();
                Err(TerminologyFault::OtherVersion { system: url.to_owned(), version, expected })
            }
            _ => Ok(Some(found)),
        }
    }

    /// The code system of which this value set is said to be all codes; with a version only that one.
    pub(super) fn system_of_value_set(&self, named: &str) -> Option<&'i CodeSystem> {
        let system = self.image.system_of_value_set(named)?;
        let is_it = match Canonical::parse(named).version {
            Some(version) if self.is_strict => is_version(system, version),
            _ => true,
        };
        is_it.then_some(system)
    }

    /// Refuses a value set that imports itself, wherever: who asks for one code may not get there.
    ///
    /// # Errors
    /// [`TerminologyFault::Circular`].
    pub(super) fn refuse_circles(&self, value_set: &'i ValueSet) -> Result<(), TerminologyFault> {
        let (mut open, mut done) = (Vec::new(), HashSet::new());
        // Each value set is entered, and left behind those that it imports.
        let mut rest = vec![(value_set, false)];
        while let Some((of, is_left)) = rest.pop() {
            let it = std::ptr::from_ref(of);
            if is_left {
                open.pop();
                done.insert(it);
                continue;
            }
            if open.contains(&it) {
                return Err(TerminologyFault::Circular(of.canonical()));
            }
            if done.contains(&it) {
                continue;
            }
            if open.len() == MAX_DEPTH {
                return Err(TerminologyFault::Circular(value_set.canonical()));
            }
            open.push(it);
            rest.push((of, true));
            let parts = of.include.iter().chain(&of.exclude).flat_map(|part| &part.value_sets);
            let imports = parts.filter_map(|name| self.image.value_set(name));
            rest.extend(imports.map(|it| (it, false)));
        }
        Ok(())
    }

    /// The supplements of a system that were asked for.
    pub(super) fn supplements_of(&self, url: &str) -> impl Iterator<Item = &'i CodeSystem> {
        let of = move |it: &&'i CodeSystem| {
            let supplemented = it.about.supplements.as_deref().unwrap_or_default();
            Canonical::parse(supplemented).url == url
        };
        self.supplements.iter().copied().filter(of)
    }
}

/// Whether a system is of a version, or of the edition that is named instead of one.
pub(super) fn is_version(system: &CodeSystem, wanted: &str) -> bool {
    is_of_version(system.version.as_deref().unwrap_or_default(), wanted)
}

/// Whether a version is the one that is named, or one of the edition that is.
pub(super) fn is_of_version(version: &str, wanted: &str) -> bool {
    let rest = version.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || (wanted.contains("://") && rest.starts_with('/')))
}

fn version_of<'v>(named: &'v str, wanted: &str) -> Option<&'v str> {
    let Canonical { url, version, .. } = Canonical::parse(named);
    version.filter(|_| url == wanted)
}

impl<'i> Used<'i> {
    pub(super) fn system(&mut self, system: &'i CodeSystem) {
        if !self.systems.iter().any(|it| std::ptr::eq(*it, system)) {
            self.systems.push(system);
        }
    }

    pub(super) fn value_set(&mut self, value_set: &'i ValueSet, is_imported: bool) {
        if !self.value_sets.iter().any(|(it, _)| std::ptr::eq(*it, value_set)) {
            self.value_sets.push((value_set, is_imported));
        }
    }
}
