//! The Provenance that comes along with a write: stored in its unit of work, or neither is.
//!
//! Spec: <https://hl7.org/fhir/R4/provenance.html#header>, rest 1.38

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, Resource, ResourceType};
use crate::store::WriteTx;

use super::{Engine, WriteOutcome, Written};

impl Engine {
    /// Stages `provenance` with the version just staged as its target; nothing when the write made
    /// no version.
    pub(super) fn stage_provenance(
        &self,
        provenance: Option<&Value<'static>>,
        written: &Written,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(), Error> {
        let made_version = written.outcome != WriteOutcome::Unchanged;
        let Some(mut value) = provenance.filter(|_| made_version).cloned() else { return Ok(()) };
        if let Some(provenance) = value.as_object_mut() {
            let target = Object::new().with("reference", written.version.versioned_path());
            provenance.set("target", vec![Value::from(target)]);
        }
        let resource_type = ResourceType::PROVENANCE;
        let identity = Identity { resource_type, id: self.ids.logical_id() };
        let prepared = self.prepare_new(&identity, Resource { resource_type, value })?;
        let permit = permit.derive(Kind::Create, resource_type)?;
        let patients = prepared.patients.clone();
        let stored = self.stage_new(&identity, prepared, &permit, tx)?;
        tx.entry(permit.interaction(), stored.disclosed(patients));
        Ok(())
    }
}
