//! HL7 version 2: messages of hospital systems, from their bytes to drafts of resources. Pure.
//!
//! | module | does |
//! |---|---|
//! | `ack` | answers, with issues in the codes and places of ERR |
//! | `batch` | many messages in one frame or file |
//! | `charset` | bytes -> text, by MSH-18 |
//! | `dtm` | dates and times -> FHIR's, by the zones of message and site |
//! | `effect` | a stored resource as a message changes it |
//! | `er7` | the reader: text -> segments, fields and their parts, by path |
//! | `frame` | MLLP: bytes of a stream -> messages |
//! | `heading` | what MSH says |
//! | `map` | messages -> drafts of resources, by rules in TOML |
//! | `tables` | codes of version 2 -> codes of FHIR |
//! | `types` | data types of version 2 -> those of FHIR |
//!
//! What it never does: open a connection, or know what is stored.
//!
//! Layer: 6. Imports `clock`, `error`, `fhir`, `spec`, `ucum`.
//!
//! Spec: HL7 version 2, chapter 2

pub mod ack;
pub mod batch;
pub mod charset;
pub mod dtm;
pub mod effect;
pub mod er7;
pub mod frame;
pub mod heading;
pub mod map;
pub mod tables;
pub mod types;
