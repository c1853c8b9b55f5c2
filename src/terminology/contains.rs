//! Whether one code is in a value set, without its other codes.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset.html#compositions>

use std::collections::HashMap;

use crate::fhir::Canonical;
use crate::spec::terminology::{Contains, TerminologyFault};

use super::Image;
use super::code_system::{CodeSystem, Content};
use super::expand::{MAX_DEPTH, MAX_WORK, implicit, ready};
use super::value_set::{Part, ValueSet};

/// A question about one code.
pub(super) struct Question<'i> {
    image: &'i Image,
    system: Option<&'i str>,
    code: &'i str,
    /// How much more may be looked at.
    work: usize,
    /// The value sets that are being looked through, outermost first.
    open: Vec<&'i ValueSet>,
    /// Those that were, by their place in memory.
    done: HashMap<*const ValueSet, Contains>,
}

impl<'i> Question<'i> {
    pub(super) fn new(image: &'i Image, system: Option<&'i str>, code: &'i str) -> Self {
        let (open, done) = Default::default();
        Self { image, system, code, work: MAX_WORK, open, done }
    }

    /// Whether the code is in the value set of this name.
    pub(super) fn named(&mut self, name: &str) -> Result<Contains, TerminologyFault> {
        self.spend(name, 1)?;
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
    ) -> Result<Contains, TerminologyFault> {
        if let Some(answer) = self.done.get(&std::ptr::from_ref(value_set)) {
            return Ok(answer.clone());
        }
        let is_open = self.open.iter().any(|open| std::ptr::eq(*open, value_set));
        if is_open || self.open.len() == MAX_DEPTH {
            return Err(TerminologyFault::Circular(name.to_owned()));
        }
        self.open.push(value_set);
        let mut answer = Contains::No;
        self.spend(name, value_set.listed.len())?;
        let is_it = |(system, code): &(Box<str>, Box<str>)| {
            self.system.is_none_or(|it| *it == **system) && **code == *self.code
        };
        if value_set.listed.iter().any(is_it) {
            answer = Contains::Yes;
        }
        for part in &value_set.include {
            if answer == Contains::Yes {
                break;
            }
            answer = either(answer, self.part(name, part, value_set.has_inactive)?);
        }
        for part in &value_set.exclude {
            if answer == Contains::No {
                break;
            }
            answer = match self.part(name, part, true)? {
                Contains::No => answer,
                Contains::Untold(system) => Contains::Untold(system),
                Contains::Yes => Contains::No,
            };
        }
        self.open.pop();
        self.done.insert(value_set, answer.clone());
        Ok(answer)
    }

    /// Whether it is in one include or exclude.
    fn part(
        &mut self,
        name: &str,
        part: &Part,
        has_inactive: bool,
    ) -> Result<Contains, TerminologyFault> {
        let mut answer = match &part.system {
            Some(system) => self.of_system(name, system, part, has_inactive)?,
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

    fn of_system(
        &mut self,
        name: &str,
        canonical: &str,
        part: &Part,
        has_inactive: bool,
    ) -> Result<Contains, TerminologyFault> {
        let url = Canonical::parse(canonical).url;
        if self.system.is_some_and(|system| system != url) {
            return Ok(Contains::No);
        }
        let known = self.image.system(canonical).filter(|it| it.has_codes());
        let is_whole = known.is_some_and(|it| it.content == Content::Complete);
        self.spend(name, part.codes.len() + part.filters.len())?;
        if part.filters.is_empty() && !is_whole {
            let is_listed = part.codes.iter().any(|code| **code == *self.code);
            return Ok(yes_if(part.codes.is_empty() || is_listed));
        }
        let Some(known) = known else { return Ok(Contains::Untold(url.into())) };
        let Some(at) = known.find(self.code) else {
            return Ok(if is_whole { Contains::No } else { Contains::Untold(url.into()) });
        };
        let is_it = |code: &Box<str>| **code == *self.code || known.find(code) == Some(at);
        if !part.codes.is_empty() && !part.codes.iter().any(is_it) {
            return Ok(Contains::No);
        }
        for filter in &part.filters {
            let ready = ready(name, known, filter)?;
            self.spend(name, filter.value.len())?;
            if !ready.passes(known, at) {
                return Ok(Contains::No);
            }
        }
        Ok(yes_if(has_inactive || !is_inactive(known, at)))
    }

    /// Takes from what may be looked at.
    fn spend(&mut self, name: &str, looks: usize) -> Result<(), TerminologyFault> {
        match self.work.checked_sub(looks) {
            Some(left) => self.work = left,
            None => return Err(TerminologyFault::Laborious(name.to_owned())),
        }
        Ok(())
    }
}

fn is_inactive(system: &CodeSystem, at: u32) -> bool {
    system.concept(at).is_inactive
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
