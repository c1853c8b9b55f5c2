//! The record of who did what: what it has, and that nobody can bend it.

mod roles;
mod seal;
