//! Which resources belong to patients: the one table of what is beyond the patient compartment.
//!
//! A type that is not named here is as the compartment has it: of a patient when it refers to that
//! patient by a parameter of the CompartmentDefinition and to nobody else. What is in no compartment
//! and not named here belongs to nobody.

use std::sync::Arc;

use crate::fhir::ResourceType;

use super::interaction::{Interaction, Kind};
use super::restriction::{Clause, Members};
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

/// What several people have a part in: who sees one of its patients sees it, without the others.
const IN_PART: &[&str] = &[
    "Account",
    "Appointment",
    "AppointmentResponse",
    "Communication",
    "CommunicationRequest",
    "Schedule",
];

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
        _ if is_everyones(of) => Members::Everyone,
        _ if NOBODYS.contains(&name) => return None,
        _ => Members::Patients(patients),
    })
}

/// Whether everybody sees resources of the type who may see the type.
pub fn is_everyones(of: ResourceType) -> bool {
    SHARED.binary_search(&of.as_str()).is_ok()
}

/// Whether no resource of the type is one patient's alone, whatever it names.
pub fn is_nobodys_alone(of: ResourceType) -> bool {
    is_everyones(of) || NOBODYS.contains(&of.as_str())
}

/// Whether resources of the type are shown in part to who sees one of their patients.
pub fn is_shown_in_part(of: ResourceType) -> bool {
    IN_PART.binary_search(&of.as_str()).is_ok()
}

/// The same for reading: what is of other patients too is shown in part. Only where all that is reached
/// is so by the patients of one rule, and criteria say nothing of what would not be shown.
pub(super) fn in_part(clauses: Vec<Clause>, of: Interaction) -> Vec<Clause> {
    let is_read = matches!(
        of.kind,
        Kind::Everything
            | Kind::HistoryInstance
            | Kind::HistoryType
            | Kind::Meta
            | Kind::Read
            | Kind::SearchType
            | Kind::Vread
    );
    if !is_read || !of.resource_type.is_some_and(is_shown_in_part) {
        return clauses;
    }
    let mine = |clause: &Clause| match &clause.members {
        Members::Patients(patients) if clause.is_plain() => Some(patients.clone()),
        _ => None,
    };
    let all: Option<Vec<Arc<[i64]>>> = clauses.iter().map(mine).collect();
    let widest = all.and_then(|all| {
        let widest = all.iter().max_by_key(|patients| patients.len())?.clone();
        let is_within = |patients: &Arc<[i64]>| patients.iter().all(|it| widest.contains(it));
        all.iter().all(is_within).then_some(widest)
    });
    match widest {
        Some(patients) => {
            vec![Clause { members: Members::InPart(patients), criteria: Arc::default() }]
        }
        None => clauses,
    }
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
        assert!(SHARED.is_sorted() && IN_PART.is_sorted());
        let spec = Spec::r4().expect("the pack of R4");
        let compartment = spec.compartment(ResourceType::PATIENT).expect("the patient compartment");
        let named = [SHARED, NOBODYS, IN_PART, BY_NAME, WRITTEN_BY_NAME];
        for name in named.into_iter().flatten() {
            let of: ResourceType = name.parse().expect(name);
            let is_member = !compartment.parameters(of).is_empty();
            assert!(!(SHARED.contains(name) && is_member), "{name} is of patients");
            assert!(!IN_PART.contains(name) || is_member, "{name} is of nobody");
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
