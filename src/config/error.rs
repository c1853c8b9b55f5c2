//! Why a configuration cannot be used.

use std::path::PathBuf;

use thiserror::Error;

/// Why the configuration cannot be used; always names the key or the file.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    File {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The settings are well formed but cannot work together.
    #[error("`{key}`: {reason}")]
    Rule {
        /// Dotted name of the key to change.
        key: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// No such key.
    #[error("unknown key `{key}` in {origin}; examples/kiln.toml lists them all")]
    Unknown {
        /// The key as it was written.
        key: String,
        /// The file, variable or flag it stands in.
        origin: String,
    },
    /// A value is of the wrong kind.
    #[error("`{key}` in {origin}: {reason}")]
    Value {
        /// Dotted name of the key.
        key: String,
        /// The file, variable or flag it stands in.
        origin: String,
        /// What is wrong; never the value of a secret.
        reason: String,
    },
}
