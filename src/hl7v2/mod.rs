//! HL7 version 2: messages of hospital systems, from the bytes of a feed to resources in the store.
//!
//! | module | does |
//! |---|---|
//! | `apply` | what messages do to the store |
//! | `ack` | answers, with issues in the codes and places of ERR |
//! | `batch` | many messages in one frame or file |
//! | `codes` | codes that are added to profiles |
//! | `charset` | bytes -> text, by MSH-18 |
//! | `dtm` | dates and times -> FHIR's, by the zones of message and site |
//! | `effect` | a stored resource as a message changes it |
//! | `elsewhere` | answers over a connection of their own |
//! | `er7` | the reader: text -> segments, fields and their parts, by path |
//! | `fragment` | messages in several parts |
//! | `frame` | MLLP: bytes of a stream -> messages |
//! | `heading` | what MSH says |
//! | `map` | messages -> drafts of resources, by rules in TOML |
//! | `tables` | codes of version 2 -> codes of FHIR |
//! | `sites` | the profiles of senders, as this node has them |
//! | `trial` | messages that are only tried |
//! | `types` | data types of version 2 -> those of FHIR |
//! | `judge` | who sent it, about whom it is, whether it is a message at all |
//! | `keep` | what is stored is sealed, and months go whose time is over |
//! | `lasting` | tasks that begin again when they panic |
//! | `line` | what a node knows of what waits |
//! | `listener` | MLLP over TCP and TLS |
//! | `merges` | merges after their message: what is left is moved, and they are taken back |
//! | `meters` | metrics of what waits |
//! | `numbering` | messages that their senders number |
//! | `purge` | texts that are kept for a time only |
//! | `queue` | work on what waits, in the order of each patient |
//! | `receive`, `reply` | stored, then answered |
//! | `refused` | what is refused as it comes, and what becomes of it when it comes again |
//! | `unconfirmed` | answers one after another, in release 2 of MLLP |
//! | `work` | what is done with messages |
//!
//! Layer: 6. Imports `access`, `clock`, `config`, `engine`, `error`, `fhir`, `spec`, `store`, `ucum`.
//!
//! Spec: HL7 version 2, chapter 2

pub mod ack;
pub mod apply;
pub mod batch;
pub mod charset;
pub mod codes;
pub mod dtm;
pub mod effect;
pub mod elsewhere;
pub mod er7;
pub mod fragment;
pub mod frame;
pub mod heading;
pub mod judge;
mod keep;
pub mod lasting;
mod line;
pub mod listener;
pub mod map;
pub mod merges;
mod meters;
mod numbering;
mod purge;
pub mod queue;
pub mod receive;
mod refused;
mod reply;
pub mod sites;
pub mod tables;
pub mod trial;
pub mod types;
mod unconfirmed;
mod work;
