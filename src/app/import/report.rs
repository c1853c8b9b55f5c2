//! The failures of an import: a table for people, JSON for programs.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::fhir::json::{Object, Value};

use super::Summary;

/// Failures shown in the table.
const SHOWN: usize = 50;
/// Failures kept for the report.
pub(super) const KEPT: usize = 100_000;

/// One failure and where it happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reported {
    /// The file.
    pub file: String,
    /// The member, and the line or `entry[3]` within; empty for the whole file.
    pub entry: String,
    /// Why.
    pub message: String,
}

/// The table, its columns aligned; empty when nothing failed.
pub(super) fn table(summary: &Summary) -> String {
    let mut text = String::new();
    if summary.failures.is_empty() {
        return text;
    }
    let shown = || summary.failures.iter().take(SHOWN);
    let width = |of: fn(&Reported) -> &str, name: &str| {
        shown().map(|failure| of(failure).chars().count()).max().unwrap_or(0).max(name.len())
    };
    let file_width = width(|failure| &failure.file, "file");
    let entry_width = width(|failure| &failure.entry, "entry");
    let mut row = |file: &str, entry: &str, reason: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{file:file_width$}  {entry:entry_width$}  {reason}");
    };
    row("file", "entry", "reason");
    for failure in shown() {
        row(&failure.file, &failure.entry, &failure.message);
    }
    if summary.failed > SHOWN as u64 {
        let _ = writeln!(text, "and {} more", summary.failed - SHOWN as u64);
    }
    text
}

/// Writes the report: `{"resources":..,"failed":..,"failures":[{"file":..,"entry":..,"reason":..}]}`.
pub(super) fn write(summary: &Summary, path: &Path) -> io::Result<()> {
    let failures: Vec<Value<'_>> = summary
        .failures
        .iter()
        .map(|failure| {
            Object::new()
                .with("file", &*failure.file)
                .with("entry", &*failure.entry)
                .with("reason", &*failure.message)
                .into()
        })
        .collect();
    let report = Object::new()
        .with("files", summary.files)
        .with("skipped", summary.skipped)
        .with("resources", summary.resources)
        .with("elapsed_ms", summary.elapsed.as_millis() as u64)
        .with("failed", summary.failed)
        .with("failures", failures);
    let mut text = Vec::new();
    Value::from(report).write_pretty(&mut text);
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_says_how_many_it_leaves_out() {
        let failure = |file: &str| Reported {
            file: file.to_owned(),
            entry: "line 1".to_owned(),
            message: "bad".to_owned(),
        };
        let mut summary = Summary { failed: 1, failures: vec![failure("a")], ..Summary::default() };
        assert_eq!(table(&summary), "file  entry   reason\na     line 1  bad\n");
        summary.failures = vec![failure("a"); 60];
        summary.failed = 70;
        assert!(table(&summary).ends_with("and 20 more\n"));
        assert_eq!(table(&Summary::default()), "");
    }
}
