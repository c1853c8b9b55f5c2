//! From the name of a value set to its codes.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset.html#compositions>,
//! <https://hl7.org/fhir/R4/snomedct.html#implicit>

use std::collections::HashMap;
use std::rc::Rc;

use crate::fhir::Canonical;
use crate::spec::terminology::TerminologyFault;

use super::Image;
use super::code_system::{CodeSystem, Content};
use super::filter::Ready;
use super::set::CodeSet;
use super::value_set::{Filter, Part, ValueSet};

/// Value sets that import value sets: how deep.
pub(super) const MAX_DEPTH: usize = 20;
/// Codes that may be collected on the way to a smaller answer.
const MAX_COLLECTED: usize = 200_000;
/// Concepts and codes that may be looked at on the way, however often each.
pub(super) const MAX_WORK: usize = 10_000_000;
/// How much a code costs that is kept until the end.
const KEEPING: usize = 10;

const SNOMED: &str = "http://snomed.info/sct";

/// The codes of a value set.
pub(super) fn expand(image: &Image, name: &str, limit: usize) -> Result<CodeSet, TerminologyFault> {
    Expansion::of(image, name, limit).named(name).map(Rc::unwrap_or_clone)
}

struct Expansion<'i> {
    image: &'i Image,
    /// The value set that was asked for, and how many codes the caller takes.
    name: &'i str,
    limit: usize,
    bound: usize,
    /// How much more may be looked at.
    work: usize,
    /// The value sets that are being expanded, outermost first.
    open: Vec<&'i ValueSet>,
    /// Those that were, by their place in memory: a value set may be imported many times.
    done: HashMap<*const ValueSet, Rc<CodeSet>>,
}

impl<'i> Expansion<'i> {
    fn of(image: &'i Image, name: &'i str, limit: usize) -> Self {
        let bound = limit.max(MAX_COLLECTED);
        let (open, done) = Default::default();
        Self { image, name, limit, bound, work: MAX_WORK, open, done }
    }

    fn named(&mut self, name: &str) -> Result<Rc<CodeSet>, TerminologyFault> {
        self.spend(1)?;
        if let Some(value_set) = self.image.value_set(name) {
            return self.value_set(name, value_set);
        }
        if let Some(part) = implicit(name)? {
            return self.part(name, &part, true).map(Rc::new);
        }
        match self.image.system_of_value_set(name) {
            Some(system) => self.part(name, &Part::whole(&system.url), true).map(Rc::new),
            None => Err(TerminologyFault::UnknownValueSet(name.to_owned())),
        }
    }

