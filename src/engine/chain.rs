//! Chains of a search for events of the ledger: the resources that a chain leads to are looked for first,
//! as far as the caller may search for them, and stand then in its place.
//!
//! The ledger knows a patient by a hash and a user by a name, so no statement can join them.

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::audit::query::{Condition, Reader, Untold};
use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType};
use crate::search::request::compare::{AskedReference, Comparison};
use crate::search::request::{Filter, ParameterKey, SearchRequest, Test};
use crate::spec::search_parameter::SearchType;
use crate::store::EventsRequest;

use super::Engine;

/// Most resources that a chain may lead to.
const MOST: u32 = 1_000;

/// Whether a filter is a chain or has one in it.
pub(super) fn is_in(filter: &Filter) -> bool {
    match filter {
        Filter::All(all) | Filter::Any(all) => all.iter().any(is_in),
        Filter::Chain { .. } => true,
        Filter::Not(inner) => is_in(inner),
        _ => false,
    }
}

impl Engine {
    /// `events` with what the chains of the search ask of them.
    ///
    /// # Errors
    /// [`Error::TooCostly`] when a chain leads to too much; [`Error::NotSupported`] when the events do
    /// not tell what is asked by it.
    pub(super) async fn chained(
        &self,
        request: &SearchRequest,
        events: EventsRequest,
        permit: &Permit<'_>,
    ) -> Result<EventsRequest, Error> {
        let mut filters = Vec::new();
        for filter in request.filters.iter().filter(|filter| is_in(filter)) {
            filters.push(Box::pin(self.unchained(filter, permit)).await?);
        }
        if filters.is_empty() {
            return Ok(events);
        }
        let hash = |id: &LogicalId| self.store.hasher().patient(id);
        let reader = Reader { base: &self.settings.base, hash: &hash };
        let untold = |Untold(name)| {
            Error::NotSupported(format!("{name}: events of the ledger cannot be found by it"))
        };
        let more = reader.read_all(&filters).map_err(untold)?;
        Ok(EventsRequest { condition: Condition::All(vec![events.condition, more]), ..events })
    }

    async fn unchained(&self, filter: &Filter, permit: &Permit<'_>) -> Result<Filter, Error> {
        Ok(match filter {
            Filter::All(all) => Filter::All(self.each(all, permit).await?),
            Filter::Any(any) => Filter::Any(self.each(any, permit).await?),
            Filter::Chain { reference, targets } => self.led_to(reference, targets, permit).await?,
            Filter::Not(inner) => {
                Filter::Not(Box::new(Box::pin(self.unchained(inner, permit)).await?))
            }
            other => other.clone(),
        })
    }

    async fn each(&self, filters: &[Filter], permit: &Permit<'_>) -> Result<Vec<Filter>, Error> {
        let mut all = Vec::with_capacity(filters.len());
        for filter in filters {
            all.push(Box::pin(self.unchained(filter, permit)).await?);
        }
        Ok(all)
    }

    /// A reference to one of the resources that a chain leads to.
    async fn led_to(
        &self,
        reference: &[ParameterKey],
        targets: &[(ResourceType, Filter)],
        permit: &Permit<'_>,
    ) -> Result<Filter, Error> {
        let mut any = Vec::new();
        for (of, inner) in targets {
            match permit.derive(Kind::SearchType, *of) {
                Ok(_) => {}
                Err(Error::Forbidden) => continue,
                Err(error) => return Err(error),
            }
            let inner = std::slice::from_ref(inner);
            let found =
                self.store.find_matches(&[*of], inner, MOST + 1, &self.definitions, permit).await?;
            any.extend(found.into_iter().map(|found| {
                let (resource_type, id) = (found.identity.resource_type, found.identity.id);
                Comparison::Reference(AskedReference::Local { resource_type, id, version: None })
            }));
            if any.len() > MOST as usize {
                let text = format!("a chain leads to more than {MOST} resources: narrow it");
                return Err(Error::TooCostly(text));
            }
        }
        let parameters = reference.to_vec();
        Ok(Filter::Test(Test { parameters, search_type: SearchType::Reference, any }))
    }
}
