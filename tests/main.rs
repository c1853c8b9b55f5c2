//! Black-box tests of the server, one module a chapter, and the rules of the source tree.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start tasks, read their own switches from the environment, and panic when they fail"
)]

mod architecture;
mod audit;
mod bad_bodies;
mod capability;
mod command_line;
mod conformance;
mod database_faults;
mod documents;
mod endpoint;
mod erasure;
mod everything;
mod export;
mod faults;
mod fhirpath_cases;
mod form_suites;
mod graphql;
mod hardening;
mod harness;
mod hl7v2;
mod integrity;
mod ledger;
mod limits;
mod nodes;
mod oauth;
mod operator;
mod provenance;
mod races;
mod reach;
mod readiness;
mod releases;
mod routes;
mod search;
mod search_oracle;
mod search_plans;
mod spans;
mod store_sql;
mod subscriptions;
mod suites;
mod summary;
mod tenants;
mod tls;
mod us_core;
mod validation;
mod zones;
