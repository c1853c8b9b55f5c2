//! What is wrong with the rows of a batch, by what was sealed of them.

use std::collections::HashSet;
use std::fmt;

use uuid::Uuid;

use super::merkle::Hash;

/// A row: its id and the hash of what it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// Its id.
    pub id: Uuid,
    /// The hash of its leaf.
    pub leaf: Hash,
}

/// The first thing that is wrong with the record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// A row says something else than when it was sealed.
    Altered(Uuid),
    /// The batch's own entry in the log was changed, or its checkpoint: the batch's number.
    Batch(u64),
    /// A checkpoint outside the database says something else than the database: its size.
    Checkpoint(u64),
    /// The rows of a batch are gone, and nothing says that they were dropped: the batch's number.
    Gone(u64),
    /// A row stands among sealed ones that was not sealed.
    Inserted(Uuid),
    /// A sealed row is gone.
    Missing(Uuid),
    /// A row is there but not in its place.
    Reordered(Uuid),
    /// What says that a month (six digits) was dropped is not signed by a trusted key, or not of this record.
    Retirement(String),
    /// Something is said to be a batch that no batch of the log is: its number.
    Stray(i64),
    /// The end is gone: a checkpoint outside speaks of more batches and rows than there are.
    Truncated {
        /// The first batch that is missing.
        batch: u64,
        /// How many rows the record had before it.
        rows: u64,
    },
    /// The rows of a batch are gone, and that they were dropped is said without a signature.
    Unproven {
        /// The batch.
        batch: u64,
        /// The month that is said to be dropped, six digits.
        month: String,
    },
}

/// A month of six digits, as it is told.
pub fn month_text(month: &str) -> String {
    let (year, month) = month.split_at_checked(4).unwrap_or((month, "?"));
    format!("{year}-{month}")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered(id) => write!(f, "row {id} was altered after it was sealed"),
            Self::Batch(n) => write!(f, "the seal of batch {n} was altered"),
            Self::Checkpoint(size) => {
                write!(f, "the record is not the one of the exported checkpoint {size}")
            }
            Self::Gone(n) => write!(f, "the rows of batch {n} are missing"),
            Self::Inserted(id) => write!(f, "row {id} was inserted among sealed rows"),
            Self::Missing(id) => write!(f, "row {id} is missing"),
            Self::Reordered(id) => write!(f, "row {id} is not in its place"),
            Self::Retirement(month) => write!(
                f,
                "what says that {} was dropped is not signed by a trusted key, or not of this record",
                month_text(month)
            ),
            Self::Stray(n) => {
                write!(f, "there is a seal of batch {n}, which the log does not have")
            }
            Self::Truncated { batch, rows } => write!(
                f,
                "the end of the record is missing: from batch {batch} on, after {rows} rows"
            ),
            Self::Unproven { batch, month } => write!(
                f,
                "the rows of batch {batch} are missing; that {} was dropped is said without a signature",
                month_text(month)
            ),
        }
    }
}

/// The first difference between the rows that were `sealed` in a batch and those `found` in its place,
/// both in order. Whether a missing row is elsewhere is for the caller to find out.
pub fn compare(sealed: &[Sealed], found: &[Sealed]) -> Option<Finding> {
    if sealed == found {
        return None;
    }
    for (expected, actual) in sealed.iter().zip(found) {
        if expected == actual {
            continue;
        }
        if expected.id == actual.id {
            return Some(Finding::Altered(expected.id));
        }
        let ids = |rows: &[Sealed]| rows.iter().map(|row| row.id).collect::<HashSet<_>>();
        if !ids(sealed).contains(&actual.id) {
            return Some(Finding::Inserted(actual.id));
        }
        let is_there = ids(found).contains(&expected.id);
        let finding = if is_there { Finding::Reordered } else { Finding::Missing };
        return Some(finding(expected.id));
    }
    match (sealed.get(found.len()), found.get(sealed.len())) {
        (Some(missing), _) => Some(Finding::Missing(missing.id)),
        (None, Some(more)) => {
            let is_known = sealed.iter().any(|row| row.id == more.id);
            Some(if is_known { Finding::Reordered(more.id) } else { Finding::Inserted(more.id) })
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::merkle;
    use super::*;

    fn row(number: u32) -> Sealed {
        Sealed { id: Uuid::from_u128(number.into()), leaf: merkle::leaf(&number.to_be_bytes()) }
    }

    fn rows(numbers: &[u32]) -> Vec<Sealed> {
        numbers.iter().copied().map(row).collect()
    }

    #[test]
    fn the_first_difference_is_named() {
        let id = |number: u32| row(number).id;
        for (found, expected) in [
            (&[1, 2, 3][..], None),
            (&[2, 3], Some(Finding::Missing(id(1)))),
            (&[1, 3], Some(Finding::Missing(id(2)))),
            (&[1, 2], Some(Finding::Missing(id(3)))),
            (&[], Some(Finding::Missing(id(1)))),
            (&[9, 1, 2, 3], Some(Finding::Inserted(id(9)))),
            (&[1, 9, 2, 3], Some(Finding::Inserted(id(9)))),
            (&[1, 2, 3, 9], Some(Finding::Inserted(id(9)))),
            (&[1, 3, 2], Some(Finding::Reordered(id(2)))),
            (&[3, 1, 2], Some(Finding::Reordered(id(1)))),
            (&[1, 2, 3, 1], Some(Finding::Reordered(id(1)))),
            (&[1, 9, 3], Some(Finding::Inserted(id(9)))),
        ] {
            assert_eq!(compare(&rows(&[1, 2, 3]), &rows(found)), expected, "{found:?}");
        }
        let mut altered = rows(&[1, 2, 3]);
        altered[1].leaf[5] ^= 1;
        assert_eq!(compare(&rows(&[1, 2, 3]), &altered), Some(Finding::Altered(id(2))));
    }

    proptest! {
        #[test]
        fn any_single_change_is_found(size in 1..60_u32, at in 0..60_usize, to in 0..60_usize, what in 0..4) {
            let sealed = rows(&(0..size).collect::<Vec<_>>());
            let (at, to) = (at % sealed.len(), to % sealed.len());
            let mut found = sealed.clone();
            let expected = match what {
                0 => { found[at].leaf[at % 32] ^= 1; Some(Finding::Altered(sealed[at].id)) }
                1 => { found.remove(at); Some(Finding::Missing(sealed[at].id)) }
                2 => { found.insert(at, row(1_000)); Some(Finding::Inserted(row(1_000).id)) }
                _ => {
                    found.swap(at, to);
                    (at != to).then(|| Finding::Reordered(sealed[at.min(to)].id))
                }
            };
            prop_assert_eq!(compare(&sealed, &found), expected);
        }
    }
}
