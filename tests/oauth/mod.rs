//! The authorization server from outside: persons, pages, apps, and the tokens of clients.

mod accounts;
mod authorize;
mod bearer;
mod browser;
mod client;
mod discovery;
mod introspection;
mod launch;
mod limits;
mod matrix;
mod pages;
mod registration;
mod sessions;
mod signed;
mod token_backend;
mod token_code;
mod token_refresh;
