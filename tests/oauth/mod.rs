//! The authorization server from outside: persons, pages, apps, tokens; and who may do what: scopes,
//! roles, labels and consents, by every way to a resource.

mod accounts;
mod administration;
mod authorize;
pub(crate) mod browser;
mod console;
mod emergency;
mod encounter;
mod enforce_binary;
mod enforce_consent;
mod enforce_cost;
mod enforce_named;
mod enforce_property;
mod enforce_reads;
mod enforce_roles;
mod enforce_rules;
mod enforce_search;
mod enforce_tripwire;
mod enforce_writes;
mod launch;
mod pages;
mod sessions;
mod strangers;
mod suite;
pub(crate) mod tokens;
mod trusted;
mod upstream;
mod world;
