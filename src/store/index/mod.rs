//! The search index: the rows of a resource, hashed, and how the tables hold them.
//!
//! | table | a row says | `h` is a |
//! |---|---|---|
//! | `srow` | a live resource: identity, primary date, which parameters have a value, all its token hashes, its sort texts | - |
//! | `comp` | the same for each patient in whose compartment it lies | - |
//! | `tok` | a token, a reference, a uri, a composite of tokens | [`Hasher::token`] and the like |
//! | `num` | a number or quantity, alone or behind the first part of a composite | [`Hasher::number`], [`Hasher::quantity`] |
//! | `dat` | a span of time | [`Hasher::date`] |
//! | `str` | a folded string, a uri; all parts of a composite that is not FHIR's own (`combination`) | [`Hasher::string`] and the like |
//!
//! `toks` begins with a number: so many references to resources follow, and all else behind them ([`links`]).
//!
//! `_id` and `_lastUpdated` have no rows: `res` knows them. The primary date has none either: `s` and
//! `hi` are its span, exactly (`s = -infinity` with a later `hi`: a period without a start; both
//! `-infinity`: no date at all). `s` is the same in all rows that have it. A view
//! ([`crate::search::extract::View`]) has no rows but for what its parameters cannot tell
//! ([`Parameters::stored`]). Contained resources have rows of their own (`inside`). Displays and texts, for `:text`, are in the full text index.
//! The texts of profiles stand in `meta_use` and in `res.meta`: each is that of many resources.

pub(super) mod codes;
mod columns;
pub(super) mod combination;
mod hash;
mod indexer;
pub(super) mod inside;
mod rows;
mod statements;
mod values;

pub(super) use columns::{IndexColumns, Indexed, SHARED};
pub(super) use indexer::Indexer;
pub use indexer::{Parameters, Stored};
pub use rows::IndexRows;
pub(super) use rows::{MAX_STRING, PROFILE};
pub(super) use statements::{indexed, put_index};

/// SQL: the references to resources of an array like `srow.toks`; `toks` is a column.
pub(super) fn links(toks: &str) -> String {
    format!("({toks})[2:({toks})[1]::int + 1]")
}
