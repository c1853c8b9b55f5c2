//! Plans of the database as `_explain` tells them: statements, and which index each scan goes by.

use std::collections::BTreeSet;

use crate::harness::client::Answer;

/// Indexes by the keys of resources, and by what others refer to them as: what was found is looked up by them, and
/// never walked.
const BY_KEY: &[&str] = &["dat_r", "num_r", "res_pkey", "srow_idh", "srow_k", "srow_pkey", "str_r"];

/// What a statement of a search is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Of {
    /// What comes along with the matches.
    Along,
    /// The number of all matches.
    Count,
    /// The matches of a page.
    Page,
}

/// One statement as it was explained.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) of: Option<Of>,
    pub(super) sql: String,
    pub(super) plan: String,
}

/// A node of a plan that reads a table.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Scan {
    /// `Index Only Scan`
    how: String,
    index: Option<String>,
    table: String,
}

impl Statement {
    /// The statements of an answer that explains itself.
    pub(super) fn all(answer: &Answer) -> Vec<Self> {
        let body = answer.json();
        let entries = body.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
        let issues = entries.flat_map(|resource| resource.items_at("issue"));
        issues.filter_map(|issue| Self::of(issue.str_at("diagnostics")?)).collect()
    }

    /// `None` for a step in words.
    fn of(text: &str) -> Option<Self> {
        let (sql, rest) = text.split_once('\n')?;
        let (took, plan) = rest.split_once('\n')?;
        took.contains(" rows expected, took ").then(|| {
            let of = if sql.contains("SELECT k.rid, k.key, k.seen") {
                Some(Of::Page)
            } else if sql.starts_with("SELECT count(*) FROM (") {
                Some(Of::Count)
            } else if sql.contains("r.meta, r.body") {
                Some(Of::Along)
            } else {
                None
            };
            Self { of, sql: sql.to_owned(), plan: plan.to_owned() }
        })
    }

    /// What reads a table.
    pub(super) fn scans(&self) -> Vec<Scan> {
        self.plan.lines().filter_map(Scan::of).collect()
    }
}

impl Scan {
    /// `None` for a line that is no such node.
    fn of(line: &str) -> Option<Self> {
        let node = line.trim_start().trim_start_matches("->").trim_start();
        let (node, _) = node.split_once("  (cost=")?;
        let (how, table) = node.split_once(" on ")?;
        let (how, index) = match how.split_once(" using ") {
            Some((how, index)) => (how, Some(index.to_owned())),
            None => (how, None),
        };
        // A scan of what a statement has found itself (`CTE Scan`) reads no table.
        let reads = how.contains("Scan")
            && !["Bitmap Index", "CTE", "Function", "Subquery", "Values", "WorkTable"]
                .iter()
                .any(|other| how.contains(other));
        let table = table.split(' ').next()?.to_owned();
        reads.then(|| Self { how: how.to_owned(), index, table })
    }

    fn text(&self) -> String {
        let Self { how, index, table } = self;
        let index = index.as_ref().map(|index| format!(" using {index}")).unwrap_or_default();
        format!("{how}{index} on {table}")
    }
}

/// What is wrong with the scans of some statements: each of `expected` (`[HOW ]using INDEX on TABLE`) is one of them
/// (behind `?` it may be), and none goes through one of these tables by another index, but for what is looked up by its
/// key.
pub(super) fn wrong(scans: &[Scan], expected: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for one in expected.iter().filter(|one| !one.starts_with('?')) {
        if !scans.iter().any(|scan| scan.text().ends_with(one)) {
            wrong.push(format!("nothing reads by {one}"));
        }
    }
    let tables: BTreeSet<&str> =
        expected.iter().filter_map(|one| Some(one.rsplit_once(" on ")?.1)).collect();
    for scan in scans.iter().filter(|scan| tables.contains(&*scan.table)) {
        let is_look_up = scan.index.as_deref().is_some_and(|index| BY_KEY.contains(&index));
        let text = scan.text();
        let is_one = |one: &&str| text.ends_with(one.trim_start_matches('?'));
        if !is_look_up && !expected.iter().any(is_one) {
            wrong.push(format!("something reads by {text}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "\
CTE Scan on k  (cost=1.00..2.00 rows=1 width=8)
  CTE k
    ->  Limit  (cost=0.43..8.45 rows=12 width=16)
          ->  Index Only Scan Backward using tok_k on tok a1  (cost=0.43..8.45 rows=12 width=16)
                Index Cond: (h = $1)
  ->  Index Scan using res_pkey on res w  (cost=0.43..8.45 rows=12 width=16)
  ->  Bitmap Heap Scan on num t  (cost=0.43..8.45 rows=12 width=16)
        ->  Bitmap Index Scan on num_r  (cost=0.43..8.45 rows=12 width=0)
  ->  Seq Scan on srow f  (cost=0.43..8.45 rows=12 width=16)";

    #[test]
    fn every_node_that_reads_a_table_is_told_with_its_index() {
        let text = format!("SELECT count(*) FROM (x) e\n1 rows expected, took 1ms\n{PLAN}");
        let statement = Statement::of(&text).unwrap();
        assert_eq!(statement.of, Some(Of::Count));
        let scans = statement.scans();
        let texts: Vec<_> = scans.iter().map(Scan::text).collect();
        assert_eq!(
            texts,
            [
                "Index Only Scan Backward using tok_k on tok",
                "Index Scan using res_pkey on res",
                "Bitmap Heap Scan on num",
                "Seq Scan on srow",
            ]
        );
        for (expected, faults) in [
            (&["using tok_k on tok"][..], 0),
            (&["using tok_k on tok", "?using tok_system on tok"], 0),
            (&["using tok_system on tok", "?using tok_k on tok"], 1),
            (&["using res_type on res"], 1),
            (&["using srow_type on srow"], 2),
            (&["using num_v on num"], 2),
            (&["using tok_system on tok"], 2),
        ] {
            assert_eq!(wrong(&scans, expected).len(), faults, "{expected:?}");
        }
        assert!(Statement::of("walks tokens, in their order").is_none());
    }
}
