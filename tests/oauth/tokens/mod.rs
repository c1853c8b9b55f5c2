//! Tokens from outside: how clients get them, what they are, and when they end.

mod backend;
mod bearer;
mod client;
mod code;
mod command;
mod discovery;
mod introspection;
mod limits;
mod matrix;
mod refresh;
mod registration;
mod signed;
