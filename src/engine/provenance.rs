//! A Provenance sent along with a write: part of the unit of work of what it is about.
//!
//! It takes the way of any create: checked, split and staged under a permit of its own, with a
//! ledger row of its own. A write that makes no version has no Provenance either. A transaction has one
//! about all versions that it makes.
//!
//! Spec: <https://hl7.org/fhir/R4/provenance.html>, rest 1.38, security P1

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, IssueCode, Resource, ResourceType};
use crate::store::WriteTx;
use crate::validate::form::{self, Verdict};

use super::bundle::EntryResult;
use super::write::{WriteOutcome, Written};
use super::{Engine, Wish};

/// A Provenance without a target, which will be the version that its write makes.
#[derive(Clone, Debug)]
pub struct Provenance(Object<'static>);

impl Provenance {
    fn about(&self, targets: impl IntoIterator<Item = String>) -> Value<'static> {
        let mut provenance = self.0.clone();
        let reference =
            |target: String| -> Value<'static> { Object::new().with("reference", target).into() };
        let targets: Vec<Value<'static>> = targets.into_iter().map(reference).collect();
        provenance.set("target", targets);
        Value::Object(provenance)
    }
}

impl Engine {
    /// Takes `value` for the Provenance of a coming write to a resource of `resource_type`.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unprocessable`] when it is no Provenance without target.
    pub fn provenance(
        &self,
        value: Value<'_>,
        resource_type: ResourceType,
    ) -> Result<Provenance, Error> {
        let invalid = |text: &str| Error::invalid(IssueCode::Structure, text);
        let Value::Object(provenance) = value.into_owned() else {
            return Err(invalid("a Provenance is a JSON object"));
        };
        if provenance.get("resourceType").and_then(Value::as_str) != Some("Provenance") {
            return Err(invalid("the resource is not a Provenance"));
        }
        if provenance.contains("target") {
            let text = "the target is what the request writes and cannot be given";
            return Err(Error::invalid_at(IssueCode::Structure, text, "Provenance.target"));
        }
        let provenance = Provenance(provenance);
        // Any target serves to check the rest of it before anything is staged.
        let pending = provenance.about([format!("{resource_type}/pending/_history/1")]);
        match form::check(&pending, &self.spec.schema) {
            Verdict::Sound => Ok(provenance),
            Verdict::Malformed(issues) => Err(Error::Invalid(issues)),
            Verdict::Broken(issues) => Err(Error::Unprocessable(issues)),
        }
    }

    /// Whether what is sent along with a Bundle is the Provenance of what it makes. By rest 3.58 it is not,
    /// unless the settings say otherwise, and never of a batch, whose entries are many writes.
    pub fn takes_provenance_of(&self, bundle: &Value<'_>) -> bool {
        self.settings.provenance_of_transactions && bundle.str_at("type") == Some("transaction")
    }

    /// Stages the Provenance of what was written, if there is one and it made a version.
    pub(super) fn stage_provenance(
        &self,
        provenance: Option<&Provenance>,
        written: &Written,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(), Error> {
        let Some(provenance) = provenance else { return Ok(()) };
        self.stage_provenance_about(provenance, target(written).into_iter().collect(), permit, tx)
    }

    /// Stages the Provenance of what the entries of a transaction made, if there is one and they made
    /// something.
    pub(super) fn stage_provenance_of_all(
        &self,
        provenance: Option<&Provenance>,
        results: &[EntryResult],
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(), Error> {
        let Some(provenance) = provenance else { return Ok(()) };
        let written = results.iter().filter_map(|result| match result {
            EntryResult::Written(written) => target(written),
            _ => None,
        });
        self.stage_provenance_about(provenance, written.collect(), permit, tx)
    }

    fn stage_provenance_about(
        &self,
        provenance: &Provenance,
        targets: Vec<String>,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(), Error> {
        if targets.is_empty() {
            return Ok(());
        }
        let resource_type = ResourceType::PROVENANCE;
        let permit = permit.derive(Kind::Create, resource_type)?;
        let identity = Identity { resource_type, id: self.ids.logical_id() };
        let value = provenance.about(targets);
        let prepared =
            self.prepare_new(&identity, Resource { resource_type, value }, Wish::default())?;
        let patients = prepared.patients.clone();
        let stored = self.stage_along(&identity, prepared, &permit, tx)?;
        tx.entry(permit.interaction(), stored.disclosed(patients));
        Ok(())
    }
}

/// The version that a write made.
fn target(written: &Written) -> Option<String> {
    let is_made = matches!(written.outcome, WriteOutcome::Created | WriteOutcome::Updated);
    is_made.then(|| written.version.versioned_path())
}
