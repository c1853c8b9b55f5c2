//! What links events of the ledger with what is stored, for `_has`: what events refer to, and which
//! events stored resources refer to.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::audit::query::Condition;
use crate::error::Error;
use crate::fhir::{Identity, LogicalId, ResourceType, Version, json};
use crate::search::extract::{IndexValue, ReferenceValue};
use crate::search::request::ParameterKey;

use super::super::Store;
use super::super::connection::Reader;
use super::super::resource::find_current;
use super::walk::Walk;
use super::{name, reach};

/// Most events that are looked at for what they refer to.
const MOST_EVENTS: usize = 10_000;

impl Store {
    /// The resources to which events refer by a search parameter, of those events for which `condition`
    /// holds.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who may not search for events; [`Error::TooCostly`] when there are more
    /// than ten thousand of them.
    pub(crate) async fn referred_to_by_events(
        &self,
        condition: Condition,
        code: &str,
        permit: &Permit<'_>,
    ) -> Result<BTreeSet<Identity>, Error> {
        let permit = permit.derive(Kind::SearchType, ResourceType::AUDIT_EVENT)?;
        let condition = Condition::All(vec![reach(self, &permit), condition]);
        let (is_ascending, is_back) = (false, false);
        let walk = Walk { condition: &condition, is_ascending, is_back, is_alone: true };
        let (found, _) = walk.run((self, &permit), None, Some(MOST_EVENTS + 1)).await?;
        if found.len() > MOST_EVENTS {
            let text = format!("_has leads to more than {MOST_EVENTS} events: narrow it by date");
            return Err(Error::TooCostly(text));
        }
        let (mut entries, numbers): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let connection = self.0.searchers.connection(&permit).await?;
        name(self, &connection, &mut entries).await?;
        let events = entries.iter().zip(numbers);
        Ok(events.flat_map(|(entry, number)| entry.references(number, Some(code))).collect())
    }

    /// The ids of the AuditEvents, stored or not, to which resources refer by a parameter of theirs.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who may not search for such resources.
    pub(crate) async fn events_referred_to_by(
        &self,
        resources: Vec<Identity>,
        reference: &ParameterKey,
        permit: &Permit<'_>,
    ) -> Result<BTreeSet<LogicalId>, Error> {
        let permit = permit.derive(Kind::SearchType, reference.resource_type)?;
        let pipeline = self.0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        let found = resources.iter().map(|it| find_current(self, reader, &it.id, &permit));
        let mut ids = BTreeSet::new();
        for found in try_join_all(found).await?.into_iter().flatten() {
            if !found.version.is_deleted() {
                ids.extend(self.events_named_in(&found.version, reference)?);
            }
        }
        Ok(ids)
    }

    fn events_named_in(
        &self,
        version: &Version,
        reference: &ParameterKey,
    ) -> Result<Vec<LogicalId>, Error> {
        let known = self.parameters()?;
        let extractor = &known.extractor;
        let of = reference.resource_type;
        let Some(place) = extractor.place(of, &reference.code) else { return Ok(Vec::new()) };
        let text = version.to_json();
        let value = json::parse(&text).map_err(Error::internal)?;
        let extraction = extractor.extract(of, &value);
        let named = extraction.of(place).iter().filter_map(|row| match &row.value {
            IndexValue::Reference(ReferenceValue::Local { resource_type, id, .. })
                if *resource_type == ResourceType::AUDIT_EVENT =>
            {
                Some(id.clone())
            }
            _ => None,
        });
        Ok(named.collect())
    }
}
