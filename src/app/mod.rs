//! The composition root and the command line: everything is put together here and nowhere else.
//!
//! Layer: 8. May import every module.

pub mod audit;
mod authority;
mod backup;
pub mod bench;
pub mod cli;
mod client;
mod conformance;
pub mod database;
pub mod definitions;
pub mod demo;
pub mod emergency;
mod erasure;
pub mod fhirpath;
pub mod follow;
mod hl7v2;
pub mod import;
mod key;
mod labelling;
mod listening;
pub mod package;
pub mod postgres;
mod progress;
mod reindex;
mod release;
pub mod search_parameters;
pub mod server;
pub mod signals;
pub mod sink;
pub mod telemetry;
pub mod tenants;
pub mod terminology;
mod token;
pub mod user;
mod v2;
mod validation;
