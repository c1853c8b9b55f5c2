//! FHIR R4 values: documents, ids, times, references, outcomes, and their JSON and XML forms.
//!
//! What it never does: I/O, or anything that depends on where definitions or resources are kept.
//!
//! Layer: 0. Imports nothing of the crate.
//!
//! Spec: <https://hl7.org/fhir/R4/datatypes.html>, <https://hl7.org/fhir/R4/formats.html>

pub mod canonical;
pub mod civil;
pub mod codec;
pub mod datetime;
mod entries;
pub mod id;
pub mod instant;
pub mod json;
pub mod outcome;
pub mod primitive;
pub mod query;
pub mod reference;
pub mod resource;
pub mod resource_type;
pub mod schema;
pub mod shape;

pub use canonical::Canonical;
pub use entries::Entries;
pub use id::{Identity, LogicalId, VersionId};
pub use instant::Instant;
pub use outcome::{Issue, IssueCode, Severity, operation_outcome, place};
pub use resource::{Operation, Resource, Version};
pub use resource_type::ResourceType;
