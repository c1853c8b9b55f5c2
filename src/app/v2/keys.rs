//! The file with the key of messages: opened at the start, and replaced by `kiln v2 rotate-key`.
//!
//! The key of a file seals the data keys in the database, which seal the texts. A new file therefore changes
//! no text: data keys are sealed anew in one transaction, then the file takes its place. What is cut off between
//! the two is completed by the next start.
//!
//! Spec: v2 P6

use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::access::interaction::Kind;
use crate::access::{Actor, Gate, Outcome, RequestContext};
use crate::app::database::{Database, StartError};
use crate::clock::{Clock as _, IdSource, SystemClock, SystemIds};
use crate::config::Config;
use crate::error::root_cause;
use crate::oauth::login::seal::{SealError, key_in};
use crate::store::Store;
use crate::store::hl7v2::{FileKey, VaultError, VaultParts};

/// The name of the file.
const FILE: &str = "messages.key";
/// What it is called before it takes its place.
const NEXT: &str = "messages.key.new";

/// Opens the keys that texts of messages are sealed with; makes them where there are none.
///
/// # Errors
/// [`StartError::SealedMessages`] where the file that belongs to the database is not there;
/// [`StartError::Store`].
pub(in crate::app) async fn open(config: &Config, store: &Store) -> Result<(), StartError> {
    let fault = |error| StartError::Store(root_cause(&error));
    let (folder, seals) = (config.keys_dir(), config.hl7v2.encrypt);
    let has_keys = store.has_data_keys().await.map_err(fault)?;
    if !seals {
        store.leave_messages_open().await.map_err(fault)?;
        if !has_keys {
            return Ok(());
        }
    }
    let ids = SystemIds::default();
    // Where there are data keys, a new file would open none of them.
    let fresh = (!has_keys).then(|| ids.secret());
    let mut replaced = "before".to_owned();
    for (name, fresh) in [(FILE, fresh), (NEXT, None)] {
        let Some(file) = file_key(&folder, name, fresh)? else { continue };
        let known = file.name().to_owned();
        let parts = VaultParts { file, seals, ids: Arc::new(ids), now: SystemClock.now() };
        match store.open_vault(parts).await {
            Ok(()) if name == NEXT => {
                return take_its_place(&folder, &replaced).map_err(|error| {
                    StartError::SealedMessages(format!("{known} is not in its place: {error}"))
                });
            }
            Ok(()) => return Ok(()),
            Err(VaultError::Foreign(_)) => replaced = known,
            Err(VaultError::Store(error)) => return Err(fault(error)),
        }
    }
    Err(StartError::SealedMessages(format!(
        "the key that belongs to this database is not in {}: put the file there that was beside the \
         database when it was backed up, or that its other nodes have",
        folder.join(FILE).display()
    )))
}

/// The key in a file; `None` where there is no file.
fn file_key(
    folder: &Path,
    name: &str,
    fresh: Option<[u8; 32]>,
) -> Result<Option<FileKey>, StartError> {
    match key_in(folder, name, fresh) {
        Ok(bytes) => Ok(Some(FileKey::new(&bytes))),
        Err(SealError::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::SealedMessages(error.to_string())),
    }
}

/// Puts the new file in the place of the one of before, which is kept under another name.
fn take_its_place(folder: &Path, old: &str) -> std::io::Result<()> {
    let path = folder.join(FILE);
    // Another node that shares the folder may have been first.
    if path.exists() && folder.join(NEXT).exists() {
        fs::rename(&path, folder.join(format!("{FILE}.{old}")))?;
    }
    fs::rename(folder.join(NEXT), path)?;
    fs::File::open(folder)?.sync_all()
}

/// `kiln v2 rotate-key`.
///
/// # Errors
/// What keeps the key from being replaced, as a sentence: then it is as before.
pub(super) async fn rotate(
    config: &Config,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let database = Database::open(config, true).await?;
    let done = replace(&config.keys_dir(), &database.store).await;
    database.close().await;
    writeln!(out, "{}", done?)?;
    Ok(ExitCode::SUCCESS)
}

async fn replace(folder: &Path, store: &Store) -> Result<String, Box<dyn Error>> {
    let ids = SystemIds::default();
    let old = FileKey::new(&key_in(folder, FILE, None)?);
    // One that is there is of a time that was cut off.
    let new = FileKey::new(&key_in(folder, NEXT, Some(ids.secret()))?);
    let (from, to) = (old.name(), new.name());
    record(store, &format!("the key file of messages: {from} is replaced by {to}")).await?;
    let count = store.reseal_data_keys(&old, &new, &ids).await?;
    take_its_place(folder, from)?;
    Ok(format!(
        "{count} data keys are sealed with the new {FILE}; copy it to all nodes of this database and start \
         them anew. {FILE}.{from} opens backups of before"
    ))
}

async fn record(store: &Store, text: &str) -> Result<(), crate::error::Error> {
    let ids = SystemIds::default();
    let request = RequestContext {
        id: ids.ordered().to_string(),
        method: "OTHER",
        path_and_query: "kiln v2 rotate-key".to_owned(),
        source: None,
    };
    let actor = Actor { name: "service:operator".to_owned(), request: Arc::new(request) };
    let gate = Gate::new(store.clone(), Arc::new(SystemClock), Arc::new(ids));
    gate.note(Kind::Admin, &actor, Outcome::Success, text).await
}
