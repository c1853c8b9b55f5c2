//! Search, the pure part: what a resource gives the index, and how values compare.
//!
//! Layer: 2. Imports `fhir`, `fhirpath`, `spec`, `ucum`. No I/O.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html>

pub mod extract;
pub mod values;
