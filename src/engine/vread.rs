//! vread: `GET [type]/[id]/_history/[vid]`.

use crate::access::Caller;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::{Identity, Version, VersionId};

use super::Engine;

impl Engine {
    /// One version of a resource, current or old.
    ///
    /// # Errors
    /// As [`Engine::read`]; [`Error::Deleted`] when that version is a deletion.
    ///
    /// <https://hl7.org/fhir/R4/http.html#vread>
    pub async fn vread(
        &self,
        identity: &Identity,
        version: VersionId,
        caller: &Caller,
    ) -> Result<Version, Error> {
        let interaction = Kind::Vread.of(identity.resource_type);
        self.gate
            .run(interaction, caller, async |permit| {
                let stored = self.store.version(&identity.id, version, permit).await;
                let stored = self.or_event(stored, (identity, Some(version)), permit).await;
                self.or_defined(stored, (identity, Some(version)), permit)
            })
            .await
    }
}
