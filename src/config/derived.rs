//! What follows from settings, and how they are read.

use std::net::SocketAddr;
use std::path::Path;

use super::{Config, ConfigError, Database, setting, source};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "kiln.toml";

/// Connections to the database beside the pools: the ledger's writer, maintenance, migrations.
const OTHER_CONNECTIONS: u32 = 16;

impl Config {
    /// Reads `file`, or `kiln.toml` in the working folder when it is there, then the environment,
    /// then `flags` (dotted key and text).
    ///
    /// # Errors
    /// Each [`ConfigError`] but the rules, which [`Config::check`] tells.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        let file = file.or_else(|| Some(Path::new(DEFAULT_FILE)).filter(|path| path.is_file()));
        source::load(file, source::environment(), flags)
    }

    /// The text of `examples/kiln.toml`.
    pub fn example() -> String {
        setting::example(Self::SECTIONS)
    }

    /// The FHIR base that clients see, without a slash at its end, for a listener on `bound`.
    pub fn base_url(&self, bound: SocketAddr) -> String {
        match &self.http.base_url {
            Some(base) => base.trim_end_matches('/').to_owned(),
            None => self.listener_base(bound),
        }
    }

    /// The FHIR base by the address of the listener itself, `bound`.
    pub fn listener_base(&self, bound: SocketAddr) -> String {
        let scheme = if self.tls.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{bound}/fhir")
    }
}

impl Database {
    /// Most connections to the database that one process opens.
    pub fn connections(&self) -> u32 {
        // Reads have them twice: those that share statements, and the others.
        let readers = self.read_connections.get().saturating_mul(2);
        let others = self.write_connections.get().saturating_add(self.search_connections.get());
        readers.saturating_add(others).saturating_add(OTHER_CONNECTIONS)
    }
}
