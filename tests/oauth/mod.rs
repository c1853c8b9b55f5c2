//! The authorization server from outside: persons, pages, apps, tokens; and who may do what: scopes,
//! roles, labels and consents, by every way to a resource.

pub(crate) mod accounts;
pub(crate) mod administration;
mod authorize;
pub(crate) mod browser;
mod console;
mod decisions;
pub(crate) mod emergency;
mod encounter;
mod enforce;
mod exports;
mod faults;
mod launch;
mod nul;
mod open_policy;
mod pages;
mod provider;
mod proxied;
mod sessions;
mod strangers;
mod subscriptions;
mod suite;
pub(crate) mod tokens;
mod trusted;
pub(crate) mod upstream;
mod world;
