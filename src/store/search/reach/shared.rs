//! Searches of what is shown in part: filters find nothing by what is not shown.
//!
//! A filter over a reference that is masked would tell of it. So it finds what is of one patient alone
//! ([`Filter::Unshared`]), but where it names what stays in sight: the caller's patients and what
//! everybody sees. Chains to people, words and parameters of clients are not told apart any further.

use std::borrow::Cow;
use std::sync::Arc;

use crate::access::membership::{is_everyones, is_shown_in_part};
use crate::access::{Permit, Restriction};
use crate::error::Error;
use crate::fhir::{Identity, IssueCode, LogicalId, ResourceType};
use crate::search::request::compare::{AskedReference, Comparison};
use crate::search::request::{Filter, ParameterKey, SearchRequest, SortBy, Test};
use crate::spec::search_parameter::SearchType;
use crate::store::hash::Hasher;

use super::super::Asked;
use super::searchable;

/// The patients who alone are shown of resources of a type that is shown in part.
pub(in crate::store::search) fn shown_in_part(
    permit: &Permit<'_>,
    of: ResourceType,
) -> Result<Option<Arc<[i64]>>, Error> {
    if !is_shown_in_part(of) {
        return Ok(None);
    }
    let reach = searchable(permit, of)?;
    let limits = reach.as_ref().and_then(Restriction::limits);
    Ok(limits.and_then(|limits| limits.in_part().cloned()))
}

/// Whether a resource of `source` is shown with what it refers to, if that is this one.
pub(in crate::store::search) fn may_tell(
    (source, to): (ResourceType, &Identity),
    permit: &Permit<'_>,
    hasher: &Hasher,
) -> Result<bool, Error> {
    let Some(mine) = shown_in_part(permit, source)? else { return Ok(true) };
    let is_mine =
        to.resource_type == ResourceType::PATIENT && mine.contains(&hasher.patient(&to.id));
    Ok(is_mine || is_everyones(to.resource_type))
}

