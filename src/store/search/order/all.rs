//! All matches, to be sorted as a whole: up to a bound, and told where they are more.

use super::super::source::{Source, every};
use super::super::sql::Cond;
use super::MAX_SORTED;

/// Most rows that are gone through where a resource may have several.
const MAX_ROWS: u32 = 2 * MAX_SORTED;

/// All that a query of keys finds, as [`candidates`] has it.
pub(in crate::store::search) fn all_of(every: &str, has_duplicates: bool) -> (String, String) {
    let most = MAX_SORTED + 1;
    if !has_duplicates {
        let all = format!("c AS MATERIALIZED (SELECT e.rid FROM ({every} LIMIT {most}) e), ");
        return (all, "SELECT count(*) FROM c".to_owned());
    }
    let (rows, is_cut) = rows_of_all(every);
    (
        format!("{rows}c AS MATERIALIZED (SELECT DISTINCT e.rid FROM ca e), "),
        format!("SELECT CASE WHEN {is_cut} THEN {most} ELSE count(*) END FROM c"),
    )
}

/// The rows of a query of keys that finds a resource more than once, as a table called `ca`, and the condition that
/// they are not all: rows that are left out would make resources seem to be no more than are sorted.
pub(super) fn rows_of_all(every: &str) -> (String, String) {
    (
        format!("ca AS MATERIALIZED ({every} LIMIT {MAX_ROWS}), "),
        format!("(SELECT count(*) FROM ca) >= {MAX_ROWS}"),
    )
}

/// The keys of all that is sorted, as a table called `c`, and a query of how many they are: 0 when
/// they are not all matches.
pub(super) fn candidates(source: &Source, rest: &Cond) -> (String, String) {
    let rid = format!("{} AS rid", source.row.rid);
    all_of(&every(source, &rid, rest), source.has_duplicates)
}
