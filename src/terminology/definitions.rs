//! Definitions by canonical: url, perhaps with a version.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::fhir::Canonical;
use crate::fhir::canonical::compare_versions;
use crate::fhir::json::Value;

use super::code_system::{CodeSystem, Content};
use super::concept_map::ConceptMap;
use super::scope::is_version;
use super::value_set::ValueSet;

/// Code systems, value sets and concept maps of one origin.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    systems: ByUrl<Arc<CodeSystem>>,
    supplements: ByUrl<Arc<CodeSystem>>,
    value_sets: ByUrl<ValueSet>,
    concept_maps: ByUrl<ConceptMap>,
    systems_by_value_set: HashMap<Box<str>, usize>,
}

impl Definitions {
    /// Adds a resource; others than those of terminology are passed over.
    pub(super) fn add(&mut self, resource: &Value<'_>) {
        let id = resource.str_at("id");
        match resource.str_at("resourceType") {
            Some("CodeSystem") => {
                if let Some(system) = CodeSystem::read(resource).map(Arc::new) {
                    let at = self.add_system(Some(system.clone()));
                    let by_id = match system.content {
                        Content::Supplement => &mut self.supplements.by_id,
                        _ => &mut self.systems.by_id,
                    };
                    if let (Some(id), Some(at)) = (id, at) {
                        by_id.insert(id.into(), at);
                    }
                }
            }
            Some("ValueSet") => self.add_value_sets(resource, id),
            Some("ConceptMap") => {
                let map = ConceptMap::read(resource);
                let (url, version) = (map.url.clone(), map.version.clone());
                self.concept_maps.add(map, url, version, id);
            }
            _ => {}
        }
    }

    /// Adds a resource that one request brings, with the code systems that it contains: they are
    /// not for others to find.
    pub(super) fn add_brought(&mut self, resource: &Value<'_>) {
        self.add(resource);
        for contained in resource.items_at("contained") {
            if contained.str_at("resourceType") == Some("CodeSystem") {
                self.add_system(CodeSystem::read(contained).map(Arc::new));
            }
        }
    }

    /// Adds a code system; its place. Supplements define no codes.
    pub(super) fn add_system(&mut self, system: Option<Arc<CodeSystem>>) -> Option<usize> {
        let system = system?;
        let (url, version) = (Some(system.url.clone()), system.version.clone());
        if system.content == Content::Supplement {
            return Some(self.supplements.add(system, url, version, None));
        }
        let value_set = system.value_set.clone();
        let at = self.systems.add(system, url, version, None);
        if let Some(value_set) = value_set {
            self.systems_by_value_set.insert(value_set, at);
        }
        Some(at)
    }

    /// Adds a value set and those that it contains, which only it names.
    fn add_value_sets(&mut self, resource: &Value<'_>, id: Option<&str>) {
        let owner = match (resource.str_at("url"), id) {
            (Some(url), _) => url.to_owned(),
            (None, Some(id)) => format!("ValueSet/{id}"),
            (None, None) => String::new(),
        };
        for contained in resource.items_at("contained") {
            if let (Some("ValueSet"), Some(id)) =
                (contained.str_at("resourceType"), contained.str_at("id"))
            {
                let url = format!("{owner}#{id}").into();
                let contained =
                    ValueSet { is_contained: true, ..ValueSet::read(contained, &owner) };
                self.add_value_set(contained, Some(url), None);
            }
        }
        let value_set = ValueSet::read(resource, &owner);
        let url = value_set.url.clone();
        self.add_value_set(value_set, url, id);
    }

    fn add_value_set(&mut self, value_set: ValueSet, url: Option<Box<str>>, id: Option<&str>) {
        let version = value_set.version.clone();
        self.value_sets.add(value_set, url, version, id);
    }

    /// The code system of this canonical; where nobody has the version, the newest with codes.
    pub(super) fn system(&self, canonical: &str) -> Option<&CodeSystem> {
        let newest_first = || self.systems.of(canonical).map(|it| &**it);
        let with_codes = || newest_first().find(|it| it.has_codes());
        self.exact(canonical).or_else(with_codes).or_else(|| newest_first().next())
    }

