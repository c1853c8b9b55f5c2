//! Which resources belong to patients: the one table of what is beyond the patient compartment.
//!
//! A type that is not named here is as the compartment has it: of a patient when it refers to that
//! patient by a parameter of the CompartmentDefinition and to nobody else. What is in no compartment
//! and not named here belongs to nobody.

use std::sync::Arc;

use crate::fhir::ResourceType;

use super::restriction::Members;
use super::scope::Actions;

/// Everybody may see them who may see the type: who treats, where, with what, and definitions.
const SHARED: &[&str] = &[
    "ActivityDefinition",
    "CapabilityStatement",
    "ChargeItemDefinition",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "DeviceDefinition",
    "Endpoint",
    "EventDefinition",
    "GraphDefinition",
    "HealthcareService",
    "ImplementationGuide",
    "InsurancePlan",
    "Library",
    "Location",
    "Measure",
    "Medication",
    "MedicationKnowledge",
    "MessageDefinition",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "Organization",
    "OrganizationAffiliation",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "SearchParameter",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Substance",
    "TerminologyCapabilities",
    "ValueSet",
];

/// Nobody's under a patient's scopes, whatever the compartment says: they name many patients, or
/// are about the server.
const NOBODYS: &[&str] = &["AuditEvent", "Group", "Subscription"];

/// Not meant by `patient/*`, in whole or as far as writing goes: they must be asked for by name.
const BY_NAME: &[&str] = &["AuditEvent", "Group", "Subscription"];
const WRITTEN_BY_NAME: &[&str] = &["Consent", "Task"];

/// Which resources of a type belong to these patients.
pub(super) fn of(of: ResourceType, patients: &Arc<[i64]>) -> Option<Members> {
    let name = of.as_str();
    let patients = patients.clone();
    Some(match of {
        ResourceType::BINARY => Members::Context(patients),
        ResourceType::BUNDLE => Members::Documents(patients),
        ResourceType::LIST => Members::Collections(patients),
        ResourceType::DEVICE => Members::OwnOrNobodys(patients),
        ResourceType::PATIENT => Members::Themselves(patients),
        ResourceType::PROVENANCE => Members::Targets(patients),
        _ if SHARED.binary_search(&name).is_ok() => Members::Everyone,
        _ if NOBODYS.contains(&name) => return None,
        _ => Members::Patients(patients),
    })
}

/// What of `actions` a scope over all types of a patient means with this one.
pub(super) fn by_wildcard(of: ResourceType, actions: Actions) -> Actions {
    let name = of.as_str();
    if BY_NAME.contains(&name) {
        return Actions::NONE;
    }
    if WRITTEN_BY_NAME.contains(&name) {
        return actions.and(Actions::R.or(Actions::S));
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn every_type_has_its_place() {
        assert!(SHARED.is_sorted());
        let spec = Spec::r4().expect("the pack of R4");
        let compartment = spec.compartment(ResourceType::PATIENT).expect("the patient compartment");
        for name in SHARED.iter().chain(NOBODYS).chain(BY_NAME).chain(WRITTEN_BY_NAME) {
            let of: ResourceType = name.parse().expect(name);
            let is_member = !compartment.parameters(of).is_empty();
            assert!(!(SHARED.contains(name) && is_member), "{name} is of patients");
        }
        let patients: Arc<[i64]> = Arc::new([7]);
        for all in ResourceType::all() {
            let members = super::of(all, &patients);
            let is_open = members == Some(Members::Everyone);
            assert_eq!(is_open, SHARED.contains(&all.as_str()), "{all}");
        }
    }

    #[test]
    fn a_wildcard_means_what_a_patient_expects() {
        for (name, asked, meant) in [
            ("Observation", Actions::ALL, Actions::ALL),
            ("AuditEvent", Actions::R, Actions::NONE),
            ("Consent", Actions::ALL, Actions::R.or(Actions::S)),
            ("Task", Actions::C, Actions::NONE),
        ] {
            assert_eq!(by_wildcard(name.parse().expect(name), asked), meant, "{name}");
        }
    }
}
