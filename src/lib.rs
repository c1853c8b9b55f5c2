//! Kiln: a standards-first FHIR R4 server on PostgreSQL.
//!
//! `ARCHITECTURE.md` has the map: layers, invariants, and the way a request takes.

pub mod access;
pub mod app;
pub mod audit;
pub mod clock;
pub mod config;
pub mod engine;
pub mod error;
pub mod fhir;
pub mod fhirpath;
pub mod fulltext;
pub mod hl7v2;
pub mod http;
pub mod oauth;
pub mod outbound;
pub mod search;
pub mod spec;
pub mod store;
pub mod terminology;
pub mod ucum;
pub mod validate;
