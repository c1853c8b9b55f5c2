//! The settings of erasures and backups. The doc comments are the reference manual, as those of [`super::manual`] are.

use std::num::NonZeroU32;

use secrecy::SecretString;

use super::Preset::{Number, Secret};
use super::setting::section;
use super::{Section, Setting};

section! {
    false
    /// Erasure of patients' records (`kiln erase`), and backups (`kiln backup`).
    [erasure] Erasure {
        /// For how many years after its last version a record may not be erased, because a law has it kept. 0: none.
        retain_years: u32 = Number(0),
        /// For how many days backups are kept, and archived write-ahead log: so long they have what was erased.
        /// It is told in the certificates of erasures; nothing is deleted by it.
        backup_days: NonZeroU32 = Number(30),
        /// Role and address by which `kiln backup` reads and `kiln restore` writes, where database.url is set: one
        /// that row level security lets read every tenant, such as the superuser. Default: database.owner_url, which
        /// does without tenants. KILN_ERASURE__BACKUP_URL_FILE names a file that holds it.
        backup_url: Option<SecretString> = Secret("postgres://postgres@localhost/kiln"),
    }
}
