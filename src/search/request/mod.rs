//! What a search asks for: the query as types, before anybody knows how it is answered.
//!
//! A [`SearchRequest`] says which resources match ([`Filter`]), in which order, and what comes
//! along with them. Everything in it has been checked against the definitions: a parameter is one
//! that each of the types has, a modifier one that the parameter takes, a value one of its form.
//!
//! | file | holds |
//! |---|---|
//! | [`compare`] | one comparison with the values of a parameter |
//! | [`prefix`] | `ge`, `sa`, .. |
//! | `context` | what a query is read against: target, definitions, limits |
//! | `escape` | the separators and their escapes |
//! | `fault` | what is refused or passed over |
//! | `parse`, `scope`, `result`, `include` | the query as a whole, and parameters about the answer |
//! | `criterion`, `parameter`, `chain`, `common`, `list` | from a parameter to a filter |
//! | `contained` | what contained resources are not asked for |
//! | `composite`, `date`, `near`, `quantity`, `reference`, `string`, `token`, `uri` | values |
//! | `filter` | the expressions of `_filter` |
//!
//! Spec: <https://hl7.org/fhir/R4/search.html> (rest section 4)

mod chain;
mod common;
pub mod compare;
mod composite;
mod contained;
mod context;
mod criterion;
mod date;
mod escape;
mod fault;
mod filter;
mod include;
mod list;
mod near;
mod parameter;
mod parse;
pub mod prefix;
mod quantity;
mod reference;
mod result;
mod scope;
mod string;
#[cfg(test)]
mod tests;
mod token;
mod uri;

use std::borrow::Cow;

use crate::fhir::{LogicalId, ResourceType};
use crate::search::values::date::DateRange;
use crate::spec::search_parameter::SearchType;

use compare::Comparison;
use prefix::Prefix;

pub use context::{AlongLimits, Context, Limits, SearchTarget, Strictness};
pub use fault::{Fault, InvalidSearch, Notice, Reason};
pub use parse::parse;

/// A search as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchRequest {
    /// Which types are searched; in the order of their names, each once, never empty.
    pub types: Vec<ResourceType>,
    /// All of these hold for a match.
    pub filters: Vec<Filter>,
    /// The order, first key first; empty: the order that costs least.
    pub sort: Vec<SortKey>,
    /// How many matches a page may have (`_count`), as asked; 0 asks for the total alone.
    pub count: Option<u32>,
    /// Whether the number of matches is told (`_total`).
    pub total: Total,
    /// `_summary=count`, or `_count=0`: the total alone.
    pub counts_only: bool,
    /// What comes along with the matches.
    pub includes: Vec<Include>,
    /// How much of that may come along.
    pub along: AlongLimits,
    /// Where contained resources are looked at (`_contained`, `_containedType`).
    pub contained: ContainedMode,
    /// Whether the caller wants to know how the search is done (`_explain=true`).
    pub explain: bool,
    /// Ids that stand without a type where a reference may lead to several, and those types. The
    /// filters look for all of them; when more than one of them exists (for the caller), the search
    /// is refused (rest 4.110).
    pub ambiguous: Vec<(LogicalId, Vec<ResourceType>)>,
    /// The parameters that were understood, as a link shows them: in the order they were sent,
    /// decoded. Those of paging and form (`_format`, `_pretty`) are not among them.
    pub shown: Vec<(Box<str>, Box<str>)>,
    /// What was passed over or done differently: for an entry with an outcome.
    pub notices: Vec<Notice>,
}

/// A search parameter of one type.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ParameterKey {
    /// The type that has it.
    pub resource_type: ResourceType,
    /// Its name in a query.
    pub code: Box<str>,
}

