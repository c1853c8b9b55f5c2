//! Criteria: the search inside a conditional interaction, which finds one resource or none.
//!
//! Read strictly whatever the request prefers: a parameter that was passed over could make the
//! criteria match anything (rest 2.39). Whoever looks by criteria holds their locks, so that two
//! who find nothing do not both make it (rest 2.49).

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::engine::Engine;
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{Identity, IssueCode, ResourceType};
use crate::search::request::{Filter, SearchRequest, Strictness};
use crate::store::{Current, WriteTx};

use super::{SearchTarget, traverse};

/// Parameters that choose nothing: no part of criteria (rest 2.38, 3.32).
const OF_RESULTS: [&str; 16] = [
    "_contained",
    "_containedType",
    "_count",
    "_cursor",
    "_elements",
    "_explain",
    "_format",
    "_include",
    "_maxresults",
    "_pretty",
    "_revinclude",
    "_score",
    "_sort",
    "_summary",
    "_total",
    "_type",
];

/// Parameters of a URL that choose the form of the answer: they stand beside criteria.
pub const OF_FORM: [&str; 2] = ["_format", "_pretty"];

/// Criteria, understood.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Criteria {
    /// The type that is searched.
    pub(in crate::engine) resource_type: ResourceType,
    /// What others who look for the same lock too.
    pub(in crate::engine) locks: Vec<i64>,
    request: SearchRequest,
}

impl Engine {
    /// Reads criteria for resources of a type.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are empty or not wholly understood.
    pub(in crate::engine) async fn criteria(
        &self,
        resource_type: ResourceType,
        query: &Query,
    ) -> Result<Criteria, Error> {
        refuse_of_results(query)?;
        let target = SearchTarget::Type(resource_type);
        let mut request = self.parse_search(&target, query, Strictness::Criteria)?;
        if request.filters.is_empty() {
            let text = "criteria need a parameter with a value: without one they match everything";
            return Err(Error::invalid(IssueCode::Required, text));
        }
        if request.filters.iter().any(Filter::asks_for_words) {
            let text =
                "words are found some time after a write only: they cannot stand in criteria";
            return Err(Error::NotSupported(text.to_owned()));
        }
        let hasher = self.store.hasher();
        let names = lock_names(resource_type, &request.shown);
        let locks = names.iter().map(|name| hasher.lock(name)).collect();
        // What a search would find, criteria must find: value sets count from their commit on.
        self.lookups.refresh(query).await?;
        self.resolver(None).resolve(&mut request)?;
        Ok(Criteria { resource_type, locks, request })
    }

    /// The one resource that the criteria match, as a writer under `permit` sees it.
    ///
    /// # Errors
    /// [`Error::MultipleMatches`]; [`Error::Forbidden`] where the caller may not search.
    pub(in crate::engine) async fn find_one(
        &self,
        criteria: &Criteria,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Option<Current>, Error> {
        match self.find_identity(criteria, permit, tx).await? {
            Some(identity) => tx.current(&identity.id, permit).await,
            None => Ok(None),
        }
    }

    /// The same for a create, to which whatever a search finds is there, though it could not be created.
    ///
    /// # Errors
    /// As [`Engine::find_one`].
    pub(in crate::engine) async fn find_existing(
        &self,
        criteria: &Criteria,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Option<Current>, Error> {
        let Some(identity) = self.find_identity(criteria, permit, tx).await? else {
            return Ok(None);
        };
        let permit = permit.derive(Kind::SearchType, criteria.resource_type)?;
        tx.current(&identity.id, &permit).await
    }

    /// What it is, and no more.
    ///
    /// # Errors
    /// As [`Engine::find_one`].
    pub(in crate::engine) async fn find_identity(
        &self,
        criteria: &Criteria,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Option<Identity>, Error> {
        let mut found = self.find_some(criteria, 2, permit, tx).await?;
        if found.len() > 1 {
            let text = format!("the criteria match more than one {}", criteria.resource_type);
            return Err(Error::MultipleMatches(text));
        }
        Ok(found.pop())
    }

    /// The resources that the criteria match, at most so many.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where the caller may not search.
    pub(in crate::engine) async fn find_some(
        &self,
        criteria: &Criteria,
        most: u32,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Vec<Identity>, Error> {
        let permit = permit.derive(Kind::SearchType, criteria.resource_type)?;
        let SearchRequest { types, filters, ambiguous, .. } = &criteria.request;
        traverse::check(filters, &permit)?;
        tx.refuse_ambiguous(ambiguous, &permit).await?;
        let found = tx.find_matches(types, filters, most, &self.definitions, &permit).await?;
        Ok(found.into_iter().map(|found| found.identity).collect())
    }
}

/// Refuses parameters that are about an answer: they choose nothing.
///
/// # Errors
/// [`Error::Invalid`] naming the first.
pub(in crate::engine) fn refuse_of_results(query: &Query) -> Result<(), Error> {
    let is_of_results = |name: &str| OF_RESULTS.contains(&name.split(':').next().unwrap_or(name));
    let Some((name, _)) = query.iter().find(|(name, _)| is_of_results(name)) else {
        return Ok(());
    };
    let text = format!("{name} chooses no resource: it cannot stand in criteria");
    Err(Error::invalid(IssueCode::Invalid, text))
}

/// The criteria as a whole, and each identifier in them by itself: criteria that differ may ask for
/// the same one.
fn lock_names(resource_type: ResourceType, shown: &[(Box<str>, Box<str>)]) -> Vec<String> {
    let mut all: Vec<String> =
        shown.iter().map(|(name, value)| format!("{name}={value}")).collect();
    all.sort_unstable();
    all.dedup();
    let mut names = vec![format!("{resource_type}?{}", all.join("&"))];
    for (_, value) in shown.iter().filter(|(name, _)| &**name == "identifier") {
        names.extend(value.split(',').map(|one| format!("{resource_type}?identifier={one}")));
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_that_mean_the_same_take_the_same_locks() {
        let names = |shown: &[(&str, &str)]| {
            let shown: Vec<_> =
                shown.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            lock_names(ResourceType::PATIENT, &shown)
        };
        let identifier = "Patient?identifier=s|1";
        assert_eq!(names(&[("identifier", "s|1")]), [identifier]);
        assert_eq!(names(&[("identifier", "s|1"), ("identifier", "s|1")]), [identifier]);
        let both = ["Patient?active=true&identifier=s|1", identifier];
        assert_eq!(names(&[("active", "true"), ("identifier", "s|1")]), both);
        assert_eq!(names(&[("identifier", "s|1"), ("active", "true")]), both);
        assert_eq!(names(&[("identifier", "s|1,s|2")]).len(), 3);
    }
}
