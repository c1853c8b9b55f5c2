//! A restriction held against a document, without the database.
//!
//! What is written is judged here before and after, old versions are, and so is once more whatever
//! leaves for a limited caller: by code of its own, over the parsed document, so that a mistake in SQL
//! shows nothing. Of what was found only as much is parsed as decides (`glimpse`).
//!
//! What a resource refers to is not at hand here. So membership by reference is judged by what the
//! document itself says, which is necessary and, for what is written, held to be enough only where it
//! leads to a patient.

mod glimpse;
mod measured;
mod mentions;
mod parts;

use std::cell::RefCell;
use std::rc::Rc;

use crate::fhir::json::Value;
use crate::fhir::reference::Target;
use crate::fhir::{Identity, LogicalId, ResourceType};
use crate::search::extract::{Extractor, IndexEntry, IndexValue, ReferenceValue};
use crate::search::request::compare::{AskedReference, AskedToken, AskedUri, Comparison, Part};
use crate::search::request::{Filter, ParameterKey, Test};
use crate::search::values::date::DateRange;

use super::mask;
use super::restriction::{Belonging, Clause, Limits, Members, Restriction, Withheld};
use mentions::Sought;

pub use glimpse::Glimpse;
pub use parts::names;

/// A version of a resource, to be judged.
pub struct Subject<'v> {
    /// Which resource.
    pub identity: &'v Identity,
    /// The resource with `id` and `meta`: whole, or as much of it as decides.
    pub value: &'v Value<'v>,
    /// Hashes of the patients in whose compartments the document lies.
    pub patients: &'v [i64],
    /// The same of what the document names, where others tell whose it is and the store was asked.
    pub about: &'v [i64],
    /// The hash of a patient.
    pub hash: &'v dyn Fn(&LogicalId) -> i64,
    /// Finds the values that criteria ask for.
    pub extractor: &'v Extractor,
}

impl Subject<'_> {
    /// Whether all of these filters hold; `None` where the document alone does not tell.
    pub fn fulfils<'f>(&'f self, filters: &'f [Filter]) -> Option<bool> {
        let facts = Facts { subject: self, extracted: RefCell::default(), is_cut: false };
        fold(filters.iter().map(|filter| facts.holds(filter)), false)
    }
}

/// Why a document is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// The store says that it is reached: is there anything that speaks against it?
    Shown,
    /// It is to be stored: is it reached?
    Written,
}

impl Restriction {
    /// Whether the version is reached.
    pub fn admits(&self, subject: &Subject<'_>, purpose: Purpose) -> bool {
        self.limits().is_none_or(|limits| limits.admits(subject, purpose))
    }

    /// Whether a version is withheld, whoever's else it is: asked of the whole of what is shown in part, for
    /// what tells it may be what is taken out.
    pub fn keeps_back(&self, subject: &Subject<'_>) -> bool {
        self.limits().is_some_and(|limits| {
            let facts = Facts { subject, extracted: RefCell::default(), is_cut: false };
            limits.withheld.iter().any(|withheld| facts.match_withheld(withheld))
        })
    }
}

impl Limits {
    fn admits(&self, subject: &Subject<'_>, purpose: Purpose) -> bool {
        let is_cut = purpose == Purpose::Shown
            && self.in_part().is_some()
            && mask::is_labelled(subject.value);
        let facts = Facts { subject, extracted: RefCell::default(), is_cut };
        let is_reached = self.clauses.iter().any(|clause| facts.fulfil(clause, purpose));
        is_reached && !self.withheld.iter().any(|withheld| facts.match_withheld(withheld))
    }
}

/// A version, and what was extracted of it: the values of those parameters that criteria asked for.
struct Facts<'f, 'v> {
    subject: &'f Subject<'v>,
    extracted: RefCell<Vec<((&'f str, bool), Values<'v>)>>,
    /// Whether others were taken out of the document, after the whole was asked what is withheld.
    is_cut: bool,
}

type Values<'v> = Rc<[IndexEntry<'v>]>;

