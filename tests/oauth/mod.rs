//! Who may do what: scopes, roles, labels and consents, by every way to a resource.

mod enforce_consent;
mod enforce_cost;
mod enforce_property;
mod enforce_reads;
mod enforce_roles;
mod enforce_search;
mod enforce_writes;
mod world;
