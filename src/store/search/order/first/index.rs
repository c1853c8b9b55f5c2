//! The indexes that have values in order, and which of their rows count.

use crate::spec::search_parameter::SearchType;

/// An index, and which rows are walked by it.
pub(super) struct Index {
    pub(super) table: &'static str,
    /// The column that it is ordered by.
    pub(super) column: &'static str,
    /// The column that the order goes by: the same for the rows that are walked.
    pub(super) key: &'static str,
    /// Whether a row counts for the order.
    pub(super) counts: &'static str,
    /// Whether it is one of those that are walked.
    pub(super) is_in: &'static str,
    /// What tells rows of a resource apart that have the same value under the same hash.
    pub(super) rest: &'static str,
}

/// The indexes that have an order, each for a part of the values.
pub(super) fn indexes(kind: SearchType, is_descending: bool) -> &'static [Index] {
    const DATES: &[Index] = &[Index {
        table: "dat",
        column: "lo",
        key: "lo",
        counts: "%row.lo > '-infinity'",
        is_in: "true",
        rest: "%row.hi",
    }];
    const STRINGS: &[Index] = &[Index {
        table: "str",
        column: "v",
        key: "v",
        counts: "%row.exact IS NOT NULL",
        is_in: "true",
        rest: "%row.exact",
    }];
    // 1.0 and 1.00 are two rows of one number.
    const NUMBER: &str = "%row.y, %row.u, %row.n, %row.lo::text, %row.hi::text";
    const LOW: &[Index] = &[Index {
        table: "num",
        column: "lo",
        key: "lo",
        counts: "true",
        is_in: "true",
        rest: NUMBER,
    }];
    // Most numbers are exact, and ranges have an index of their own by their ends.
    const HIGH: &[Index] = &[
        Index {
            table: "num",
            column: "lo",
            key: "hi",
            counts: "true",
            is_in: "%row.lo = %row.hi",
            rest: NUMBER,
        },
        Index {
            table: "num",
            column: "hi",
            key: "hi",
            counts: "true",
            is_in: "%row.lo < %row.hi",
            rest: NUMBER,
        },
    ];
    match kind {
        SearchType::Date => DATES,
        SearchType::String => STRINGS,
        _ if is_descending => HIGH,
        _ => LOW,
    }
}
