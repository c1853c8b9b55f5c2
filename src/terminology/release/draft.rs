//! A code system while its files are read: the codes come first, then what is said of them.

use std::collections::HashMap;

use super::super::{Builder, Concepts, Designation, Property, PropertyKind};
use super::Fault;

/// Most bytes of text that concepts can have: they count in 32 bits.
const MAX_TEXT_BYTES: u64 = u32::MAX as u64;

/// Codes in their final order, which is that of their spelling, and what is known of them so far.
pub(super) struct Draft {
    builder: Builder,
    places: HashMap<Box<str>, u32>,
    text_bytes: u64,
}

impl Draft {
    /// A draft with these codes, in whatever order and however often each.
    pub(super) fn new(mut codes: Vec<Box<str>>) -> Self {
        codes.sort_unstable();
        codes.dedup();
        // Codes of all of these systems are told apart by case, or have none.
        let mut builder = Builder::new(true);
        let places = codes.into_iter().map(|code| {
            let at = builder.push(&code, None);
            (code, at)
        });
        let places = places.collect();
        Self { builder, places, text_bytes: 0 }
    }

    /// The place of a code.
    pub(super) fn find(&self, code: &str) -> Option<u32> {
        self.places.get(code).copied()
    }

    /// Gives a concept its display.
    pub(super) fn display(&mut self, at: u32, display: &str) {
        self.text_bytes += display.len() as u64;
        self.builder.display(at, display);
    }

    /// Says what a concept is.
    pub(super) fn define(&mut self, at: u32, definition: &str) {
        self.text_bytes += definition.len() as u64;
        self.builder.define(at, definition);
    }

    /// Says that a concept is no longer to be used.
    pub(super) fn retire(&mut self, at: u32) {
        self.builder.retire(at);
        self.property(at, "inactive", PropertyKind::Boolean, "true");
    }

    /// Says that one concept is directly above another.
    pub(super) fn link(&mut self, parent: u32, child: u32) {
        self.builder.link(parent, child);
    }

    /// Adds a value of a property, unless it is empty.
    pub(super) fn property(&mut self, at: u32, name: &str, kind: PropertyKind, value: &str) {
        if !value.is_empty() {
            self.text_bytes += value.len() as u64;
            self.builder.property(at, Property { name, kind, value });
        }
    }

    /// Adds a designation.
    pub(super) fn designation(&mut self, at: u32, designation: Designation<'_>) {
        self.text_bytes += designation.value.len() as u64;
        self.builder.designation(at, designation);
    }

    /// The concepts.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] when they have more text than can be counted.
    pub(super) fn finish(self) -> Result<Concepts, Fault> {
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(Fault::TooLarge(self.text_bytes));
        }
        Ok(self.builder.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_text_than_can_be_counted_is_refused() {
        for (bytes, is_refused) in [(0, false), (MAX_TEXT_BYTES - 1, false), (MAX_TEXT_BYTES, true)]
        {
            let mut draft = Draft::new(vec!["a".into()]);
            draft.text_bytes = bytes;
            draft.display(0, "b");
            assert_eq!(draft.finish().is_err(), is_refused, "{bytes}");
        }
    }
}
