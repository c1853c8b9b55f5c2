//! What the store cannot compare itself is looked up first: value sets, hierarchies of codes, words.

use crate::error::Error;
use crate::search::request::compare::Comparison;
use crate::search::request::{Filter, SearchRequest};

/// Puts what can be compared in the place of what must be looked up.
///
/// # Errors
/// [`Error::NotSupported`] naming what this server has no index for.
pub(super) fn resolve(request: &mut SearchRequest) -> Result<(), Error> {
    request.filters.iter_mut().try_for_each(filter)
}

fn filter(found: &mut Filter) -> Result<(), Error> {
    match found {
        Filter::All(all) | Filter::Any(all) => all.iter_mut().try_for_each(filter),
        Filter::Chain { targets, .. } => targets.iter_mut().try_for_each(|(_, of)| filter(of)),
        Filter::FullText { .. } => Err(not_offered("full text search")),
        Filter::Has { filter: of, .. } | Filter::Not(of) => filter(of),
        Filter::Test(test) => test.any.iter_mut().try_for_each(comparison),
        Filter::Compartment { .. }
        | Filter::Hierarchy { .. }
        | Filter::Id(_)
        | Filter::Keys(_)
        | Filter::LastUpdated(_)
        | Filter::List(_)
        | Filter::Type(_) => Ok(()),
    }
}

fn comparison(found: &mut Comparison) -> Result<(), Error> {
    match found {
        Comparison::Composite(parts) => parts.iter_mut().try_for_each(comparison),
        Comparison::In { .. } => Err(not_offered("the modifier :in")),
        Comparison::Subsumes { is_below: true, .. } => Err(not_offered("the modifier :below")),
        Comparison::Subsumes { is_below: false, .. } => Err(not_offered("the modifier :above")),
        _ => Ok(()),
    }
}

fn not_offered(what: &str) -> Error {
    Error::NotSupported(format!("{what} is not offered"))
}
