//! Independent opinions: implementations that Kiln did not write, asked the same questions.
//!
//! [`fhirbolt`] maps between JSON and XML by generated code, the official JSON Schema judges
//! structure. Neither is right everywhere; where they are known to be wrong, the tests list it.
//! This package exists so that the server's build never sees these libraries.
//!
//! The published data is not part of the project: it is looked for in the folder that
//! `KILN_SHARED` names, else in `shared` beside the project. Tests skip without it, but fail in CI.

pub mod json_schema;
pub mod mapping;
pub mod published;
