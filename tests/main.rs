//! Black-box tests of the server, one module a chapter, and the rules of the source tree.

mod architecture;
mod codec_suites;
mod conformance;
mod form_suites;
mod harness;
mod store_sql;
