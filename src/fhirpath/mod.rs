//! `fhirpath`.
