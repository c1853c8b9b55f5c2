//! The data types of HL7 v2 as values of FHIR: one function each, without I/O.
//!
//! A function takes one repetition ([`Rep`]), the arguments of the map and the [`Context`]: whose
//! message it is, which authorities, tables and codes the site has. What cannot be turned into a
//! value is told to the context as a [`Note`], never with the text itself, which is patient data.
//!
//! | file | holds |
//! |---|---|
//! | `address` | XAD, XTN |
//! | `attach` | ED, RP |
//! | `code` | CWE, CE, IS and the systems of codes |
//! | `id` | CX, EI, HD |
//! | `name` | XPN, XCN, XON, PL |
//! | `number` | NM, SN, quantities, reference ranges |
//! | `obx` | OBX-5 by OBX-2 |
//! | `rep` | a repetition |
//! | `time` | dates and times |
//! | `timing` | RPT and TQ |
//! | `units` | units to UCUM |

pub mod address;
pub mod attach;
pub mod code;
pub mod context;
pub mod id;
pub mod name;
pub mod number;
pub mod obx;
pub mod place;
mod rep;
pub mod time;
pub mod timing;
pub mod units;

#[cfg(test)]
mod tests;

pub use context::{Args, Context, LocalCode, Made, Note, NoteKind};
pub use place::pl;
pub use rep::Rep;

use crate::fhir::json::{Object, Value};

/// A FHIR value that borrows from nothing.
pub type Json = Value<'static>;

/// An object of these properties, without those that have no value.
fn object(properties: impl IntoIterator<Item = (&'static str, Option<Json>)>) -> Object<'static> {
    let mut object = Object::new();
    for (name, value) in properties {
        if let Some(value) = value {
            object.set(name, value);
        }
    }
    object
}

/// The text as a JSON string; `None` when it is empty.
fn text(text: &str) -> Option<Json> {
    Some(text).filter(|text| !text.is_empty()).map(|text| Json::from(text.to_owned()))
}

/// The items as an array; `None` when there is none.
fn list(items: Vec<Json>) -> Option<Json> {
    Some(items).filter(|items| !items.is_empty()).map(Json::from)
}

/// An object as a value; `None` when it has no property.
fn filled(object: Object<'static>) -> Option<Json> {
    Some(object).filter(|object| !object.is_empty()).map(Json::from)
}

/// A Coding.
fn coding(system: &str, code: &str, display: &str) -> Json {
    object([("system", text(system)), ("code", text(code)), ("display", text(display))]).into()
}

/// An extension with one value.
fn extension(url: &str, key: &'static str, value: Json) -> Json {
    Object::new().with("url", url.to_owned()).with(key, value).into()
}
