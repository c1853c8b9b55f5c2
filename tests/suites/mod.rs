//! What others publish, asked of the server's parts: suites and packages beside the project.

mod codec;
mod extract;
mod fhirpath;
mod patch;
mod terminology;
mod tx;
mod ucum;
