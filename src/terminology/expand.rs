//! From the name of a value set to its codes.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset.html#compositions>,
//! <https://hl7.org/fhir/R4/snomedct.html#implicit>

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::fhir::Canonical;
use crate::spec::terminology::TerminologyFault;

use super::code_system::{CodeSystem, Content};
use super::concepts::Concepts;
use super::filter::Ready;
use super::places::Places;
use super::scope::{Scope, Used};
use super::set::{CodeSet, Entry, Union};
use super::value_set::{Filter, Listing, Part, ValueSet};

/// Value sets that import value sets: how deep.
pub(super) const MAX_DEPTH: usize = 20;
/// Codes that may be collected on the way to a smaller answer.
const MAX_COLLECTED: usize = 500_000;
/// How much a code costs that is kept until the end.
const KEEPING: usize = 10;
/// The same of matching it with an expression, and of compiling one.
const MATCHING: usize = 16;
const COMPILING: usize = 10_000;

pub(super) const SNOMED: &str = "http://snomed.info/sct";

/// Expands value sets.
pub(super) struct Expansion<'s, 'i> {
    scope: &'s Scope<'i>,
    /// The value set that was asked for, and how many codes the caller takes.
    name: &'s str,
    limit: usize,
    bound: usize,
    /// The value sets that are being expanded, outermost first.
    open: Vec<&'i ValueSet>,
    /// Those that were, by their place in memory: a value set may be imported many times.
    done: HashMap<*const ValueSet, Rc<CodeSet<'i>>>,
    /// What was looked at.
    pub(super) used: Used<'i>,
    /// Whether the codes at hand stand for a system of which there are more.
    has_fragments: bool,
}

impl<'s, 'i> Expansion<'s, 'i> {
    /// Of the value set `name`, of which the caller takes so many codes.
    pub(super) fn of(scope: &'s Scope<'i>, name: &'s str, limit: usize) -> Self {
        let bound = limit.max(MAX_COLLECTED);
        let (open, done, used) = Default::default();
        let has_fragments = false;
        Self { scope, name, limit, bound, open, done, used, has_fragments }
    }

    /// The same where the codes at hand stand for a system of which there are more.
    pub(super) fn with_fragments(self) -> Self {
        Self { has_fragments: true, ..self }
    }

