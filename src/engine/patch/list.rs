//! An element's properties in an object: the value, its sibling with the underscore, and the
//! lists of both, which stay in step.
//!
//! Spec: <https://hl7.org/fhir/R4/json.html#primitive>

use super::{Step, invalid};
use crate::fhir::json::{Object, Value};

/// One element's JSON: its value, and for a primitive its `id` and extensions.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Element {
    pub(in crate::engine) value: Option<Value<'static>>,
    pub(in crate::engine) sibling: Option<Value<'static>>,
}

/// The property of a primitive's `id` and extensions.
pub(super) fn sibling_key(key: &str) -> String {
    format!("_{key}")
}

/// Sets the one element `key`.
pub(super) fn set(object: &mut Object<'static>, key: &str, element: Element) {
    let under = sibling_key(key);
    match element.value {
        Some(value) => object.set(key.to_owned(), value),
        None => drop(object.remove(key)),
    }
    match element.sibling {
        Some(sibling) => object.set(under, sibling),
        None => drop(object.remove(&under)),
    }
}

/// Takes the element `key` out, all of it.
pub(super) fn unset(object: &mut Object<'static>, key: &str) {
    object.remove(key);
    object.remove(&sibling_key(key));
}

/// How many items the list `key` has.
pub(super) fn len(object: &Object<'_>, key: &str) -> usize {
    let count = |key: &str| object.get(key).and_then(Value::as_array).map_or(0, <[_]>::len);
    count(key).max(count(&sibling_key(key)))
}

/// Puts `element` into the list `key` before the item at `index`.
pub(super) fn insert(
    object: &mut Object<'static>,
    key: &str,
    index: usize,
    element: Element,
) -> Step<()> {
    let length = len(object, key);
    if index > length {
        return invalid(format!("index {index} is beyond the list, which has {length} items"));
    }
    place(object, key, index, element);
    Ok(())
}

/// Puts `element` at the end of the list `key`.
pub(in crate::engine) fn push(object: &mut Object<'static>, key: &str, element: Element) {
    place(object, key, len(object, key), element);
}

fn place(object: &mut Object<'static>, key: &str, index: usize, element: Element) {
    with_columns(object, key, element.sibling.is_some(), |values, siblings| {
        values.insert(index, element.value.unwrap_or(Value::Null));
        if let Some(siblings) = siblings {
            siblings.insert(index, element.sibling.unwrap_or(Value::Null));
        }
    });
}

/// Puts `element` in the place of the item at `index`, which exists.
pub(super) fn replace(object: &mut Object<'static>, key: &str, index: usize, element: Element) {
    with_columns(object, key, element.sibling.is_some(), |values, siblings| {
        if let Some(value) = values.get_mut(index) {
            *value = element.value.unwrap_or(Value::Null);
        }
        if let Some(sibling) = siblings.and_then(|siblings| siblings.get_mut(index)) {
            *sibling = element.sibling.unwrap_or(Value::Null);
        }
    });
}

/// Takes the item at `index` out of the list `key`.
pub(in crate::engine) fn remove(object: &mut Object<'static>, key: &str, index: usize) {
    with_columns(object, key, false, |values, siblings| {
        for column in [Some(values), siblings].into_iter().flatten() {
            if index < column.len() {
                column.remove(index);
            }
        }
    });
}

/// Moves the item at `source` so that it stands at `destination` afterwards.
pub(super) fn relocate(
    object: &mut Object<'static>,
    key: &str,
    source: usize,
    destination: usize,
) -> Step<()> {
    let length = len(object, key);
    if source >= length || destination >= length {
        return invalid(format!("source and destination are places in a list of {length} items"));
    }
    with_columns(object, key, false, |values, siblings| {
        for column in [Some(values), siblings].into_iter().flatten() {
            let item = column.remove(source);
            column.insert(destination, item);
        }
    });
    Ok(())
}

/// Hands out the lists of values and siblings, equally long, and puts them back; a list that is
/// empty or has nothing but `null` is left out.
fn with_columns(
    object: &mut Object<'static>,
    key: &str,
    wants_siblings: bool,
    change: impl FnOnce(&mut Vec<Value<'static>>, Option<&mut Vec<Value<'static>>>),
) {
    let under = sibling_key(key);
    let length = len(object, key);
    let has_siblings = wants_siblings || object.contains(&under);
    let mut column = |key: &str| {
        let mut items = match object.get_mut(key) {
            Some(Value::Array(items)) => std::mem::take(items),
            _ => Vec::new(),
        };
        items.resize(length, Value::Null);
        items
    };
    let mut values = column(key);
    let mut siblings = has_siblings.then(|| column(&under));
    change(&mut values, siblings.as_mut());
    for (key, items) in [(key, Some(values)), (&*under, siblings)] {
        match items {
            Some(items) if items.iter().any(|item| *item != Value::Null) => {
                object.set(key.to_owned(), items);
            }
            _ => drop(object.remove(key)),
        }
    }
}