impl<'f, 'v> Facts<'f, 'v> {
    fn fulfil(&self, clause: &'f Clause, purpose: Purpose) -> bool {
        self.is_one_of(&clause.members, purpose)
            && clause.criteria.iter().all(|filter| self.holds(filter) == Some(true))
    }

    fn match_withheld(&self, withheld: &'f Withheld) -> bool {
        let Subject { value, patients, .. } = self.subject;
        let leads = |to: &Value<'_>, denied: &[i64]| self.refers_to(to, denied) == Some(true);
        let is_theirs = withheld.patients.as_deref().is_none_or(|denied| match withheld.told_by {
            Belonging::Compartment => {
                patients.iter().any(|patient| denied.contains(patient)) || self.is_patient(denied)
            }
            Belonging::Patient => {
                value.get("patient").is_some_and(|patient| leads(patient, denied))
            }
            // What it is attached to, the store tells.
            Belonging::Attachment => {
                value.get("securityContext").is_some_and(|context| leads(context, denied))
            }
            told_by @ (Belonging::Parts | Belonging::References | Belonging::Targets) => {
                self.is_about(denied, told_by)
            }
        });
        let is_within = || withheld.within.as_ref().is_some_and(|of| parts::is_within(of, value));
        is_theirs && (self.holds(&withheld.filter).unwrap_or(!self.is_cut) || is_within())
    }

    /// Whether it names one of these patients or, as far as the store was asked, something of theirs.
    fn is_about(&self, denied: &[i64], told_by: Belonging) -> bool {
        let Subject { value, about, hash, .. } = *self.subject;
        let is_denied = |named: &Identity| {
            named.resource_type == ResourceType::PATIENT && denied.contains(&hash(&named.id))
        };
        about.iter().any(|patient| denied.contains(patient))
            || names(value, told_by, self.base()).iter().any(is_denied)
    }

    fn is_one_of(&self, members: &Members, purpose: Purpose) -> bool {
        let Subject { value, patients: theirs, .. } = self.subject;
        let are_mine = |mine: &[i64]| theirs.iter().all(|patient| mine.contains(patient));
        match members {
            Members::Everyone => true,
            Members::Patients(mine) => !theirs.is_empty() && are_mine(mine),
            // What is shown was cut: nobody else is left in it.
            Members::InPart(mine) => match purpose {
                Purpose::Shown => !theirs.is_empty() && are_mine(mine),
                Purpose::Written => theirs.iter().any(|patient| mine.contains(patient)),
            },
            Members::Collections(mine) => {
                let items = value.items_at("entry").iter().filter_map(|entry| entry.get("item"));
                let mut known = items.map(|item| self.refers_to(item, mine));
                !theirs.is_empty() && are_mine(mine) && known.all(|own| own != Some(false))
            }
            Members::OwnOrNobodys(mine) => value
                .get("patient")
                .is_none_or(|patient| self.refers_to(patient, mine) == Some(true)),
            Members::Themselves(mine) => self.is_patient(mine),
            Members::Documents(mine) => {
                let entries = value.items_at("entry");
                let first = entries.first().and_then(|entry| entry.get("resource"));
                let subject = first.filter(|it| it.str_at("resourceType") == Some("Composition"));
                let subject = subject.and_then(|composition| composition.get("subject"));
                value.str_at("type") == Some("document")
                    && subject.is_some_and(|subject| self.refers_to(subject, mine) == Some(true))
            }
            Members::Context(mine) => {
                let context = value.get("securityContext");
                let refers = context.and_then(|context| self.refers_to(context, mine));
                refers.unwrap_or(purpose == Purpose::Shown)
            }
            Members::Targets(mine) => {
                let targets = value.items_at("target");
                let mut all = targets.iter().map(|target| self.refers_to(target, mine));
                !targets.is_empty()
                    && are_mine(mine)
                    && all.all(|refers| refers.unwrap_or(purpose == Purpose::Shown))
            }
        }
    }

