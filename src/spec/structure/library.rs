//! All structures of one moment, by canonical url.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::fhir::Canonical;
use crate::fhir::canonical::compare_versions;
use crate::fhir::json::{self, Value};

use super::super::R4_PACK;
use super::super::package::{Pack, PackError, Section, reduced_structure};
use super::element::Invariant;
use super::read::{self, Definition};
use super::{Structure, StructureFault};

/// The start of the canonical url of every type of FHIR's own.
const TYPE_URL: &str = "http://hl7.org/fhir/StructureDefinition/";

type Made = Result<Arc<Structure>, StructureFault>;

/// The types and profiles of packs and of stored StructureDefinitions, of which the stored win.
///
/// An immutable image: [`Library::with_resources`] makes the next one. Snapshots are made when first
/// asked for, and remembered.
#[derive(Debug)]
pub struct Library {
    packs: Arc<Packs>,
    stored: Definitions,
    made: RwLock<HashMap<Place, Made>>,
}

/// Where a definition is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Place {
    is_stored: bool,
    at: usize,
}

/// Packs and what they define, read when first asked for.
#[derive(Debug)]
struct Packs {
    bytes: Vec<Cow<'static, [u8]>>,
    read: OnceLock<Result<Definitions, StructureFault>>,
}

/// Definitions of one origin.
#[derive(Debug, Default)]
struct Definitions {
    entries: Vec<Entry>,
    /// Places by url, the newest version last.
    by_url: HashMap<Box<str>, Vec<usize>>,
}

/// A definition, still as text: most are never asked for.
#[derive(Debug)]
struct Entry {
    version: Option<Box<str>>,
    text: Box<[u8]>,
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
        let packs = Arc::new(Packs { bytes, read: OnceLock::new() });
        Self { packs, stored: Definitions::default(), made: RwLock::default() }
    }

    /// The same packs with these stored StructureDefinitions instead of those it had. Other resources
    /// are passed over, as are definitions without a url.
    #[must_use]
    pub fn with_resources<'v>(&self, resources: impl IntoIterator<Item = Value<'v>>) -> Self {
        let mut stored = Definitions::default();
        let none: Arc<[Arc<Invariant>]> = Arc::default();
        for resource in resources {
            if resource.str_at("resourceType") != Some("StructureDefinition") {
                continue;
            }
            if let Some(record) = reduced_structure(&resource) {
                stored.add(&record, record.to_text().into_bytes(), &none);
            }
        }
        Self { packs: self.packs.clone(), stored, made: RwLock::default() }
    }

    /// The structure of a canonical: `url` or `url|version`; the newest where it names no version.
    ///
    /// # Errors
    /// [`StructureFault`] when there is none, or when its definition cannot be used.
    pub fn structure(&self, canonical: &str) -> Result<Arc<Structure>, StructureFault> {
        let place = self.find(canonical)?;
        if let Some(made) = self.made.read().unwrap_or_else(PoisonError::into_inner).get(&place) {
            return made.clone();
        }
        // Two that ask at the same time may both make it; the first one stays.
        let made = self.make(place);
        let mut all = self.made.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(place).or_insert(made).clone()
    }

    /// The structure of a type of FHIR's own: `Patient`, `HumanName`.
    ///
    /// # Errors
    /// As [`Library::structure`].
    pub fn structure_of_type(&self, name: &str) -> Result<Arc<Structure>, StructureFault> {
        self.structure(&format!("{TYPE_URL}{name}"))
    }

    fn find(&self, canonical: &str) -> Result<Place, StructureFault> {
        if let Some(at) = self.stored.find(canonical) {
            return Ok(Place { is_stored: true, at });
        }
        let at = self.packs.definitions()?.find(canonical);
        let at = at.ok_or_else(|| StructureFault::Unknown(canonical.to_owned()))?;
        Ok(Place { is_stored: false, at })
    }

    fn definition(&self, place: Place) -> Result<Definition, StructureFault> {
        let of = if place.is_stored { &self.stored } else { self.packs.definitions()? };
        let entry = of.entries.get(place.at);
        let entry = entry.ok_or_else(|| StructureFault::Unknown(String::new()))?;
        let unreadable = |error: json::JsonError| StructureFault::Unreadable(error.to_string());
        let record = json::parse(&entry.text).map_err(unreadable)?;
        read::definition(&record, &entry.invariants)
    }

    fn make(&self, place: Place) -> Made {
        let Definition { structure, .. } = self.definition(place)?;
        if structure.elements.is_empty() {
            let reason = "it has no snapshot".to_owned();
            return Err(StructureFault::Malformed { url: structure.url.into(), reason });
        }
        Ok(Arc::new(structure))
    }
}

impl Packs {
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

impl Definitions {
    fn add_pack(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        let pack = Pack::open(bytes)?;
        let mut invariants = Vec::new();
        for record in pack.records(Section::Invariants)?.iter() {
            // A line without a key is none, and the numbers of the others stay.
            let read = Invariant::read(&record?);
            invariants.push(Arc::new(read.unwrap_or_default()));
        }
        let invariants: Arc<[Arc<Invariant>]> = invariants.into();
        for section in [Section::Types, Section::Profiles] {
            let records = pack.records(section)?;
            for (record, line) in records.iter().zip(records.lines()) {
                self.add(&record?, line.to_vec(), &invariants);
            }
        }
        Ok(())
    }

    fn add(&mut self, record: &Value<'_>, text: Vec<u8>, invariants: &Arc<[Arc<Invariant>]>) {
        let Some(url) = record.str_at("url").filter(|url| !url.is_empty()) else { return };
        let version = record.str_at("version").map(Into::into);
        let (at, entries) = (self.entries.len(), &self.entries);
        let places = self.by_url.entry(url.into()).or_default();
        let is_older = |other: &usize| {
            compare_versions(entries[*other].version.as_deref(), record.str_at("version"))
                != Ordering::Greater
        };
        places.insert(places.partition_point(is_older), at);
        self.entries.push(Entry { version, text: text.into(), invariants: invariants.clone() });
    }

    /// The definition of this canonical; with a version only that one.
    fn find(&self, canonical: &str) -> Option<usize> {
        let Canonical { url, version, .. } = Canonical::parse(canonical);
        let newest_first = self.by_url.get(url)?.iter().rev().copied();
        let is_meant =
            |at: &usize| version.is_none() || self.entries[*at].version.as_deref() == version;
        newest_first.into_iter().find(is_meant)
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