    /// The code system of the version, or the newest of the edition, that this canonical names.
    pub(super) fn exact(&self, canonical: &str) -> Option<&CodeSystem> {
        let version = Canonical::parse(canonical).version?;
        let mut newest_first = self.systems.of(canonical).map(|it| &**it);
        newest_first.find(|it| is_version(it, version))
    }

    /// All code systems but supplements.
    pub(super) fn systems(&self) -> impl Iterator<Item = &CodeSystem> {
        self.systems.all.iter().map(|it| &**it)
    }

    /// The versions of a code system, the newest first.
    pub(super) fn versions(&self, url: &str) -> impl Iterator<Item = &str> {
        self.systems.of(url).filter_map(|it| it.version.as_deref())
    }

    /// The supplement of this canonical; with a version only that one.
    pub(super) fn supplement(&self, canonical: &str) -> Option<&CodeSystem> {
        let Canonical { version, .. } = Canonical::parse(canonical);
        let mut newest_first = self.supplements.of(canonical).map(|it| &**it);
        newest_first.find(|it| version.is_none() || it.version.as_deref() == version)
    }

    /// The value set of this canonical; with a version only that one.
    pub(super) fn value_set(&self, canonical: &str) -> Option<&ValueSet> {
        let Canonical { version, .. } = Canonical::parse(canonical);
        let mut newest_first = self.value_sets.of(canonical);
        newest_first.find(|it| version.is_none() || it.version.as_deref() == version)
    }

    /// The concept map of this canonical; with a version only that one.
    pub(super) fn concept_map(&self, canonical: &str) -> Option<&ConceptMap> {
        let Canonical { version, .. } = Canonical::parse(canonical);
        let mut newest_first = self.concept_maps.of(canonical);
        newest_first.find(|it| version.is_none() || it.version.as_deref() == version)
    }

    /// All concept maps.
    pub(super) fn concept_maps(&self) -> impl Iterator<Item = &ConceptMap> {
        self.concept_maps.all.iter()
    }

    /// The stored value set of this id.
    pub(super) fn value_set_of(&self, id: &str) -> Option<&ValueSet> {
        self.value_sets.of_id(id)
    }

    /// The stored code system of this id.
    pub(super) fn system_of(&self, id: &str) -> Option<&CodeSystem> {
        let system = self.systems.of_id(id).or_else(|| self.supplements.of_id(id));
        system.map(|it| &**it)
    }

    /// The stored concept map of this id.
    pub(super) fn concept_map_of(&self, id: &str) -> Option<&ConceptMap> {
        self.concept_maps.of_id(id)
    }

    /// The code system that says that this value set is all of its codes.
    pub(super) fn system_of_value_set(&self, url: &str) -> Option<&CodeSystem> {
        let at = self.systems_by_value_set.get(Canonical::parse(url).url)?;
        Some(&self.systems.all[*at])
    }
}

/// Definitions by url and, where they are stored, by id.
#[derive(Debug)]
struct ByUrl<T> {
    all: Vec<T>,
    /// Places with versions, the newest version last.
    places: HashMap<Box<str>, Vec<Place>>,
    by_id: HashMap<Box<str>, usize>,
}

/// A version and where it stands.
type Place = (Option<Box<str>>, usize);

impl<T> Default for ByUrl<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new(), by_id: HashMap::new() }
    }
}

impl<T> ByUrl<T> {
    fn add(
        &mut self,
        definition: T,
        url: Option<Box<str>>,
        version: Option<Box<str>>,
        id: Option<&str>,
    ) -> usize {
        let at = self.all.len();
        self.all.push(definition);
        if let Some(id) = id {
            self.by_id.insert(id.into(), at);
        }
        if let Some(url) = url {
            let places = self.places.entry(url).or_default();
            let is_older = |(other, _): &Place| {
                compare_versions(other.as_deref(), version.as_deref()) != Ordering::Greater
            };
            let place = places.partition_point(is_older);
            places.insert(place, (version, at));
        }
        at
    }

    /// Those of the url of a canonical, the newest first.
    fn of(&self, canonical: &str) -> impl Iterator<Item = &T> {
        let places = self.places.get(Canonical::parse(canonical).url);
        let places = places.map_or(&[][..], Vec::as_slice);
        places.iter().rev().map(|(_, at)| &self.all[*at])
    }

    fn of_id(&self, id: &str) -> Option<&T> {
        Some(&self.all[*self.by_id.get(id)?])
    }
}
