//! The issues found so far.

use std::fmt;

use crate::fhir::{Issue, IssueCode, Severity};
use crate::validate::form::MAX_ISSUES;
use crate::validate::place::Place;

/// Who asks for what was not found: names the profile and the slice in an issue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct By<'b> {
    /// The canonical of the profile; `None` for the base definitions.
    pub(super) profile: Option<&'b str>,
    /// The slice, where it is one that asks.
    pub(super) slice: Option<&'b str>,
}

/// Issues in the order they were found: at most [`MAX_ISSUES`] errors, and as many others.
#[derive(Debug)]
pub(super) struct Findings {
    issues: Vec<Issue>,
    errors: usize,
    /// The least severe issues that are kept.
    least: Severity,
    /// What errors are at most: a claim that is only warned about makes them warnings.
    pub(super) worst: Severity,
    /// Whether only the number of errors counts.
    is_trial: bool,
}

impl Findings {
    pub(super) fn new(least: Severity) -> Self {
        Self { issues: Vec::new(), errors: 0, least, worst: Severity::Fatal, is_trial: false }
    }

    /// Findings that keep nothing but whether there is an error.
    pub(super) fn trial() -> Self {
        Self { is_trial: true, ..Self::new(Severity::Error) }
    }

    /// Adds one; `rule` says what is wrong with the element, without naming it.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        code: IssueCode,
        place: &Place<'_>,
        rule: fmt::Arguments<'_>,
        by: By<'_>,
    ) {
        let severity = severity.max(self.worst);
        let is_error = severity <= Severity::Error;
        self.errors += usize::from(is_error);
        if severity > self.least || self.is_trial {
            return;
        }
        let is_alike = |issue: &&Issue| (issue.severity <= Severity::Error) == is_error;
        if self.issues.iter().filter(is_alike).count() >= MAX_ISSUES {
            return;
        }
        let expression = place.to_string();
        let diagnostics = match by {
            By { profile: Some(profile), slice: Some(slice) } => {
                format!("{expression}: {rule} (slice {slice} of {profile})")
            }
            By { profile: Some(profile), slice: None } => {
                format!("{expression}: {rule} ({profile})")
            }
            By { profile: None, .. } => format!("{expression}: {rule}"),
        };
        let issue = Issue { severity, code, diagnostics, expression, position: None };
        // Profiles that build on each other say the same.
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    /// Whether issues of this severity are of interest.
    pub(super) fn wants(&self, severity: Severity) -> bool {
        severity.max(self.worst) <= self.least
    }

    /// Whether one of the issues is an error.
    pub(super) fn has_error(&self) -> bool {
        self.errors > 0
    }

    /// Whether only the number of errors counts.
    pub(super) fn is_trial(&self) -> bool {
        self.is_trial
    }

    /// Whether more would change nothing.
    pub(super) fn is_full(&self) -> bool {
        if self.is_trial { self.errors > 0 } else { self.errors >= MAX_ISSUES }
    }

    /// The issues themselves.
    pub(super) fn into_issues(self) -> Vec<Issue> {
        self.issues
    }
}
