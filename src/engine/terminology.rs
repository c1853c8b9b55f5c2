//! The terminology operations: `$expand`, `$lookup`, `$subsumes`, `$translate`, `$validate-code`.
//!
//! Spec: <https://hl7.org/fhir/R4/terminology-service.html>

use std::sync::Arc;

use crate::access::interaction::Kind;
use crate::access::{Caller, Interaction, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::{LogicalId, ResourceType};
use crate::terminology::operation::{self, Operation, Request};
use crate::terminology::{Image, Source};

use super::Engine;

/// Most codes of an expansion that is not asked for page by page.
const MAX_EXPANSION: usize = 10_000;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// By which operation.
    pub operation: Operation,
    /// Of which stored resource, where the path names one.
    pub id: Option<&'q LogicalId>,
    /// A Parameters resource.
    pub parameters: &'q Value<'q>,
    /// `Accept-Language`.
    pub languages: Option<&'q str>,
}

impl Question<'_> {
    /// The type of resource that is asked, and the interaction that it is.
    fn interaction(&self) -> Result<Interaction, Error> {
        let (kind, name) = match self.operation {
            Operation::Expand => (Kind::Expand, "ValueSet"),
            Operation::Lookup => (Kind::Lookup, "CodeSystem"),
            Operation::Subsumes => (Kind::Subsumes, "CodeSystem"),
            Operation::Translate => (Kind::Translate, "ConceptMap"),
            Operation::ValidateInSet => (Kind::ValidateCode, "ValueSet"),
            Operation::ValidateInSystem => (Kind::ValidateCode, "CodeSystem"),
        };
        let of: ResourceType =
            name.parse().map_err(|_| Error::internal(format!("{name} is no type")))?;
        Ok(kind.of(of))
    }
}

impl Engine {
    /// The answer to a question about codes, by the definitions of this moment.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`] for an instance; [`Error::Invalid`] for a request
    /// that is none; [`Error::Codes`] for what is not known or cannot be answered;
    /// [`Error::NotSupported`] without a terminology.
    pub async fn terminology(
        &self,
        question: &Question<'_>,
        caller: &Caller,
    ) -> Result<Value<'static>, Error> {
        let work = async |permit: &Permit<'_>| {
            let found = match question.id {
                Some(id) => self.store.current(id, permit).await?.map(drop),
                None => Unaudited::nothing(),
            };
            let image = self.definitions_now().await?;
            let (now, identifier) = (self.clock.now().to_string(), self.ids.ordered().to_string());
            let request = Request {
                parameters: question.parameters,
                id: question.id.map(LogicalId::as_str),
                languages: question.languages,
                limit: MAX_EXPANSION,
                now: &now,
                identifier: &identifier,
            };
            let answer = operation::answer(&image, question.operation, &request)?;
            Ok(found.with(answer).map(|((), answer)| answer))
        };
        self.gate.run(question.interaction()?, caller, work).await
    }

    /// The code systems, value sets and concept maps of this moment.
    pub(super) async fn definitions_now(&self) -> Result<Arc<Image>, Error> {
        let missing = || Error::NotSupported("a terminology is not offered".to_owned());
        let source: &Arc<dyn Source> = self.lookups.definitions.as_ref().ok_or_else(missing)?;
        source.current().await
    }
}
