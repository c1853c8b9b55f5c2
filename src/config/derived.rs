//! What follows from settings, and how they are read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::manual::DATA_DIR;
use super::{Config, ConfigError, Database, TenancyMode, setting, source};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "kiln.toml";

/// What stands for the name of a tenant in `tenancy.base_url`.
pub(super) const TENANT: &str = "{tenant}";

/// Most connections for the queue of messages.
const FEED_CONNECTIONS: u32 = 6;
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

    /// The SHA-256 of all settings as they are in force, and of what stands in the files by which it is decided who
    /// may do what. What is secret counts as set or not set: nobody can tell by it whether a secret was guessed.
    pub fn digest(&self) -> [u8; 32] {
        let mut sum = Sha256::new_with_prefix(format!("{self:?}"));
        let authorities = [&self.tls.client_authorities, &self.hl7v2.client_authorities];
        let files = [&self.auth.roles, &self.auth.labels].into_iter().chain(authorities);
        for file in files.flatten() {
            // One that cannot be read keeps the server from starting, or is as good as empty.
            sum.update(Sha256::digest(std::fs::read(file).unwrap_or_default()));
        }
        sum.finalize().into()
    }

    /// The text of `examples/kiln.toml`.
    pub fn example() -> String {
        setting::example(Self::SECTIONS)
    }

    /// The FHIR base that clients see, without a slash at its end, for a listener on `bound`: that of
    /// the tenant which is named.
    pub fn base_url(&self, bound: SocketAddr) -> String {
        let base = match &self.http.base_url {
            Some(base) => base.trim_end_matches('/').to_owned(),
            None => self.listener_base(bound),
        };
        match (self.tenant(), &self.tenancy.base_url) {
            (None, _) => base,
            (Some(name), Some(each)) => each.trim_end_matches('/').replace(TENANT, name),
            (Some(name), None) => {
                format!("{}/t/{name}/fhir", base.strip_suffix("/fhir").unwrap_or(&base))
            }
        }
    }

    /// The tenant that this is about, where there are tenants.
    pub fn tenant(&self) -> Option<&str> {
        self.tenancy.tenant.as_deref().filter(|_| self.has_tenants())
    }

    /// Whether there are tenants.
    pub fn has_tenants(&self) -> bool {
        self.tenancy.mode != TenancyMode::Off
    }

    /// The same settings for one tenant.
    #[must_use]
    pub fn of_tenant(&self, name: &str) -> Self {
        let mut own = self.clone();
        own.tenancy.tenant = Some(name.to_owned());
        if let Some(its) = self.tenants.get(name) {
            its.put_into(&mut own);
        }
        own
    }

    /// Whether nobody says where the data are: no database is named, and no folder but that of the defaults.
    pub fn has_no_place(&self) -> bool {
        self.database.url.is_none() && self.data_dir == Path::new(DATA_DIR)
    }

    /// The folder of what this node derives from the data, and of what it keeps beside them.
    pub fn node_dir(&self) -> PathBuf {
        self.own_folder(&self.data_dir)
    }

    /// The folder of the keys of this node.
    pub fn keys_dir(&self) -> PathBuf {
        match &self.auth.keys_dir {
            Some(folder) => self.own_folder(folder),
            None => self.node_dir().join("keys"),
        }
    }

    /// The folder of the seal over the ledger.
    pub fn audit_dir(&self) -> PathBuf {
        match &self.audit.folder {
            Some(folder) => self.own_folder(folder),
            None => self.node_dir().join("audit"),
        }
    }

    /// The tenant's part of a folder; all of it without tenants.
    fn own_folder(&self, folder: &Path) -> PathBuf {
        match self.tenant() {
            Some(name) => folder.join("tenants").join(name),
            None => folder.to_owned(),
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
        readers
            .saturating_add(others)
            .saturating_add(self.feed_connections())
            .saturating_add(OTHER_CONNECTIONS)
    }

    /// Connections for what only the queue of messages does: two that store what comes in, one that looks for
    /// what waits, and some for ends without an effect. They are opened when there is a first message.
    pub fn feed_connections(&self) -> u32 {
        self.write_connections.get().min(FEED_CONNECTIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use super::*;

    #[test]
    fn data_have_a_place_where_a_database_or_another_folder_is_named() {
        for (flags, expected) in [
            (&[][..], true),
            (&[("http.listen", "127.0.0.1:9000")], true),
            (&[("data_dir", "/d")], false),
            (&[("database.url", "postgres:///x")], false),
        ] {
            assert_eq!(with(flags).has_no_place(), expected, "{flags:?}");
        }
    }

    #[test]
    fn each_tenant_has_a_base_and_folders_of_its_own() {
        let bound = SocketAddr::from(([127, 0, 0, 1], 8080));
        let path = ("tenancy.mode", "path");
        let each = ("tenancy.base_url", "https://{tenant}.h/fhir/");
        for (flags, name, expected) in [
            (vec![], "a", "http://127.0.0.1:8080/fhir"),
            (vec![path], "a", "http://127.0.0.1:8080/t/a/fhir"),
            (vec![path, ("http.base_url", "https://h/x/fhir/")], "a", "https://h/x/t/a/fhir"),
            (vec![path, ("http.base_url", "https://h/r4")], "a", "https://h/r4/t/a/fhir"),
            (vec![("tenancy.mode", "header"), each], "b", "https://b.h/fhir"),
            (vec![path, each], "b", "https://b.h/fhir"),
        ] {
            assert_eq!(with(&flags).of_tenant(name).base_url(bound), expected, "{flags:?}");
        }
        let own = [path, ("data_dir", "/d"), ("auth.keys_dir", "/k")];
        let config = with(&own).of_tenant("a");
        let folders = [config.node_dir(), config.keys_dir(), config.audit_dir()];
        assert_eq!(
            folders,
            ["/d/tenants/a", "/k/tenants/a", "/d/tenants/a/audit"].map(PathBuf::from)
        );
        let off = with(&own[1..]).of_tenant("a");
        let folders = [off.node_dir(), off.keys_dir(), off.audit_dir()];
        assert_eq!(folders, ["/d", "/k", "/d/audit"].map(PathBuf::from));
    }
}
