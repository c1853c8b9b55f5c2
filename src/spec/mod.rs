//! What FHIR defines, as data: types, search parameters, compartments, operations.
//!
//! [`Spec`] is loaded once, at start, from definition packs and never changes. What is
//! large and seldom asked (profiles, terminology) stays packed in the [`package::Pack`].
//!
//! Layer: 1. Imports `fhir`. No I/O: definitions come as bytes.
//!
//! Spec: <https://hl7.org/fhir/R4/conformance-module.html>

pub mod package;
pub mod schema;

use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::fhir::{LogicalId, ResourceType};

use package::Pack;
use schema::SchemaError;

/// The pack of FHIR R4 itself (package hl7.fhir.r4.core, 4.0.1).
pub const R4_PACK: &[u8] = include_bytes!("../../fhir-profiles/hl7.fhir.r4.core-4.0.1.pack");

/// The definitions that the server works by.
#[derive(Debug)]
pub struct Spec {
    /// All types of R4.
    pub schema: Schema,
}

impl Spec {
    /// The definitions of FHIR R4 itself, from the pack in the binary.
    ///
    /// # Errors
    /// [`SchemaError`] when the embedded pack is damaged; a test proves it is not.
    pub fn r4() -> Result<Self, SchemaError> {
        let pack = Pack::open(R4_PACK)?;
        Ok(Self { schema: schema::load(&pack)? })
    }

    /// Placeholder until the compartments are loaded (the next commit of this module).
    pub fn patient_compartment(&self, _: ResourceType, _: &Value<'_>, _: &str) -> Vec<LogicalId> {
        Vec::new()
    }
}
