//! read: `GET [type]/[id]`.

use crate::access::interaction::Kind;
use crate::access::{Caller, Permit};
use crate::error::Error;
use crate::fhir::{Identity, Version};

use super::Engine;

impl Engine {
    /// The current version of a resource.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it does not exist or lies outside the caller's reach (the two look
    /// alike, so ids cannot be probed); [`Error::Deleted`] when its current version is a deletion.
    ///
    /// <https://hl7.org/fhir/R4/http.html#read>
    pub async fn read(&self, identity: &Identity, caller: &Caller) -> Result<Version, Error> {
        let find = async |permit: &Permit<'_>, draft| {
            let stored = self.store.read(&identity.id, permit, draft).await;
            let stored = self.or_event(stored, (identity, None), permit).await;
            self.or_defined(stored, (identity, None), permit)
        };
        self.gate.show(Kind::Read.of(identity.resource_type), caller, find).await
    }
}
