//! vread: `GET [type]/[id]/_history/[vid]`.

use crate::access::interaction::Kind;
use crate::access::{Caller, Unaudited};
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
                if let Some((found, disclosed)) = self.defined(identity, permit)?
                    && found.version == version
                {
                    return Ok(Unaudited::new(found, disclosed));
                }
                self.store.version(&identity.id, version, permit).await
            })
            .await
    }
}
