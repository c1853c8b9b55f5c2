//! The record of who did what: what it has, and that nobody can bend it.

mod events;
mod kills;
mod outlets;
mod receiver;
mod roles;
mod seal;
mod syslog;
