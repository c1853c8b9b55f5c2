//! read: `GET [type]/[id]`.

use crate::access::Caller;
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
        self.gate.read(identity, caller).await
    }
}