    fn value_set(
        &mut self,
        name: &str,
        value_set: &'i ValueSet,
    ) -> Result<Rc<CodeSet>, TerminologyFault> {
        if let Some(set) = self.done.get(&std::ptr::from_ref(value_set)) {
            return Ok(set.clone());
        }
        let is_open = self.open.iter().any(|open| std::ptr::eq(*open, value_set));
        if is_open || self.open.len() == MAX_DEPTH {
            return Err(TerminologyFault::Circular(name.to_owned()));
        }
        self.open.push(value_set);
        let mut set = CodeSet::default();
        self.spend(value_set.listed.len())?;
        for (system, code) in &value_set.listed {
            set.insert(system, code);
        }
        for part in &value_set.include {
            let found = self.part(name, part, value_set.has_inactive)?;
            self.spend(found.codes.len() + found.systems.len())?;
            set.unite(found);
            self.bounded(&set)?;
        }
        let mut is_whole = true;
        for part in &value_set.exclude {
            let found = self.part(name, part, true)?;
            self.spend(set.codes.len() + found.codes.len())?;
            is_whole &= set.subtract(&found);
        }
        self.open.pop();
        if !is_whole {
            return Err(unlisted(name, &set));
        }
        self.spend(set.codes.len() * KEEPING)?;
        let set = Rc::new(set);
        self.done.insert(value_set, set.clone());
        Ok(set)
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
            let both = imported.codes.len() + found.as_ref().map_or(0, |it| it.codes.len());
            self.spend(both)?;
            found = Some(match found {
                Some(found) => found.intersect(&imported),
                None => Rc::unwrap_or_clone(imported),
            });
        }
        let found = found.unwrap_or_default();
        self.bounded(&found)?;
        Ok(found)
    }

    fn of_system(
        &mut self,
        name: &str,
        canonical: &str,
        part: &Part,
        has_inactive: bool,
    ) -> Result<CodeSet, TerminologyFault> {
        let url = Canonical::parse(canonical).url;
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
        let looks = known.all().len().saturating_mul(part.filters.len());
        self.spend(looks.saturating_add(part.codes.len()))?;
        let mut places: Vec<u32> = match &part.codes[..] {
            [] => known.all().collect(),
            codes => codes.iter().filter_map(|code| known.find(code)).collect(),
        };
        for filter in &part.filters {
            let matches = ready(name, known, filter)?.all(known);
            places.retain(|at| matches.contains(at));
        }
        for concept in places.into_iter().map(|at| known.concept(at)) {
            if has_inactive || !concept.is_inactive {
                set.insert(url, &concept.code);
            }
        }
        Ok(set)
    }

    /// Takes from what may be looked at.
    fn spend(&mut self, looks: usize) -> Result<(), TerminologyFault> {
        match self.work.checked_sub(looks) {
            Some(left) => self.work = left,
            None => return Err(TerminologyFault::Laborious(self.name.to_owned())),
        }
        Ok(())
    }

    fn bounded(&self, set: &CodeSet) -> Result<(), TerminologyFault> {
        if set.codes.len() <= self.bound {
            return Ok(());
        }
        Err(TerminologyFault::TooCostly { what: self.name.to_owned(), limit: self.limit })
    }
}

/// A filter of the value set `name`.
pub(super) fn ready<'f>(
    name: &str,
    system: &CodeSystem,
    filter: &'f Filter,
) -> Result<Ready<'f>, TerminologyFault> {
    let fault = |reason| TerminologyFault::Unsupported { value_set: name.to_owned(), reason };
    Ready::new(system, filter).map_err(fault)
}

fn unlisted(name: &str, set: &CodeSet) -> TerminologyFault {
    let systems: Vec<_> = set.systems.iter().map(|system| &**system).collect();
    let reason = format!("it excludes codes of {}, whose codes are not known", systems.join(", "));
    TerminologyFault::Unsupported { value_set: name.to_owned(), reason }
}

/// The value set that a url describes by itself.
pub(super) fn implicit(name: &str) -> Result<Option<Part>, TerminologyFault> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;
    use crate::spec::R4_PACK;

    #[test]
    fn a_value_set_that_is_imported_often_is_expanded_once() {
        let import = |to: usize| format!(r#"{{"valueSet":["http://x/{to}"]}}"#);
        let value_set = |at: usize, parts: &str| {
            format!(
                r#"{{"resourceType":"ValueSet","url":"http://x/{at}","compose":{{"include":[{parts}]}}}}"#
            )
        };
        // Each of 19 imports the next one twice: 2^19 ways lead to the last.
        let doubled = |at: usize| value_set(at, &[import(at + 1), import(at + 1)].join(","));
        for (last, count) in [(r#"{"system":"s","concept":[{"code":"a"}]}"#, 1), ("", 0)] {
            let texts: Vec<String> = (0..19).map(doubled).chain([value_set(19, last)]).collect();
            let values = texts.iter().map(|text| parse(text.as_bytes()).expect(text));
            let image =
                Image::new(R4_PACK, "http://x/fhir").expect("a pack").with_resources(values);
            let mut expansion = Expansion::of(&image, "http://x/0", 10);
            let set = expansion.named("http://x/0").expect("known");
            assert_eq!(set.codes.len(), count);
            assert!(MAX_WORK - expansion.work < 1_000, "{} of {MAX_WORK}", expansion.work);
        }
    }
}
