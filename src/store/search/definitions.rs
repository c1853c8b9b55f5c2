//! What the compiler of searches must know of the definitions.

use std::collections::HashSet;
use std::sync::Arc;

use crate::fhir::ResourceType;
use crate::spec::Spec;
use crate::spec::search_parameter::SearchType;

/// The condition by which FHIR narrows a reference to patients.
///
/// Without its last bracket, which goes with those around the arm.
const TO_PATIENT: &str = ".where(resolve() is Patient";

/// The definitions, with what searches ask of them most.
#[derive(Clone, Debug)]
pub struct Definitions {
    spec: Arc<Spec>,
    /// Reference parameters whose patients are patients of the resource.
    members: Arc<HashSet<(ResourceType, Box<str>)>>,
}

impl Definitions {
    /// The definitions of `spec`.
    pub fn new(spec: Arc<Spec>) -> Self {
        let members = ResourceType::all().flat_map(|of| members(&spec, of)).collect();
        Self { spec, members: Arc::new(members) }
    }

    /// What FHIR defines.
    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether a patient that the parameter refers to always has the resource in the compartment.
    pub(super) fn is_member(&self, resource_type: ResourceType, code: &str) -> bool {
        self.members.contains(&(resource_type, code.into()))
    }
}

/// The parameters of a type all of whose elements put the resource into a patient's compartment.
fn members(spec: &Spec, of: ResourceType) -> Vec<(ResourceType, Box<str>)> {
    let Some(patients) = spec.compartment(ResourceType::PATIENT) else { return Vec::new() };
    let parameters = &spec.search_parameters;
    let elements = |code: &str| {
        let expression = parameters.find(of, code).and_then(|it| it.expression.as_deref());
        expression.map_or_else(Vec::new, |expression| elements(of, expression))
    };
    let listed = patients.parameters(of).iter().flat_map(|code| elements(code));
    let listed: HashSet<&str> = listed.collect();
    let references = parameters.of(of).filter(|it| it.search_type == SearchType::Reference);
    let covered = references.filter(|parameter| {
        let own = elements(&parameter.code);
        !own.is_empty() && own.iter().all(|element| listed.contains(element))
    });
    covered.map(|parameter| (of, parameter.code.clone())).collect()
}

/// The elements of a type that a reference parameter looks at, whatever they refer to.
fn elements(of: ResourceType, expression: &str) -> Vec<&str> {
    let arms = expression.split('|').map(|arm| arm.trim().trim_matches(['(', ')']));
    let own = arms.filter(|arm| {
        let rest = arm.strip_prefix(of.as_str());
        rest.is_some_and(|rest| rest.starts_with('.'))
    });
    own.map(|arm| arm.strip_suffix(TO_PATIENT).unwrap_or(arm)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patients_that_a_parameter_names_are_those_of_the_compartment() {
        let spec = Spec::r4().expect("definitions");
        let definitions = Definitions::new(spec);
        let of = |name: &str| name.parse::<ResourceType>().expect(name);
        for (name, code, expected) in [
            ("Observation", "patient", true),
            ("Observation", "subject", true),
            ("Observation", "performer", true),
            ("Observation", "focus", false),
            ("Condition", "asserter", true),
            ("Encounter", "patient", true),
            ("Encounter", "location", false),
            ("Location", "organization", false),
        ] {
            assert_eq!(definitions.is_member(of(name), code), expected, "{name}.{code}");
        }
    }
}
