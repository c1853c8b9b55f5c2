//! The FHIR interactions over HTTP, a file each: headers and bodies in, answers out.
//!
//! What an interaction means is the engine's; nothing here touches a resource beyond its form.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html>

pub(super) mod answer;
pub(super) mod binary;
pub(super) mod codes;
pub(super) mod convert;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod disclosures;
pub(super) mod entry;
pub(super) mod everything;
pub(super) mod export;
pub(super) mod graphql;
pub(super) mod history;
mod labels;
mod link;
pub(super) mod messages;
pub(super) mod meta;
pub(super) mod metadata;
pub(super) mod patch;
pub(super) mod provenance;
pub(super) mod read;
pub(super) mod reindex;
pub(super) mod search;
pub(super) mod system;
pub(super) mod terminology;
mod tripwire;
pub(super) mod update;
pub(super) mod validate;
