//! create: `POST [type]`.

use crate::access::Caller;
use crate::access::Unaudited;
use crate::access::gate::Attempts;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::{Identity, Resource};
use crate::store::Store;

use super::prepare::Prepared;
use super::write::Written;
use super::{Engine, Wish, WriteOptions, refuse_unstorable};

impl Engine {
    /// Stores a new resource under a new id; an id in the body is ignored. Its Provenance is stored
    /// with it.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unprocessable`] for the content, [`Error::MethodNotAllowed`]
    /// for types that are not stored.
    ///
    /// <https://hl7.org/fhir/R4/http.html#create>
    pub async fn create(
        &self,
        resource: Resource<'_>,
        options: WriteOptions<'_>,
        caller: &Caller,
    ) -> Result<Written, Error> {
        let identity =
            Identity { resource_type: resource.resource_type, id: self.ids.logical_id() };
        let interaction = Kind::Create.of(resource.resource_type);
        let attempts = self.gate.attempts(interaction, caller);
        self.create_at(&identity, resource, options, attempts, caller).await
    }

    /// The same under an id that the sender chose; one that is taken stays taken.
    pub(super) async fn create_chosen(
        &self,
        identity: &Identity,
        resource: Resource<'_>,
        options: WriteOptions<'_>,
        caller: &Caller,
    ) -> Result<Written, Error> {
        let interaction = Kind::Create.of(resource.resource_type);
        let attempts = self.gate.attempts(interaction, caller).few();
        self.create_at(identity, resource, options, attempts, caller).await
    }

    async fn create_at(
        &self,
        identity: &Identity,
        resource: Resource<'_>,
        options: WriteOptions<'_>,
        mut attempts: Attempts<'_, Store>,
        caller: &Caller,
    ) -> Result<Written, Error> {
        let interaction = Kind::Create.of(resource.resource_type);
        let ready = self.validation.ready_to_judge(&resource.value).await;
        let prepared = ready.and_then(|()| self.prepare_new(identity, resource, options.wish));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        loop {
            let attempt = attempts.write(async |permit, tx| {
                let patients = prepared.patients.clone();
                let written = self.stage_new(identity, prepared.clone(), permit, tx)?;
                self.stage_provenance(options.provenance, &written, permit, tx)?;
                let disclosed = written.disclosed(patients);
                Ok(Unaudited::new(written, disclosed))
            });
            if let Some(done) = Box::pin(attempt).await? {
                self.validation.note(identity.resource_type);
                return Ok(done);
            }
        }
    }

    /// Checks and splits a resource that takes a new id.
    pub(super) fn prepare_new(
        &self,
        identity: &Identity,
        resource: Resource<'_>,
        wish: Wish,
    ) -> Result<Prepared, Error> {
        refuse_unstorable(resource.resource_type)?;
        super::prepare::check_type(identity.resource_type, &resource.value)?;
        self.check_all(&resource.value, Kind::Create, wish)?;
        self.prepare(identity, resource.value, Kind::Create, wish)
    }
}
