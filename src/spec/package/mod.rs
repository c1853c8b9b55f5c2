//! Definition packs: the definitions of a FHIR package in one small file.
//!
//! [`build`] reads a standard FHIR package (`.tgz`) and writes a pack: first the machine facts, without
//! prose, which the server works by; then the definitions as resources, without prose too, which clients may read. [`Pack`]
//! reads one. A pack is one line of JSON (the header), then its sections, each
//! compressed for itself, so that a reader pays only for those it wants:
//!
//! ```text
//! {"kiln":"definition pack","format":1,"name":..,"version":..,"fhirVersions":[..],
//!  "dependencies":{..},"sections":[{"name":..,"records":..,"size_bytes":..,"text_bytes":..}]}\n
//! <section, zstd><section, zstd>..
//! ```
//!
//! A section is text, one JSON object per line, sorted by canonical url (by type and id at the end). Objects keep FHIR's
//! element names; [`Section`] says where they differ from FHIR. The same package gives the
//! same bytes every time.
//!
//! It never reads or writes a file: packages and packs are bytes that somebody hands over.
//!
//! Layer: 1. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/packages.html>

mod archive;
mod build;
mod pack;
mod readable;
mod shape;
mod structure;

pub use archive::each_file;
pub use build::{PackageError, build};
pub use pack::{Content, Dependency, Pack, PackError, Records, Section};
pub use readable::DEFINING;
pub(super) use structure::reduced as reduced_structure;
