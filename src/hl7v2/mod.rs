//! HL7 version 2: messages of hospital systems, from the bytes of a feed to resources in the store.
//!
//! | module | does |
//! |---|---|
//! | `charset` | bytes -> text, by MSH-18 |
//! | `er7` | the reader: text -> segments, fields and their parts, by path |
//!
//! Spec: HL7 version 2, chapter 2

pub mod charset;
pub mod er7;
