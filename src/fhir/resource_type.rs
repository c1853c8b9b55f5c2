//! The 146 resource types of R4 and the small number each is stored under.
//!
//! Spec: <https://hl7.org/fhir/R4/resourcelist.html>

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A concrete R4 resource type.
///
/// The number ([`ResourceType::code`]) is what the database stores: the list is closed for
/// R4 and must never be reordered.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceType(u8);

/// The text names no R4 resource type.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is not an R4 resource type")]
pub struct UnknownResourceType(pub String);

impl ResourceType {
    /// Every type, in the order of their names.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NAMES.len() as u8).map(Self)
    }

    /// The name as FHIR writes it.
    pub fn as_str(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// The number under which the database stores the type, from 1.
    pub fn code(self) -> i16 {
        i16::from(self.0) + 1
    }

    /// The type stored under `code`.
    pub fn from_code(code: i16) -> Option<Self> {
        let index = u8::try_from(code.checked_sub(1)?).ok()?;
        (usize::from(index) < NAMES.len()).then_some(Self(index))
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ResourceType {
    type Err = UnknownResourceType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = NAMES.binary_search(&name);
        found
            .map(|index| Self(index as u8))
            .map_err(|_| UnknownResourceType(name.chars().take(80).collect()))
    }
}

/// Types that code names; each is checked against its place in the list by a test.
impl ResourceType {
    /// `AuditEvent`
    pub const AUDIT_EVENT: Self = Self(6);
    /// `Binary`
    pub const BINARY: Self = Self(8);
    /// `Bundle`
    pub const BUNDLE: Self = Self(11);
    /// `CapabilityStatement`
    pub const CAPABILITY_STATEMENT: Self = Self(12);
    /// `CodeSystem`
    pub const CODE_SYSTEM: Self = Self(21);
    /// `CompartmentDefinition`
    pub const COMPARTMENT_DEFINITION: Self = Self(24);
    /// `ConceptMap`
    pub const CONCEPT_MAP: Self = Self(26);
    /// `Consent`
    pub const CONSENT: Self = Self(28);
    /// `Device`
    pub const DEVICE: Self = Self(34);
    /// `Encounter`
    pub const ENCOUNTER: Self = Self(43);
    /// `Group`
    pub const GROUP: Self = Self(57);
    /// `List`
    pub const LIST: Self = Self(69);
    /// `Observation`
    pub const OBSERVATION: Self = Self(95);
    /// `OperationOutcome`
    pub const OPERATION_OUTCOME: Self = Self(98);
    /// `Parameters`
    pub const PARAMETERS: Self = Self(101);
    /// `Patient`
    pub const PATIENT: Self = Self(102);
    /// `Practitioner`
    pub const PRACTITIONER: Self = Self(107);
    /// `Provenance`
    pub const PROVENANCE: Self = Self(110);
    /// `RelatedPerson`
    pub const RELATED_PERSON: Self = Self(113);
    /// `SearchParameter`
    pub const SEARCH_PARAMETER: Self = Self(122);
    /// `StructureDefinition`
    pub const STRUCTURE_DEFINITION: Self = Self(127);
    /// `Subscription`
    pub const SUBSCRIPTION: Self = Self(129);
    /// `ValueSet`
    pub const VALUE_SET: Self = Self(143);
}

const NAMES: [&str; 146] = [
    "Account",
    "ActivityDefinition",
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "AuditEvent",
    "Basic",
    "Binary",
    "BiologicallyDerivedProduct",
    "BodyStructure",
    "Bundle",
    "CapabilityStatement",
    "CarePlan",
    "CareTeam",
    "CatalogEntry",
    "ChargeItem",
    "ChargeItemDefinition",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "CodeSystem",
    "Communication",
    "CommunicationRequest",
    "CompartmentDefinition",
    "Composition",
    "ConceptMap",
    "Condition",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "Device",
    "DeviceDefinition",
    "DeviceMetric",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "EffectEvidenceSynthesis",
    "Encounter",
    "Endpoint",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EpisodeOfCare",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "GraphDefinition",
    "Group",
    "GuidanceResponse",
    "HealthcareService",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "ImplementationGuide",
    "InsurancePlan",
    "Invoice",
    "Library",
    "Linkage",
    "List",
    "Location",
    "Measure",
    "MeasureReport",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationKnowledge",
    "MedicationRequest",
    "MedicationStatement",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "MessageDefinition",
    "MessageHeader",
    "MolecularSequence",
    "NamingSystem",
    "NutritionOrder",
    "Observation",
    "ObservationDefinition",
    "OperationDefinition",
    "OperationOutcome",
    "Organization",
    "OrganizationAffiliation",
    "Parameters",
    "Patient",
    "PaymentNotice",
    "PaymentReconciliation",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "Questionnaire",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "RiskEvidenceSynthesis",
    "Schedule",
    "SearchParameter",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "Substance",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
    "VerificationResult",
    "VisionPrescription",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_every_code_leads_back_to_its_type() {
        assert!(NAMES.is_sorted());
        for resource_type in ResourceType::all() {
            assert_eq!(resource_type.as_str().parse(), Ok(resource_type));
            assert_eq!(ResourceType::from_code(resource_type.code()), Some(resource_type));
        }
        for code in [i16::MIN, -1, 0, NAMES.len() as i16 + 1, 300, i16::MAX] {
            assert_eq!(ResourceType::from_code(code), None, "{code}");
        }
    }

    #[test]
    fn names_are_case_sensitive() {
        for name in ["patient", "PATIENT", "", "Resource", "DomainResource", "Patients"] {
            assert!(name.parse::<ResourceType>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn each_constant_has_its_name() {
        for (resource_type, name) in [
            (ResourceType::AUDIT_EVENT, "AuditEvent"),
            (ResourceType::BINARY, "Binary"),
            (ResourceType::BUNDLE, "Bundle"),
            (ResourceType::CAPABILITY_STATEMENT, "CapabilityStatement"),
            (ResourceType::CODE_SYSTEM, "CodeSystem"),
            (ResourceType::COMPARTMENT_DEFINITION, "CompartmentDefinition"),
            (ResourceType::CONCEPT_MAP, "ConceptMap"),
            (ResourceType::CONSENT, "Consent"),
            (ResourceType::DEVICE, "Device"),
            (ResourceType::ENCOUNTER, "Encounter"),
            (ResourceType::GROUP, "Group"),
            (ResourceType::LIST, "List"),
            (ResourceType::OBSERVATION, "Observation"),
            (ResourceType::OPERATION_OUTCOME, "OperationOutcome"),
            (ResourceType::PARAMETERS, "Parameters"),
            (ResourceType::PATIENT, "Patient"),
            (ResourceType::PRACTITIONER, "Practitioner"),
            (ResourceType::PROVENANCE, "Provenance"),
            (ResourceType::RELATED_PERSON, "RelatedPerson"),
            (ResourceType::SEARCH_PARAMETER, "SearchParameter"),
            (ResourceType::STRUCTURE_DEFINITION, "StructureDefinition"),
            (ResourceType::SUBSCRIPTION, "Subscription"),
            (ResourceType::VALUE_SET, "ValueSet"),
        ] {
            assert_eq!(resource_type.as_str(), name);
        }
    }
}
