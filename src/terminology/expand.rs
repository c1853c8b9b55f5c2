//! From the name of a value set to its codes.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset.html#compositions>,
//! <https://hl7.org/fhir/R4/snomedct.html#implicit>

use crate::spec::terminology::TerminologyFault;

use super::Image;
use super::code_system::{CodeSystem, Content};
use super::definitions::parted;
use super::filter::matching;
use super::set::CodeSet;
use super::value_set::{Filter, Part, ValueSet};

/// Value sets that import value sets: how deep.
const MAX_DEPTH: usize = 20;
/// Codes that may be collected on the way to a smaller answer.
const MAX_COLLECTED: usize = 200_000;

const SNOMED: &str = "http://snomed.info/sct";

/// The codes of a value set.
pub(super) fn expand(image: &Image, name: &str, limit: usize) -> Result<CodeSet, TerminologyFault> {
    let bound = limit.max(MAX_COLLECTED);
    Expansion { image, name, limit, bound, open: Vec::new() }.named(name)
}

struct Expansion<'i> {
    image: &'i Image,
    /// The value set that was asked for, and how many codes the caller takes.
    name: &'i str,
    limit: usize,
    bound: usize,
    /// The value sets that are being expanded, outermost first.
    open: Vec<&'i ValueSet>,
}

impl<'i> Expansion<'i> {
    fn named(&mut self, name: &str) -> Result<CodeSet, TerminologyFault> {
        if let Some(value_set) = self.image.value_set(name) {
            return self.value_set(name, value_set);
        }
        if let Some(part) = implicit(name)? {
            return self.part(name, &part, true);
        }
        match self.image.system_of_value_set(name) {
            Some(system) => self.part(name, &Part::whole(&system.url), true),
            None => Err(TerminologyFault::UnknownValueSet(name.to_owned())),
        }
    }

    fn value_set(
        &mut self,
        name: &str,
        value_set: &'i ValueSet,
    ) -> Result<CodeSet, TerminologyFault> {
        let is_open = self.open.iter().any(|open| std::ptr::eq(*open, value_set));
        if is_open || self.open.len() == MAX_DEPTH {
            return Err(TerminologyFault::Circular(name.to_owned()));
        }
        self.open.push(value_set);
        let mut set = CodeSet::default();
        for (system, code) in &value_set.listed {
            set.insert(system, code);
        }
        for part in &value_set.include {
            set.unite(self.part(name, part, value_set.has_inactive)?);
            self.bounded(&set)?;
        }
        let mut is_whole = true;
        for part in &value_set.exclude {
            is_whole &= set.subtract(&self.part(name, part, true)?);
        }
        self.open.pop();
        if is_whole { Ok(set) } else { Err(unlisted(name, &set)) }
    }

    /// The codes of one include or exclude.
    fn part(
        &mut self,
        name: &str,
        part: &Part,
        has_inactive: bool,
    ) -> Result<CodeSet, TerminologyFault> {
        let mut found = match &part.system {
            Some(system) => Some(self.of_system(name, system, part, has_inactive)?),
            None => None,
        };
        for import in &part.value_sets {
            let imported = self.named(import)?;
            found = Some(match found {
                Some(found) => found.intersect(&imported),
                None => imported,
            });
        }
        let found = found.unwrap_or_default();
        self.bounded(&found)?;
        Ok(found)
    }

    fn of_system(
        &self,
        name: &str,
        canonical: &str,
        part: &Part,
        has_inactive: bool,
    ) -> Result<CodeSet, TerminologyFault> {
        let url = parted(canonical).0;
        let mut set = CodeSet::default();
        let known = self.image.system(canonical);
        let is_listed = known.is_some_and(|it| it.content == Content::Complete);
        if part.filters.is_empty() && !(is_listed && known.is_some_and(CodeSystem::has_codes)) {
            match &part.codes[..] {
                [] => drop(set.systems.insert(url.into())),
                codes => codes.iter().for_each(|code| set.insert(url, code)),
            }
            return Ok(set);
        }
        let known = known.filter(|it| it.has_codes());
        let known = known.ok_or_else(|| TerminologyFault::UnknownSystem(canonical.to_owned()))?;
        let mut places: Vec<u32> = match &part.codes[..] {
            [] => known.all().collect(),
            codes => codes.iter().filter_map(|code| known.find(code)).collect(),
        };
        for filter in &part.filters {
            let matches = matching(known, filter).map_err(|reason| {
                TerminologyFault::Unsupported { value_set: name.to_owned(), reason }
            })?;
            places.retain(|at| matches.contains(at));
        }
        for concept in places.into_iter().map(|at| known.concept(at)) {
            if has_inactive || !concept.is_inactive {
                set.insert(url, &concept.code);
            }
        }
        Ok(set)
    }

    fn bounded(&self, set: &CodeSet) -> Result<(), TerminologyFault> {
        if set.codes.len() <= self.bound {
            return Ok(());
        }
        Err(TerminologyFault::TooCostly { what: self.name.to_owned(), limit: self.limit })
    }
}

fn unlisted(name: &str, set: &CodeSet) -> TerminologyFault {
    let systems: Vec<_> = set.systems.iter().map(|system| &**system).collect();
    let reason = format!("it excludes codes of {}, whose codes are not known", systems.join(", "));
    TerminologyFault::Unsupported { value_set: name.to_owned(), reason }
}

/// The value set that a url describes by itself.
fn implicit(name: &str) -> Result<Option<Part>, TerminologyFault> {
    if name == "http://loinc.org/vs" {
        return Ok(Some(Part::whole("http://loinc.org")));
    }
    let Some((system, query)) = name.split_once('?') else { return Ok(None) };
    // An edition and its version are named behind the system.
    let is_snomed =
        system.strip_prefix(SNOMED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let system = if is_snomed { SNOMED } else { system };
    let mut part = Part::whole(system);
    match query.strip_prefix("fhir_vs") {
        Some("") => {}
        Some(rest) => match rest.strip_prefix("=isa/") {
            Some(code) if !code.is_empty() => part.filters.push(Filter::is_a(code)),
            _ => {
                let reason = format!("{query:?} is not understood");
                return Err(TerminologyFault::Unsupported { value_set: name.to_owned(), reason });
            }
        },
        None => return Ok(None),
    }
    Ok(Some(part))
}
