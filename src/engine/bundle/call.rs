//! Entries that call an operation which changes no resource: `$validate` and those of terminology.
//!
//! They are what they are by themselves: one reading of parameters, one passage of the gate, one row of
//! the ledger each. A batch has them; a transaction, which is done or not done as one, has not.
//!
//! Spec: <https://hl7.org/fhir/R4/operations.html#executing>, <https://hl7.org/fhir/R4/http.html#transaction>

use crate::access::interaction::Kind;
use crate::access::{Attempted, Caller, Disclosed, Interaction};
use crate::engine::{
    Engine, Operation, Question, VALIDATE_PARAMETERS, Validate, ValidateAt, terminology,
};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::{Identity, LogicalId, operation_outcome};

use super::{BundleOptions, EntryResult, plan};

/// A call of an operation.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Which, and of what.
    pub called: Called,
    /// The query of its URL.
    pub query: Query,
    /// The resource of its entry.
    pub given: Option<Value<'a>>,
}

/// An operation, with what its URL names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Called {
    /// `$closure`
    Closure,
    /// An operation with codes; of a stored resource where it has an id.
    Codes(Operation, Option<LogicalId>),
    /// `[type]/$validate`, `[type]/[id]/$validate`
    Validate(ValidateAt),
}

impl Called {
    /// What `segments` call, where they call an operation at all.
    pub(super) fn by(segments: &[&str], is_get: bool) -> Option<Self> {
        let codes = |operation| Some(Self::Codes(operation, None));
        match segments {
            ["$closure"] if !is_get => Some(Self::Closure),
            ["CodeSystem", "$lookup"] => codes(Operation::Lookup),
            [of, "$validate"] if !is_get => {
                Some(Self::Validate(ValidateAt::Type(of.parse().ok()?)))
            }
            [of, name] => codes(on_instances(of, name)?),
            [of, id, "$validate"] => {
                let (resource_type, id) = (of.parse().ok()?, id.parse().ok()?);
                Some(Self::Validate(ValidateAt::Instance(Identity { resource_type, id })))
            }
            [of, id, name] => {
                let id = id.parse().ok()?;
                Some(Self::Codes(on_instances(of, name)?, Some(id)))
            }
            _ => None,
        }
    }

    /// The parameters that may stand in its URL.
    pub(super) fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Closure => &[],
            Self::Codes(operation, _) => operation.parameters(),
            Self::Validate(_) => &VALIDATE_PARAMETERS,
        }
    }

    fn interaction(&self) -> Interaction {
        match self {
            Self::Closure => Kind::Closure.of_system(),
            Self::Codes(operation, _) => terminology::interaction(*operation),
            Self::Validate(at) => Kind::Validate.of(at.resource_type()),
        }
    }
}

/// The operations that a type and its resources have.
fn on_instances(of: &str, name: &str) -> Option<Operation> {
    Some(match (of, name) {
        ("CodeSystem", "$subsumes") => Operation::Subsumes,
        ("CodeSystem", "$validate-code") => Operation::ValidateInSystem,
        ("ConceptMap", "$translate") => Operation::Translate,
        ("ValueSet", "$expand") => Operation::Expand,
        ("ValueSet", "$validate-code") => Operation::ValidateInSet,
        _ => return None,
    })
}

impl Call<'_> {
    /// What goes on record of it when it did not run.
    pub(super) fn attempted(&self) -> Attempted {
        let interaction = self.called.interaction();
        match (&self.called, interaction.resource_type) {
            (Called::Codes(_, Some(id)), Some(resource_type)) => {
                plan::attempted(interaction.kind, &Identity { resource_type, id: id.clone() })
            }
            (Called::Validate(ValidateAt::Instance(identity)), _) => {
                plan::attempted(interaction.kind, identity)
            }
            _ => (interaction, Disclosed::default()),
        }
    }

    /// Why a transaction does not take it.
    pub(super) fn refused(&self) -> Error {
        let name = self.called.interaction().kind.as_str();
        Error::NotSupported(format!("{name} cannot be an entry of a transaction: send a batch"))
    }
}

impl Engine {
    /// Runs an operation for an entry of a batch.
    pub(super) async fn call(
        &self,
        call: Call<'_>,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<EntryResult, Error> {
        let interaction = call.called.interaction();
        let Call { called, query, given } = call;
        let answer = match called {
            Called::Closure => {
                let Some(parameters) = given else {
                    let text = "$closure takes a Parameters resource";
                    let error = Error::invalid(crate::fhir::IssueCode::Required, text);
                    return self.gate.denied(interaction, caller, error).await;
                };
                self.closure(&parameters, caller).await?
            }
            Called::Codes(operation, id) => {
                let parameters = match Question::parameters(given, &query) {
                    Ok(parameters) => parameters,
                    Err(error) => return self.gate.denied(interaction, caller, error).await,
                };
                let (id, languages) = (id.as_ref(), options.languages.as_deref());
                let question = Question { operation, id, parameters: &parameters, languages };
                self.terminology(&question, caller).await?
            }
            Called::Validate(at) => match Validate::read(at, &query, given, options.is_strict) {
                Ok((asked, _)) => operation_outcome(&self.validate(asked, caller).await?),
                Err(error) => return self.gate.denied(interaction, caller, error).await,
            },
        };
        Ok(EntryResult::Answered(answer))
    }
}

#[cfg(test)]
mod tests {
    use crate::fhir::ResourceType;

    use super::*;

    #[test]
    fn urls_call_what_the_routes_of_their_method_do() {
        let id = || Some("a".parse().expect("an id"));
        let validated = |text: &str| {
            let of = ResourceType::PATIENT;
            Some(Called::Validate(match text.parse() {
                Ok(id) => ValidateAt::Instance(Identity { resource_type: of, id }),
                Err(_) => ValidateAt::Type(of),
            }))
        };
        let codes = |operation, id| Some(Called::Codes(operation, id));
        for (url, by_get, by_post) in [
            ("$closure", None, Some(Called::Closure)),
            ("Patient/$validate", None, validated("")),
            ("Patient/a/$validate", validated("a"), validated("a")),
            ("Nobody/$validate", None, None),
            ("CodeSystem/a/$lookup", None, None),
            ("Patient/$expand", None, None),
            ("Patient/a/$meta", None, None),
            ("Patient/a", None, None),
        ] {
            let segments: Vec<&str> = url.split('/').collect();
            assert_eq!(Called::by(&segments, true), by_get, "GET {url}");
            assert_eq!(Called::by(&segments, false), by_post, "POST {url}");
        }
        for (url, expected) in [
            ("CodeSystem/$lookup", codes(Operation::Lookup, None)),
            ("CodeSystem/a/$subsumes", codes(Operation::Subsumes, id())),
            ("CodeSystem/$validate-code", codes(Operation::ValidateInSystem, None)),
            ("ConceptMap/a/$translate", codes(Operation::Translate, id())),
            ("ValueSet/$expand", codes(Operation::Expand, None)),
            ("ValueSet/a/$validate-code", codes(Operation::ValidateInSet, id())),
        ] {
            let segments: Vec<&str> = url.split('/').collect();
            assert_eq!(Called::by(&segments, true), expected, "GET {url}");
            assert_eq!(Called::by(&segments, false), expected, "POST {url}");
        }
    }
}
