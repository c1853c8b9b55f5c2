//! The one error of an interaction, in FHIR's words.
//!
//! `http::outcome` alone turns it into a status; modules below never name one.
//!
//! Layer: 0. Imports `fhir`.

use std::fmt;

use thiserror::Error;

use crate::fhir::outcome::Finding;
use crate::fhir::query::InvalidQuery;
use crate::fhir::{Identity, Issue, IssueCode, Version, VersionId};

/// Why an interaction did not happen.
#[derive(Debug, Error)]
pub enum Error {
    /// Others take all there is for the moment; nothing was done (503).
    #[error("{0}")]
    Busy(String),
    /// A question about codes that has no answer: of something that is not known (404), or else
    /// (422); every finding is kept.
    #[error("{}", first(.findings))]
    Codes {
        /// Whether what it is about is not known.
        is_missing: bool,
        /// Why.
        findings: Vec<Finding>,
    },
    /// The database found two interactions in each other's way; trying again may help.
    #[error("{0}")]
    Conflict(String),
    /// The current version is a deletion, or what an erasure left (410).
    #[error("{identity} was {how}")]
    Deleted {
        /// What was asked for.
        identity: Identity,
        /// The version that is the deletion.
        version: VersionId,
        /// How it went.
        how: Gone,
    },
    /// Another resource has what only one may have (409).
    #[error("{0}")]
    Duplicate(String),
    /// An entry of a Bundle failed.
    #[error("Bundle.entry[{index}]: {cause}")]
    Entry {
        /// Its place in the Bundle, from 0.
        index: usize,
        /// Why it failed: the whole answers as this would.
        cause: Box<Error>,
    },
    /// No scope covers this interaction.
    #[error("no scope covers this interaction")]
    Forbidden,
    /// Our fault: logged, never shown.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request or its content is malformed (400); every finding is kept.
    #[error("{}", first(.0))]
    Invalid(Vec<Issue>),
    /// The interaction is not offered for this resource (405).
    #[error("{0}")]
    MethodNotAllowed(String),
    /// Criteria matched several resources.
    #[error("{0}")]
    MultipleMatches(String),
    /// Nothing of this name: also what lies outside the caller's reach.
    #[error("{0} is not known")]
    NotFound(String),
    /// Understood, but not offered (400).
    #[error("{0}")]
    NotSupported(String),
    /// A condition of the request (If-Match, If-None-Match) does not hold.
    #[error("{0}")]
    PreconditionFailed(String),
    /// Others refer to what was to be deleted (409).
    #[error("{0}")]
    Referenced(String),
    /// The caller itself asks for too much at a time; nothing was done (429).
    #[error("{0}")]
    Throttled(String),
    /// The database was at it for longer than one statement may take; nothing was done (504).
    #[error("{0}")]
    TimedOut(String),
    /// It would take more time or memory than one request may (403).
    #[error("{0}")]
    TooCostly(String),
    /// The access token has expired (401).
    #[error("the access token has expired")]
    TokenExpired,
    /// The access token is not known, or was taken back (401).
    #[error("the access token is not known")]
    TokenUnknown,
    /// Larger than the server takes (413).
    #[error("{0}")]
    TooLarge(String),
    /// Missing, unknown or expired credentials.
    #[error("missing, unknown or expired credentials")]
    Unauthenticated,
    /// The database's answer to a write was lost: whether it is stored is not known (503).
    #[error(
        "the answer of the database was lost: the write may be stored; look before you repeat it"
    )]
    Unconfirmed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database or the ledger cannot be reached; nothing was disclosed or stored.
    #[error("the server cannot reach its database; try again")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Well formed, but against a rule (422); every finding is kept.
    #[error("{}", first(.0))]
    Unprocessable(Vec<Issue>),
}

/// How a resource went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gone {
    /// By a deletion, behind which older versions are.
    Deleted,
    /// By an erasure, behind which nothing is.
    Erased,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "deleted",
            Self::Erased => "erased: no version of it is kept here, and its id is not used again",
        })
    }
}

impl Error {
    /// What there is to say of a version without content.
    pub fn gone(version: &Version) -> Self {
        let how = if version.is_erased() { Gone::Erased } else { Gone::Deleted };
        Self::Deleted { identity: version.identity.clone(), version: version.version, how }
    }

    /// A malformed request with one finding.
    pub fn invalid(code: IssueCode, diagnostics: impl Into<String>) -> Self {
        Self::Invalid(vec![Issue::error(code, diagnostics)])
    }

    /// A malformed request with one finding at an element.
    pub fn invalid_at(
        code: IssueCode,
        diagnostics: impl Into<String>,
        expression: impl Into<String>,
    ) -> Self {
        Self::Invalid(vec![Issue::error_at(code, diagnostics, expression)])
    }

    /// An internal error from whatever caused it.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }
}

impl From<InvalidQuery> for Error {
    fn from(fault: InvalidQuery) -> Self {
        Self::invalid(fault.code(), fault.to_string())
    }
}

fn first(issues: &[impl ToString]) -> String {
    issues.first().map_or_else(|| "invalid".to_owned(), ToString::to_string)
}

/// The innermost cause of an error, which says most: what the database, the system or the network
/// said.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = std::iter::successors(error.source(), |cause| cause.source()).last();
    innermost.unwrap_or(error).to_string()
}
