//! Conditional create, update, patch and delete: what is written is found by criteria.
//!
//! Each attempt locks the criteria, looks, and writes in one transaction: of many who send the same
//! at the same time, one makes the resource and the others find it (rest 2.49).
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#ccreate>, checklist rest 2d

use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::{Identity, IssueCode, LogicalId, Operation, Resource, ResourceType};
use crate::store::{Current, WriteTx};

use super::condition::Condition;
use super::patch::Patch;
use super::search::Criteria;
use super::write::{WriteOutcome, Written, check_condition};
use super::{Engine, Wish, WriteOptions, refuse_unstorable};

/// What identifies the written resource: the match, or what the body says of a new one.
pub(super) struct Goal {
    /// Type and id.
    pub(super) identity: Identity,
    /// What is there now.
    pub(super) current: Option<Current>,
}

impl Engine {
    /// Creates a resource unless one matches `criteria`; that one is the answer then.
    ///
    /// # Errors
    /// As [`Engine::create`]; [`Error::Invalid`] for criteria that are empty or not understood;
    /// [`Error::MultipleMatches`].
    pub async fn create_unless(
        &self,
        resource: Resource<'_>,
        criteria: &Query,
        options: WriteOptions<'_>,
        caller: &Caller,
    ) -> Result<Written, Error> {
        let resource_type = resource.resource_type;
        let interaction = Kind::Create.of(resource_type);
        let identity = Identity { resource_type, id: self.ids.logical_id() };
        let criteria = self.ready_criteria(&resource, criteria).await;
        let ready = criteria
            .and_then(|read| Ok((read, self.prepare_new(&identity, resource, options.wish)?)));
        let (criteria, prepared) = match ready {
            Ok(ready) => ready,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let _turn = self.criteria_turns.of_numbers(&criteria.locks).await;
        let mut attempts = self.gate.attempts(interaction, caller);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                tx.lock(&criteria.locks, permit).await?;
                if let Some(found) = self.find_existing(&criteria, permit, tx).await? {
                    let is_readable = self.is_readable(&found.version, permit)?;
                    return Ok(existing(found, is_readable));
                }
                let patients = prepared.patients.clone();
                let written = self.stage_new(&identity, prepared.clone(), permit, tx)?;
                self.stage_provenance(options.provenance, &written, permit, tx)?;
                let disclosed = written.disclosed(patients);
                Ok(Unaudited::new(written, disclosed))
            });
            if let Some(done) = attempt.await? {
                self.validation.note(resource_type);
                return Ok(done);
            }
        }
    }

    /// The criteria, read, once what the resource is judged by counts.
    async fn ready_criteria(
        &self,
        resource: &Resource<'_>,
        criteria: &Query,
    ) -> Result<Criteria, Error> {
        self.validation.ready_to_judge(&resource.value).await?;
        self.criteria(resource.resource_type, criteria).await
    }

    /// Replaces the one resource that matches `criteria`, or creates one.
    ///
    /// # Errors
    /// As [`Engine::create_unless`]; [`Error::Invalid`] when the body has another id than the match;
    /// [`Error::Conflict`] when nothing matches and the id of the body is taken.
    pub async fn update_by(
        &self,
        resource: Resource<'_>,
        criteria: &Query,
        condition: &Condition,
        options: WriteOptions<'_>,
        caller: &Caller,
    ) -> Result<Written, Error> {
        let resource_type = resource.resource_type;
        let interaction = Kind::Update.of(resource_type);
        let criteria = self.ready_criteria(&resource, criteria).await;
        let ready = criteria.and_then(|read| {
            let id = self.check_update_by(resource_type, &resource.value, options.wish)?;
            Ok((read, id))
        });
        let (criteria, id) = match ready {
            Ok(ready) => ready,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let _turn = self.criteria_turns.of_numbers(&criteria.locks).await;
        let mut attempts = self.gate.attempts(interaction, caller);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                tx.lock(&criteria.locks, permit).await?;
                let found = self.find_one(&criteria, permit, tx).await?;
                let goal = self.goal(resource_type, found, id.as_ref(), permit, tx).await?;
                let Goal { identity, current } = goal;
                check_condition(condition, current.as_ref(), permit)?;
                let prepared =
                    self.prepare(&identity, resource.value.clone(), Kind::Update, options.wish)?;
                let patients = prepared.patients.clone();
                let change = Operation::Updated;
                let written =
                    self.stage_put(&identity, current, prepared, change, permit, tx).await?;
                self.stage_provenance(options.provenance, &written, permit, tx)?;
                let disclosed = written.disclosed(patients);
                Ok(Unaudited::new(written, disclosed))
            });
            if let Some(done) = Box::pin(attempt).await? {
                self.validation.note(resource_type);
                return Ok(done);
            }
        }
    }

    /// Changes parts of the one resource that matches `criteria`.
    ///
    /// # Errors
    /// As [`Engine::patch`]; [`Error::NotFound`] when nothing matches; [`Error::MultipleMatches`].
    pub async fn patch_by(
        &self,
        resource_type: ResourceType,
        patch: Patch<'_>,
        criteria: &Query,
        condition: &Condition,
        options: WriteOptions<'_>,
        caller: &Caller,
    ) -> Result<Written, Error> {
        let interaction = Kind::Patch.of(resource_type);
        let ready = self.validation.ready().await;
        let criteria = match ready {
            Ok(()) => self.criteria(resource_type, criteria).await,
            Err(error) => Err(error),
        };
        let ready = criteria.and_then(|read| self.check_patch(&patch).map(|()| read));
        let criteria = match ready {
            Ok(criteria) => criteria,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let _turn = self.criteria_turns.of_numbers(&criteria.locks).await;
        let mut attempts = self.gate.attempts(interaction, caller);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                tx.lock(&criteria.locks, permit).await?;
                let identity = self.find_identity(&criteria, permit, tx).await?;
                let identity = identity.ok_or_else(|| nothing_matches(resource_type))?;
                let (written, patients) = self
                    .stage_patch(&identity, &patch, condition, options.wish, permit, tx)
                    .await?;
                self.stage_provenance(options.provenance, &written, permit, tx)?;
                let disclosed = written.disclosed(patients);
                Ok(Unaudited::new(written, disclosed))
            });
            if let Some(done) = Box::pin(attempt).await? {
                self.validation.note(resource_type);
                return Ok(done);
            }
        }
    }

    /// Deletes what matches `criteria`, all of it or nothing; gives what was deleted.
    ///
    /// # Errors
    /// [`Error::MultipleMatches`] for more matches than may be deleted at once;
    /// [`Error::PreconditionFailed`] when `condition` does not hold for one of them.
    pub async fn delete_by(
        &self,
        resource_type: ResourceType,
        criteria: &Query,
        condition: &Condition,
        caller: &Caller,
    ) -> Result<Vec<Identity>, Error> {
        let interaction = Kind::Delete.of(resource_type);
        let criteria = match self.criteria(resource_type, criteria).await {
            Ok(criteria) => criteria,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let _turn = self.criteria_turns.of_numbers(&criteria.locks).await;
        let mut attempts = self.gate.attempts(interaction, caller);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                tx.lock(&criteria.locks, permit).await?;
                let found = self.find_to_delete(&criteria, permit, tx).await?;
                let mut main = Disclosed::default();
                let mut gone = Vec::new();
                for (at, identity) in found.iter().enumerate() {
                    let (deleted, disclosed) =
                        self.stage_delete(identity, condition, permit, tx).await?;
                    match at {
                        0 => main = disclosed,
                        _ => tx.entry(permit.interaction(), disclosed),
                    }
                    // More may be found than may be deleted.
                    gone.extend(deleted.version.map(|_| identity.clone()));
                }
                if found.is_empty() {
                    check_condition(condition, None, permit)?;
                }
                Ok(Unaudited::new(gone, main))
            });
            if let Some(done) = attempt.await? {
                self.validation.note(resource_type);
                return Ok(done);
            }
        }
    }

    /// What a conditional delete deletes, by the choice of the operator (rest 2.47).
    pub(super) async fn find_to_delete(
        &self,
        criteria: &Criteria,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Vec<Identity>, Error> {
        let most = self.settings.max_conditional_delete;
        let found = self.find_some(criteria, most.saturating_add(1), permit, tx).await?;
        if found.len() > most as usize {
            let of = criteria.resource_type;
            let text = format!("the criteria match more {of} resources than the {most} allowed");
            return Err(Error::MultipleMatches(text));
        }
        Ok(found)
    }

    /// Checks the body of a conditional update and gives the id in it.
    pub(super) fn check_update_by(
        &self,
        resource_type: ResourceType,
        value: &Value<'_>,
        wish: Wish,
    ) -> Result<Option<LogicalId>, Error> {
        refuse_unstorable(resource_type)?;
        super::prepare::check_type(resource_type, value)?;
        self.check_all(value, Kind::Update, wish)?;
        value.str_at("id").map(|id| parse_id(resource_type, id)).transpose()
    }

    /// What a conditional update writes (rest 2.40 to 2.42).
    pub(super) async fn goal(
        &self,
        resource_type: ResourceType,
        found: Option<Current>,
        id: Option<&LogicalId>,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Goal, Error> {
        match (found, id) {
            (Some(current), id) => {
                let identity = current.version.identity.clone();
                if let Some(id) = id.filter(|id| **id != identity.id) {
                    let text = format!("the criteria match {identity}, the body has the id {id}");
                    let place = format!("{resource_type}.id");
                    return Err(Error::invalid_at(IssueCode::Invalid, text, place));
                }
                Ok(Goal { identity, current: Some(current) })
            }
            (None, Some(id)) => {
                let current = tx.current(id, permit).await?;
                let identity = Identity { resource_type, id: id.clone() };
                if current.as_ref().is_some_and(|current| !current.version.is_deleted()) {
                    let text = format!("{identity} exists and does not match the criteria");
                    return Err(Error::Conflict(text));
                }
                Ok(Goal { identity, current })
            }
            (None, None) if permit.is_restricted() => {
                Err(Error::NotFound(format!("a {resource_type} that matches")))
            }
            (None, None) => {
                let identity = Identity { resource_type, id: self.ids.logical_id() };
                Ok(Goal { identity, current: None })
            }
        }
    }
}

/// The answer to a create that found what it would have made.
fn existing(found: Current, is_readable: bool) -> Unaudited<Written> {
    let (outcome, notices) = (WriteOutcome::Existing, Vec::new());
    let written = Written { outcome, version: found.version, notices, is_readable };
    let disclosed = written.disclosed(found.patients);
    Unaudited::new(written, disclosed)
}

pub(super) fn nothing_matches(resource_type: ResourceType) -> Error {
    Error::NotFound(format!("a {resource_type} by these criteria"))
}

fn parse_id(resource_type: ResourceType, id: &str) -> Result<LogicalId, Error> {
    id.parse().map_err(|fault: crate::fhir::id::InvalidId| {
        Error::invalid_at(IssueCode::Value, fault.to_string(), format!("{resource_type}.id"))
    })
}
