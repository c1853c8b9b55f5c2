//! history: `GET [type]/[id]/_history`, `GET [type]/_history`, `GET _history`.

use crate::access::interaction::Kind;
use crate::access::{Caller, Interaction};
use crate::error::Error;

use super::{Engine, HistoryPage, HistoryRequest, HistoryScope};

impl Engine {
    /// A page of versions, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an instance that never existed or lies out of reach (a deleted one
    /// has a history); [`Error::Invalid`] for a cursor of another server or history.
    ///
    /// <https://hl7.org/fhir/R4/http.html#history>
    pub async fn history(
        &self,
        request: &HistoryRequest,
        caller: &Caller,
    ) -> Result<HistoryPage, Error> {
        let interaction = interaction(&request.scope);
        self.gate
            .run(interaction, caller, async |permit| self.store.history(request, permit).await)
            .await
    }
}

fn interaction(scope: &HistoryScope) -> Interaction {
    match scope {
        HistoryScope::Instance(identity) => Kind::HistoryInstance.of(identity.resource_type),
        HistoryScope::System => Kind::HistorySystem.of_system(),
        HistoryScope::Type(resource_type) => Kind::HistoryType.of(*resource_type),
    }
}