    /// Whether the resource is one of these patients.
    fn is_patient(&self, mine: &[i64]) -> bool {
        let Identity { resource_type, id } = self.subject.identity;
        *resource_type == ResourceType::PATIENT && mine.contains(&(self.subject.hash)(id))
    }

    /// Whether a reference leads to one of these patients; `None`: to something else.
    fn refers_to(&self, reference: &Value<'_>, mine: &[i64]) -> Option<bool> {
        let text = reference.str_at("reference")?;
        match Target::parse(text, self.base()) {
            Target::Local { resource_type, id, .. } if resource_type == ResourceType::PATIENT => {
                Some(mine.contains(&(self.subject.hash)(&id)))
            }
            _ => None,
        }
    }

    fn base(&self) -> &str {
        self.subject.extractor.base()
    }

    /// Whether the filter holds; `None` where a document alone does not tell.
    fn holds(&self, filter: &'f Filter) -> Option<bool> {
        match filter {
            Filter::All(all) => fold(all.iter().map(|filter| self.holds(filter)), false),
            Filter::Any(any) => fold(any.iter().map(|filter| self.holds(filter)), true),
            Filter::Id(ids) => {
                Some(ids.iter().any(|id| **id == *self.subject.identity.id.as_str()))
            }
            Filter::Mentions { target, under, is_certain } => {
                let sought = Sought { target, under, is_certain: *is_certain, base: self.base() };
                let is_there = sought.is_in(self.subject.value);
                // It may have been taken out.
                if self.is_cut && !is_there { None } else { Some(is_there) }
            }
            Filter::Not(inner) => self.holds(inner).map(|holds| !holds),
            Filter::Test(test) => self.test(test),
            Filter::Unshared => Some(self.subject.patients.len() < 2),
            Filter::Type(types) => Some(types.contains(&self.subject.identity.resource_type)),
            Filter::Chain { .. }
            | Filter::Compartment { .. }
            | Filter::FullText { .. }
            | Filter::Has { .. }
            | Filter::Hierarchy { .. }
            | Filter::Keys(_)
            | Filter::LastUpdated(_)
            | Filter::List(_)
            | Filter::OfPatients(_) => None,
        }
    }

    /// Whether a value of one of the parameters is what is asked for.
    fn test(&self, test: &'f Test) -> Option<bool> {
        let of = self.subject.identity.resource_type;
        let keys = test.parameters.iter().filter(|key| key.resource_type == of);
        // The mask's own label is none of the resource.
        let is_put = |value: &IndexValue<'_>| match value {
            IndexValue::Token { system, code } => self.is_cut && mask::is_put(*system, &code.text),
            _ => false,
        };
        let are_codes = test.any.iter().all(|it| matches!(it, Comparison::Token(_)));
        let values = |key: &'f ParameterKey| self.values((&key.code, are_codes));
        let compared = keys.filter_map(values).map(|values| {
            let rows = || values.iter().filter(|row| !is_put(&row.value));
            let compared = test.any.iter().map(|comparison| match comparison {
                Comparison::Present => Some(rows().next().is_some()),
                comparison => fold(rows().map(|row| compare(comparison, &row.value)), true),
            });
            fold(compared, true)
        });
        fold(compared, true)
    }

    /// The values of the parameter with this code, or its codes alone, looked up and extracted once; `None`: the
    /// type has no such parameter.
    fn values(&self, (code, are_codes): (&'f str, bool)) -> Option<Values<'v>> {
        let mut extracted = self.extracted.borrow_mut();
        let known = extracted.iter().find(|(known, _)| *known == (code, are_codes));
        if let Some((_, values)) = known {
            return Some(values.clone());
        }
        let Subject { extractor, identity, value, .. } = *self.subject;
        let of = identity.resource_type;
        let at = extractor.place(of, code)?;
        let values: Values<'v> = if are_codes {
            extractor.extract_codes(of, value, at).into()
        } else {
            extractor.extract_one(of, value, at).into()
        };
        extracted.push(((code, are_codes), values.clone()));
        Some(values)
    }
}

