//! Code systems, value sets and hierarchies, from definition packs and stored resources.
//!
//! An [`Image`] is immutable: what the packs define is read when first asked for, what is stored
//! comes in by [`Image::with_resources`], which makes the next image. [`Source`] is who keeps the
//! current one.
//!
//! | file | holds |
//! |---|---|
//! | `code_system` | the codes of a system with properties and hierarchy |
//! | `contains` | whether one code is in a value set |
//! | `definitions` | all that is defined, by canonical |
//! | `expand` | from a value set's composition to codes |
//! | `filter` | the filters of a composition |
//! | `set` | sets of codes |
//! | `value_set` | a value set's composition |
//!
//! It never reads a file or a database. Layer: 2. Imports `error`, `fhir`, `spec`.
//!
//! Spec: <https://hl7.org/fhir/R4/terminology-module.html>

mod code_system;
mod contains;
mod definitions;
mod expand;
mod filter;
mod set;
mod value_set;

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use crate::error::Error;
use crate::fhir::json::Value;
use crate::spec::package::{Pack, PackError, Section};
use crate::spec::terminology::{Contains, Members, Terminology, TerminologyFault};

use code_system::CodeSystem;
use definitions::Definitions;
use value_set::ValueSet;

/// Keeps the current image: stored definitions change.
pub trait Source: Send + Sync {
    /// The image of what is stored now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    fn current(&self) -> BoxFuture<'_, Result<Arc<dyn Terminology>, Error>>;
}

/// All that is defined at one moment.
#[derive(Clone, Debug)]
pub struct Image {
    packed: Arc<Packed>,
    stored: Arc<Definitions>,
    base: Box<str>,
}

/// The definitions of packs, read when first asked for: most servers are never asked.
#[derive(Debug)]
struct Packed {
    packs: Vec<&'static [u8]>,
    read: OnceLock<Definitions>,
}

impl Image {
    /// What `pack` defines; `base` is the server's public FHIR base without a trailing slash.
    ///
    /// # Errors
    /// [`PackError`] when the pack cannot be opened.
    pub fn new(pack: &'static [u8], base: &str) -> Result<Self, PackError> {
        Pack::open(pack)?;
        let packed = Packed { packs: vec![pack], read: OnceLock::new() };
        let stored = Arc::default();
        Ok(Self { packed: Arc::new(packed), stored, base: base.into() })
    }

    /// What these packs define too.
    ///
    /// # Errors
    /// [`PackError`] when one of them cannot be opened.
    pub fn with_guides(self, packs: &[&'static [u8]]) -> Result<Self, PackError> {
        packs.iter().try_for_each(|pack| Pack::open(pack).map(drop))?;
        let packs = self.packed.packs.iter().chain(packs).copied().collect();
        Ok(Self { packed: Arc::new(Packed { packs, read: OnceLock::new() }), ..self })
    }

    /// The same with these stored CodeSystems and ValueSets, which win over the pack's, instead of
    /// those it had. Other resources are passed over.
    #[must_use]
    pub fn with_resources<'v>(&self, resources: impl IntoIterator<Item = Value<'v>>) -> Self {
        let mut stored = Definitions::default();
        for resource in resources {
            match resource.str_at("resourceType") {
                Some("CodeSystem") => stored.add_system(CodeSystem::read(&resource)),
                Some("ValueSet") => {
                    stored.add_value_set(ValueSet::read(&resource), resource.str_at("id"));
                }
                _ => {}
            }
        }
        Self { stored: Arc::new(stored), ..self.clone() }
    }

    /// The code system `url` or `url|version`.
    fn system(&self, canonical: &str) -> Option<&CodeSystem> {
        let stored = self.stored.system(canonical);
        // A stored description without codes does not hide the codes of a pack.
        let with_codes = stored.filter(|it| it.has_codes());
        with_codes.or_else(|| self.packed().system(canonical)).or(stored)
    }

    /// The value set `url`, `url|version` or `ValueSet/id`.
    fn value_set(&self, name: &str) -> Option<&ValueSet> {
        let local = name.strip_prefix(&*self.base).and_then(|rest| rest.strip_prefix('/'));
        let id = local.unwrap_or(name).strip_prefix("ValueSet/");
        let stored = id.and_then(|id| self.stored.value_set_of(id));
        let stored = stored.or_else(|| self.stored.value_set(name));
        stored.or_else(|| self.packed().value_set(name))
    }

    /// The code system that says that this value set is all of its codes.
    fn system_of_value_set(&self, url: &str) -> Option<&CodeSystem> {
        let stored = self.stored.system_of_value_set(url);
        stored.or_else(|| self.packed().system_of_value_set(url))
    }

    fn packed(&self) -> &Definitions {
        self.packed.read.get_or_init(|| {
            read(&self.packed.packs).unwrap_or_else(|error| {
                tracing::error!(%error, "the definition pack has no terminology that can be read");
                Definitions::default()
            })
        })
    }
}

fn read(packs: &[&[u8]]) -> Result<Definitions, PackError> {
    let mut found = Definitions::default();
    for bytes in packs {
        let pack = Pack::open(bytes)?;
        for record in pack.records(Section::CodeSystems)?.iter() {
            found.add_system(CodeSystem::read(&record?));
        }
        for record in pack.records(Section::ValueSets)?.iter() {
            found.add_value_set(ValueSet::read(&record?), None);
        }
    }
    Ok(found)
}

impl Terminology for Image {
    fn members(&self, value_set: &str, limit: usize) -> Result<Members, TerminologyFault> {
        let set = expand::expand(self, value_set, limit)?;
        if set.codes.len() > limit {
            return Err(TerminologyFault::TooCostly { what: value_set.to_owned(), limit });
        }
        Ok(set.into_members())
    }

    fn contains(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<Contains, TerminologyFault> {
        contains::Question::new(self, system, code).named(value_set)
    }

    fn subsumed(
        &self,
        system: &str,
        code: &str,
        is_below: bool,
        limit: usize,
    ) -> Result<Vec<Box<str>>, TerminologyFault> {
        let known = self.system(system).filter(|known| known.has_codes());
        let known = known.ok_or_else(|| TerminologyFault::UnknownSystem(system.to_owned()))?;
        let Some(at) = known.find(code) else { return Ok(vec![code.into()]) };
        let found = known.closure(at, is_below);
        if found.len() > limit {
            let what = format!("{system}|{code}");
            return Err(TerminologyFault::TooCostly { what, limit });
        }
        let mut codes: Vec<Box<str>> =
            found.into_iter().map(|at| known.concept(at).code.clone()).collect();
        codes.sort_unstable();
        Ok(codes)
    }
}

#[cfg(test)]
mod tests;
