//! What the definitions say of codes: the system behind a `code` element, and whether case counts.
//!
//! Not part of [`Spec`](super::Spec): it takes another read of the pack, and only search asks.
//!
//! Layer: 1. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/terminologies.html#code>,
//! <https://hl7.org/fhir/R4/codesystem-definitions.html#CodeSystem.caseSensitive>

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use crate::fhir::Canonical;
use crate::fhir::json::Value;

use super::R4_PACK;
use super::package::{Pack, PackError, Section};

/// Systems that FHIR names but does not define, whose codes differ by case.
const SENSITIVE: [&str; 1] = ["http://unitsofmeasure.org"];

/// Value sets that import value sets: how deep.
const MAX_IMPORTS: u8 = 5;

/// Code systems as far as the comparison of codes needs them.
#[derive(Debug, Default)]
pub struct Codes {
    implied: HashMap<Box<str>, Box<str>>,
    sensitive: HashSet<Box<str>>,
}

impl Codes {
    /// What the pack of FHIR R4 itself says, read once for the whole program.
    ///
    /// # Errors
    /// [`PackError`]; a test proves that the embedded pack can be read.
    pub fn r4() -> Result<Arc<Self>, PackError> {
        static R4: OnceLock<Arc<Codes>> = OnceLock::new();
        if let Some(known) = R4.get() {
            return Ok(known.clone());
        }
        let read = Arc::new(Self::load(&Pack::open(R4_PACK)?)?);
        Ok(R4.get_or_init(|| read).clone())
    }

    /// What the pack says.
    ///
    /// # Errors
    /// [`PackError`] when the pack cannot be read.
    pub fn load(pack: &Pack<'_>) -> Result<Self, PackError> {
        let mut sensitive: HashSet<Box<str>> = SENSITIVE.into_iter().map(Into::into).collect();
        for record in pack.records(Section::CodeSystems)?.iter() {
            let record = record?;
            if record.get("caseSensitive").and_then(Value::as_bool) == Some(true) {
                sensitive.extend(record.str_at("url").map(Into::into));
            }
        }
        let sources = sources(pack)?;
        let mut implied = HashMap::new();
        for structure in pack.records(Section::Types)?.iter() {
            let structure = structure?;
            for element in structure.items_at("snapshot") {
                implied.extend(required(element).and_then(|(path, value_set)| {
                    Some((path.into(), only_system(value_set, &sources, MAX_IMPORTS)?.into()))
                }));
            }
        }
        Ok(Self { implied, sensitive })
    }

    /// The system that the codes of an element are of: `Patient.gender`.
    ///
    /// `None` where the element has no required binding, or one that draws on several systems.
    pub fn implied(&self, path: &str) -> Option<&str> {
        self.implied.get(path).map(|system| &**system)
    }

    /// Whether the definition of `system` says that the case of its codes counts.
    pub fn is_case_sensitive(&self, system: &str) -> bool {
        self.sensitive.contains(system)
    }
}

/// What a value set is made of: systems and other value sets.
#[derive(Default)]
struct Source {
    systems: Vec<Box<str>>,
    imports: Vec<Box<str>>,
}

fn sources(pack: &Pack<'_>) -> Result<HashMap<Box<str>, Source>, PackError> {
    let mut found = HashMap::new();
    for record in pack.records(Section::ValueSets)?.iter() {
        let record = record?;
        let Some(url) = record.str_at("url") else { continue };
        let mut source = Source::default();
        for include in record.get("compose").map_or(&[][..], |it| it.items_at("include")) {
            source.systems.extend(include.str_at("system").map(Into::into));
            let imports = include.items_at("valueSet").iter().filter_map(Value::as_str);
            source.imports.extend(imports.map(Into::into));
        }
        found.insert(url.into(), source);
    }
    Ok(found)
}

/// An element of type `code` with a required binding: its path and the value set.
fn required<'r>(element: &'r Value<'_>) -> Option<(&'r str, &'r str)> {
    let binding = element.get("binding")?;
    let is_code = |named: &Value<'_>| named.str_at("code") == Some("code");
    let holds = binding.str_at("strength") == Some("required")
        && element.items_at("type").iter().all(is_code);
    holds.then_some((element.str_at("path")?, binding.str_at("valueSet")?))
}

/// The system that all codes of a value set are of.
fn only_system<'s>(
    value_set: &str,
    sources: &'s HashMap<Box<str>, Source>,
    depth: u8,
) -> Option<&'s str> {
    let source = sources.get(Canonical::parse(value_set).url)?;
    let depth = depth.checked_sub(1)?;
    let direct = source.systems.iter().map(|system| Some(&**system));
    let imported = source.imports.iter().map(|import| only_system(import, sources, depth));
    let mut all = direct.chain(imported);
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes() -> Arc<Codes> {
        Codes::r4().expect("the embedded pack loads")
    }

    #[test]
    fn a_code_element_has_the_system_of_its_required_binding() {
        let codes = codes();
        for (path, expected) in [
            ("Patient.gender", Some("http://hl7.org/fhir/administrative-gender")),
            ("Observation.status", Some("http://hl7.org/fhir/observation-status")),
            ("ContactPoint.system", Some("http://hl7.org/fhir/contact-point-system")),
            ("Attachment.contentType", Some("urn:ietf:bcp:13")),
            // Two systems.
            ("Task.intent", None),
            // Preferred only.
            ("Resource.language", None),
            // A CodeableConcept names its systems itself.
            ("Condition.clinicalStatus", None),
            ("Patient.active", None),
            ("Patient.nothing", None),
        ] {
            assert_eq!(codes.implied(path), expected, "{path}");
        }
        assert!(codes.implied.len() > 300, "{}", codes.implied.len());
    }

    #[test]
    fn case_counts_where_the_system_says_so() {
        let codes = codes();
        for (system, expected) in [
            ("http://hl7.org/fhir/administrative-gender", true),
            ("http://terminology.hl7.org/CodeSystem/v3-ActCode", true),
            ("http://unitsofmeasure.org", true),
            ("http://snomed.info/sct", false),
            ("http://loinc.org", false),
            ("http://terminology.hl7.org/CodeSystem/v2-0203", false),
            ("http://example.org/unknown", false),
            ("", false),
        ] {
            assert_eq!(codes.is_case_sensitive(system), expected, "{system}");
        }
    }
}
