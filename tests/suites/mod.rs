//! What others publish, asked of the server's parts: suites and packages beside the project.

mod codec;
mod examples;
mod extract;
mod fhirpath;
mod judge;
mod patch;
mod refused;
mod snapshots;
mod terminology;
mod tx;
mod ucum;
mod validator;
