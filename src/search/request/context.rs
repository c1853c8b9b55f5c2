//! What a query is read against.

use crate::fhir::{Instant, LogicalId, ResourceType};
use crate::search::extract::Extractor;

/// What is searched, by the path of the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SearchTarget {
    /// A compartment: `Patient/1/Observation`, `Patient/1/*` (rest 4.170).
    Compartment {
        /// The kind of compartment; one that the definitions have.
        code: ResourceType,
        /// Whose.
        id: LogicalId,
        /// The type that is searched; `None`: all that can be in the compartment.
        resource_type: Option<ResourceType>,
    },
    /// Everything, or the types that `_type` names.
    System,
    /// One type.
    Type(ResourceType),
}

/// How much of a query must mean something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strictness {
    /// All of it: criteria that something hangs on would otherwise reach further than they say (rest 2.39).
    Criteria,
    /// As much as can be understood; the rest is passed over.
    Lenient,
    /// All of it (`handling=strict`), but what has no value, which asks for nothing (rest 4.13).
    Strict,
}

impl Strictness {
    /// How a search is read whose client wants to hear of what is not understood, or does not.
    pub fn of_search(is_strict: bool) -> Self {
        if is_strict { Self::Strict } else { Self::Lenient }
    }
}

/// What the reading of a query depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// The parameters, and how their values are brought into the index.
    pub extractor: &'c Extractor,
    /// What `ap` measures from.
    pub now: Instant,
    /// What becomes of what would be passed over.
    pub strictness: Strictness,
    /// Whether a date that is asked for without a prefix, or by `eq`, finds whatever overlaps it, not
    /// what lies within it alone.
    pub dates_overlap: bool,
    /// How much is taken.
    pub limits: Limits,
}

/// How much a query may ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Links of a chain, `_has` included.
    pub chain_depth: usize,
    /// Parts that the filters have in all: each comparison with a parameter and each link counts,
    /// once for each type that an untyped link may lead to.
    pub filter_nodes: usize,
    /// `_include` and `_revinclude` together.
    pub includes: usize,
    /// What may come along by them.
    pub along: AlongLimits,
    /// Parameters of a query.
    pub parameters: usize,
    /// Values of a parameter, separated by commas.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let along = AlongLimits::default();
        let (filter_nodes, includes) = (2_000, 50);
        Self { chain_depth: 5, filter_nodes, includes, along, parameters: 50, values: 500 }
    }
}

/// How much may come along with a page; what is beyond is left out, and told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AlongLimits {
    /// Resources.
    pub resources: usize,
    /// How often iterated includes are followed.
    pub rounds: usize,
}

impl Default for AlongLimits {
    fn default() -> Self {
        Self { resources: 1_000, rounds: 5 }
    }
}
