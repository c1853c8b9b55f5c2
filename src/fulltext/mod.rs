//! Full text: the words of all resources in a Tantivy index of this node.
//!
//! The index answers with keys of the store, never with content: the database and the permit
//! decide what a caller sees of them. It is derived: whoever feeds it ([`FullText::apply`]) says up
//! to where in the change feed it is, both become durable together, and an index that is lost,
//! damaged or of another database says so ([`FullText::position`] is `None`) and is built anew.
//! Results are those of the last commit, some 100 milliseconds behind the database; who must see
//! its own writes waits ([`FullText::caught_up`]).
//!
//! | file | holds |
//! |---|---|
//! | `analyze` | from text to words |
//! | `collect` | all keys of what is found |
//! | `document` | what the index is told of a resource |
//! | `found` | what was found lately |
//! | `query` | the query language |
//! | `compile` | queries for Tantivy |
//! | `index` | the files, writing and searching |
//! | `wait` | who waits for the index |
//!
//! Layer: 4. Imports `fhir`, `search`; owns `tantivy`. Calls block for milliseconds.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#text> (rest 4.164)

mod analyze;
mod collect;
mod compile;
mod document;
mod found;
mod index;
mod query;
mod wait;

use thiserror::Error;

pub use document::{Change, Document};
pub use index::{FullText, Hit, Options, Position};
pub use query::QueryError;
pub use wait::Asked;

/// Why the index does not answer.
#[derive(Debug, Error)]
pub enum FullTextError {
    /// The files cannot be read or written.
    #[error("the full text index failed: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The stems of a language that nobody knows are asked for.
    #[error("there are no stems for {0:?}; there are for {known}", known = known())]
    Language(String),
    /// Another process writes this index.
    #[error("another process has the full text index open")]
    Locked,
    /// It is being built and cannot answer yet.
    #[error("the full text index is being built; try again later")]
    NotReady,
    /// The query cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The beginning of a word at the end of a phrase stands for more words than are looked for.
    #[error(
        "the * at the end of several words stands for more than {0} words: write more of the last"
    )]
    TooCostly(u32),
}

fn known() -> String {
    analyze::languages().collect::<Vec<_>>().join(", ")
}
