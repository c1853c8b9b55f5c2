//! Whether one code is in a value set, without its other codes.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset.html#compositions>

use std::collections::HashMap;

use crate::fhir::Canonical;
use crate::spec::terminology::{Contains, TerminologyFault};

use super::builtin;
use super::code_system::{CodeSystem, Content};
use super::expand::{MAX_DEPTH, Place, implicit, ready, readying};
use super::scope::{Scope, Used};
use super::value_set::{Listing, Part, ValueSet};

/// A question about one code.
pub(super) struct Question<'s, 'i> {
    scope: &'s Scope<'i>,
    system: Option<&'s str>,
    code: &'s str,
    /// The value sets that are being looked through, outermost first.
    open: Vec<&'i ValueSet>,
    /// Those that were, by their place in memory.
    done: HashMap<*const ValueSet, Contains>,
    /// What was looked at.
    pub(super) used: Used<'i>,
    /// What a value set says of the code, where one names it.
    pub(super) listing: Option<&'i Listing>,
    /// Whether nothing but being inactive keeps the code out of some value set.
    pub(super) is_left_out: bool,
    /// The system whose codes are not here, where it is in by all of them: is it one?
    pub(super) on_trust: Option<Box<str>>,
}

impl<'s, 'i> Question<'s, 'i> {
    pub(super) fn new(scope: &'s Scope<'i>, system: Option<&'s str>, code: &'s str) -> Self {
        let (open, done, used, listing, is_left_out, on_trust) = Default::default();
        Self { scope, system, code, open, done, used, listing, is_left_out, on_trust }
    }

    /// Whether the code is in the value set of this name.
    pub(super) fn named(&mut self, name: &str) -> Result<Contains, TerminologyFault> {
        self.scope.spend(name, 1)?;
        if let Some(value_set) = self.scope.image.value_set(name) {
            return self.value_set(name, value_set);
        }
        let implied = match implicit(name)? {
            Some(part) => part,
            None => match self.scope.system_of_value_set(name) {
                Some(system) => Part::whole(&system.url),
                None => return Err(TerminologyFault::UnknownValueSet(name.to_owned())),
            },
        };
        let system = implied.system.as_deref().unwrap_or_default();
        Ok(self.of_system(name, system, &implied, true, Place { list: "include", at: 0 })?.0)
    }

    /// Whether the code is in this value set.
    pub(super) fn value_set(
        &mut self,
        name: &str,
        value_set: &'i ValueSet,
    ) -> Result<Contains, TerminologyFault> {
        if let Some(answer) = self.done.get(&std::ptr::from_ref(value_set)) {
            return Ok(answer.clone());
        }
        let is_open = self.open.iter().any(|open| std::ptr::eq(*open, value_set));
        if is_open || self.open.len() == MAX_DEPTH {
            return Err(TerminologyFault::Circular(name.to_owned()));
        }
        self.scope.check_moment(value_set)?;
        self.used.value_set(value_set, !self.open.is_empty());
        self.open.push(value_set);
        let mut answer = yes_if(value_set.listed.iter().any(|part| self.is_listed(part)));
        for (at, part) in value_set.include.iter().enumerate() {
            if answer == Contains::Yes {
                break;
            }
            let place = Place { list: "include", at };
            answer = either(answer, self.part(name, part, value_set.has_inactive, place)?);
        }
        for (at, part) in value_set.exclude.iter().enumerate() {
            if answer == Contains::No {
                break;
            }
            answer = match self.part(name, part, true, Place { list: "exclude", at })? {
                Contains::No => answer,
                Contains::Untold(system) => Contains::Untold(system),
                Contains::Yes => Contains::No,
            };
        }
        self.open.pop();
        self.done.insert(value_set, answer.clone());
        Ok(answer)
    }

    fn is_listed(&self, part: &Part) -> bool {
        let is_system = self.system.is_none_or(|it| part.system.as_deref() == Some(it));
        is_system && part.listing(self.code).is_some()
    }

    /// Whether it is in one include or exclude.
    fn part(
        &mut self,
        name: &str,
        part: &'i Part,
        has_inactive: bool,
        place: Place,
    ) -> Result<Contains, TerminologyFault> {
        let mut answer = match &part.system {
            Some(system) => {
                let (answer, code) = self.of_system(name, system, part, has_inactive, place)?;
                let code = code.unwrap_or(self.code);
                if let (Contains::Yes, Some(listing)) = (&answer, part.listing(code)) {
                    self.listing = Some(listing);
                }
                answer
            }
            None if part.value_sets.is_empty() => Contains::No,
            None => Contains::Yes,
        };
        for import in &part.value_sets {
            if answer == Contains::No {
                break;
            }
            answer = both(answer, self.named(import)?);
        }
        Ok(answer)
    }

