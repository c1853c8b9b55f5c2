//! What the compiler of searches must know of the definitions.

use std::collections::HashSet;
use std::sync::Arc;

use crate::fhir::ResourceType;
use crate::search::extract::Extractor;
use crate::spec::Spec;
use crate::spec::search_parameter::SearchType;

/// The condition by which FHIR narrows a reference to patients.
const TO_PATIENT: &str = ".where(resolve() is Patient)";

/// The definitions, with what searches ask of them most.
#[derive(Clone, Debug)]
pub struct Definitions {
    spec: Arc<Spec>,
    extractor: Arc<Extractor>,
    /// Reference parameters whose patients are patients of the resource.
    members: Arc<HashSet<(ResourceType, Box<str>)>>,
}

impl Definitions {
    /// The definitions of `spec`, whose parameters are those of `extractor`.
    pub fn new(spec: Arc<Spec>, extractor: Arc<Extractor>) -> Self {
        let types = ResourceType::all();
        let members = types.flat_map(|of| members(&spec, of)).collect();
        Self { spec, extractor, members: Arc::new(members) }
    }

    /// What FHIR defines.
    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether `code` is the date that the rows of `resource_type` are ordered by.
    pub(super) fn is_primary(&self, resource_type: ResourceType, code: &str) -> bool {
        let primary = self.extractor.primary(resource_type);
        primary.is_some() && primary == self.extractor.place(resource_type, code)
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
    own.map(|arm| arm.strip_suffix(TO_PATIENT.trim_end_matches(')')).unwrap_or(arm)).collect()
}
