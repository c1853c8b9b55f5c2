//! What is refused, and what is passed over.

use std::borrow::Cow;

use thiserror::Error;

use crate::error::Error;
use crate::fhir::{Issue, IssueCode};

/// Why a parameter is refused, however leniently the query is read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{parameter}: {reason}")]
pub struct Fault {
    /// The parameter's name as it was sent.
    pub parameter: Box<str>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a parameter.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Reason {
    /// The text of a `_filter` ends or goes on where it should not.
    #[error("column {column}: {problem}")]
    Filter {
        /// The place, in characters from 1.
        column: usize,
        /// What is expected there, or what is wrong.
        problem: Box<Reason>,
    },
    /// A modifier that does not fit.
    #[error("the modifier {modifier:?} does not apply here; allowed: {allowed}")]
    Modifier {
        /// The modifier as it was sent.
        modifier: Box<str>,
        /// Those that would apply.
        allowed: Cow<'static, str>,
    },
    /// A part of the parameter's name, or a name in its value, that means nothing here.
    #[error("{0}")]
    Name(Cow<'static, str>),
    /// Understood, but not offered.
    #[error("{0}")]
    NotSupported(Cow<'static, str>),
    /// More than the server takes.
    #[error("{count} {what}, more than the {limit} that are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A value that is not of the parameter's form.
    #[error("value {place}, {value:?}, is not {expected}")]
    Value {
        /// The value as it was sent, cut where it is long.
        value: Box<str>,
        /// Which of the values that are separated by commas, from 1.
        place: usize,
        /// The form that is allowed.
        expected: Cow<'static, str>,
    },
}

impl Reason {
    /// A value that is not what is `expected`.
    pub(super) fn value(value: &str, place: usize, expected: impl Into<Cow<'static, str>>) -> Self {
        Self::Value { value: clip(value), place, expected: expected.into() }
    }

    /// A name that means nothing.
    pub(super) fn name(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Name(text.into())
    }

    /// The kind of fault, for an outcome.
    pub fn code(&self) -> IssueCode {
        match self {
            Self::Filter { problem, .. } => problem.code(),
            Self::Modifier { .. } | Self::NotSupported(_) => IssueCode::NotSupported,
            Self::Name(_) | Self::Value { .. } => IssueCode::Invalid,
            Self::TooMany { .. } => IssueCode::TooCostly,
        }
    }
}

/// A query that is refused, with everything that is wrong with it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{}", .0.first().map(ToString::to_string).unwrap_or_default())]
pub struct InvalidSearch(pub Vec<Fault>);

impl From<InvalidSearch> for Error {
    fn from(invalid: InvalidSearch) -> Self {
        let issue = |fault: Fault| Issue::error(fault.reason.code(), fault.to_string());
        Self::Invalid(invalid.0.into_iter().map(issue).collect())
    }
}

/// A parameter that is not done as it was sent: for an entry with an outcome.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The parameter's name as it was sent.
    pub parameter: Box<str>,
    /// Whether all or a part of it was passed over: refused where handling is strict.
    pub is_ignored: bool,
    /// Why.
    pub reason: Cow<'static, str>,
}

impl Notice {
    pub(super) fn ignored(parameter: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { parameter: clip(parameter), is_ignored: true, reason: reason.into() }
    }

    /// The issue that tells of it.
    pub fn issue(&self, severity: crate::fhir::Severity) -> Issue {
        let text = format!("{}: {}", self.parameter, self.reason);
        let code = if self.is_ignored { IssueCode::NotSupported } else { IssueCode::Informational };
        Issue { severity, ..Issue::error(code, text) }
    }
}

/// The start of a text that may be long.
pub(super) fn clip(text: &str) -> Box<str> {
    text.chars().take(80).collect()
}
