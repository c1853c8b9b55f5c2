//! How large and how deep a patch may make a document.

use super::{Fault, Step};
use crate::fhir::json::Value;

/// Deepest nesting of a patched document: what the parser takes.
const MAX_DEPTH: usize = 100;

/// Most bytes that the operations of one patch may add, roughly.
const MAX_GROWTH: usize = 32 * 1024 * 1024;

/// What one value costs beside its text.
const VALUE_BYTES: usize = 32;

/// What a patch has left to grow by.
#[derive(Debug)]
pub(super) struct Bounds {
    left: usize,
}

impl Bounds {
    pub(super) fn new() -> Self {
        Self { left: MAX_GROWTH }
    }

    /// Charges for `value` put `above` levels below the root.
    pub(super) fn charge(&mut self, value: &Value<'_>, above: usize) -> Step<()> {
        let depth = MAX_DEPTH.checked_sub(above).ok_or(Fault::TooLarge)?;
        self.spend(value, depth)
    }

    /// Refuses a `value` that would be too deep `above` levels below the root; costs nothing.
    pub(super) fn check_depth(value: &Value<'_>, above: usize) -> Step<()> {
        Self { left: usize::MAX }.charge(value, above)
    }

    fn spend(&mut self, value: &Value<'_>, depth: usize) -> Step<()> {
        let text = match value {
            Value::Number(text) | Value::String(text) => text.len(),
            Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => 0,
        };
        self.left = self.left.checked_sub(text + VALUE_BYTES).ok_or(Fault::TooLarge)?;
        match value {
            Value::Array(items) => {
                let depth = depth.checked_sub(1).ok_or(Fault::TooLarge)?;
                items.iter().try_for_each(|item| self.spend(item, depth))
            }
            Value::Object(object) => {
                let depth = depth.checked_sub(1).ok_or(Fault::TooLarge)?;
                object.iter().try_for_each(|(key, value)| {
                    self.left = self.left.checked_sub(key.len()).ok_or(Fault::TooLarge)?;
                    self.spend(value, depth)
                })
            }
            _ => Ok(()),
        }
    }
}
