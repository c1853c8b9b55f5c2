//! The form of one answer: media type and indentation, and writing a document in it.

use crate::error::Error;
use crate::fhir::codec::{self, Format};
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;

use super::negotiation::MediaType;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Form {
    /// The name it goes out under.
    pub media_type: MediaType,
    /// Whether it is indented (`_pretty=true`).
    pub is_pretty: bool,
}

impl Form {
    /// Whether a stored JSON text can go out as it is.
    pub fn is_stored_form(self) -> bool {
        self.media_type.format() == Format::Json && !self.is_pretty
    }

    /// Writes a resource.
    ///
    /// # Errors
    /// [`Error::Internal`] when the element table does not know what is in it.
    pub fn write(self, value: &Value<'_>, schema: &Schema) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        match self.media_type.format() {
            Format::Json if self.is_pretty => value.write_pretty(&mut out),
            Format::Json => value.write(&mut out),
            Format::Xml => codec::xml::write(value, schema, &mut out, self.is_pretty)
                .map_err(Error::internal)?,
        }
        Ok(out)
    }
}
