//! The issues found so far, and the few that every part of the walk reports.

use crate::fhir::{Issue, IssueCode};

use super::MAX_ISSUES;
use super::place::Place;

/// Issues in the order of the document, at most [`MAX_ISSUES`].
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Issue>);

impl Findings {
    /// Adds one; `rule` says what is wrong with the element, without naming it.
    pub(super) fn add(&mut self, code: IssueCode, place: &Place<'_>, rule: &str) {
        if !self.is_full() {
            let expression = place.to_string();
            self.0.push(Issue::error_at(code, format!("{expression}: {rule}"), expression));
        }
    }

    /// Adds one about the rule `key` of the specification.
    pub(super) fn broken(&mut self, key: &str, place: &Place<'_>, rule: &str) {
        self.add(IssueCode::Invariant, place, &format!("{rule} ({key})"));
    }

    /// Adds one about the shape of the document.
    pub(super) fn structure(&mut self, place: &Place<'_>, rule: &str) {
        self.add(IssueCode::Structure, place, rule);
    }

    /// Whether there is no room for another: the walk may stop.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_ISSUES
    }

    /// The issues themselves.
    pub(super) fn into_issues(self) -> Vec<Issue> {
        self.0
    }
}
