//! How long one flush to the disk takes in the server's database: what a row that waits for it may cost.

use super::super::{Bench, BenchError};

/// A table for commits that have something to flush.
const TABLE: &str = "SET client_min_messages = warning; DROP SCHEMA IF EXISTS kiln_bench CASCADE; \
     CREATE SCHEMA kiln_bench; CREATE TABLE kiln_bench.flush (n int NOT NULL);";

/// The commit of a row by one client. Whether it waits for the disk is all that differs.
fn commit(waits: &str) -> String {
    format!(
        "BEGIN;\nSET LOCAL synchronous_commit = {waits};\n\
         INSERT INTO kiln_bench.flush VALUES (1);\nCOMMIT;\n"
    )
}

/// Milliseconds that a commit takes longer where it waits for the disk, by the middle times of both; `None` without a
/// database to measure on.
///
/// # Errors
/// [`BenchError::Database`]
pub(super) async fn measure(bench: &mut Bench) -> Result<Option<f64>, BenchError> {
    let Some(floor) = &bench.floor else {
        let text = "no --database: a flush was not measured, so that of one client nothing is judged by it";
        bench.report.note(text);
        return Ok(None);
    };
    floor.sql(TABLE).await?;
    let seconds = bench.args.seconds;
    let waits = floor.time(&commit("on"), 1, seconds).await?.p50_ms;
    let goes_on = floor.time(&commit("off"), 1, seconds).await?.p50_ms;
    let flush = (waits - goes_on).max(0.0);
    bench.report.note(format!(
        "one flush to the disk: {flush:.3} ms (p50 of a row's commit {waits:.3} ms, {goes_on:.3} ms without it)"
    ));
    Ok(Some(flush))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_commits_differ_by_the_wait_alone() {
        let (on, off) = (commit("on"), commit("off"));
        assert_eq!(on.replace("= on;", "= off;"), off);
        assert_eq!(on.lines().filter(|line| line.ends_with(';')).count(), 4, "{on}");
    }
}
