//! Results that nobody may look at before the ledger has their row.

use super::interaction::Interaction;
use super::ledger::{Disclosed, LedgerRow, UnitOfWork};

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
    told: Recording,
}

/// What the ledger must know of a result.
#[derive(Debug)]
pub(super) enum Recording {
    /// What its row is to say.
    Unrecorded(Disclosed),
    /// Nothing: the statement that found it wrote the row.
    Recorded,
}

impl<T> Unaudited<T> {
    /// Wraps what the store found, with what it tells about whom.
    pub fn new(value: T, disclosed: Disclosed) -> Self {
        Self { value, told: Recording::Unrecorded(disclosed) }
    }

    /// Changes the value by a function that can keep nothing of it.
    pub fn map<U>(self, change: fn(T) -> U) -> Unaudited<U> {
        Unaudited { value: change(self.value), told: self.told }
    }

    /// Puts `context` beside the value, for a following [`Unaudited::map`].
    pub fn with<C>(self, context: C) -> Unaudited<(T, C)> {
        Unaudited { value: (self.value, context), told: self.told }
    }

    /// Both values, with what the ledger is to say of both; `None` when it has a row already.
    pub fn and<U>(self, other: Unaudited<U>) -> Option<Unaudited<(T, U)>> {
        let (Recording::Unrecorded(mut told), Recording::Unrecorded(more)) =
            (self.told, other.told)
        else {
            return None;
        };
        told.subject = told.subject.or(more.subject);
        told.patients.extend(more.patients);
        told.patients.sort_unstable();
        told.patients.dedup();
        told.entities.extend(more.entities);
        Some(Unaudited { value: (self.value, other.value), told: Recording::Unrecorded(told) })
    }

    /// The value, for an entry of a unit of work that keeps what the ledger must know of it: the unit
    /// itself stands behind the gate, which writes that row with the others.
    pub fn within<U: UnitOfWork>(self, interaction: Interaction, unit: &mut U) -> T {
        if let Recording::Unrecorded(disclosed) = self.told {
            unit.note(interaction, disclosed);
        }
        self.value
    }

    /// The value and what the ledger must know of it.
    pub(super) fn open(self) -> (T, Recording) {
        (self.value, self.told)
    }
}

impl Unaudited<()> {
    /// Nothing found, nothing told.
    pub fn nothing() -> Self {
        Self::new((), Disclosed::default())
    }
}

/// The ledger row of an interaction, for a statement that finds and records at once. Who has no such
/// statement lets it fall: then the gate writes the row.
///
/// Only the gate makes one:
///
/// ```compile_fail,E0451
/// use kiln::access::{Draft, LedgerRow};
/// fn forge(row: LedgerRow) -> Draft {
///     Draft { row }
/// }
/// ```
#[derive(Debug)]
pub struct Draft {
    row: LedgerRow,
}

impl Draft {
    pub(super) fn new(row: LedgerRow) -> Self {
        Self { row }
    }

    /// The row, for the statement that writes it. Only the store may ask for it.
    pub fn take_row(self) -> (LedgerRow, RowTaken) {
        (self.row, RowTaken(()))
    }
}

/// Proof that the store has the row of a [`Draft`]: what it found by the statement that wrote the row
/// needs no other.
///
/// It is of no use twice:
///
/// ```compile_fail,E0382
/// fn reuse(draft: kiln::access::Draft) {
///     let (_, taken) = draft.take_row();
///     let _ = taken.with("found and recorded");
///     let _ = taken.with("found");
/// }
/// ```
#[derive(Debug)]
#[must_use = "it says that the row is on record"]
pub struct RowTaken(());

impl RowTaken {
    /// Wraps what the statement found that wrote the row.
    pub fn with<T>(self, value: T) -> Unaudited<T> {
        Unaudited { value, told: Recording::Recorded }
    }
}
