//! The record of who did what: what it has, and that nobody can bend it.

mod activity;
mod along;
mod bundles;
mod denied;
mod disclosures;
mod events;
pub(crate) mod faults;
mod found;
mod hours;
mod kills;
mod logins;
mod names;
mod order;
mod outlets;
mod pace;
mod parties;
mod places;
mod receiver;
mod record;
mod roles;
mod rows;
mod sealed;
mod syslog;
mod who;
