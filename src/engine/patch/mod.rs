//! Placeholder: the owner of `engine::patch` replaces this file.
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
/// A patch.
pub enum Patch<'a> {
    /// JSON Patch.
    Json(Value<'a>),
    /// FHIRPath Patch.
    FhirPath(Value<'a>),
    /// XML Patch.
    Xml(&'a str),
}
/// Placeholder.
pub fn apply(_: &Patch<'_>, _: Value<'_>, _: &Schema) -> Result<Value<'static>, Error> {
    Err(Error::NotSupported("patch".to_owned()))
}
