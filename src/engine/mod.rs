//! FHIR interactions, a file each: what a request means, whoever asks it over whatever wire.
//!
//! Layer: 5. Imports `access`, `clock`, `error`, `fhir`, `spec`, `store`, `validate`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html>

pub mod condition;