    /// Whether it is one of the codes of a system, and how the system spells it.
    fn of_system(
        &mut self,
        name: &str,
        canonical: &str,
        part: &Part,
        has_inactive: bool,
        place: Place,
    ) -> Result<(Contains, Option<&'i str>), TerminologyFault> {
        let url = Canonical::parse(canonical).url;
        if self.system.is_some_and(|system| system != url) {
            return Ok((Contains::No, None));
        }
        let system = self.scope.system(canonical)?;
        if let Some(system) = system {
            self.used.system(system);
        }
        let system = system.filter(|it| it.has_codes());
        let is_all =
            |it: &CodeSystem| it.content == Content::Complete && !it.may_compose(self.code);
        let is_whole = system.is_some_and(is_all);
        self.scope.spend(name, 1 + part.filters.len())?;
        let concept = system.and_then(|it| Some((it, it.concepts.find(self.code)?)));
        let code = concept.map(|(it, at)| it.concepts.code(at));
        if part.filters.is_empty() && !is_whole {
            let answer = match &part.codes[..] {
                [] => builtin::accepts(url, self.code).unwrap_or_else(|| {
                    self.on_trust = concept.is_none().then(|| url.into());
                    true
                }),
                _ => self.names(name, part, system, code)?,
            };
            return Ok((yes_if(answer), code));
        }
        let untold = || Contains::Untold(url.into());
        // A grammar knows more than those of its codes that are listed somewhere.
        let passes = |filter| builtin::passes(url, self.code, filter);
        let told: Option<Vec<bool>> = part.filters.iter().map(passes).collect();
        if let Some(all) = told.filter(|all| !all.is_empty()) {
            return Ok((yes_if(all.into_iter().all(|passes| passes)), code));
        }
        let Some(system) = system else { return Ok((untold(), None)) };
        let Some((_, at)) = concept else {
            return Ok((if is_whole { Contains::No } else { untold() }, None));
        };
        if !part.codes.is_empty() && !self.names(name, part, Some(system), code)? {
            return Ok((Contains::No, code));
        }
        for (which, filter) in part.filters.iter().enumerate() {
            self.scope.spend(name, readying(filter))?;
            let ready = ready(name, system, filter, || place.filter(which))?;
            if !ready.passes(&system.concepts, at) {
                return Ok((Contains::No, code));
            }
        }
        let is_in = has_inactive || !system.concepts.is_inactive(at);
        self.is_left_out |= !is_in;
        Ok((yes_if(is_in), code))
    }

    /// Whether the part names the code, in its system's spelling or another one.
    fn names(
        &mut self,
        name: &str,
        part: &Part,
        system: Option<&CodeSystem>,
        code: Option<&str>,
    ) -> Result<bool, TerminologyFault> {
        let is_named = |code: &str| part.listing(code).is_some();
        if is_named(self.code) || code.is_some_and(is_named) {
            return Ok(true);
        }
        let Some(system) = system.filter(|it| !it.about.is_case_sensitive) else {
            return Ok(false);
        };
        self.scope.spend(name, part.codes.len())?;
        let wanted = system.concepts.find(self.code);
        let is_it = |it: &Listing| system.concepts.find(&it.code) == wanted;
        Ok(wanted.is_some() && part.codes.iter().any(is_it))
    }
}

fn yes_if(answer: bool) -> Contains {
    if answer { Contains::Yes } else { Contains::No }
}

/// In one of two sets.
fn either(one: Contains, other: Contains) -> Contains {
    match (one, other) {
        (Contains::Yes, _) | (_, Contains::Yes) => Contains::Yes,
        (Contains::Untold(system), _) | (_, Contains::Untold(system)) => Contains::Untold(system),
        (Contains::No, Contains::No) => Contains::No,
    }
}

/// In both of two sets.
fn both(one: Contains, other: Contains) -> Contains {
    match (one, other) {
        (Contains::No, _) | (_, Contains::No) => Contains::No,
        (Contains::Untold(system), _) | (_, Contains::Untold(system)) => Contains::Untold(system),
        (Contains::Yes, Contains::Yes) => Contains::Yes,
    }
}
