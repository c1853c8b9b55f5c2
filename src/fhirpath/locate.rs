//! Where in a document an item stands.
//!
//! Items borrow from the document, so a node's address tells its place; evaluation itself
//! keeps no paths and pays nothing for those who never ask.

use super::item::{Item, NOTHING};
use crate::fhir::json::Value;

/// One step from a document's root to a value in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Into the array item at this place, from 0.
    Index(usize),
    /// Into the property of this name, without the underscore of a primitive's sibling.
    Key(String),
}

/// The steps from `root` to `item`; `None` when the item is no node of it.
///
/// A primitive that has only an `id` or extensions is found by them. Costs a walk through the
/// document.
pub fn locate(root: &Value<'_>, item: &Item<'_>) -> Option<Vec<Step>> {
    let node = item.node()?;
    let wanted = match node.sibling {
        Some(sibling) if std::ptr::eq(node.value, &raw const NOTHING) => sibling,
        _ => node.value,
    };
    let mut steps = Vec::new();
    search(root, std::ptr::from_ref(wanted).cast(), &mut steps).then_some(steps)
}

fn search(value: &Value<'_>, wanted: *const (), steps: &mut Vec<Step>) -> bool {
    if std::ptr::from_ref(value).cast::<()>() == wanted {
        return true;
    }
    match value {
        Value::Array(items) => items.iter().enumerate().any(|(at, item)| {
            steps.push(Step::Index(at));
            search(item, wanted, steps) || steps.pop().is_none()
        }),
        Value::Object(object) => object.iter().any(|(key, child)| {
            let plain = key.strip_prefix('_').unwrap_or(key);
            steps.push(Step::Key(plain.to_owned()));
            search(child, wanted, steps) || steps.pop().is_none()
        }),
        _ => false,
    }
}
