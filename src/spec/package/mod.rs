//! Definition packs: the machine facts of a FHIR package in one small file.
//!
//! [`build`] reads a standard FHIR package (`.tgz`), leaves the prose out and writes a pack;
//! [`Pack`] reads one. A pack is one line of JSON (the header), then its sections, each
//! compressed for itself, so that a reader pays only for those it wants:
//!
//! ```text
//! {"kiln":"definition pack","format":1,"name":..,"version":..,"fhirVersions":[..],
//!  "dependencies":{..},"sections":[{"name":..,"records":..,"size_bytes":..,"text_bytes":..}]}\n
//! <section, zstd><section, zstd>..
//! ```
//!
//! A section is text, one JSON object per line, sorted by canonical url. Objects keep FHIR's
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
mod shape;
mod structure;

pub use archive::each_file;
pub use build::{PackageError, build};
pub use pack::{Content, Dependency, Pack, PackError, Records, Section};
pub(super) use structure::reduced as reduced_structure;