/// `decisive` when one is that; the opposite when all are; else nobody can tell.
fn fold(all: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut sum = Some(!decisive);
    for one in all {
        match one {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => sum = None,
        }
    }
    sum
}

/// Whether a value is what is asked for; `None` for comparisons that criteria cannot have.
fn compare(asked: &Comparison, value: &IndexValue<'_>) -> Option<bool> {
    match (asked, value) {
        (Comparison::Token(asked), IndexValue::Token { system, code }) => match asked {
            AskedToken::Code(codes) => Some(codes.contains(code)),
            AskedToken::WithoutSystem(codes) => Some(system.is_none() && codes.contains(code)),
            AskedToken::Coded { system: of, code: it } => {
                Some(*system == Some(&**of) && it == code)
            }
            AskedToken::System(of) => Some(*system == Some(&**of)),
            AskedToken::OfType { .. } | AskedToken::Begins { .. } => None,
        },
        (Comparison::Reference(asked), IndexValue::Reference(value)) => refers(asked, value),
        // What a consent says of a time is asked by `ap`: they overlap, though it be at a point.
        (Comparison::Date { prefix, range }, IndexValue::Date(value)) => {
            Some(measured::is_date(*prefix, *range, *value))
        }
        (Comparison::Number { prefix, asked }, IndexValue::Number(value)) => {
            Some(measured::is_number(*prefix, asked, *value))
        }
        (Comparison::Quantity { prefix, asked, unit }, IndexValue::Quantity(value)) => {
            Some(measured::is_quantity(*prefix, asked, unit, value))
        }
        (Comparison::Uri(asked), IndexValue::Uri(value)) => {
            is_uri(asked, (value.url, value.version))
        }
        (Comparison::String { part: Part::Start, text, is_exact: false }, value) => match value {
            IndexValue::String { folded, .. } => Some(folded.starts_with(&**text)),
            _ => Some(false),
        },
        (
            Comparison::Date { .. }
            | Comparison::Number { .. }
            | Comparison::Quantity { .. }
            | Comparison::Reference(_)
            | Comparison::Token(_)
            | Comparison::Uri(_),
            _,
        ) => Some(false),
        _ => None,
    }
}

fn overlap(one: DateRange, other: DateRange) -> bool {
    let begins_before_end = |one: DateRange, other: DateRange| match (one.low, other.high) {
        (Some(low), Some(high)) => low < high || low == high && other.low == other.high,
        _ => true,
    };
    begins_before_end(one, other) && begins_before_end(other, one)
}

fn refers(asked: &AskedReference, value: &ReferenceValue<'_>) -> Option<bool> {
    match (asked, value) {
        (
            AskedReference::Local { resource_type, id, version: None },
            ReferenceValue::Local { resource_type: of, id: it, .. },
        ) => Some(resource_type == of && id == it),
        (AskedReference::Url(text), ReferenceValue::Url(url)) => Some(**text == **url),
        (AskedReference::Canonical(asked), ReferenceValue::Canonical(value)) => {
            is_uri(asked, (value.url, value.version))
        }
        (
            AskedReference::Local { version: None, .. }
            | AskedReference::Url(_)
            | AskedReference::Canonical(_),
            _,
        ) => Some(false),
        _ => None,
    }
}

fn is_uri(asked: &AskedUri, (own, of): (&str, Option<&str>)) -> Option<bool> {
    match asked {
        AskedUri::Is { url, version, is_version_below: false, fragment: None } => {
            Some(**url == *own && version.as_deref().is_none_or(|version| of == Some(version)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
