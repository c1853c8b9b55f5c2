//! Exports: what was asked for, who works on it, and the files until they expire.
//!
//! An export reads in one snapshot of the database and writes its files as it goes, in parts of about a
//! megabyte, each together with how far it is. What it keeps in memory are some bodies at a time, and keys: of
//! what was referred to, and of each Provenance. The snapshot ends with its connection: an export that is taken over from a node that is
//! gone begins anew, and what was written before is dropped.
//!
//! The files are in the database and not in a folder: whichever node is asked has them, a tenant's stand
//! behind the same walls as its resources. PostgreSQL compresses the parts.
//!
//! | file | does |
//! |---|---|
//! | `deleted` | what was deleted, as Bundles |
//! | `files` | the files that are there, part by part |
//! | `group` | whose data an export is about |
//! | `jobs` | what was asked for, by whom, and who works on it |
//! | `output` | writes files |
//! | `references` | what lines refer to, and attachments of this server by their addresses |
//! | `removal` | what goes of exports, in steps |
//! | `walk` | what belongs to an export, in which order |
//!
//! Spec: <https://hl7.org/fhir/uv/bulkdata/export.html>; `migrations/0130_exports.sql`

mod deleted;
mod files;
mod group;
mod jobs;
mod output;
mod references;
mod removal;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::clock::Clock;
use crate::error::Error;
use crate::fhir::{
    Instant, Issue, IssueCode, LogicalId, ResourceType, Severity, Version, operation_outcome,
};
use crate::search::request::Filter;

pub use files::FileReader;
pub(super) use group::members;
pub use jobs::{ExportFile, ExportJob, ExportState, NewExport};
pub(super) use references::references;
pub use walk::SUPPORTING;

/// Every statement of this folder, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    [files::STATEMENTS, jobs::STATEMENTS, output::STATEMENTS, removal::STATEMENTS, walk::STATEMENTS]
        .into_iter()
        .flatten()
        .copied()
}

/// Whose data are exported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExportLevel {
    /// The patients who are members of a Group.
    Group(LogicalId),
    /// All patients.
    Patient,
    /// Everything.
    System,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExportKind {
    /// Bundles that delete what is no more.
    Deleted,
    /// OperationOutcomes.
    Error,
    /// Resources.
    Output,
}

impl ExportKind {
    fn code(self) -> i8 {
        let letter = match self {
            Self::Deleted => b'd',
            Self::Error => b'e',
            Self::Output => b'o',
        };
        letter.cast_signed()
    }

    fn from_code(code: i8) -> Option<Self> {
        [Self::Deleted, Self::Error, Self::Output].into_iter().find(|it| it.code() == code)
    }
}

/// One node's work on an export: what another one writes meanwhile does not count, and the other way
/// about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExportTry {
    /// The export.
    pub job: Uuid,
    /// How often it was begun, this time included.
    pub attempt: i32,
}

/// How a version becomes a line: its JSON, cut to what is wanted of it.
pub type Line = dyn Fn(&Version) -> Result<Vec<u8>, Error> + Send + Sync;

/// What is to be written.
pub struct ExportPlan {
    /// Whose data.
    pub level: ExportLevel,
    /// The types that are written.
    pub types: Vec<ResourceType>,
    /// The types of the patient compartment that may be looked at, for what they refer to.
    pub looked_at: Vec<ResourceType>,
    /// One of these holds for what is written of a type.
    pub filters: HashMap<ResourceType, Vec<Filter>>,
    /// Only what changed since.
    pub since: Option<Instant>,
    /// Only these patients; none: all.
    pub patients: Vec<LogicalId>,
    /// Whether each Provenance of what is written is written too.
    pub has_provenance: bool,
    /// How a version becomes a line.
    pub line: Box<Line>,
    /// OperationOutcomes for the file of errors.
    pub notices: Vec<String>,
    /// Most lines of a file.
    pub lines_of_file: u64,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How long the files are kept, in milliseconds.
    pub kept: i64,
}

/// What was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exported {
    /// What no exported resource is newer than.
    pub transaction_time: Instant,
    /// How many files there are.
    pub files: u32,
    /// How many lines they have.
    pub lines: u64,
}

/// A line for the file of errors.
pub fn notice(code: IssueCode, text: impl Into<String>) -> String {
    let issue = Issue { severity: Severity::Warning, ..Issue::error(code, text) };
    operation_outcome(&[issue]).to_text()
}
