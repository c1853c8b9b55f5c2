//! patch: `PATCH [type]/[id]`. The three formats are in [`super::patch`]; here is the interaction.

use crate::access::interaction::Kind;
use crate::access::{Caller, Permit, Unaudited, named_only};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::primitive;
use crate::fhir::{Identity, Issue, IssueCode, Operation, ResourceType};
use crate::store::WriteTx;

use super::condition::Condition;
use super::patch::{self, Patch};
use super::write::{Written, check_condition};
use super::{Engine, Wish, WriteOptions};

impl Engine {
    /// Changes parts of a resource; the result is checked and stored like an update, its Provenance
    /// with it.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Deleted`]: a patch never creates; [`Error::Invalid`] for a
    /// malformed patch or result; [`Error::Unprocessable`] for a failed test;
    /// [`Error::PreconditionFailed`] when `condition` does not hold.
    ///
    /// <https://hl7.org/fhir/R4/http.html#patch>
    pub async fn patch(
        &self,
        identity: &Identity,
        patch: Patch<'_>,
        condition: &Condition,
        options: WriteOptions<'_>,
        caller: &Caller,
    ) -> Result<Written, Error> {
        let interaction = Kind::Patch.of(identity.resource_type);
        let ready = self.validation.ready().await;
        if let Err(error) = ready.and_then(|()| self.check_patch(&patch)) {
            let attempted = vec![named_only(interaction, identity)];
            return self.gate.denied_each(attempted, caller, error).await;
        }
        let _turn = self.turns.of(identity).await;
        let mut attempts = self.gate.attempts(interaction, caller).about(identity);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                let (written, patients) =
                    self.stage_patch(identity, &patch, condition, options.wish, permit, tx).await?;
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

    /// Checks the form of a patch that is a resource: whatever is wrong with it, it is no patch, and that
    /// is told by the same code as of the other formats (rest 2.58).
    pub(super) fn check_patch(&self, patch: &Patch<'_>) -> Result<(), Error> {
        let Patch::FhirPath(parameters) = patch else { return Ok(()) };
        self.check(parameters).map_err(|error| match error {
            Error::Invalid(issues) | Error::Unprocessable(issues) => {
                let no_patch = |issue| Issue { code: IssueCode::Invalid, ..issue };
                Error::Invalid(issues.into_iter().map(no_patch).collect())
            }
            other => other,
        })
    }

    /// Applies a patch to what is live and stages the result.
    pub(super) async fn stage_patch(
        &self,
        identity: &Identity,
        patch: &Patch<'_>,
        condition: &Condition,
        wish: Wish,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(Written, Vec<i64>), Error> {
        if identity.resource_type == ResourceType::BINARY {
            return Err(Error::MethodNotAllowed("Binary resources cannot be patched".to_owned()));
        }
        let current = tx.current(&identity.id, permit).await?;
        self.refuse_defined(identity, current.as_ref())?;
        check_condition(condition, current.as_ref(), permit)?;
        let current = current.ok_or_else(|| Error::NotFound(identity.to_string()))?;
        if current.version.is_deleted() {
            return Err(Error::gone(&current.version));
        }
        // Who may not read it does not learn by a patch what is in it.
        if patch.asks() && !self.is_readable(&current.version, permit)? {
            return Err(Error::Forbidden);
        }
        let text = current.version.to_json();
        let before = json::parse(&text).map_err(Error::internal)?;
        let after = patch::apply(patch, before, &self.spec.schema)?;
        self.check_all(&after, Kind::Patch, wish)?;
        let prepared = self.prepare(identity, after, Kind::Patch, wish)?;
        let patients = prepared.patients.clone();
        let change = Operation::Patched;
        let written = self.stage_put(identity, Some(current), prepared, change, permit, tx).await?;
        Ok((written, patients))
    }
}

/// The patch that an entry of a Bundle carries: Parameters, or a Binary that holds a JSON Patch.
pub(super) fn of_entry(resource: &Value<'_>) -> Result<Patch<'static>, Error> {
    match resource.str_at("resourceType") {
        Some("Parameters") => Ok(Patch::FhirPath(resource.clone().into_owned())),
        Some("Binary") => {
            let content_type = resource.str_at("contentType").unwrap_or_default();
            if content_type.split(';').next() != Some("application/json-patch+json") {
                let text = format!("a Binary of {content_type:?} is no patch");
                return Err(Error::invalid(IssueCode::NotSupported, text));
            }
            let data = resource.str_at("data").unwrap_or_default();
            let bytes = primitive::base64_content(data)
                .map_err(|error| Error::invalid(IssueCode::Value, error.to_string()))?;
            let patch = json::parse(&bytes)
                .map_err(|error| Error::invalid(IssueCode::Invalid, error.to_string()))?;
            Ok(Patch::Json(patch.into_owned()))
        }
        _ => {
            let text = "a PATCH entry carries Parameters or a Binary with a JSON Patch";
            Err(Error::invalid(IssueCode::Invalid, text))
        }
    }
}
