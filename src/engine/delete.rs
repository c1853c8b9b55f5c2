//! delete: `DELETE [type]/[id]`.

use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Identity, Operation, ResourceType, VersionId};
use crate::store::{IndexRows, Staged, Ties, WriteTx};

use super::Engine;
use super::condition::Condition;
use super::write::check_condition;

/// What a delete did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deleted {
    /// The version that is the deletion; `None` when there was nothing to delete.
    pub version: Option<VersionId>,
}

/// What was asked to be deleted, and what of it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Deletion {
    /// What matched criteria; all of it was.
    Matches(Vec<Identity>),
    /// One resource, with the version that is the deletion, if there was something to delete.
    One(Identity, Option<VersionId>),
}

impl Engine {
    /// Deletes a resource; its versions stay readable. What is not there is deleted already.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`] when `condition` does not hold.
    ///
    /// <https://hl7.org/fhir/R4/http.html#delete>
    pub async fn delete(
        &self,
        identity: &Identity,
        condition: &Condition,
        caller: &Caller,
    ) -> Result<Deleted, Error> {
        let interaction = Kind::Delete.of(identity.resource_type);
        let _turn = self.turns.of(identity).await;
        let mut attempts = self.gate.attempts(interaction, caller).about(identity);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                let (deleted, disclosed) =
                    self.stage_delete(identity, condition, permit, tx).await?;
                Ok(Unaudited::new(deleted, disclosed))
            });
            if let Some(done) = attempt.await? {
                self.validation.note(identity.resource_type);
                return Ok(done);
            }
        }
    }

    /// Stages the deletion of what is live and within reach.
    pub(super) async fn stage_delete(
        &self,
        identity: &Identity,
        condition: &Condition,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(Deleted, Disclosed), Error> {
        let current = tx.current(&identity.id, permit).await?;
        self.refuse_defined(identity, current.as_ref())?;
        check_condition(condition, current.as_ref(), permit)?;
        let Identity { resource_type, id } = identity.clone();
        let mut disclosed = Disclosed::default();
        let live = current.filter(|current| !current.version.is_deleted());
        let Some(current) = live else {
            disclosed.subject = Some((resource_type, id, None));
            return Ok((Deleted { version: None }, disclosed));
        };
        let (version, last_updated) = self.next(Some(&current));
        disclosed.subject = Some((resource_type, id, Some(version)));
        disclosed.patients.clone_from(&current.patients);
        let patients = current.patients.clone();
        let staged = Staged {
            identity: identity.clone(),
            prior: Some(current),
            version,
            operation: Operation::Deleted,
            last_updated,
            meta: None,
            body: None,
            patients,
            uses: Vec::new(),
            index: IndexRows::default(),
            ties: Ties::default(),
        };
        tx.stage(staged, permit)?;
        if identity.resource_type == ResourceType::SUBSCRIPTION {
            tx.subscribe(self.subscribing(identity, version, None, permit)?);
        }
        Ok((Deleted { version: Some(version) }, disclosed))
    }
}
