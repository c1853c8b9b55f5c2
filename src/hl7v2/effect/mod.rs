//! What a message changes of what is stored: pure functions from a stored resource and what a message
//! says to the resource of now.
//!
//! | file | about |
//! |---|---|
//! | `amend` | any resource: what is said, what is to go, what others have said |
//! | `late` | visits by news that come late |
//! | `part` | lists of which a message tells a part |
//! | `person` | two patients that are one, or belong together |
//! | `places` | where somebody is during a visit |
//! | `result` | results by their status |
//! | `visit` | visits by their events |
//!
//! Spec: v2 S4, S10, S31 to S33, M (merge family), E (encounter events)

pub mod amend;
pub mod late;
pub mod part;
pub mod person;
mod places;
pub mod result;
pub mod visit;

use crate::fhir::json::{Object, Value};

/// A resource or a part of one.
pub type Json = Object<'static>;

/// Something that is worth knowing about an effect, by its name.
pub type Remark = &'static str;

/// The entries of a list.
fn list(of: &Json, name: &str) -> Vec<Value<'static>> {
    of.get(name).and_then(Value::as_array).map(<[_]>::to_vec).unwrap_or_default()
}

/// Sets a list, or takes it out when it is empty.
fn set_list(of: &mut Json, name: &str, entries: Vec<Value<'static>>) {
    if entries.is_empty() {
        of.remove(name);
    } else {
        of.set(name.to_owned(), entries);
    }
}

fn text_of<'a>(of: &'a Json, name: &str) -> Option<&'a str> {
    of.get(name).and_then(Value::as_str)
}
