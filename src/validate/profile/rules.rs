//! What a profile asks, compiled: only what goes beyond the base definitions of its type.
//!
//! The base definitions are [`Checks`] by type and element; a profile is a tree of [`Rules`] with
//! the elements alone that it says something new about, so that a document is not judged twice.
//!
//! Spec: <https://hl7.org/fhir/R4/profiling.html>

use std::sync::Arc;

use crate::fhir::json::Value;
use crate::fhir::schema::TypeId;
use crate::fhirpath::Expression;
use crate::spec::structure::{Aggregation, Context, SlicingRules, Strength};

/// A profile, ready to be applied.
#[derive(Debug)]
pub(super) struct Profile {
    /// Its canonical with its version: names it in issues.
    pub(super) canonical: Box<str>,
    /// The type that it constrains.
    pub(super) type_id: TypeId,
    /// Whether its root is a modifier: for extensions, which property they stand in.
    pub(super) is_modifier: bool,
    /// Where an extension may be used; empty is anywhere.
    pub(super) context: Vec<Context>,
    /// Conditions on where an extension is used.
    pub(super) context_invariants: Vec<Arc<Constraint>>,
    /// What it asks of its root and of what is in it.
    pub(super) rules: Rules,
}

/// What is asked of an element and of the elements in it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) checks: Checks,
    pub(super) children: Vec<Child>,
}

impl Rules {
    /// Whether nothing is asked but support.
    pub(super) fn is_silent(&self) -> bool {
        self.checks.is_empty() && self.children.iter().all(|child| child.is_silent)
    }
}

/// What is asked of a value itself.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) constraints: Vec<Arc<Constraint>>,
    pub(super) binding: Option<Binding>,
    pub(super) fixed: Option<Value<'static>>,
    pub(super) pattern: Option<Value<'static>>,
    pub(super) min_value: Option<Value<'static>>,
    pub(super) max_value: Option<Value<'static>>,
    pub(super) max_length: Option<u32>,
    /// Which languages a narrative has sections for.
    pub(super) narrative_languages: Option<Box<str>>,
    /// The types that are allowed; empty where the base definition decides.
    pub(super) types: Vec<TypeRule>,
}

impl Checks {
    /// Whether nothing is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.constraints.is_empty()
            && self.binding.is_none()
            && self.fixed.is_none()
            && self.pattern.is_none()
            && self.min_value.is_none()
            && self.max_value.is_none()
            && self.max_length.is_none()
            && self.narrative_languages.is_none()
            && self.types.is_empty()
    }
}

/// An invariant whose expression was read.
#[derive(Debug)]
pub(super) struct Constraint {
    pub(super) key: Box<str>,
    /// The rule in words.
    pub(super) human: Box<str>,
    /// Whether what breaks it is wrong; else it is in doubt.
    pub(super) is_error: bool,
    /// Why it cannot be read, where it cannot.
    pub(super) expression: Result<Expression, String>,
}

/// The codes that an element may have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Binding {
    pub(super) strength: Strength,
    pub(super) value_set: Option<Box<str>>,
    /// The value set that no code may leave, whatever the strength.
    pub(super) max_value_set: Option<Box<str>>,
}

/// A type that an element may have.
#[derive(Debug)]
pub(super) struct TypeRule {
    pub(super) type_id: TypeId,
    /// The profiles of which a value conforms to one; empty is any value.
    pub(super) profiles: Vec<Box<str>>,
    /// The profiles of which the target of a reference conforms to one; empty is any target.
    pub(super) targets: Vec<Box<str>>,
    /// Where the target may be; empty is anywhere.
    pub(super) aggregation: Vec<Aggregation>,
    /// The regular expression of the whole text, as an expression on the value.
    pub(super) regex: Option<Arc<Constraint>>,
}

/// An element of an element.
#[derive(Debug)]
pub(super) struct Child {
    /// Its name without `[x]`.
    pub(super) name: Box<str>,
    /// The JSON properties that hold it, each with its type.
    pub(super) keys: Vec<Key>,
    pub(super) min: u32,
    pub(super) max: Option<u32>,
    pub(super) is_must_support: bool,
    /// Whether nothing is asked of it but support: then most walks pass it over.
    pub(super) is_silent: bool,
    pub(super) rules: Rules,
    pub(super) slicing: Option<Slicing>,
}

/// A JSON property of an element.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// `valueString`
    pub(super) plain: Box<str>,
    /// `_valueString`; empty for what has no such sibling.
    pub(super) sibling: Box<str>,
    pub(super) type_id: TypeId,
}

/// How the repetitions of an element are told apart.
#[derive(Debug)]
pub(super) struct Slicing {
    pub(super) rules: SlicingRules,
    pub(super) is_ordered: bool,
    /// Where to look; the tests of a slice are in the same order.
    pub(super) paths: Vec<Vec<Step>>,
    pub(super) slices: Vec<Slice>,
}

impl Slicing {
    /// Whether nothing is asked but support.
    pub(super) fn is_silent(&self) -> bool {
        let is_silent = |slice: &Slice| {
            slice.min == 0
                && slice.max.is_none()
                && slice.rules.is_silent()
                && slice.slicing.as_ref().is_none_or(|slicing| slicing.is_silent())
        };
        self.rules == SlicingRules::Open && !self.is_ordered && self.slices.iter().all(is_silent)
    }
}

/// One group of repetitions.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) name: Box<str>,
    pub(super) min: u32,
    pub(super) max: Option<u32>,
    /// What tells its members, one for each path of the slicing.
    pub(super) tests: Vec<Test>,
    /// Whether it takes what no other slice takes.
    pub(super) is_default: bool,
    pub(super) is_must_support: bool,
    pub(super) rules: Rules,
    /// How its members are told apart further.
    pub(super) slicing: Option<Box<Slicing>>,
}

/// What a slice asks of what stands at the path of a discriminator; all of it holds.
#[derive(Debug, Default)]
pub(super) struct Test {
    /// Whether something has to be there, or must not.
    pub(super) exists: Option<bool>,
    pub(super) fixed: Option<Value<'static>>,
    pub(super) pattern: Option<Value<'static>>,
    /// The value set that has the code.
    pub(super) value_set: Option<Box<str>>,
    /// One of these types.
    pub(super) types: Vec<TypeId>,
    /// One of these profiles.
    pub(super) profiles: Vec<Box<str>>,
    /// Tests further inside: for a pattern or value that is told by the children's.
    pub(super) inner: Vec<(Box<str>, Test)>,
}

impl Test {
    /// Whether it tells nothing: then nobody can say what is in the slice.
    pub(super) fn is_empty(&self) -> bool {
        self.exists.is_none()
            && self.fixed.is_none()
            && self.pattern.is_none()
            && self.value_set.is_none()
            && self.types.is_empty()
            && self.profiles.is_empty()
            && self.inner.is_empty()
    }
}

/// One step of a discriminator's path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// `name`
    Element(Box<str>),
    /// `extension('url')`
    Extension(Box<str>),
    /// `ofType(Type)`, `as(Type)`
    OfType(TypeId),
    /// `resolve()`
    Resolve,
}
