//! The patch formats, as pure functions from a resource to a resource.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#patch>

mod json_patch;

use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;

/// A patch in the format in which it came.
#[derive(Clone, Debug)]
pub enum Patch<'a> {
    /// FHIRPath Patch: a Parameters resource.
    FhirPath(Value<'a>),
    /// JSON Patch: an array of operations.
    Json(Value<'a>),
    /// XML Patch: a document.
    Xml(&'a str),
}

/// The resource after the patch; the caller checks it.
///
/// # Errors
/// [`Error::Invalid`] for a patch that is malformed or leads nowhere; [`Error::Unprocessable`] for
/// a test that fails; [`Error::NotSupported`] for a format that is not offered.
pub fn apply(patch: &Patch<'_>, target: Value<'_>, _: &Schema) -> Result<Value<'static>, Error> {
    match patch {
        Patch::Json(operations) => json_patch::apply(operations, target),
        Patch::FhirPath(_) => Err(Error::NotSupported("FHIRPath Patch is not offered".to_owned())),
        Patch::Xml(_) => Err(Error::NotSupported("XML Patch is not offered".to_owned())),
    }
}
