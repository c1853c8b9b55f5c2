//! All structures of one moment, by canonical url.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use crate::fhir::Canonical;
use crate::fhir::canonical::compare_versions;
use crate::fhir::json::{self, Value};

use super::super::R4_PACK;
use super::super::catalog::Catalog;
use super::super::package::{Pack, PackError, Section, reduced_structure};
use super::element::{Element, Invariant};
use super::read::{self, Definition};
use super::{Structure, StructureFault, TYPE_URL, snapshot};

mod trial;

/// The most definitions that build on each other.
const MAX_CHAIN: usize = 32;

type Bytes = Cow<'static, [u8]>;
type Made = Result<Arc<Structure>, StructureFault>;

/// The types and profiles of packs and of stored StructureDefinitions, of which the stored win.
///
/// An immutable image: [`Library::with_resources`] makes the next one. Snapshots are made when first
/// asked for, and remembered.
#[derive(Debug)]
pub struct Library {
    packs: Arc<Packs>,
    stored: Definitions,
    globals: Globals,
    made: RwLock<HashMap<Place, Made>>,
}

/// Canonicals of the profiles that stored guides name for all resources of a type.
type Globals = HashMap<Box<str>, Vec<Box<str>>>;

/// Where a definition is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Place {
    is_stored: bool,
    at: usize,
}

/// Packs and what they define, read when first asked for.
#[derive(Debug)]
struct Packs {
    bytes: Vec<Bytes>,
    catalog: OnceLock<Result<Catalog, StructureFault>>,
    read: OnceLock<Result<Definitions, StructureFault>>,
}

/// Definitions of one origin.
#[derive(Debug, Default)]
struct Definitions {
    entries: Vec<Entry>,
    /// Places by url, the newest version last.
    by_url: HashMap<Box<str>, Vec<usize>>,
    /// Of each pack but R4's own: its value sets with their versions.
    value_sets: Vec<HashMap<Box<str>, Box<str>>>,
    /// The urls of the types of R4 itself.
    types: HashSet<Box<str>>,
    /// The urls of profiles on resources, by the type that they constrain.
    profiles: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

/// A definition, still as text: most are never asked for.
#[derive(Debug)]
struct Entry {
    version: Option<Box<str>>,
    text: Box<[u8]>,
    /// The number of its pack; none for stored ones.
    pack: Option<usize>,
    invariants: Arc<[Arc<Invariant>]>,
}

/// Where a definition comes from.
#[derive(Clone, Default)]
struct Origin {
    pack: Option<usize>,
    /// Those that the definitions name by number.
    invariants: Arc<[Arc<Invariant>]>,
}

impl Library {
    /// What FHIR R4 itself defines, from the pack in the binary.
    pub fn r4() -> Self {
        Self::of(vec![Cow::Borrowed(R4_PACK)])
    }

    /// What R4 and these packs define.
    ///
    /// # Errors
    /// [`PackError`] when one of them cannot be opened.
    pub fn with_packs(
        packs: impl IntoIterator<Item = Cow<'static, [u8]>>,
    ) -> Result<Self, PackError> {
        let mut all = vec![Cow::Borrowed(R4_PACK)];
        for pack in packs {
            Pack::open(&pack)?;
            all.push(pack);
        }
        Ok(Self::of(all))
    }

    fn of(bytes: Vec<Cow<'static, [u8]>>) -> Self {
        let packs = Packs::of(bytes);
        let (stored, globals) = (Definitions::default(), Globals::new());
        Self { packs, stored, globals, made: RwLock::default() }
    }

    /// The same packs with these stored StructureDefinitions instead of those it had. Other resources
    /// are passed over, as are definitions without a url, and those that call themselves a type of R4:
    /// what a Patient is at least is not for those to say who may store a definition.
    #[must_use]
    pub fn with_resources<'v>(&self, resources: impl IntoIterator<Item = Value<'v>>) -> Self {
        let (mut stored, mut globals) = (Definitions::default(), Globals::new());
        let origin = Origin::default();
        for resource in resources {
            match resource.str_at("resourceType") {
                Some("StructureDefinition") => {}
                Some("ImplementationGuide") => {
                    add_globals(&mut globals, &resource);
                    continue;
                }
                _ => continue,
            }
            let is_type = || {
                let packed = self.packs.definitions().ok();
                let url = resource.str_at("url").map(|url| Canonical::parse(url).url);
                url.zip(packed).is_some_and(|(url, packed)| packed.types.contains(url))
            };
            if let Some(record) = reduced_structure(&resource).filter(|_| !is_type()) {
                stored.add(&record, record.to_text().into_bytes(), &origin);
            }
        }
        Self { packs: self.packs.clone(), stored, globals, made: RwLock::default() }
    }

