//! FHIR XML, read into a document tree and written from one, along the element table.
//!
//! Reading is strict: the namespace, the order of elements and their names are those of the
//! definitions; a DOCTYPE, an undeclared entity, text outside the narrative and an empty value
//! are refused with the element's path and place. Comments and processing instructions are
//! dropped. The narrative's `div` stays as it was written, byte for byte.
//!
//! Two things XML cannot say as JSON does: a character that XML 1.0 forbids is written as
//! U+FFFD, and HTML's named entities in a `div` are written as numbers.
//!
//! Layer: 0. No I/O. What a value means (a date, a code) is for form validation.
//!
//! Spec: <https://hl7.org/fhir/R4/xml.html>, rest 7d

use thiserror::Error;

mod attribute;
mod entity;
mod narrative;
mod read;
mod source;
pub mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use entity::html_entity;

use crate::fhir::json::{Limits, Value};
use crate::fhir::outcome::{Issue, IssueCode};
use crate::fhir::schema::Schema;

/// Why a text is not the XML of a resource, and where.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{reason} at line {line}, column {column}")]
pub struct XmlError {
    /// What is wrong, without the place.
    pub reason: String,
    /// FHIRPath of the element, `Patient.name[0].given[1]`; empty before the root.
    pub path: String,
    /// Line of the fault, from 1.
    pub line: usize,
    /// Column of the fault in bytes, from 1.
    pub column: usize,
}

impl XmlError {
    fn located(bytes: &[u8], fault: source::Fault, path: String) -> Self {
        let before = &bytes[..fault.at.min(bytes.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        Self { reason: fault.reason, path, line, column }
    }

    /// The issue that tells a client.
    pub fn issue(&self) -> Issue {
        Issue::error_at(IssueCode::Structure, self.to_string(), self.path.clone())
    }
}

/// Why a document has no form in XML.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{reason} ({path})")]
pub struct WriteError {
    /// What is wrong, without the place.
    pub reason: String,
    /// FHIRPath of the element.
    pub path: String,
}

/// Reads one resource from XML into the tree that its JSON would give.
///
/// Names borrow from `schema`, values from `bytes` wherever they can. A byte order mark at the
/// start is skipped. `limits` bound the tree as they do for JSON. `xsi:schemaLocation` is
/// accepted on the root and dropped. An integer's `+`, which JSON cannot write, is dropped.
///
/// # Errors
/// [`XmlError`] with the element, line and column of the first fault.
pub fn read<'a>(
    bytes: &'a [u8],
    schema: &'a Schema,
    limits: Limits,
) -> Result<Value<'a>, XmlError> {
    read::document(bytes, schema, limits)
}

/// Appends the XML of the resource `value` to `out`; `pretty` puts each element on a line of
/// its own, without touching values or the narrative.
///
/// # Errors
/// [`WriteError`] when the document does not have the form of its type; `out` is then as before.
pub fn write(
    value: &Value<'_>,
    schema: &Schema,
    out: &mut Vec<u8>,
    pretty: bool,
) -> Result<(), WriteError> {
    write::document(value, schema, out, pretty)
}