/// What must hold for a resource to match.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of them. Holds when empty.
    All(Vec<Filter>),
    /// One of them. Does not hold when empty.
    Any(Vec<Filter>),
    /// A reference of the resource leads to a resource of one of these types for which the filter
    /// beside the type holds. Contained resources are followed too (rest 4.156).
    Chain {
        /// The reference parameter, of each type that is searched.
        reference: Vec<ParameterKey>,
        /// The types that may be the target; at least one.
        targets: Vec<(ResourceType, Filter)>,
    },
    /// The resource is in the compartment (rest 4.170).
    Compartment {
        /// The kind of compartment.
        code: ResourceType,
        /// Whose.
        id: LogicalId,
    },
    /// Words are found by the full text index (`_text`, `_content`, `:text-advanced`).
    FullText {
        /// Where they are looked for.
        field: FullTextField,
        /// The query, in the language of the full text index.
        query: Box<str>,
    },
    /// Resources of `source` refer to this one by `reference`, and `filter` holds for one of them.
    Has {
        /// The type that refers.
        source: ResourceType,
        /// Its reference parameter.
        reference: ParameterKey,
        /// What holds for it.
        filter: Box<Filter>,
    },
    /// The resource is above or below another in a hierarchy of references (rest 4.123).
    Hierarchy {
        /// The reference from the lower to the upper, of each type that is searched.
        reference: Vec<ParameterKey>,
        /// Whether resources below `of` are wanted (`:below`), else those above it.
        is_below: bool,
        /// The resource that stands still; it matches too.
        of: (ResourceType, LogicalId),
    },
    /// The logical id is one of these (`_id`). Texts that can be no id find nothing.
    Id(Vec<Box<str>>),
    /// The resource is one of these: what stands for [`Filter::FullText`] and [`Filter::List`] once
    /// they have been looked up.
    Keys(Keys),
    /// `meta.lastUpdated` compares so with one of these.
    LastUpdated(Vec<(Prefix, DateRange)>),
    /// The resource is an entry of a List for which the filter holds (`_list`); entries that are
    /// flagged deleted are none.
    List(Box<Filter>),
    /// The resource has to do with another one, whether a parameter tells of it or not. No search asks so;
    /// consents do.
    Mentions {
        /// The other one.
        target: (ResourceType, LogicalId),
        /// The elements that say who wrote or said it, of which one names the other; empty: the other is
        /// referred to anywhere.
        under: &'static [&'static str],
        /// Whether only what is certain counts: references, and those elements of the resource itself. Else
        /// any text counts that names the other, and, of such elements, those anywhere in the resource, and
        /// those that do not tell who it is.
        is_certain: bool,
    },
    /// It does not hold. True for a resource without any value.
    Not(Box<Filter>),
    /// The resource is in the compartment of one of these patients, or, where none are told, of anybody. No
    /// search asks so; `$everything` does.
    OfPatients(Option<Vec<LogicalId>>),
    /// One of the comparisons holds for a value of one of the parameters.
    Test(Test),
    /// The resource is of one of these types (`_type` inside `_filter` and chains).
    Type(Vec<ResourceType>),
    /// It is in the compartment of one patient at most. Nobody asks so: it stands beside what would tell
    /// of the others.
    Unshared,
}

/// What an author's reference begins with that does not tell whether it is one of this type: what is contained, what
/// is not told where it is, and what leads to one.
pub fn untold(of: ResourceType) -> &'static [&'static str] {
    match of.as_str() {
        "Organization" | "Practitioner" => &["#", "urn:", "PractitionerRole"],
        "PractitionerRole" => &["#", "urn:", "Organization/", "Practitioner/"],
        _ => &["#", "urn:"],
    }
}

impl Filter {
    /// One of them holds.
    fn any(mut filters: Vec<Self>) -> Self {
        if filters.len() == 1 { filters.remove(0) } else { Self::Any(filters) }
    }

