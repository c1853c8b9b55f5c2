//! What FHIR defines, as data: types, search parameters, compartments, operations.
//!
//! [`Spec`] is loaded once, at start, from definition packs and never changes. What is
//! large and seldom asked (profiles, terminology) stays packed in the [`package::Pack`].
//!
//! Layer: 1. Imports `fhir`. No I/O: definitions come as bytes.
//!
//! Spec: <https://hl7.org/fhir/R4/conformance-module.html>

pub mod catalog;
pub mod codes;
pub mod compartment;
pub mod operation;
pub mod package;
pub mod schema;
pub mod search_parameter;
pub mod structure;
pub mod terminology;

use std::sync::{Arc, OnceLock};

use thiserror::Error;

use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::fhir::{LogicalId, ResourceType};

use compartment::{Compartment, CompartmentError};
use operation::Operation;
use package::{Pack, PackError};
use schema::SchemaError;
use search_parameter::SearchParameters;

/// The pack of FHIR R4 itself (package hl7.fhir.r4.core, 4.0.1).
pub const R4_PACK: &[u8] = include_bytes!("../../fhir-profiles/hl7.fhir.r4.core-4.0.1.pack");

/// The packs of the guides in the program, in the order of their names and versions.
pub const GUIDE_PACKS: [&[u8]; 7] = [
    include_bytes!("../../fhir-profiles/hl7.fhir.us.core-3.1.1.pack"),
    include_bytes!("../../fhir-profiles/hl7.fhir.us.core-6.1.0.pack"),
    include_bytes!("../../fhir-profiles/hl7.fhir.us.core-7.0.0.pack"),
    include_bytes!("../../fhir-profiles/hl7.fhir.uv.bulkdata-differential.pack"),
    include_bytes!("../../fhir-profiles/hl7.fhir.uv.ips-1.1.0.pack"),
    include_bytes!("../../fhir-profiles/hl7.fhir.uv.subscriptions-backport.r4-differential.pack"),
    include_bytes!("../../fhir-profiles/ihe.iti.balp-differential.pack"),
];

/// Why definitions cannot be loaded.
#[derive(Debug, Error)]
pub enum SpecError {
    /// The compartments do not fit the types and parameters.
    #[error("the compartment definitions cannot be loaded")]
    Compartment(#[from] CompartmentError),
    /// The pack cannot be read.
    #[error("the definition pack cannot be read")]
    Pack(#[from] PackError),
    /// The structures do not make a schema.
    #[error("the structure definitions cannot be loaded")]
    Schema(#[from] SchemaError),
}

/// The definitions that the server works by.
#[derive(Debug)]
pub struct Spec {
    /// All types of R4.
    pub schema: Schema,
    /// All search parameters of R4, by type.
    pub search_parameters: SearchParameters,
    /// The five compartments, in the order of their codes.
    pub compartments: Vec<Compartment>,
    /// The operations, in the order of their canonical urls.
    pub operations: Vec<Operation>,
}

impl Spec {
    /// The definitions of FHIR R4 itself, from the pack in the binary: read once for the whole program.
    ///
    /// # Errors
    /// See [`Spec::load`]; a test proves that the embedded pack loads.
    pub fn r4() -> Result<Arc<Self>, SpecError> {
        static R4: OnceLock<Arc<Spec>> = OnceLock::new();
        if let Some(known) = R4.get() {
            return Ok(known.clone());
        }
        let read = Arc::new(Self::load(&Pack::open(R4_PACK)?)?);
        Ok(R4.get_or_init(|| read).clone())
    }

    /// The definitions of a pack that has the core of a FHIR version.
    ///
    /// # Errors
    /// [`SpecError`] when the pack cannot be read or its definitions do not fit together.
    pub fn load(pack: &Pack<'_>) -> Result<Self, SpecError> {
        let schema = schema::load(pack)?;
        let search_parameters = SearchParameters::load(pack, &schema)?;
        let compartments = compartment::load(pack, &schema, &search_parameters)?;
        Ok(Self { schema, search_parameters, compartments, operations: operation::load(pack)? })
    }

    /// The compartment built around `code`.
    pub fn compartment(&self, code: ResourceType) -> Option<&Compartment> {
        self.compartments.iter().find(|compartment| compartment.code == code)
    }

    /// Ids of the patients in whose compartments the resource is: sorted, each once.
    ///
    /// A Patient is in its own, by the `id` in `value`. `base` is the server's public FHIR base
    /// without a trailing slash; see [`Compartment::ids`] for which references count.
    ///
    /// <https://hl7.org/fhir/R4/compartmentdefinition-patient.html>
    pub fn patient_compartment(
        &self,
        resource_type: ResourceType,
        value: &Value<'_>,
        base: &str,
    ) -> Vec<LogicalId> {
        let compartment = self.compartment(ResourceType::PATIENT);
        compartment.map_or_else(Vec::new, |patients| patients.ids(resource_type, value, base))
    }
}
