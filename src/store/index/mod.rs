//! The search index: the rows of a resource, hashed, and how the tables hold them.
//!
//! | table | a row says | `h` is a |
//! |---|---|---|
//! | `srow` | a live resource: identity, primary date, all its token hashes, its sort texts | - |
//! | `comp` | the same for each patient in whose compartment it lies | - |
//! | `tok` | a token, a reference, a uri, a composite of tokens | [`Hasher::token`] and the like |
//! | `num` | a number or quantity, alone or behind the first part of a composite | [`Hasher::number`], [`Hasher::quantity`] |
//! | `dat` | a span of time | [`Hasher::date`] |
//! | `str` | a folded string, a uri, a display | [`Hasher::string`], [`Hasher::uri_text`], [`Hasher::text`] |
//!
//! `_id` and `_lastUpdated` have no rows: `res` knows them. `s` is the start of the primary date, or
//! `-infinity` where the resource has none, the same in all its rows.

mod columns;
mod hash;
mod indexer;
mod rows;
mod statements;

pub(super) use columns::{IndexColumns, Indexed};
pub(super) use indexer::Indexer;
pub use indexer::Parameters;
pub use rows::IndexRows;
pub(super) use statements::{index_arrays, put_index};