/// Whether some of these types may be shown in part.
pub(in crate::store::search) fn is_some_in_part(
    permit: &Permit<'_>,
    types: &[ResourceType],
) -> Result<bool, Error> {
    for &of in types {
        if shown_in_part(permit, of)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Asked<'_, '_> {
    /// Refuses an order by what is not shown.
    pub(in crate::store::search) fn refuse_order(
        &self,
        request: &SearchRequest,
    ) -> Result<(), Error> {
        let is_hidden = |by: &SortBy| match by {
            SortBy::Parameter(_, SearchType::Reference) => true,
            SortBy::Parameter(keys, _) | SortBy::Present(keys) => self.are_of_clients(keys),
            _ => false,
        };
        if request.sort.iter().any(|key| is_hidden(&key.by))
            && is_some_in_part(self.permit, &request.types)?
        {
            let text = "references and parameters of clients do not order what is shown in part";
            return Err(Error::invalid(IssueCode::NotSupported, text));
        }
        Ok(())
    }

    /// The filters, each kept from what is not shown.
    pub(in crate::store::search) fn apart<'f>(
        &self,
        filters: Cow<'f, [Filter]>,
        types: &[ResourceType],
    ) -> Result<Cow<'f, [Filter]>, Error> {
        let is_about = |filter: &Filter| match filter {
            Filter::Has { source, .. } => is_shown_in_part(*source),
            Filter::Chain { targets, .. } => targets.iter().any(|(of, _)| is_shown_in_part(*of)),
            _ => false,
        };
        if !types.iter().copied().any(is_shown_in_part)
            && !filters.iter().any(|filter| filter.has(&is_about))
        {
            return Ok(filters);
        }
        let mut apart = filters.to_vec();
        let mut is_changed = false;
        for filter in &mut apart {
            is_changed |= self.keep_apart(filter, types)?;
        }
        Ok(if is_changed { Cow::Owned(apart) } else { filters })
    }

    /// Whether something had to be put beside a filter.
    fn keep_apart(&self, filter: &mut Filter, types: &[ResourceType]) -> Result<bool, Error> {
        let mut is_changed = false;
        for (part, types) in filter.parts_mut(types) {
            is_changed |= self.keep_apart(part, &types)?;
        }
        if let Filter::Has { source, filter: inner, .. } = filter
            && !types.iter().copied().all(is_everyones)
            && shown_in_part(self.permit, *source)?.is_some()
        {
            let asked = std::mem::replace(&mut **inner, Filter::Unshared);
            **inner = Filter::All(vec![asked, Filter::Unshared]);
            is_changed = true;
        }
        let mut cut = Vec::new();
        let mut mine: Option<Arc<[i64]>> = None;
        for &of in types {
            if let Some(shown) = shown_in_part(self.permit, of)? {
                cut.push(of);
                mine = Some(shown);
            }
        }
        let Some(mine) = mine else { return Ok(is_changed) };
        let asked = std::mem::replace(filter, Filter::Unshared);
        let (open, behind) = self.split(asked, &mine);
        let Some(behind) = behind else {
            *filter = open.unwrap_or_else(|| Filter::Any(Vec::new()));
            return Ok(is_changed);
        };
        let mut alone = Filter::Unshared;
        if cut.len() < types.len() {
            let others = Filter::Not(Box::new(Filter::Type(cut)));
            alone = Filter::Any(vec![Filter::Unshared, others]);
        }
        let behind = Filter::All(vec![behind, alone]);
        *filter = match open {
            Some(open) => Filter::Any(vec![open, behind]),
            None => behind,
        };
        Ok(true)
    }

    /// What of a filter goes by what is in sight, and what does not.
    fn split(&self, filter: Filter, mine: &[i64]) -> (Option<Filter>, Option<Filter>) {
        let is_open = match &filter {
            Filter::Test(test) if self.are_of_clients(&test.parameters) => false,
            Filter::Test(test) if test.search_type == SearchType::Reference => {
                let Filter::Test(test) = filter else { return (None, None) };
                let Test { parameters, search_type, any } = test;
                let (open, behind): (Vec<_>, Vec<_>) =
                    any.into_iter().partition(|comparison| self.is_in_sight(comparison, mine));
                let part = |any: Vec<Comparison>| {
                    let parameters = parameters.clone();
                    (!any.is_empty()).then_some(Filter::Test(Test { parameters, search_type, any }))
                };
                return (part(open), part(behind));
            }
            Filter::OfPatients(Some(_)) => {
                let Filter::OfPatients(Some(whose)) = filter else { return (None, None) };
                let is_mine = |id: &LogicalId| mine.contains(&self.store.hasher().patient(id));
                let (open, behind): (Vec<_>, Vec<_>) = whose.into_iter().partition(is_mine);
                let part = |whose: Vec<LogicalId>| {
                    (!whose.is_empty()).then_some(Filter::OfPatients(Some(whose)))
                };
                return (part(open), part(behind));
            }
            Filter::Chain { targets, .. } => targets.iter().all(|(of, _)| is_everyones(*of)),
            Filter::Compartment { code, id } if *code == ResourceType::PATIENT => {
                mine.contains(&self.store.hasher().patient(id))
            }
            Filter::Compartment { code, .. } => is_everyones(*code),
            Filter::Hierarchy { of, .. } => is_everyones(of.0),
            Filter::FullText { .. } | Filter::Keys(_) | Filter::Mentions { .. } => false,
            // What these are made of was looked at.
            Filter::All(_)
            | Filter::Any(_)
            | Filter::Has { .. }
            | Filter::Id(_)
            | Filter::LastUpdated(_)
            | Filter::List(_)
            | Filter::Not(_)
            | Filter::OfPatients(None)
            | Filter::Test(_)
            | Filter::Type(_)
            | Filter::Unshared => true,
        };
        if is_open { (Some(filter), None) } else { (None, Some(filter)) }
    }

    /// Whether a client defined one of these parameters: it may read what is not shown.
    fn are_of_clients(&self, parameters: &[ParameterKey]) -> bool {
        let all = self.parameters.extractor.search_parameters();
        let is_custom = |of: ResourceType, code: &str| {
            all.find(of, code).is_none_or(|found| found.custom.is_some())
        };
        parameters.iter().any(|key| is_custom(key.resource_type, &key.code))
    }

    fn is_in_sight(&self, comparison: &Comparison, mine: &[i64]) -> bool {
        match comparison {
            Comparison::Present | Comparison::Reference(AskedReference::Canonical(_)) => true,
            Comparison::Reference(AskedReference::Local { resource_type, id, .. }) => {
                let is_mine = *resource_type == ResourceType::PATIENT
                    && mine.contains(&self.store.hasher().patient(id));
                is_mine || is_everyones(*resource_type)
            }
            _ => false,
        }
    }
}
