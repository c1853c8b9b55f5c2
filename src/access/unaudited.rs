//! Results that nobody may look at before the ledger has their row.

use super::ledger::Disclosed;

/// A value that came from the store and has not been audited. Only the gate opens it.
///
/// The value is private:
///
/// ```compile_fail,E0616
/// fn peek(found: kiln::access::Unaudited<String>) -> String {
///     found.value
/// }
/// ```
///
/// and `map` takes a plain function, so that no closure can carry the value out:
///
/// ```compile_fail,E0308
/// fn smuggle(found: kiln::access::Unaudited<String>) -> Option<String> {
///     let mut stolen = None;
///     found.map(|value: String| stolen = Some(value));
///     stolen
/// }
/// ```
#[derive(Debug)]
#[must_use = "a result leaves only through the gate"]
pub struct Unaudited<T> {
    value: T,
    disclosed: Disclosed,
}

impl<T> Unaudited<T> {
    /// Wraps what the store found, with what it tells about whom.
    pub fn new(value: T, disclosed: Disclosed) -> Self {
        Self { value, disclosed }
    }

    /// Changes the value by a function that can keep nothing of it.
    pub fn map<U>(self, change: fn(T) -> U) -> Unaudited<U> {
        Unaudited { value: change(self.value), disclosed: self.disclosed }
    }

    /// Puts `context` beside the value, for a following [`Unaudited::map`].
    pub fn with<C>(self, context: C) -> Unaudited<(T, C)> {
        Unaudited { value: (self.value, context), disclosed: self.disclosed }
    }

    /// The value and what the ledger must know of it.
    pub(super) fn open(self) -> (T, Disclosed) {
        (self.value, self.disclosed)
    }
}

impl Unaudited<()> {
    /// Nothing found, nothing told.
    pub fn nothing() -> Self {
        Self { value: (), disclosed: Disclosed::default() }
    }
}
