//! How much one document of GraphQL may ask for. The doc comments are the reference manual, as those of
//! [`super::manual`] are.

use std::num::NonZeroU32;

use super::Preset::Number;
use super::setting::section;
use super::{Config, ConfigError, Section, Setting};

/// Deepest that selections can be allowed to be: what follows them goes as deep on the stack.
const MOST_DEPTH: u32 = 64;

section! {
    false
    /// Documents of GraphQL ($graphql). Whatever asks for more is answered as far as it goes, with an error that names
    /// the setting, or not at all where that shows before anything is read.
    [graphql] Graphql {
        /// Largest document in bytes. It stands in the ledger, once for each request.
        max_document_bytes: NonZeroU32 = Number(32_768),
        /// How deep selections are nested, 64 at most, with those of fragments where they are put in.
        max_depth: NonZeroU32 = Number(20),
        /// Most fields and fragments, with those of fragments wherever they are put in.
        max_fields: NonZeroU32 = Number(1_000),
        /// Most resources that are read or found for one document. The last search may find some more.
        max_resources: NonZeroU32 = Number(1_000),
        /// Largest answer in bytes, about: 16 MiB.
        max_answer_bytes: NonZeroU32 = Number(16_777_216),
        /// Seconds after which nothing more is read.
        max_seconds: NonZeroU32 = Number(30),
    }
}

impl Config {
    /// The depth is one that the stack bears.
    pub(super) fn check_graphql(&self) -> Result<(), ConfigError> {
        if self.graphql.max_depth.get() <= MOST_DEPTH {
            return Ok(());
        }
        let reason = format!("is more than {MOST_DEPTH}");
        Err(ConfigError::Rule { key: "graphql.max_depth", reason })
    }
}