    /// The definitions that the packs have whole, and the packs to read them from.
    ///
    /// # Errors
    /// [`StructureFault::Unreadable`] when a pack is damaged.
    pub fn catalog(&self) -> Result<(&Catalog, &[Bytes]), StructureFault> {
        let Packs { bytes, catalog, .. } = &*self.packs;
        let unreadable = |error: PackError| StructureFault::Unreadable(error.to_string());
        let read = catalog.get_or_init(|| Catalog::read(bytes).map_err(unreadable));
        read.as_ref().map(|catalog| (catalog, &**bytes)).map_err(Clone::clone)
    }

    /// The profiles that stored guides name for all resources of a type.
    ///
    /// <https://hl7.org/fhir/R4/implementationguide-definitions.html#ImplementationGuide.global>
    pub fn globals(&self, type_name: &str) -> &[Box<str>] {
        self.globals.get(type_name).map_or(&[], Vec::as_slice)
    }

    /// The structure of a canonical: `url` or `url|version`; the newest where it names no version.
    ///
    /// # Errors
    /// [`StructureFault`] when there is none, or when its definition cannot be used.
    pub fn structure(&self, canonical: &str) -> Made {
        self.near(canonical, None, &mut Vec::new())
    }

    /// The structure of a type of FHIR's own: `Patient`, `HumanName`.
    ///
    /// # Errors
    /// As [`Library::structure`].
    pub fn structure_of_type(&self, name: &str) -> Made {
        self.structure(&format!("{TYPE_URL}{name}"))
    }

    /// The canonicals of the profiles on a type of resource, without versions: sorted, each once.
    pub fn profiles_of(&self, type_name: &str) -> Vec<&str> {
        let packed = self.packs.definitions().ok();
        let all = packed.into_iter().chain([&self.stored]);
        let urls: BTreeSet<&str> = all
            .filter_map(|definitions| definitions.profiles.get(type_name))
            .flat_map(|urls| urls.iter().map(|url| &**url))
            .collect();
        urls.into_iter().collect()
    }

    /// The structure that a definition of the package `pack` means; `open` are those being made.
    fn near(&self, canonical: &str, pack: Option<usize>, open: &mut Vec<Place>) -> Made {
        let place = self.find(canonical, pack)?;
        let known = self.made.read().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        // Whoever builds on a circle is told where it closes, as the first time.
        let is_told =
            |made: &Made| open.is_empty() || !matches!(made, Err(StructureFault::Circular(_)));
        if let Some(made) = known.filter(is_told) {
            return made;
        }
        // Two that ask at the same time may both make it; the first one stays.
        let made = self.make(place, open);
        if made.is_err() && !open.is_empty() {
            // What is wrong with it depends on where it was asked for.
            return made;
        }
        let mut all = self.made.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(place).or_insert(made).clone()
    }

    fn find(&self, canonical: &str, pack: Option<usize>) -> Result<Place, StructureFault> {
        if let Some(at) = self.stored.find(canonical, None) {
            return Ok(Place { is_stored: true, at });
        }
        let packed = self.packs.definitions()?;
        let at = pack.and_then(|pack| packed.find(canonical, Some(pack)));
        let at = at.or_else(|| packed.find(canonical, None));
        let at = at.ok_or_else(|| StructureFault::Unknown(canonical.to_owned()))?;
        Ok(Place { is_stored: false, at })
    }

    fn entry(&self, place: Place) -> Result<&Entry, StructureFault> {
        let of = if place.is_stored { &self.stored } else { self.packs.definitions()? };
        of.entries.get(place.at).ok_or_else(|| StructureFault::Unknown(String::new()))
    }

    fn make(&self, place: Place, open: &mut Vec<Place>) -> Made {
        let entry = self.entry(place)?;
        let mut definition = entry.definition()?;
        let url = || definition.structure.url.to_string();
        if open.contains(&place) {
            return Err(StructureFault::Circular(url()));
        }
        if open.len() >= MAX_CHAIN {
            let reason = format!("it builds on a chain of more than {MAX_CHAIN} definitions");
            return Err(StructureFault::Malformed { url: url(), reason });
        }
        if definition.structure.elements.is_empty() {
            open.push(place);
            let elements = self.snapshot(&definition, entry.pack, open);
            open.pop();
            definition.structure.elements = elements?;
        }
        let mut structure = definition.structure;
        if let Some(pack) = entry.pack {
            self.packs.definitions()?.pin(&mut structure, pack);
        }
        Ok(Arc::new(structure))
    }

