//! Search, the pure part: what is asked for, what a resource gives the index, how values compare.
//!
//! Layer: 2. Imports `error`, `fhir`, `fhirpath`, `spec`, `ucum`. No I/O.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html>

pub mod definitions;
pub mod extract;
pub mod request;
pub mod values;
