//! Why an operation has no answer, in the words that terminology servers share.

use crate::error::Error;
use crate::fhir::outcome::Finding;
use crate::fhir::{Issue, IssueCode, Severity};
use crate::spec::terminology::TerminologyFault;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The request is malformed.
    Malformed(Vec<Issue>),
    /// What it is about is not known.
    Missing(Vec<Finding>),
    /// It cannot be answered.
    Unprocessable(Vec<Finding>),
}

impl Refusal {
    /// A malformed request.
    pub(super) fn malformed(text: impl Into<String>) -> Self {
        Self::malformed_as(IssueCode::Invalid, text)
    }

    pub(super) fn malformed_as(code: IssueCode, text: impl Into<String>) -> Self {
        Self::Malformed(vec![Issue::error(code, text)])
    }

    /// The code system that was asked for is not known.
    pub(super) fn no_system(url: &str) -> Self {
        let text = format!("A definition for CodeSystem '{url}' could not be found");
        Self::Missing(vec![error(IssueCode::NotFound, "not-found", "UNKNOWN_CODESYSTEM", text)])
    }

    /// The concept map that was asked for is not known.
    pub(super) fn no_map(url: &str) -> Self {
        let text = format!("A definition for ConceptMap '{url}' could not be found");
        Self::Missing(vec![error(IssueCode::NotFound, "not-found", "UNKNOWN_CONCEPTMAP", text)])
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(issues) => Self::Invalid(issues),
            Refusal::Missing(findings) => Self::Codes { is_missing: true, findings },
            Refusal::Unprocessable(findings) => Self::Codes { is_missing: false, findings },
        }
    }
}

impl From<TerminologyFault> for Refusal {
    fn from(fault: TerminologyFault) -> Self {
        let finding = finding(&fault);
        match fault {
            TerminologyFault::UnknownValueSet(_) => Self::Missing(vec![finding]),
            _ => Self::Unprocessable(vec![finding]),
        }
    }
}

/// An error about codes.
pub(super) fn error(
    code: IssueCode,
    kind: &'static str,
    id: &'static str,
    text: impl Into<String>,
) -> Finding {
    Finding { severity: Severity::Error, code, kind, id, text: text.into(), expression: None }
}

fn finding(fault: &TerminologyFault) -> Finding {
    let not_found = |id, text| error(IssueCode::NotFound, "not-found", id, text);
    match fault {
        TerminologyFault::Circular(name) => {
            let text = format!("Cyclic reference detected when including {name}");
            error(IssueCode::Processing, "vs-invalid", "VALUESET_CIRCULAR_REFERENCE", text)
        }
        TerminologyFault::FilterLacksValue { system, property, op, place } => {
            let id = "UNABLE_TO_HANDLE_SYSTEM_FILTER_WITH_NO_VALUE";
            let text = format!(
                "The system {system} filter with property = {property}, op = {op} has no value"
            );
            let found = error(IssueCode::Invalid, "vs-invalid", id, text);
            found.at(place.clone())
        }
        TerminologyFault::Laborious(_) | TerminologyFault::TooCostly { .. } => {
            error(IssueCode::TooCostly, "", "VALUESET_TOO_COSTLY", fault.to_string())
        }
        TerminologyFault::OtherDate { .. } => {
            error(IssueCode::NotSupported, "", "DEFINITION_OF_DATE_UNKNOWN", fault.to_string())
        }
        TerminologyFault::OtherVersion { system, version, expected } => {
            let text = format!(
                "The code system '{system}' version '{version}' is not the version \
                 '{expected}' that was asked for"
            );
            error(IssueCode::BusinessRule, "version-error", "VALUESET_VERSION_CHECK", text)
        }
        TerminologyFault::UnknownSupplement(url) => {
            let text = format!("Required supplement not found: {url}");
            not_found("VALUESET_SUPPLEMENT_MISSING", text)
        }
        TerminologyFault::UnknownSystem(url) => {
            let text = format!(
                "A definition for CodeSystem '{url}' could not be found, so the value set cannot \
                 be expanded"
            );
            not_found("UNKNOWN_CODESYSTEM_EXP", text)
        }
        TerminologyFault::UnknownValueSet(url) => {
            let text = format!("A definition for the value Set '{url}' could not be found");
            not_found("Unable_to_resolve_value_Set_", text)
        }
        TerminologyFault::UnknownVersion { system, version, known } => {
            let text = format!(
                "A definition for CodeSystem '{system}' version '{version}' could not be found. \
                 Valid versions: [{}]",
                known.join(", ")
            );
            not_found("UNKNOWN_CODESYSTEM_VERSION", text)
        }
        TerminologyFault::Unsupported { .. } => {
            error(IssueCode::NotSupported, "vs-invalid", "VALUESET_UNSUPPORTED", fault.to_string())
        }
    }
}
