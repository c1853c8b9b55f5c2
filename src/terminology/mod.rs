//! Code systems, value sets, concept maps and hierarchies, from definition packs and stored resources.
//!
//! An [`Image`] is immutable: what the packs define is read when first asked for, what is stored
//! comes in by [`Image::with_resources`], code systems loaded from releases by
//! [`Image::with_loaded`], and what one request brings along by [`Image::with_brought`], each of
//! which makes the next image. [`Source`] is who keeps the current one. [`operation`] answers FHIR's
//! operations over an image.
//!
//! | file | holds |
//! |---|---|
//! | `about` | what a definition says of itself, and extensions |
//! | `builtin` | systems that no package defines: units, media types, languages, currencies, .. |
//! | `code_system` | one system, as a resource defines it |
//! | `concept_map` | one concept map |
//! | `concepts` | the codes of a system with properties and hierarchy, compact |
//! | `contains` | whether one code is in a value set |
//! | `definitions` | all that is defined, by canonical |
//! | `expand` | from a value set's composition to codes |
//! | `filter` | the filters of a composition |
//! | `moment` | the date whose definitions are asked for |
//! | `places` | sets of concepts of one system |
//! | `release` | code systems in the files of their publishers |
//! | `scope` | what a question sees of an image: versions, supplements |
//! | `set` | sets of codes |
//! | `value_set` | a value set's composition |
//!
//! It never reads a file or a database. Layer: 2. Imports `error`, `fhir`, `spec`, `ucum`.
//!
//! Spec: <https://hl7.org/fhir/R4/terminology-module.html>

mod about;
mod builtin;
mod code_system;
mod concept_map;
mod concepts;
mod contains;
mod definitions;
mod expand;
mod filter;
mod moment;
pub mod operation;
mod places;
pub mod release;
mod scope;
mod set;
mod trace;
mod value_set;

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use crate::error::Error;
use crate::fhir::json::Value;
use crate::spec::package::{Pack, PackError, Section};
use crate::spec::terminology::{Contains, Members, Terminology, TerminologyFault};

pub use code_system::CodeSystem;
pub use concepts::{Builder, Concepts, Designation, Property, PropertyKind};

use code_system::Content;
use concept_map::ConceptMap;
use definitions::Definitions;
use scope::Scope;
use value_set::ValueSet;

/// The package of FHIR R4 itself, and when it was published: packs tell no dates.
const CORE: &str = "hl7.fhir.r4.core";
const CORE_DATE: &str = "2019-11-01";

/// Where R4's package has definitions of its own and of HL7's terminology, which it publishes along.
const OWN: [&str; 2] = ["http://hl7.org/fhir/", "http://terminology.hl7.org/"];

/// Whether a definition of R4's package is one of its own: nothing that is stored or loaded takes its
/// place, since the required bindings of R4 rest on it. Other versions stand beside it.
fn is_own(canonical: &str) -> bool {
    OWN.iter().any(|own| canonical.starts_with(own))
}

/// Keeps the current image: stored definitions change.
pub trait Source: Send + Sync {
    /// The image of what is stored now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    fn current(&self) -> BoxFuture<'_, Result<Arc<Image>, Error>>;

    /// Url and version of the code systems that no resource defines, sorted.
    fn published(&self) -> Vec<(String, Option<String>)>;
}

/// All that is defined at one moment.
#[derive(Clone, Debug)]
pub struct Image {
    packed: Arc<Packed>,
    stored: Arc<Definitions>,
    loaded: Arc<Definitions>,
    /// What wins over all others.
    brought: Option<Arc<Definitions>>,
    base: Box<str>,
}

/// The definitions of packs, read when first asked for: most servers are never asked.
#[derive(Debug)]
struct Packed {
    packs: Vec<&'static [u8]>,
    read: OnceLock<Read>,
}

/// What packs define.
#[derive(Debug, Default)]
struct Read {
    /// The one of R4 itself.
    core: Definitions,
    /// All others.
    guides: Definitions,
}

impl Image {
    /// What `pack` defines; `base` is the server's public FHIR base without a trailing slash.
    ///
    /// # Errors
    /// [`PackError`] when the pack cannot be opened.
    pub fn new(pack: &'static [u8], base: &str) -> Result<Self, PackError> {
        Pack::open(pack)?;
        let packed = Packed { packs: vec![pack], read: OnceLock::new() };
        let (stored, loaded, brought) = Default::default();
        Ok(Self { packed: Arc::new(packed), stored, loaded, brought, base: base.into() })
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

    /// The same with these stored CodeSystems, ValueSets and ConceptMaps, which win over the pack's but
    /// for those that R4 defines itself, instead of those it had. Other resources are passed over.
    #[must_use]
    pub fn with_resources<'v>(&self, resources: impl IntoIterator<Item = Value<'v>>) -> Self {
        let mut stored = Definitions::default();
        resources.into_iter().for_each(|resource| stored.add(&resource));
        Self { stored: Arc::new(stored), ..self.clone() }
    }

