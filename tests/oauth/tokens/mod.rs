//! Tokens from outside: how clients get them, what they are, and when they end.

mod backend;
pub(crate) mod bearer;
mod capabilities;
pub(crate) mod client;
mod clocks;
mod code;
mod command;
mod discovery;
mod introspection;
mod limits;
mod matrix;
mod opaque;
mod proxies;
mod refresh;
mod registration;
pub(crate) mod signed;
mod weak_keys;