    /// The codes of a value set that its name finds.
    pub(super) fn named(&mut self, name: &str) -> Result<Rc<CodeSet<'i>>, TerminologyFault> {
        self.spend(1)?;
        if let Some(value_set) = self.scope.image.value_set(name) {
            return self.value_set(name, value_set);
        }
        if let Some(part) = implicit(name)? {
            return self.implied(name, &part);
        }
        match self.scope.system_of_value_set(name) {
            Some(system) => self.implied(name, &Part::whole(&system.url)),
            None => Err(TerminologyFault::UnknownValueSet(name.to_owned())),
        }
    }

    /// The codes of this value set.
    pub(super) fn value_set(
        &mut self,
        name: &str,
        value_set: &'i ValueSet,
    ) -> Result<Rc<CodeSet<'i>>, TerminologyFault> {
        if let Some(set) = self.done.get(&std::ptr::from_ref(value_set)) {
            return Ok(set.clone());
        }
        let is_open = self.open.iter().any(|open| std::ptr::eq(*open, value_set));
        if is_open || self.open.len() == MAX_DEPTH {
            return Err(TerminologyFault::Circular(name.to_owned()));
        }
        self.scope.check_moment(value_set)?;
        self.used.value_set(value_set, !self.open.is_empty());
        self.open.push(value_set);
        let mut union = Union::default();
        for part in &value_set.listed {
            self.spend(part.codes.len())?;
            union.add(self.listed(part)?);
        }
        for (at, part) in value_set.include.iter().enumerate() {
            let place = Place { list: "include", at };
            let found = self.part(name, part, value_set.has_inactive, place)?;
            // A system with all of its codes takes the place of those so far.
            let again = if found.systems.is_empty() { 0 } else { union.set.entries.len() };
            self.spend(1 + again + found.entries.len() + found.systems.len())?;
            union.add(found);
            self.bounded(&union.set)?;
        }
        let mut set = union.set;
        let mut is_whole = true;
        for (at, part) in value_set.exclude.iter().enumerate() {
            let place = Place { list: "exclude", at };
            let found = self.part(name, part, true, place)?;
            self.spend(set.entries.len() + found.entries.len())?;
            is_whole &= set.subtract(&found);
        }
        self.open.pop();
        if !is_whole {
            return Err(unlisted(name, &set));
        }
        self.spend(set.entries.len() * KEEPING)?;
        let set = Rc::new(set);
        self.done.insert(value_set, set.clone());
        Ok(set)
    }

    /// The codes that an expansion lists, whether their system is known or not.
    fn listed(&mut self, part: &'i Part) -> Result<CodeSet<'i>, TerminologyFault> {
        let url = part.system.as_deref().unwrap_or_default();
        if self.scope.excludes(url, None) {
            return Ok(CodeSet::default());
        }
        let known = self.scope.system(url)?;
        if self.scope.excludes(url, known) {
            return Ok(CodeSet::default());
        }
        let entry = |listing: &'i Listing| {
            let at = known.and_then(|it| Some((it, it.concepts.find(&listing.code)?)));
            Entry { url, code: &listing.code, concept: at, listing: Some(listing) }
        };
        Ok(CodeSet { entries: part.codes.iter().map(entry).collect(), ..CodeSet::default() })
    }

    /// The codes of one include or exclude.
    fn part(
        &mut self,
        name: &str,
        part: &'i Part,
        has_inactive: bool,
        place: Place,
    ) -> Result<CodeSet<'i>, TerminologyFault> {
        let mut found = match &part.system {
            Some(system) => {
                let codes = Some((Canonical::parse(system).url, &part.codes[..]));
                let filters = (&part.filters[..], place);
                Some(self.of_system(name, system, codes, filters, has_inactive)?)
            }
            None if part.value_sets.is_empty() => return Err(nothing(name, place)),
            None => None,
        };
        for import in &part.value_sets {
            let imported = self.named(import)?;
            let both = imported.entries.len() + found.as_ref().map_or(0, |it| it.entries.len());
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

    /// The codes of a value set that only its name describes: nothing is listed in it.
    fn implied(&mut self, name: &str, part: &Part) -> Result<Rc<CodeSet<'i>>, TerminologyFault> {
        let system = part.system.as_deref().unwrap_or_default();
        let filters = (&part.filters[..], Place { list: "include", at: 0 });
        self.of_system(name, system, None, filters, true).map(Rc::new)
    }

    fn of_system(
        &mut self,
        name: &str,
        canonical: &str,
        listed: Option<(&'i str, &'i [Listing])>,
        (filters, place): (&[Filter], Place),
        has_inactive: bool,
    ) -> Result<CodeSet<'i>, TerminologyFault> {
        let mut set = CodeSet::default();
        // What is left out need not even be known.
        if self.scope.excludes(canonical, None) {
            return Ok(set);
        }
        let known = self.scope.system(canonical)?;
        if self.scope.excludes(canonical, known) {
            return Ok(set);
        }
        let (url, listings) = listed.unwrap_or(("", &[]));
        if let Some(known) = known {
            self.used.system(known);
        }
        let known = known.filter(|it| it.has_codes());
        let stands_for_all = self.has_fragments && listings.is_empty();
        let is_all = |it: &CodeSystem| {
            let is_closed = !it.about.is_compositional || !listings.is_empty();
            it.content == Content::Complete && is_closed
        };
        let is_whole = known.is_some_and(|it| stands_for_all || is_all(it));
        if filters.is_empty() && !is_whole {
            match listings {
                [] => drop(set.systems.insert(Canonical::parse(canonical).url.into())),
                _ => set.entries = unknown(url, listings, known),
            }
            return Ok(set);
        }
        let system = known.ok_or_else(|| TerminologyFault::UnknownSystem(canonical.to_owned()))?;
        let known = &system.concepts;
        self.spend(listings.len())?;
        for filter in filters {
            let matching = if &*filter.op == "regex" { MATCHING } else { 1 };
            self.spend(known.len().saturating_mul(matching).saturating_add(readying(filter)))?;
        }
        let mut places = match listings {
            [] => Places::all(known.len()),
            _ => Places::of(known.len(), listings.iter().filter_map(|it| known.find(&it.code))),
        };
        for (at, filter) in filters.iter().enumerate() {
            let ready = ready(name, system, filter, || place.filter(at))?;
            places.intersect(&ready.all(known));
        }
        if places.len() > self.bound && has_inactive {
            return Err(self.too_costly());
        }
        let is_in = |at: u32| has_inactive || !known.is_inactive(at);
        set.entries = match listings {
            [] => {
                let all = places.iter().filter(|at| is_in(*at));
                all.map(|at| of_concept(system, at, None)).collect()
            }
            // An expression that nobody can look into is in no filter.
            _ => chosen(system, (url, listings), filters.is_empty(), |at| {
                is_in(at) && places.take(at)
            }),
        };
        Ok(set)
    }

    /// Takes from what may be looked at.
    pub(super) fn spend(&mut self, looks: usize) -> Result<(), TerminologyFault> {
        self.scope.spend(self.name, looks)
    }

    fn bounded(&self, set: &CodeSet<'_>) -> Result<(), TerminologyFault> {
        if set.entries.len() <= self.bound {
            return Ok(());
        }
        Err(self.too_costly())
    }

    fn too_costly(&self) -> TerminologyFault {
        TerminologyFault::TooCostly { what: self.name.to_owned(), limit: self.limit }
    }
}

