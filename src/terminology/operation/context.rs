//! The context of a value set: an element of a structure, whose binding names it.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-operation-expand.html>,
//! <https://hl7.org/fhir/R4/valueset-operation-validate-code.html>

use crate::fhir::{Canonical, IssueCode};
use crate::spec::structure::{Element, Library, StructureFault};

use super::asked::Asked;
use super::refusal::{Refusal, error};
use super::{Operation, Request, Subject};

impl Request<'_> {
    /// The context that stands for the value set: where no other parameter, and not the path, names it.
    /// Its direction is checked and changes nothing: a binding names one value set for both.
    ///
    /// # Errors
    /// [`Refusal`] for parameters that are no texts, and for a direction that is none.
    pub fn context(&self, operation: Operation) -> Result<Option<&str>, Refusal> {
        if !matches!(operation, Operation::Expand | Operation::ValidateInSet) {
            return Ok(None);
        }
        let asked = Asked::read(self.parameters)?;
        let context = asked.text("context")?;
        match asked.text("contextDirection")? {
            Some(other) if operation == Operation::Expand && !DIRECTIONS.contains(&other) => {
                let text = format!("contextDirection is incoming or outgoing, not {other:?}");
                return Err(Refusal::malformed_as(IssueCode::Value, text));
            }
            Some(_) if operation == Operation::Expand && context.is_none() => {
                return Err(Refusal::malformed("contextDirection is about a context"));
            }
            _ => {}
        }
        let is_named = self.subject != Subject::Named
            || asked.text("url")?.is_some()
            || asked.all("valueSet").next().is_some();
        Ok(context.filter(|_| !is_named))
    }
}

/// <https://hl7.org/fhir/R4/valueset-operation-expand.html>
const DIRECTIONS: [&str; 2] = ["incoming", "outgoing"];

/// The value set of the binding of `context`: the canonical of a structure, `#`, and the id, the path or
/// the slice of an element of it.
///
/// # Errors
/// [`Refusal`] tells which of them is not known, or that nothing is bound.
pub fn bound(library: &Library, context: &str) -> Result<String, Refusal> {
    let Some((canonical, name)) = context.split_once('#').filter(|(url, _)| !url.is_empty()) else {
        let text = format!(
            "context is the canonical of a StructureDefinition, # and an element, as in \
             http://hl7.org/fhir/StructureDefinition/Observation#Observation.status, not {context:?}"
        );
        return Err(Refusal::malformed_as(IssueCode::Value, text));
    };
    let structure = library.structure(canonical).map_err(|fault| match fault {
        StructureFault::Unknown(_) => missing(format!(
            "A definition for StructureDefinition '{}' could not be found",
            Canonical::parse(canonical).url
        )),
        other => Refusal::malformed(format!("the structure of the context: {other}")),
    })?;
    let by =
        |is_named: &dyn Fn(&Element) -> bool| structure.elements.iter().find(|it| is_named(it));
    let element = by(&|it| &*it.id == name)
        .or_else(|| by(&|it| &*it.path == name))
        .or_else(|| by(&|it| it.slice_name.as_deref() == Some(name)))
        .ok_or_else(|| missing(format!("{} has no element {name:?}", structure.url)))?;
    let value_set = element.binding.as_ref().and_then(|binding| binding.value_set.as_deref());
    value_set.map(str::to_owned).ok_or_else(|| {
        missing(format!("no value set is bound to {} of {}", element.id, structure.url))
    })
}

fn missing(text: String) -> Refusal {
    Refusal::Missing(vec![error(IssueCode::NotFound, "not-found", "UNKNOWN_CONTEXT", text)])
}
