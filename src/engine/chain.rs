//! Chains of a search for events of the ledger, and `_has` from events and to them: what such a link leads
//! to is looked for first, as far as the caller may search for it, and stands then in its place.
//!
//! The ledger knows a patient by a hash and a user by a name, so no statement can join them.

use std::collections::BTreeMap;

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::audit::query::{Condition, Reader, Untold};
use crate::error::Error;
use crate::fhir::{Identity, LogicalId, ResourceType};
use crate::search::request::compare::{AskedReference, Comparison};
use crate::search::request::{Filter, ParameterKey, SearchRequest, Test};
use crate::spec::search_parameter::SearchType;
use crate::store::EventsRequest;

use super::Engine;

/// Most resources that a chain may lead to.
const MOST: u32 = 1_000;

/// Whether a filter of a search for events is a link to other resources, or has one in it.
pub(super) fn is_in(filter: &Filter) -> bool {
    match filter {
        Filter::All(all) | Filter::Any(all) => all.iter().any(is_in),
        Filter::Chain { .. } | Filter::Has { .. } => true,
        Filter::Not(inner) => is_in(inner),
        _ => false,
    }
}

/// Whether a filter asks by events that refer to what is searched.
pub(super) fn asks_events(filter: &Filter) -> bool {
    filter.has(&|it| matches!(it, Filter::Has { source, .. } if is_event(*source)))
}

fn is_event(of: ResourceType) -> bool {
    of == ResourceType::AUDIT_EVENT
}

impl Engine {
    /// `filter` with what events of the ledger refer to beside what stored ones do.
    ///
    /// # Errors
    /// [`Error::TooCostly`] when there are too many of them; [`Error::NotSupported`] when the events do
    /// not tell what is asked by it.
    pub(super) async fn by_events(
        &self,
        filter: &Filter,
        permit: &Permit<'_>,
    ) -> Result<Filter, Error> {
        if !asks_events(filter) {
            return Ok(filter.clone());
        }
        Ok(match filter {
            Filter::All(all) => Filter::All(self.each_by_events(all, permit).await?),
            Filter::Any(any) => Filter::Any(self.each_by_events(any, permit).await?),
            Filter::Not(part) => {
                Filter::Not(Box::new(Box::pin(self.by_events(part, permit)).await?))
            }
            Filter::Chain { reference, targets } => {
                let mut led = Vec::with_capacity(targets.len());
                for (of, part) in targets {
                    led.push((*of, Box::pin(self.by_events(part, permit)).await?));
                }
                Filter::Chain { reference: reference.clone(), targets: led }
            }
            Filter::Has { source, reference, filter: asked } if is_event(*source) => {
                let referred = self.referred_by_events(reference, asked, permit).await?;
                Filter::Any(std::iter::once(filter.clone()).chain(referred).collect())
            }
            Filter::Has { source, reference, filter } => {
                let filter = Box::new(Box::pin(self.by_events(filter, permit)).await?);
                Filter::Has { source: *source, reference: reference.clone(), filter }
            }
            other => other.clone(),
        })
    }

    async fn each_by_events(
        &self,
        filters: &[Filter],
        permit: &Permit<'_>,
    ) -> Result<Vec<Filter>, Error> {
        let mut all = Vec::with_capacity(filters.len());
        for filter in filters {
            all.push(Box::pin(self.by_events(filter, permit)).await?);
        }
        Ok(all)
    }

    /// What events of the ledger refer to for which a filter holds: a filter for each type.
    async fn referred_by_events(
        &self,
        reference: &ParameterKey,
        asked: &Filter,
        permit: &Permit<'_>,
    ) -> Result<Vec<Filter>, Error> {
        let asked = Box::pin(self.unchained(asked, permit)).await?;
        let condition = self.condition(std::slice::from_ref(&asked))?;
        let found = self.store.referred_to_by_events(condition, &reference.code, permit).await?;
        let mut by_type: BTreeMap<ResourceType, Vec<Box<str>>> = BTreeMap::new();
        for Identity { resource_type, id } in found {
            by_type.entry(resource_type).or_default().push(id.as_str().into());
        }
        if by_type.values().map(Vec::len).sum::<usize>() > MOST as usize {
            let text = format!("_has leads to more than {MOST} resources: narrow it");
            return Err(Error::TooCostly(text));
        }
        let of_type = |(of, ids)| Filter::All(vec![Filter::Type(vec![of]), Filter::Id(ids)]);
        Ok(by_type.into_iter().map(of_type).collect())
    }

    /// What filters ask of events.
    fn condition(&self, filters: &[Filter]) -> Result<Condition, Error> {
        let hash = |id: &LogicalId| self.store.hasher().patient(id);
        let reader = Reader { base: &self.settings.base, hash: &hash };
        reader.read_all(filters).map_err(|Untold(name)| {
            Error::NotSupported(format!("{name}: events of the ledger cannot be found by it"))
        })
    }

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
        let more = self.condition(&filters)?;
        Ok(EventsRequest { condition: Condition::All(vec![events.condition, more]), ..events })
    }

    async fn unchained(&self, filter: &Filter, permit: &Permit<'_>) -> Result<Filter, Error> {
        Ok(match filter {
            Filter::All(all) => Filter::All(self.each(all, permit).await?),
            Filter::Any(any) => Filter::Any(self.each(any, permit).await?),
            Filter::Chain { reference, targets } => self.led_to(reference, targets, permit).await?,
            Filter::Has { source, reference, filter } => {
                self.referred_to(*source, reference, filter, permit).await?
            }
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

    /// Events to which resources of a type refer for which a filter holds.
    async fn referred_to(
        &self,
        source: ResourceType,
        reference: &ParameterKey,
        filter: &Filter,
        permit: &Permit<'_>,
    ) -> Result<Filter, Error> {
        let refers = Filter::Test(Test {
            parameters: vec![reference.clone()],
            search_type: SearchType::Reference,
            any: vec![Comparison::Present],
        });
        let filters = [filter.clone(), refers];
        let (types, most) = ([source], MOST + 1);
        let found =
            self.store.find_matches(&types, &filters, most, &self.definitions, permit).await?;
        if found.len() > MOST as usize {
            let text = format!("_has leads to more than {MOST} resources: narrow it");
            return Err(Error::TooCostly(text));
        }
        let found = found.into_iter().map(|found| found.identity).collect();
        let events = self.store.events_referred_to_by(found, reference, permit).await?;
        Ok(Filter::Id(events.iter().map(|id| id.as_str().into()).collect()))
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