    fn snapshot(
        &self,
        definition: &Definition,
        pack: Option<usize>,
        open: &mut Vec<Place>,
    ) -> Result<Vec<Element>, StructureFault> {
        let Structure { url, base, .. } = &definition.structure;
        let url = || url.to_string();
        let base = base.as_deref().ok_or_else(|| StructureFault::Malformed {
            url: url(),
            reason: "it has neither a snapshot nor a base".to_owned(),
        })?;
        let base = self.near(base, pack, open).map_err(|fault| match fault {
            StructureFault::Unknown(base) => StructureFault::UnknownBase { url: url(), base },
            other => other,
        })?;
        snapshot::generate(definition, &base, &mut |canonical| self.near(canonical, pack, open))
    }
}

impl Packs {
    /// Those of these bytes. Where all of them are the program's own, they are read once for all libraries.
    fn of(bytes: Vec<Bytes>) -> Arc<Self> {
        static OWN: Mutex<Vec<Arc<Packs>>> = Mutex::new(Vec::new());
        let place = |bytes: &Bytes| match bytes {
            Cow::Borrowed(own) => Some(own.as_ptr_range()),
            Cow::Owned(_) => None,
        };
        let places: Option<Vec<_>> = bytes.iter().map(place).collect();
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |known: &&Arc<Self>| {
            known.bytes.iter().map(place).collect::<Option<Vec<_>>>() == places
        };
        if let Some(known) = own.iter().find(is_same) {
            return known.clone();
        }
        let is_own = places.is_some();
        let packs = Arc::new(Self { bytes, catalog: OnceLock::new(), read: OnceLock::new() });
        own.extend(is_own.then(|| packs.clone()));
        packs
    }

    fn definitions(&self) -> Result<&Definitions, StructureFault> {
        self.read.get_or_init(|| self.read()).as_ref().map_err(Clone::clone)
    }

    fn read(&self) -> Result<Definitions, StructureFault> {
        let mut found = Definitions::default();
        for bytes in &self.bytes {
            found.add_pack(bytes).map_err(|error| StructureFault::Unreadable(error.to_string()))?;
        }
        Ok(found)
    }
}

fn add_globals(globals: &mut Globals, guide: &Value<'_>) {
    for global in guide.items_at("global") {
        let (Some(of), Some(profile)) = (global.str_at("type"), global.str_at("profile")) else {
            continue;
        };
        let named = globals.entry(of.into()).or_default();
        if !named.iter().any(|known| **known == *profile) {
            named.push(profile.into());
        }
    }
}

impl Definitions {
    fn add_pack(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        let pack = Pack::open(bytes)?;
        let mut invariants = Vec::new();
        for record in pack.records(Section::Invariants)?.iter() {
            // A line without a key is none, and the numbers of the others stay.
            let read = Invariant::read(&record?);
            invariants.push(Arc::new(read.unwrap_or_default()));
        }
        let number = self.value_sets.len();
        let origin = Origin { pack: Some(number), invariants: invariants.into() };
        let is_base = |section| number == 0 && matches!(section, Section::Types);
        for section in [Section::Types, Section::Profiles] {
            let records = pack.records(section)?;
            for (record, line) in records.iter().zip(records.lines()) {
                let record = record?;
                if let Some(url) = record.str_at("url").filter(|_| is_base(section)) {
                    self.types.insert(url.into());
                }
                self.add(&record, line.to_vec(), &origin);
            }
        }
        let mut value_sets = HashMap::new();
        if number > 0 {
            for record in pack.records(Section::ValueSets)?.iter() {
                let record = record?;
                let text = |name| record.str_at(name).map(Into::into);
                if let (Some(url), Some(version)) = (text("url"), text("version")) {
                    value_sets.insert(url, version);
                }
            }
        }
        self.value_sets.push(value_sets);
        Ok(())
    }

    fn add(&mut self, record: &Value<'_>, text: Vec<u8>, origin: &Origin) {
        let Some(url) = record.str_at("url").filter(|url| !url.is_empty()) else { return };
        let is = |name, value| record.str_at(name) == Some(value);
        if let Some(of) = record.str_at("type")
            && is("kind", "resource")
            && is("derivation", "constraint")
        {
            self.profiles.entry(of.into()).or_default().insert(url.into());
        }
        let version = record.str_at("version").map(Into::into);
        let (at, entries) = (self.entries.len(), &self.entries);
        let places = self.by_url.entry(url.into()).or_default();
        let is_older = |other: &usize| {
            compare_versions(entries[*other].version.as_deref(), record.str_at("version"))
                != Ordering::Greater
        };
        places.insert(places.partition_point(is_older), at);
        let Origin { pack, invariants } = origin.clone();
        self.entries.push(Entry { version, text: text.into(), pack, invariants });
    }

    /// The definition of this canonical; with a version only that one, with a pack only of that.
    fn find(&self, canonical: &str, pack: Option<usize>) -> Option<usize> {
        let Canonical { url, version, .. } = Canonical::parse(canonical);
        let mut newest_first = self.by_url.get(url)?.iter().rev().copied();
        newest_first.find(|at| {
            let entry = &self.entries[*at];
            (version.is_none() || entry.version.as_deref() == version)
                && (pack.is_none() || entry.pack == pack)
        })
    }