    /// The filters that it is made of, with the types that each is asked of; `types` are its own.
    pub fn parts_mut<'f>(
        &'f mut self,
        types: &'f [ResourceType],
    ) -> Vec<(&'f mut Self, Cow<'f, [ResourceType]>)> {
        match self {
            Self::All(all) | Self::Any(all) => {
                all.iter_mut().map(|part| (part, Cow::Borrowed(types))).collect()
            }
            Self::Chain { targets, .. } => {
                let of_target =
                    |(of, part): &'f mut (ResourceType, Self)| (part, Cow::Owned(vec![*of]));
                targets.iter_mut().map(of_target).collect()
            }
            Self::Has { source, filter, .. } => vec![(filter, Cow::Owned(vec![*source]))],
            Self::Not(part) => vec![(part, Cow::Borrowed(types))],
            Self::Compartment { .. }
            | Self::FullText { .. }
            | Self::Hierarchy { .. }
            | Self::Id(_)
            | Self::Keys(_)
            | Self::LastUpdated(_)
            | Self::List(_)
            | Self::Mentions { .. }
            | Self::OfPatients(_)
            | Self::Test(_)
            | Self::Type(_)
            | Self::Unshared => Vec::new(),
        }
    }

    /// Whether it asks for membership of compartments and nothing else.
    pub fn is_of_compartment(&self) -> bool {
        matches!(self, Self::Compartment { .. } | Self::OfPatients(_))
    }

    /// Whether `holds` is true of it or of a filter in it.
    pub fn has(&self, holds: &impl Fn(&Self) -> bool) -> bool {
        holds(self)
            || match self {
                Self::All(all) | Self::Any(all) => all.iter().any(|part| part.has(holds)),
                Self::Chain { targets, .. } => targets.iter().any(|(_, part)| part.has(holds)),
                Self::Has { filter, .. } | Self::Not(filter) => filter.has(holds),
                _ => false,
            }
    }

    /// Whether it asks for words, which are found some time after a write only.
    pub fn asks_for_words(&self) -> bool {
        self.has(&|filter| match filter {
            Self::FullText { .. } => true,
            Self::Test(test) => test.any.iter().any(|it| matches!(it, Comparison::Text(_))),
            _ => false,
        })
    }
}

/// Resources by the store's keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keys {
    /// Which.
    pub rids: Vec<i64>,
    /// How well each fits, from 0 to 1; empty where nothing tells.
    pub scores: Vec<f32>,
}

/// Comparisons with the values of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// The parameter, of each type that is searched: same code, same kind.
    pub parameters: Vec<ParameterKey>,
    /// How its values compare.
    pub search_type: SearchType,
    /// One of them holds (commas); at least one.
    pub any: Vec<Comparison>,
}

/// Where words are looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FullTextField {
    /// All strings of the resource, and what its narratives show.
    Content,
    /// What the narrative shows.
    Narrative,
    /// Displays and texts of a parameter's values, by its code.
    Parameter(Box<str>),
}

/// One key of the order.
#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    /// What is compared.
    pub by: SortBy,
    /// Largest first. Resources without a value come last in both directions (rest 4.180).
    pub is_descending: bool,
}

/// What the order compares.
#[derive(Clone, Debug, PartialEq)]
pub enum SortBy {
    /// The true distance to the place that `near` names.
    Distance,
    /// The logical id.
    Id,
    /// `meta.lastUpdated`.
    LastUpdated,
    /// A parameter of each type that is searched: its smallest value, or its largest when
    /// descending (rest 4.178).
    Parameter(Vec<ParameterKey>, SearchType),
    /// Whether a parameter has a value: what has none comes last, whichever way.
    Present(Vec<ParameterKey>),
    /// How well the words of a full text search fit.
    Score,
}

/// Whether the number of matches is told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Total {
    /// Exactly, whatever it costs.
    Accurate,
    /// Roughly is enough.
    Estimate,
    /// Not at all.
    None,
    /// Nothing was asked: told where it is cheap.
    #[default]
    Unspecified,
}

/// Resources that come along with the matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Include {
    /// Those that refer to the matches (`_revinclude`), else those that they refer to.
    pub is_reverse: bool,
    /// Followed from included resources too.
    pub is_iterated: bool,
    /// The type with the reference; `None`: any.
    pub source: Option<ResourceType>,
    /// The reference parameter's code; `None`: all of the type.
    pub code: Option<Box<str>>,
    /// The type at the other end; `None`: any that the parameter allows.
    pub target: Option<ResourceType>,
}

/// Where contained resources are looked at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ContainedMode {
    /// Only in resources of their own.
    #[default]
    Outside,
    /// Only in contained ones.
    Inside {
        /// Whether the container is the match, else the contained resource itself.
        shows_container: bool,
    },
    /// In both.
    Both {
        /// Whether the container is the match, else the contained resource itself.
        shows_container: bool,
    },
}
