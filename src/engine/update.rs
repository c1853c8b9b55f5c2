//! update: `PUT [type]/[id]`, also for an id that does not exist yet.

use crate::access::interaction::Kind;
use crate::access::{Caller, Unaudited, named_only};
use crate::error::Error;
use crate::fhir::{Identity, Operation, Resource};

use super::condition::Condition;
use super::prepare::{Prepared, check_identity};
use super::write::{Written, check_condition};
use super::{Engine, Wish, WriteOptions, refuse_unstorable};

impl Engine {
    /// Replaces the content of a resource, or brings it into being under the id of the URL. The
    /// Provenance of a new version is stored with it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the body has no id or another one; [`Error::PreconditionFailed`]
    /// when `condition` does not hold.
    ///
    /// <https://hl7.org/fhir/R4/http.html#update>
    pub async fn update(
        &self,
        identity: &Identity,
        resource: Resource<'_>,
        condition: &Condition,
        options: WriteOptions<'_>,
        caller: &Caller,
    ) -> Result<Written, Error> {
        let interaction = Kind::Update.of(identity.resource_type);
        let ready = self.validation.ready_to_judge(&resource.value).await;
        let prepared = ready.and_then(|()| self.prepare_update(identity, resource, options.wish));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let attempted = vec![named_only(interaction, identity)];
                return self.gate.denied_each(attempted, caller, error).await;
            }
        };
        let _turn = self.turns.of(identity).await;
        let mut attempts = self.gate.attempts(interaction, caller).about(identity);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                let current = tx.current(&identity.id, permit).await?;
                check_condition(condition, current.as_ref(), permit)?;
                let patients = prepared.patients.clone();
                let change = Operation::Updated;
                let prepared = prepared.clone();
                let written =
                    self.stage_put(identity, current, prepared, change, permit, tx).await?;
                self.stage_provenance(options.provenance, &written, permit, tx)?;
                let disclosed = written.disclosed(patients);
                Ok(Unaudited::new(written, disclosed))
            });
            if let Some(done) = attempt.await? {
                self.validation.note(identity.resource_type);
                return Ok(done);
            }
        }
    }

    /// Checks and splits the body of an update.
    pub(super) fn prepare_update(
        &self,
        identity: &Identity,
        resource: Resource<'_>,
        wish: Wish,
    ) -> Result<Prepared, Error> {
        refuse_unstorable(identity.resource_type)?;
        check_identity(identity, &resource.value)?;
        self.check_all(&resource.value, Kind::Update, wish)?;
        self.prepare(identity, resource.value, Kind::Update, wish)
    }
}