    /// Writes out which version is meant where a package of several versions names its own
    /// definitions without one: it means those beside it, not the newest.
    fn pin(&self, structure: &mut Structure, pack: usize) {
        let version_of = |url: &str| -> Option<&str> {
            let places = self.by_url.get(url).filter(|places| places.len() > 1)?;
            let own =
                places.iter().map(|at| &self.entries[*at]).find(|it| it.pack == Some(pack))?;
            own.version.as_deref()
        };
        let value_set_version = |url: &str| -> Option<&str> {
            let own = self.value_sets.get(pack)?.get(url)?;
            let is_shared =
                self.value_sets.iter().filter(|of| of.contains_key(url)).nth(1).is_some();
            is_shared.then_some(&**own)
        };
        let pin = |canonical: &mut Box<str>, version: Option<&str>| {
            if let Some(version) = version {
                *canonical = format!("{canonical}|{version}").into();
            }
        };
        for element in &mut structure.elements {
            for one in &mut element.types {
                for canonical in one.profiles.iter_mut().chain(&mut one.target_profiles) {
                    pin(canonical, version_of(canonical));
                }
            }
            if let Some(binding) = &mut element.binding {
                let sets = [&mut binding.value_set, &mut binding.max_value_set];
                for canonical in sets.into_iter().flatten() {
                    pin(canonical, value_set_version(canonical));
                }
            }
        }
        if let Some(base) = &mut structure.base {
            pin(base, version_of(base));
        }
    }
}

impl Entry {
    fn definition(&self) -> Result<Definition, StructureFault> {
        let unreadable = |error: json::JsonError| StructureFault::Unreadable(error.to_string());
        let record = json::parse(&self.text).map_err(unreadable)?;
        read::definition(&record, &self.invariants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_of_r4_is_a_structure() {
        let library = Library::r4();
        let definitions = library.packs.definitions().expect("reads");
        let mut without = Vec::new();
        for url in definitions.by_url.keys() {
            match library.structure(url) {
                Ok(structure) => assert_eq!(&structure.url, url),
                Err(fault) => without.push(fault.to_string()),
            }
        }
        without.sort_unstable();
        assert!(without.is_empty(), "{without:#?}");
    }

    #[test]
    fn an_element_has_what_its_definition_says() {
        let library = Library::r4();
        let patient = library.structure("http://hl7.org/fhir/StructureDefinition/Patient|4.0.1");
        let patient = patient.expect("is known");
        assert_eq!(library.structure_of_type("Patient").expect("is known"), patient);
        let root = patient.root().expect("has a root");
        assert_eq!((&*root.path, root.min, root.max), ("Patient", 0, None));
        let contact = patient.elements.iter().find(|element| &*element.id == "Patient.contact");
        let contact = contact.expect("has contacts");
        let keys: Vec<&str> = contact.invariants.iter().map(|it| &*it.key).collect();
        assert_eq!(keys, ["ele-1", "pat-1"]);
        assert!(contact.invariants[1].human.starts_with("SHALL at least contain"));
        let gender = patient.elements.iter().find(|element| element.name() == "gender");
        let binding = gender.and_then(|gender| gender.binding.as_ref()).expect("is bound");
        assert_eq!(binding.strength, super::super::Strength::Required);
    }

    #[test]
    fn a_circle_of_definitions_is_found_once() {
        let definition = |name: &str, base: &str| {
            format!(
                r#"{{"resourceType":"StructureDefinition","url":"http://x/{name}","name":"{name}",
                "status":"active","kind":"resource","abstract":false,"type":"Patient",
                "baseDefinition":"http://x/{base}","derivation":"constraint",
                "differential":{{"element":[{{"id":"Patient","path":"Patient"}}]}}}}"#
            )
        };
        let texts = [definition("a", "b"), definition("b", "a")];
        let parse = |text: &String| json::parse(text.as_bytes()).expect("JSON").into_owned();
        let library = Library::r4().with_resources(texts.iter().map(parse));
        let fault = library.structure("http://x/a").expect_err("is circular");
        assert!(matches!(fault, StructureFault::Circular(_)), "{fault}");
        assert_eq!(library.made.read().expect("nobody panicked").len(), 1);
    }

    #[test]
    fn what_is_not_defined_is_a_fault_that_names_it() {
        let library = Library::r4();
        for canonical in
            ["http://x/none", "http://hl7.org/fhir/StructureDefinition/Patient|3.0.0", ""]
        {
            let fault = library.structure(canonical).expect_err(canonical);
            assert_eq!(fault, StructureFault::Unknown(canonical.to_owned()));
        }
    }
}
