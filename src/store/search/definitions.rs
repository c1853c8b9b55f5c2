//! What the compiler of searches must know of the definitions.

use std::collections::HashSet;
use std::sync::Arc;

use crate::fhir::ResourceType;
use crate::search::extract::Extractor;
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
    /// The dates that rows are ordered by, where they are one span.
    primaries: Arc<HashSet<(ResourceType, Box<str>)>>,
    /// Reference parameters whose patients are patients of the resource.
    members: Arc<HashSet<(ResourceType, Box<str>)>>,
}

impl Definitions {
    /// The definitions of `spec`, whose parameters are those of `extractor`.
    pub fn new(spec: Arc<Spec>, extractor: &Extractor) -> Self {
        let members = ResourceType::all().flat_map(|of| members(&spec, of)).collect();
        let primaries = ResourceType::all().filter_map(|of| primary(&spec, extractor, of));
        let primaries = primaries.collect();
        Self { spec, primaries: Arc::new(primaries), members: Arc::new(members) }
    }

    /// What FHIR defines.
    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether `code` is the date that the rows of `resource_type` are ordered by, and is one span
    /// in each resource: then `s` and `hi` of a row are the date itself.
    pub(super) fn is_primary(&self, resource_type: ResourceType, code: &str) -> bool {
        self.primaries.contains(&(resource_type, code.into()))
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

/// The primary date of a type, when its parameter looks at one element that does not repeat.
fn primary(
    spec: &Spec,
    extractor: &Extractor,
    of: ResourceType,
) -> Option<(ResourceType, Box<str>)> {
    let place = usize::from(extractor.primary(of)?);
    let code = &extractor.parameters(of).get(place)?.code;
    let expression = spec.search_parameters.find(of, code)?.expression.as_deref()?;
    let arms = expression.split('|').map(|arm| arm.trim().trim_start_matches('('));
    let own = arms.filter_map(|arm| path(arm.strip_prefix(of.as_str())?.strip_prefix('.')?));
    let paths: HashSet<&str> = own.collect();
    let mut paths = paths.into_iter();
    let (Some(only), None) = (paths.next(), paths.next()) else { return None };
    is_single(spec, of, only).then(|| (of, code.clone()))
}

/// The elements that an arm of an expression begins with, without the type it is cast to.
fn path(arm: &str) -> Option<&str> {
    let end = arm.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
    let path = &arm[..end.unwrap_or(arm.len())];
    let is_call = arm[path.len()..].starts_with('(');
    if is_call { path.rsplit_once('.').map(|(path, _)| path) } else { Some(path) }
}

fn is_single(spec: &Spec, of: ResourceType, path: &str) -> bool {
    let mut at = spec.schema.by_name(of.as_str());
    path.split('.').all(|name| {
        let field = at.and_then(|at| spec.schema.get(at).field(name));
        at = field.and_then(|field| field.types.first()).map(|first| first.type_id);
        field.is_some_and(|field| !field.is_array())
    })
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
    use crate::fhir::datetime::Zone;
    use crate::search::extract::Settings;
    use crate::search::values::quantity::Ucum;
    use crate::spec::codes::Codes;
    use crate::spec::package::Pack;

    #[test]
    fn what_a_row_answers_is_read_off_the_definitions() {
        let spec = Arc::new(Spec::r4().expect("definitions"));
        let pack = Pack::open(crate::spec::R4_PACK).expect("pack");
        let codes = Codes::load(&pack).expect("codes");
        let settings = Settings { base: "".into(), units: Box::new(Ucum), zone: Zone::UTC };
        let extractor = Extractor::new(spec.clone(), codes, settings).expect("extractor");
        let definitions = Definitions::new(spec, &extractor);
        let of = |name: &str| name.parse::<ResourceType>().expect(name);
        for (name, code, expected) in [
            ("Observation", "date", true),
            ("Condition", "onset-date", true),
            ("Encounter", "date", true),
            ("Observation", "value-date", false),
            ("Patient", "birthdate", false),
        ] {
            assert_eq!(definitions.is_primary(of(name), code), expected, "{name}.{code}");
        }
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
