//! What an expression is evaluated in: the document, the element table, variables, the budgets.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#variables>

use std::time::Duration;

use thiserror::Error;

use super::item::{Item, Node};
use super::knowledge::Knowledge;
use super::temporal::Temporal;
use crate::clock::{Stopwatch, SystemStopwatch};
use crate::fhir::json::Value;
use crate::fhir::schema::{Schema, TypeId};
use crate::fhir::{Entries, Instant};

/// Steps that one evaluation may take unless told otherwise. Steps stand for time: each is a bounded piece
/// of work (a node, some bytes of a text, a piece of a pattern), so that an expression costs the same on
/// every machine, and a slow one does not refuse what a fast one takes.
const DEFAULT_BUDGET: u64 = 5_000_000;

/// Longest time of one evaluation unless told otherwise, as a processor works at it. Steps run out sooner, but
/// for a step that takes longer than any should.
const DEFAULT_TIME: Duration = Duration::from_secs(1);

/// What an expression is evaluated in.
#[derive(Clone, Debug)]
pub struct Environment<'v> {
    pub(super) schema: &'v Schema,
    resource: &'v Value<'v>,
    root_resource: &'v Value<'v>,
    pub(super) variables: Vec<(Box<str>, Vec<Item<'v>>)>,
    pub(super) budget: u64,
    pub(super) time: Duration,
    pub(super) stopwatch: &'v dyn Stopwatch,
    pub(super) knowledge: Option<&'v dyn Knowledge>,
    pub(super) entries: Option<(&'v Entries<'v>, Option<&'v str>)>,
    pub(super) now: Option<Temporal<'static>>,
}

impl<'v> Environment<'v> {
    /// An environment whose `%resource` and `%rootResource` are `resource`.
    pub fn new(resource: &'v Value<'v>, schema: &'v Schema) -> Self {
        Self {
            schema,
            resource,
            root_resource: resource,
            variables: Vec::new(),
            budget: DEFAULT_BUDGET,
            time: DEFAULT_TIME,
            stopwatch: &SystemStopwatch,
            knowledge: None,
            entries: None,
            now: None,
        }
    }

    /// The environment with another `%rootResource`: what contains a contained resource.
    #[must_use]
    pub fn with_root(mut self, root_resource: &'v Value<'v>) -> Self {
        self.root_resource = root_resource;
        self
    }

    /// The environment with one more variable, `%name`.
    #[must_use]
    pub fn with_variable(mut self, name: &str, items: Vec<Item<'v>>) -> Self {
        self.variables.push((name.into(), items));
        self
    }

    /// The environment with another limit on the steps of one evaluation.
    #[must_use]
    pub fn with_budget(mut self, steps: u64) -> Self {
        self.budget = steps;
        self
    }

    /// The environment with another limit on the time of one evaluation: that of the processor, so that no answer
    /// hangs on what else the machine does. It is looked at once in some thousand steps: an expression that takes
    /// fewer has no limit but theirs.
    #[must_use]
    pub fn with_time(mut self, longest: Duration) -> Self {
        self.time = longest;
        self
    }

    /// The environment with another stopwatch for that: one that a test sets.
    #[must_use]
    pub fn with_stopwatch(mut self, stopwatch: &'v dyn Stopwatch) -> Self {
        self.stopwatch = stopwatch;
        self
    }

    /// The environment with answers about terminology, profiles and narratives.
    #[must_use]
    pub fn with_knowledge(mut self, knowledge: &'v dyn Knowledge) -> Self {
        self.knowledge = Some(knowledge);
        self
    }

    /// The environment with the Bundle around the resource, whose entry has this `fullUrl`.
    #[must_use]
    pub fn with_entries(mut self, entries: &'v Entries<'v>, full_url: Option<&'v str>) -> Self {
        self.entries = Some((entries, full_url));
        self
    }

    /// The environment with a present moment, in UTC; without one `now()` is refused.
    #[must_use]
    pub fn with_now(mut self, now: Instant) -> Self {
        self.now = Some(Temporal::from_micros(now.as_micros()));
        self
    }

    /// `%resource` as an item.
    pub fn resource(&self) -> Item<'v> {
        self.item(self.resource)
    }

    /// `%rootResource` as an item.
    pub fn root_resource(&self) -> Item<'v> {
        self.item(self.root_resource)
    }

    pub(super) fn root(&self) -> &'v Value<'v> {
        self.root_resource
    }

    pub(super) fn item(&self, resource: &'v Value<'v>) -> Item<'v> {
        let named = || self.schema.by_name(resource.str_at("resourceType")?);
        // An empty schema knows no type at all: then nothing can be navigated either.
        let type_id = named().or_else(|| self.schema.by_name("Resource")).unwrap_or(TypeId(0));
        Item::Node(Node { value: resource, sibling: None, type_id })
    }
}

/// Why an evaluation stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// It took too many steps.
    Budget,
    /// Operands or arguments are of the wrong type or number.
    Operand,
    /// It took too long.
    Time,
    /// It uses a function that this server does not have.
    Unsupported,
}

/// Why an expression gave no result, and where in its text.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{reason} at column {column}")]
pub struct EvaluationError {
    /// What kind of fault.
    pub cause: Cause,
    /// What is wrong, without the place.
    pub reason: String,
    /// Column of the fault in characters, from 1.
    pub column: usize,
}
