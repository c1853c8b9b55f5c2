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

/// What the reading of a query depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// The parameters, and how their values are brought into the index.
    pub extractor: &'c Extractor,
    /// What `ap` measures from.
    pub now: Instant,
    /// Whether what would be passed over is refused (`handling=strict`; always for criteria of
    /// conditional interactions, rest 2.39).
    pub is_strict: bool,
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