    /// The same with these code systems, loaded from releases, instead of those it had. They win over
    /// those of the pack, and over stored ones that do not have all codes.
    #[must_use]
    pub fn with_loaded(&self, systems: impl IntoIterator<Item = Arc<CodeSystem>>) -> Self {
        let mut loaded = Definitions::default();
        for system in systems {
            loaded.add_system(Some(system));
        }
        Self { loaded: Arc::new(loaded), ..self.clone() }
    }

    /// The same with resources that one request brings along: they win over all others.
    #[must_use]
    pub fn with_brought<'r, 'v: 'r>(
        &self,
        resources: impl IntoIterator<Item = &'r Value<'v>>,
    ) -> Self {
        let mut brought = Definitions::default();
        resources.into_iter().for_each(|resource| brought.add_brought(resource));
        Self { brought: Some(Arc::new(brought)), ..self.clone() }
    }

    /// Url and version of the code systems that no resource defines, sorted.
    pub fn published(&self) -> Vec<(String, Option<String>)> {
        let Read { core, guides } = self.packed();
        let origins = [&*self.loaded, core, guides, builtin::systems()].into_iter();
        let all = origins.flat_map(Definitions::systems).filter(|it| it.has_codes());
        let mut found: Vec<_> = all
            .map(|it| (it.url.to_string(), it.version.as_deref().map(str::to_owned)))
            .chain(builtin::GRAMMARS.map(|url| (url.to_owned(), None)))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The code system `url` or `url|version`.
    fn system(&self, canonical: &str) -> Option<&CodeSystem> {
        // Another version here does not hide the one that is named.
        let exact = self.first(canonical, |it| it.exact(canonical)).filter(|it| it.has_codes());
        exact.or_else(|| self.first(canonical, |it| it.system(canonical)))
    }

    /// The first code system that the origins find for `canonical`.
    fn first<'i>(
        &'i self,
        canonical: &str,
        find: impl Fn(&'i Definitions) -> Option<&'i CodeSystem>,
    ) -> Option<&'i CodeSystem> {
        if let Some(brought) = self.brought.as_deref().and_then(&find) {
            return Some(brought);
        }
        let Read { core, guides } = self.packed();
        let is_whole = |it: &&CodeSystem| it.content == Content::Complete;
        let own = is_own(canonical).then(|| find(core)).flatten();
        if let Some(own) = own.filter(is_whole) {
            return Some(own);
        }
        let stored = find(&self.stored);
        // A stored description without codes does not hide the codes of a pack.
        let with_codes = stored.filter(|it| it.has_codes());
        with_codes
            .filter(is_whole)
            .or_else(|| find(&self.loaded))
            .or(with_codes)
            .or_else(|| find(core))
            .or_else(|| find(guides))
            .or(stored)
            .or_else(|| find(builtin::systems()))
    }

    /// The origins, those that win first.
    fn origins(&self) -> impl Iterator<Item = &Definitions> {
        let brought = self.brought.as_deref().into_iter();
        let Read { core, guides } = self.packed();
        let origins = [&*self.stored, &*self.loaded, core, guides, builtin::systems()];
        brought.chain(origins)
    }

    /// The versions of a code system that are known.
    fn versions(&self, url: &str) -> Vec<String> {
        self.origins().flat_map(|it| it.versions(url)).map(str::to_owned).collect()
    }

    /// The supplement `url` or `url|version`.
    fn supplement(&self, canonical: &str) -> Option<&CodeSystem> {
        self.origins().find_map(|it| it.supplement(canonical))
    }

    /// The value set `url`, `url|version` or `ValueSet/id`.
    fn value_set(&self, name: &str) -> Option<&ValueSet> {
        let by_id = self
            .id_in(name, "ValueSet/")
            .and_then(|id| self.at_hand().find_map(|it| it.value_set_of(id)));
        let brought = || self.brought.as_deref().and_then(|it| it.value_set(name));
        let own = || is_own(name).then(|| self.packed().core.value_set(name)).flatten();
        by_id
            .or_else(brought)
            .or_else(own)
            .or_else(|| self.origins().find_map(|it| it.value_set(name)))
    }

    /// The concept map `url`, `url|version` or `ConceptMap/id`.
    fn concept_map(&self, name: &str) -> Option<&ConceptMap> {
        let by_id = self
            .id_in(name, "ConceptMap/")
            .and_then(|id| self.at_hand().find_map(|it| it.concept_map_of(id)));
        by_id.or_else(|| self.origins().find_map(|it| it.concept_map(name)))
    }

    /// All concept maps, each as what its url stands for: neither older versions nor what others hide.
    /// Of two that claim the same version none is the older one.
    fn concept_maps(&self) -> impl Iterator<Item = &ConceptMap> {
        let is_it = |map: &&ConceptMap| {
            let Some(url) = map.url.as_deref() else { return true };
            let first = self.origins().find_map(|it| it.concept_map(url));
            first.is_none_or(|it| it.version == map.version)
        };
        self.origins().flat_map(Definitions::concept_maps).filter(is_it)
    }

    /// The code system of this id, stored or brought along.
    fn system_of(&self, id: &str) -> Option<&CodeSystem> {
        self.at_hand().find_map(|it| it.system_of(id))
    }

    /// What has ids by which it is asked for: what is brought along, and what is stored.
    fn at_hand(&self) -> impl Iterator<Item = &Definitions> {
        self.brought.as_deref().into_iter().chain([&*self.stored])
    }

    /// The id in the address of a resource here.
    fn id_in<'n>(&self, name: &'n str, prefix: &str) -> Option<&'n str> {
        let local = name.strip_prefix(&*self.base).and_then(|rest| rest.strip_prefix('/'));
        local.unwrap_or(name).strip_prefix(prefix)
    }

    /// The code system that says that this value set is all of its codes.
    fn system_of_value_set(&self, url: &str) -> Option<&CodeSystem> {
        self.origins().find_map(|it| it.system_of_value_set(url))
    }

    fn packed(&self) -> &Read {
        self.packed.read.get_or_init(|| {
            read(&self.packed.packs).unwrap_or_else(|error| {
                tracing::error!(%error, "the definition pack has no terminology that can be read");
                Read::default()
            })
        })
    }
}

