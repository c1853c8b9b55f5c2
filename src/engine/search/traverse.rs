//! What a search goes through on its way: each type needs a grant of its own.
//!
//! Whether a patient has an Observation with some value is told by a search for patients as well as by
//! one for Observations. So who may not search a type may not ask by it either, and is told so; where a
//! reference may lead to several types, those that are granted are looked at.

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::Filter;

/// Refuses filters that ask by a type which the caller may not search.
///
/// # Errors
/// [`Error::Forbidden`].
pub(super) fn check(filters: &[Filter], permit: &Permit<'_>) -> Result<(), Error> {
    filters.iter().try_for_each(|filter| check_one(filter, permit))
}

fn check_one(filter: &Filter, permit: &Permit<'_>) -> Result<(), Error> {
    match filter {
        Filter::All(all) | Filter::Any(all) => check(all, permit),
        Filter::Chain { targets, .. } => {
            let mut is_granted = false;
            for (of, inner) in targets {
                if is_searchable(*of, permit)? {
                    is_granted = true;
                    check_one(inner, permit)?;
                }
            }
            if is_granted { Ok(()) } else { Err(Error::Forbidden) }
        }
        Filter::Has { source, filter, .. } => {
            permit.derive(Kind::SearchType, *source)?;
            check_one(filter, permit)
        }
        Filter::Hierarchy { of, .. } => permit.derive(Kind::SearchType, of.0).map(|_| ()),
        Filter::List(inner) => {
            permit.derive(Kind::SearchType, ResourceType::LIST)?;
            check_one(inner, permit)
        }
        Filter::Not(inner) => check_one(inner, permit),
        Filter::Compartment { .. }
        | Filter::FullText { .. }
        | Filter::Id(_)
        | Filter::Keys(_)
        | Filter::LastUpdated(_)
        | Filter::Mentions { .. }
        | Filter::OfPatients(_)
        | Filter::Test(_)
        | Filter::Type(_)
        | Filter::Unshared => Ok(()),
    }
}

fn is_searchable(of: ResourceType, permit: &Permit<'_>) -> Result<bool, Error> {
    match permit.derive(Kind::SearchType, of) {
        Ok(_) => Ok(true),
        Err(Error::Forbidden) => Ok(false),
        Err(error) => Err(error),
    }
}
