//! `_contained` and `_containedType`, and what cannot be asked where they look at contained resources.
//!
//! A contained resource has no id that others know, no time of change, no compartment, and its words
//! are those of its container: criteria by these are refused rather than answered by half.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#contained> (rest 4.176)

use crate::fhir::query::Query;

use super::compare::Comparison;
use super::fault::Reason;
use super::parse::Draft;
use super::{ContainedMode, Filter, SortBy};

impl ContainedMode {
    /// What a query asks for; what is no value of these parameters is refused elsewhere.
    pub(super) fn of(query: &Query) -> Self {
        let told = |name: &str| {
            query.iter().find(|(known, value)| *known == name && !value.is_empty()).map(|it| it.1)
        };
        let shows_container = told("_containedType") != Some("contained");
        match told("_contained") {
            Some("true") => Self::Inside { shows_container },
            Some("both") => Self::Both { shows_container },
            _ => Self::Outside,
        }
    }

    /// Whether matches can be put in this order. Containers go by what they all have; values are of
    /// the matches themselves, as far as all of these are contained resources.
    pub(super) fn has_order(self, by: &SortBy) -> bool {
        match by {
            SortBy::Id | SortBy::LastUpdated => true,
            SortBy::Parameter(..) | SortBy::Present(_) => {
                matches!(self, Self::Outside | Self::Inside { shows_container: false })
            }
            SortBy::Distance | SortBy::Score => self == Self::Outside,
        }
    }
}

impl Draft<'_> {
    /// Refuses a filter that no contained resource could be asked.
    pub(super) fn refuse_of_contained(&mut self, name: &str, filter: &Filter) {
        if self.request.contained != ContainedMode::Outside
            && let Some(what) = of_whole(filter)
        {
            let text = format!("contained resources have no {what} of their own to be found by");
            self.fault(name, Reason::NotSupported(text.into()));
        }
    }

    /// Refuses the path of a compartment: a contained resource is in none.
    pub(super) fn refuse_contained_members(&mut self) {
        let filters = std::mem::take(&mut self.request.filters);
        for filter in &filters {
            self.refuse_of_contained("_contained", filter);
        }
        self.request.filters = filters;
    }
}

/// What a filter asks for that only resources of their own have.
fn of_whole(filter: &Filter) -> Option<&'static str> {
    match filter {
        Filter::All(all) | Filter::Any(all) => all.iter().find_map(of_whole),
        Filter::Not(inner) => of_whole(inner),
        Filter::Compartment { .. } | Filter::OfPatients(_) => Some("compartment"),
        Filter::FullText { .. } | Filter::Keys(_) => Some("words"),
        Filter::Hierarchy { .. } => Some("place in a hierarchy"),
        Filter::Id(_) => Some("id"),
        Filter::LastUpdated(_) => Some("time of change"),
        Filter::List(_) => Some("list"),
        Filter::Test(test) => {
            let is_word = |it: &Comparison| matches!(it, Comparison::Text(_));
            test.any.iter().any(is_word).then_some("words")
        }
        Filter::Chain { .. }
        | Filter::Has { .. }
        | Filter::Mentions { .. }
        | Filter::Type(_)
        | Filter::Unshared => None,
    }
}