fn read(packs: &[&[u8]]) -> Result<Read, PackError> {
    let mut found = Read::default();
    for bytes in packs {
        let pack = Pack::open(bytes)?;
        let is_core = pack.name() == CORE;
        for (section, name) in [
            (Section::CodeSystems, "CodeSystem"),
            (Section::ValueSets, "ValueSet"),
            (Section::ConceptMaps, "ConceptMap"),
        ] {
            for record in pack.records(section)?.iter() {
                let mut record = record?;
                if let Some(object) = record.as_object_mut() {
                    object.set("resourceType", name);
                    if is_core {
                        object.set("date", CORE_DATE);
                    }
                }
                let into = if is_core { &mut found.core } else { &mut found.guides };
                into.add(&record);
            }
        }
    }
    Ok(found)
}

/// The most concepts that are looked through for a display.
const MAX_LOOKED_THROUGH: usize = 10_000;

impl Terminology for Image {
    fn members(&self, value_set: &str, limit: usize) -> Result<Members, TerminologyFault> {
        let scope = Scope::lenient(self);
        let set = expand::Expansion::of(&scope, value_set, limit).named(value_set)?;
        if set.entries.len() > limit {
            return Err(TerminologyFault::TooCostly { what: value_set.to_owned(), limit });
        }
        Ok(set.to_members())
    }

    fn contains(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<Contains, TerminologyFault> {
        contains::Question::new(&Scope::lenient(self), system, code).named(value_set)
    }

    fn on_trust(&self, value_set: &str, system: Option<&str>, code: &str) -> Option<Box<str>> {
        let scope = Scope::lenient(self);
        let mut question = contains::Question::new(&scope, system, code);
        let is_in = question.named(value_set) == Ok(Contains::Yes);
        question.on_trust.filter(|_| is_in)
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
        let Some(at) = known.concepts.find(code) else { return Ok(vec![code.into()]) };
        let known = &known.concepts;
        let found = known.closure(at, is_below);
        if found.len() > limit {
            let what = format!("{system}|{code}");
            return Err(TerminologyFault::TooCostly { what, limit });
        }
        let mut codes: Vec<Box<str>> = found.iter().map(|at| known.code(at).into()).collect();
        codes.sort_unstable();
        Ok(codes)
    }

    fn displays(&self, system: &str, code: &str) -> Vec<Box<str>> {
        let Some(known) = self.system(system) else { return Vec::new() };
        let Some(at) = known.concepts.find(code) else { return Vec::new() };
        let display = known.concepts.display(at).into_iter().map(Into::into);
        display.chain(known.concepts.designations(at).map(|it| it.value.into())).collect()
    }

    fn is_only_shown(&self, value_set: &str, text: &str) -> bool {
        let Some(set) = self.value_set(value_set) else { return false };
        let named = set.include.iter().filter_map(|part| self.system(part.system.as_deref()?));
        let systems: Vec<_> = named.filter(|it| it.concepts.len() <= MAX_LOOKED_THROUGH).collect();
        if systems.iter().any(|system| system.concepts.find(text).is_some()) {
            return false;
        }
        systems.iter().any(|system| {
            let concepts = &system.concepts;
            let mut shown = concepts.all().filter(|at| concepts.display(*at) == Some(text));
            shown.any(|at| {
                let found = self.contains(value_set, Some(&system.url), concepts.code(at));
                found == Ok(Contains::Yes)
            })
        })
    }

    fn kind_of(&self, canonical: &str) -> Option<&'static str> {
        if self.value_set(canonical).is_some() {
            return Some("ValueSet");
        }
        self.system(canonical).map(|_| "CodeSystem")
    }
}

#[cfg(test)]
mod tests;
