//! Feeds of HL7 version 2: what is answered, what is stored, and in which order it has its effect.

mod acks;
mod at_once;
mod carry;
mod desk;
mod entries;
mod faults;
pub(crate) mod feed;
mod frames;
mod habits;
mod intake;
mod late;
mod maps_messages;
mod maps_rules;
mod merges;
mod numbers;
mod oracle;
mod order;
mod page;
mod partial;
mod parts;
mod people;
mod program;
mod secure;
mod sites;
mod stay;
mod stories;
mod strain;
