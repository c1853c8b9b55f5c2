//! The form of a resource: its elements, their JSON kinds, cardinalities, primitives, references,
//! contained resources, narrative, and the rules of Bundle and Parameters.
//!
//! One walk over the document along the element table. The good path allocates nothing but a
//! few words for resources that contain others; the FHIRPath of an element is put together only
//! when something is wrong with it. Bindings, profiles and FHIRPath invariants are not here.
//!
//! Layer: 2, part of [`crate::validate`]. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/json.html>, rest 7a to 7e

mod bundle;
mod contained;
mod element;
mod findings;
mod language;
mod narrative;
use super::place;
mod reference;
mod resource;
mod walk;

#[cfg(test)]
mod tests;

use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::fhir::{Issue, IssueCode};

use walk::Walk;
pub use walk::is_of_depth;

/// Most issues reported for one document (rest 7.14).
pub const MAX_ISSUES: usize = 50;

/// What form validation found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Well formed, but at least one rule about the content is broken: 422.
    Broken(Vec<Issue>),
    /// At least one element is not what its definition says: 400.
    Malformed(Vec<Issue>),
    /// Nothing to report.
    Sound,
}

impl Verdict {
    /// The verdict that these issues make together: malformed content outweighs broken rules.
    pub fn of(issues: Vec<Issue>) -> Self {
        let is_rule =
            |issue: &Issue| matches!(issue.code, IssueCode::BusinessRule | IssueCode::Invariant);
        match issues.iter().all(is_rule) {
            _ if issues.is_empty() => Self::Sound,
            true => Self::Broken(issues),
            false => Self::Malformed(issues),
        }
    }

    /// All findings, at most [`MAX_ISSUES`].
    pub fn issues(&self) -> &[Issue] {
        match self {
            Self::Broken(issues) | Self::Malformed(issues) => issues,
            Self::Sound => &[],
        }
    }

    /// Whether there is nothing to report.
    pub fn is_sound(&self) -> bool {
        *self == Self::Sound
    }
}

/// Checks one whole resource; the entries of a Bundle and the resources of Parameters included.
///
/// Conditional references (`Patient?identifier=..`) pass in the entries of a transaction only.
pub fn check(value: &Value<'_>, schema: &Schema) -> Verdict {
    let mut walk = Walk::new(schema);
    walk.document(value);
    Verdict::of(walk.findings.into_issues())
}

/// Whether a text is a narrative: the XHTML `div` that R4 allows.
pub fn is_narrative(text: &str) -> bool {
    narrative::check(text).is_ok()
}

/// Checks a Bundle without the resources of its entries: for a batch, where a bad resource
/// fails its own entry and no other.
pub fn check_shell(bundle: &Value<'_>, schema: &Schema) -> Verdict {
    let mut walk = Walk::new(schema);
    walk.is_shell = true;
    walk.document(bundle);
    Verdict::of(walk.findings.into_issues())
}
