//! Black-box tests of the server, one module a chapter, and the rules of the source tree.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start tasks, read their own switches from the environment, and panic when they fail"
)]

mod architecture;
mod bad_bodies;
mod capability;
mod codec_suites;
mod command_line;
mod conditional;
mod conformance;
mod database_faults;
mod documents;
mod endpoint;
mod extract_suites;
mod faults;
mod fhirpath_cases;
mod fhirpath_suites;
mod form_suites;
mod fulltext;
mod harness;
mod ledger;
mod nodes;
mod operator;
mod patch_suites;
mod provenance;
mod races;
mod readiness;
mod routes;
mod search_oracle;
mod search_plans;
mod spans;
mod store_sql;
mod terminology_suites;
mod tls;
