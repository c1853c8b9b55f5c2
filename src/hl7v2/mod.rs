//! HL7 version 2: messages of hospital systems, from the bytes of a feed to resources in the store.
//!
//! | module | does |
//! |---|---|
//! | `ack` | answers, with issues in the codes and places of ERR |
//! | `batch` | many messages in one frame or file |
//! | `charset` | bytes -> text, by MSH-18 |
//! | `dtm` | dates and times -> FHIR's, by the zones of message and site |
//! | `er7` | the reader: text -> segments, fields and their parts, by path |
//! | `frame` | MLLP: bytes of a stream -> messages |
//! | `heading` | what MSH says |
//! | `map` | messages -> drafts of resources, by rules in TOML |
//! | `tables` | codes of version 2 -> codes of FHIR |
//! | `types` | data types of version 2 -> those of FHIR |
//!
//! Spec: HL7 version 2, chapter 2

pub mod ack;
pub mod batch;
pub mod charset;
pub mod dtm;
pub mod er7;
pub mod frame;
pub mod heading;
pub mod map;
pub mod tables;
pub mod types;
