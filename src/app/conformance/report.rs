//! What the checks of a suite found: a line each, or JSON.

use std::io::{self, Write};

use serde_json::json;
use thiserror::Error;

/// Why a suite could not run.
#[derive(Debug, Error)]
pub(crate) enum SuiteError {
    /// The options do not fit together, or a file that they name cannot be used.
    #[error("{0}")]
    Options(String),
    /// The report cannot be written.
    #[error("the report cannot be written")]
    Print {
        /// What the system says.
        source: io::Error,
    },
}

/// How a check ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Fail(String),
    Pass,
    Skip(String),
    Warn(String),
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Fail(_) => "fail",
            Self::Pass => "pass",
            Self::Skip(_) => "skip",
            Self::Warn(_) => "warn",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Fail(reason) | Self::Skip(reason) | Self::Warn(reason) => Some(reason),
        }
    }
}

/// What a check found: nothing wrong, or what.
pub(super) type Found = Result<(), String>;

/// `Ok` when `holds`, else what `otherwise` says.
pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// One check.
#[derive(Debug)]
struct Row {
    item: &'static str,
    /// During which launch or with which client; empty where there is one only.
    part: String,
    check: &'static str,
    verdict: Verdict,
}

impl Row {
    /// Whether `next` passed the same check, of another type or for another request.
    fn repeats(&self, next: &Self) -> bool {
        let is_same = self.part == next.part && self.check == next.check;
        is_same && self.verdict == Verdict::Pass && next.verdict == Verdict::Pass
    }

    fn print(&self, times: usize, out: &mut impl Write) -> io::Result<()> {
        let part = if self.part.is_empty() { "" } else { ": " };
        write!(out, "  {} {}{part}{}", self.verdict.word(), self.part, self.check)?;
        if times > 1 {
            write!(out, " ({times} times)")?;
        }
        match self.verdict.reason() {
            Some(reason) => writeln!(out, "\n       {reason}"),
            None => writeln!(out),
        }
    }
}

/// The checks so far.
#[derive(Debug)]
pub(super) struct Report {
    /// The base that is checked.
    base: String,
    /// Names of the items, by id.
    items: &'static [(&'static str, &'static str)],
    rows: Vec<Row>,
    /// Said in the lines that follow.
    part: String,
}

impl Report {
    pub(super) fn new(base: &str, items: &'static [(&'static str, &'static str)]) -> Self {
        Self { base: base.to_owned(), items, rows: Vec::new(), part: String::new() }
    }

    /// Names the part of the run that the next checks belong to.
    pub(super) fn enter(&mut self, part: impl Into<String>) {
        self.part = part.into();
    }

    pub(super) fn add(&mut self, item: &'static str, check: &'static str, verdict: Verdict) {
        debug_assert!(self.items.iter().any(|(id, _)| *id == item), "{item} is not numbered");
        self.rows.push(Row { item, part: self.part.clone(), check, verdict });
    }

    /// A check that passes or fails; says whether it passed.
    pub(super) fn must(&mut self, item: &'static str, check: &'static str, found: Found) -> bool {
        let passed = found.is_ok();
        self.add(item, check, found.map_or_else(Verdict::Fail, |()| Verdict::Pass));
        passed
    }

    /// A check whose failure is a warning only.
    pub(super) fn should(&mut self, item: &'static str, check: &'static str, found: Found) {
        self.add(item, check, found.map_or_else(Verdict::Warn, |()| Verdict::Pass));
    }

    pub(super) fn skip(&mut self, item: &'static str, check: &'static str, why: impl Into<String>) {
        self.add(item, check, Verdict::Skip(why.into()));
    }

    pub(super) fn is_passed(&self) -> bool {
        !self.rows.iter().any(|row| matches!(row.verdict, Verdict::Fail(_)))
    }

    fn count(&self, word: &str) -> usize {
        self.rows.iter().filter(|row| row.verdict.word() == word).count()
    }

    /// Writes the report: a table for people or, with `json`, an object for programs.
    pub(super) fn print(&self, json: bool, out: &mut impl Write) -> io::Result<()> {
        if json {
            serde_json::to_writer_pretty(&mut *out, &self.to_json())?;
            return writeln!(out);
        }
        for (id, name) in self.items {
            let mut rows = self.rows.iter().filter(|row| row.item == *id).peekable();
            if rows.peek().is_some() {
                writeln!(out, "{id} {name}")?;
            }
            while let Some(row) = rows.next() {
                let mut times = 1;
                while rows.next_if(|next| row.repeats(next)).is_some() {
                    times += 1;
                }
                row.print(times, out)?;
            }
        }
        writeln!(
            out,
            "{}: {} passed, {} failed, {} warnings, {} skipped",
            self.base,
            self.count("pass"),
            self.count("fail"),
            self.count("warn"),
            self.count("skip")
        )
    }

    fn to_json(&self) -> serde_json::Value {
        let name = |item: &str| self.items.iter().find(|(id, _)| *id == item).map(|(_, it)| *it);
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "item": row.item,
                    "name": name(row.item),
                    "part": row.part,
                    "check": row.check,
                    "verdict": row.verdict.word(),
                    "reason": row.verdict.reason(),
                })
            })
            .collect();
        json!({
            "suite": "Kiln's own SMART suite",
            "base": self.base,
            "passed": self.count("pass"),
            "failed": self.count("fail"),
            "warnings": self.count("warn"),
            "skipped": self.count("skip"),
            "checks": rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: &[(&str, &str)] = &[("X1", "first"), ("X2", "second")];

    fn printed(report: &Report, json: bool) -> String {
        let mut out = Vec::new();
        report.print(json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_report_is_in_the_order_of_its_items_and_tells_reasons() {
        let mut report = Report::new("http://x/fhir", ITEMS);
        report.skip("X2", "not asked", "no client");
        report.enter("public app");
        assert!(report.must("X1", "answers", Ok(())));
        assert!(report.must("X1", "answers", Ok(())));
        report.should("X1", "is quick", Err("slow".into()));
        assert!(report.is_passed());
        assert_eq!(
            printed(&report, false),
            "X1 first\n  pass public app: answers (2 times)\n  warn public app: is quick\n       slow\n\
             X2 second\n  skip not asked\n       no client\n\
             http://x/fhir: 2 passed, 0 failed, 1 warnings, 1 skipped\n"
        );
        assert!(!report.must("X2", "holds", ensure(false, || "no".into())));
        assert!(!report.is_passed());
        let json: serde_json::Value = serde_json::from_str(&printed(&report, true)).unwrap();
        assert_eq!(json["failed"], 1);
        assert_eq!(json["checks"][4]["reason"], "no");
        assert_eq!(json["checks"][4]["name"], "second");
    }
}
