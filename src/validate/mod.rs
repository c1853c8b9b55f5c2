//! Whether a document is what FHIR says it is. Pure: issues come out, nothing else happens.
//!
//! [`form`] checks what the base definitions of R4 and the rules around them ask of every
//! resource, by hand-written code that is quick enough to run on each write.
//!
//! [`profile`] checks what definitions ask beyond that: invariants, codes, extensions and profiles.
//!
//! What it never does: I/O, changing a document, or looking at what is stored.
//!
//! Layer: 2. Imports `fhir`, `fhirpath`, `spec`.
//!
//! Spec: <https://hl7.org/fhir/R4/validation.html>

pub mod form;
mod place;
pub mod profile;