fn of_concept<'i>(system: &'i CodeSystem, at: u32, listing: Option<&'i Listing>) -> Entry<'i> {
    Entry { url: &system.url, code: system.concepts.code(at), concept: Some((system, at)), listing }
}

/// The codes of a system that are listed and that `takes` takes, in the order of the list; with
/// `has_composed` also those that a grammar may have made, each once.
fn chosen<'i>(
    system: &'i CodeSystem,
    (url, listings): (&'i str, &'i [Listing]),
    has_composed: bool,
    mut takes: impl FnMut(u32) -> bool,
) -> Vec<Entry<'i>> {
    let mut composed = HashSet::new();
    let entry = |it: &'i Listing| match system.concepts.find(&it.code) {
        Some(at) => takes(at).then(|| of_concept(system, at, Some(it))),
        None if has_composed && system.may_compose(&it.code) && composed.insert(&it.code) => {
            Some(Entry { url, code: &it.code, concept: None, listing: Some(it) })
        }
        None => None,
    };
    listings.iter().filter_map(entry).collect()
}

/// Codes of a system whose codes are not known, or not all of them: they count as listed.
fn unknown<'i>(
    url: &'i str,
    listings: &'i [Listing],
    known: Option<&'i CodeSystem>,
) -> Vec<Entry<'i>> {
    let entry = |listing: &'i Listing| {
        let concept = known.and_then(|it| Some((it, it.concepts.find(&listing.code)?)));
        let code = concept.map_or(&*listing.code, |(it, at)| it.concepts.code(at));
        Entry { url, code, concept, listing: Some(listing) }
    };
    let mut seen = HashSet::new();
    listings.iter().map(entry).filter(|it| seen.insert(it.code)).collect()
}

/// Where something stands in a composition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) list: &'static str,
    pub(super) at: usize,
}

impl Place {
    /// The expression of one of its filters.
    pub(super) fn filter(self, filter: usize) -> String {
        let Self { list, at } = self;
        format!("ValueSet.compose.{list}[{at}].filter[{filter}]")
    }
}

/// What it costs to make a filter ready.
pub(super) fn readying(filter: &Filter) -> usize {
    let compiling = if &*filter.op == "regex" { COMPILING } else { 0 };
    compiling + filter.value.len()
}

/// A filter of the value set `name`.
pub(super) fn ready<'f>(
    name: &str,
    system: &CodeSystem,
    filter: &'f Filter,
    place: impl FnOnce() -> String,
) -> Result<Ready<'f>, TerminologyFault> {
    if filter.value.is_empty() {
        return Err(TerminologyFault::FilterLacksValue {
            system: system.url.clone().into(),
            property: filter.property.clone().into(),
            op: filter.op.clone().into(),
            place: place(),
        });
    }
    let concepts: &Concepts = &system.concepts;
    let fault = |reason| TerminologyFault::Unsupported { value_set: name.to_owned(), reason };
    Ready::new(concepts, filter).map_err(fault)
}

fn nothing(name: &str, Place { list, at }: Place) -> TerminologyFault {
    let reason = format!("{list}[{at}] names neither a code system nor a value set");
    TerminologyFault::Unsupported { value_set: name.to_owned(), reason }
}

fn unlisted(name: &str, set: &CodeSet<'_>) -> TerminologyFault {
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
    use super::super::Image;
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
            let scope = Scope::lenient(&image);
            let mut expansion = Expansion::of(&scope, "http://x/0", 10);
            let set = expansion.named("http://x/0").expect("known");
            assert_eq!(set.entries.len(), count);
            assert!(scope.spent() < 1_000, "{}", scope.spent());
        }
    }
}
