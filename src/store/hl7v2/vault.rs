//! Texts of messages at rest: sealed with a data key (AES-256-GCM), each bound to its message.
//!
//! Data keys stand in the database, sealed with a key that lies in a file of this server, or tenant, and never
//! in the database: who has the database alone has no text. A data key is used for some days; which one it was
//! stands beside each text. A text is made smaller before it is sealed where that is worth it, for nothing
//! after it can do so.
//!
//! Spec: v2 P6

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error as ThisError;
use uuid::Uuid;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use crate::audit::hex;
use crate::clock::IdSource;
use crate::error::Error;
use crate::fhir::Instant;

/// Bytes of a key.
const KEY: usize = 32;
/// Texts of these lengths are made smaller.
const DEFLATED: std::ops::Range<usize> = 2_000..256 * 1024;
/// What a sealed text begins with: as it came, or made smaller.
const PLAIN: u8 = 0;
const SMALLER: u8 = 1;

const KEYS: &str = "SELECT id, sealed, sealed_by, made_at FROM v2_data_key ORDER BY id";

const HAS_KEYS: &str = "SELECT EXISTS (SELECT FROM v2_data_key)";

/// Not where the key of the file has been replaced meanwhile, nor where another node was first.
const ADD: &str = "INSERT INTO v2_data_key (id, sealed, sealed_by, made_at) \
     SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT FROM v2_data_key WHERE sealed_by <> $3) \
     ON CONFLICT (id) DO NOTHING";

const LOCK: &str = "SELECT id, sealed, sealed_by, made_at FROM v2_data_key ORDER BY id FOR UPDATE";

const SEAL_ANEW: &str = "UPDATE v2_data_key SET sealed = $2, sealed_by = $3 WHERE id = $1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[KEYS, HAS_KEYS, ADD, LOCK, SEAL_ANEW];

/// Why data keys cannot be used.
#[derive(Debug, ThisError)]
pub enum VaultError {
    /// The key of the file is another one than that by which they are sealed, or one of them is damaged.
    #[error("data key {0} of messages was sealed with another key than that of the file")]
    Foreign(i32),
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The key of a file, which opens data keys.
pub struct FileKey {
    key: LessSafeKey,
    /// By what it is told from others: the beginning of a digest.
    name: String,
}

impl FileKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; KEY]) -> Self {
        let digest = Sha256::new().chain_update(b"kiln v2 file key").chain_update(bytes).finalize();
        Self { key: cipher(bytes), name: hex(&digest[..8]) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, data_key: &SealedKey) -> Option<[u8; KEY]> {
        let place = place_of_key(data_key.id);
        opened(&self.key, &place, &data_key.sealed)?.try_into().ok()
    }

    fn seal(&self, id: i32, data_key: &[u8; KEY], nonce: [u8; NONCE_LEN]) -> Option<Vec<u8>> {
        sealed(&self.key, &place_of_key(id), data_key, nonce)
    }
}

/// What a vault is opened with.
pub struct VaultParts {
    /// The key of the file.
    pub file: FileKey,
    /// Whether texts are sealed from now on; else those that are can be read.
    pub seals: bool,
    /// Randomness.
    pub ids: Arc<dyn IdSource>,
    /// The moment.
    pub now: Instant,
}

/// The data keys that this node knows. Before it is opened nothing is sealed, and nothing sealed can be read.
#[derive(Default)]
pub(in crate::store) struct Vault(RwLock<State>);

#[derive(Default)]
struct State {
    file: Option<Arc<FileKey>>,
    ids: Option<Arc<dyn IdSource>>,
    keys: BTreeMap<i32, Arc<LessSafeKey>>,
    seals: bool,
}

/// A row of data keys.
struct SealedKey {
    id: i32,
    sealed: Vec<u8>,
    sealed_by: String,
    made_at: Instant,
}

impl Vault {
    fn read<T>(&self, value: impl FnOnce(&State) -> T) -> T {
        value(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether texts are sealed here.
    pub(super) fn seals(&self) -> bool {
        self.read(|state| state.seals)
    }

    /// A text as it is stored, with the number of its data key; `None`: as it is.
    pub(super) fn seal(&self, id: Uuid, text: &[u8]) -> Result<Option<(i32, Bytes)>, Error> {
        let newest = self.read(|state| {
            let newest = state.keys.last_key_value().map(|(number, key)| (*number, key.clone()));
            state.seals.then(|| newest.zip(state.ids.clone()))
        });
        let Some(newest) = newest else { return Ok(None) };
        let ((number, key), ids) =
            newest.ok_or_else(|| Error::internal("no data key for messages"))?;
        let place = place_of_text(id);
        let sealed = sealed(&key, &place, &packed(text), nonce(&*ids));
        let sealed = sealed.ok_or_else(|| Error::internal("a text cannot be sealed"))?;
        Ok(Some((number, sealed.into())))
    }

    fn key(&self, number: i32) -> Option<Arc<LessSafeKey>> {
        self.read(|state| state.keys.get(&number).cloned())
    }
}

impl Store {
    /// Whether texts of messages may be sealed here: then the key of the file must be there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn has_data_keys(&self) -> Result<bool, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(HAS_KEYS).await?;
        let row = pipeline.client().query_one(&statement, &[]).await;
        row.and_then(|row| row.try_get(0)).map_err(failure::error)
    }

    /// From now on texts of messages are sealed and opened with the data keys that a key of a file opens. The
    /// first one is made where there is none.
    ///
    /// # Errors
    /// Each [`VaultError`].
    pub async fn open_vault(&self, parts: VaultParts) -> Result<(), VaultError> {
        let VaultParts { file, seals, ids, now } = parts;
        let file = Arc::new(file);
        let mut keys = self.data_keys().await?;
        if keys.is_empty() && seals {
            self.add_data_key(1, &file, &*ids, now).await?;
            keys = self.data_keys().await?;
        }
        let opened = opened_all(&file, &keys)?;
        self.0.vault.write(|state| {
            state.keys = opened;
            state.file = Some(file);
            state.ids = Some(ids);
            state.seals = seals;
        });
        Ok(())
    }

    /// Makes another data key when the newest one was made before `before`; whether one was made. Texts of
    /// before stay as they are, and are read as before.
    ///
    /// # Errors
    /// Each [`VaultError`].
    pub async fn turn_data_key(&self, before: Instant, now: Instant) -> Result<bool, VaultError> {
        let known = self.0.vault.read(|state| {
            let parts = state.file.clone().zip(state.ids.clone());
            parts.filter(|_| state.seals)
        });
        let Some((file, ids)) = known else { return Ok(false) };
        let keys = self.learn_data_keys(&file).await?;
        let Some(newest) = keys.last().filter(|newest| newest.made_at < before) else {
            return Ok(false);
        };
        let is_made = self.add_data_key(newest.id + 1, &file, &*ids, now).await?;
        self.learn_data_keys(&file).await?;
        Ok(is_made)
    }

    /// Seals all data keys anew with the key of another file, those that are sealed so already but for
    /// that; how many. Texts stay as they are.
    ///
    /// # Errors
    /// Each [`VaultError`]: then nothing is changed.
    pub async fn reseal_data_keys(
        &self,
        old: &FileKey,
        new: &FileKey,
        ids: &dyn IdSource,
    ) -> Result<usize, VaultError> {
        // A key that another node adds meanwhile would be sealed by the file of before.
        let begin = "BEGIN; LOCK TABLE v2_data_key IN SHARE ROW EXCLUSIVE MODE";
        let transaction = self.0.feeds.begin(begin).await?;
        let keys = transaction.all(LOCK, &[]).await?;
        let mut count = 0;
        for key in keys.iter().map(sealed_key) {
            let key = key.map_err(failure::error)?;
            if key.sealed_by == new.name && new.open(&key).is_some() {
                continue;
            }
            let plain = old.open(&key).ok_or(VaultError::Foreign(key.id))?;
            let sealed = new.seal(key.id, &plain, nonce(ids));
            let sealed = sealed.ok_or_else(|| Error::internal("a data key cannot be sealed"))?;
            transaction.run(SEAL_ANEW, &[&key.id, &sealed, &new.name]).await?;
            count += 1;
        }
        transaction.commit().await.map_err(failure::error)?;
        Ok(count)
    }

    /// The text of a message as it came, where it is sealed with `key`.
    pub(super) async fn opened_text(
        &self,
        id: Uuid,
        key: Option<i32>,
        stored: &[u8],
    ) -> Result<Bytes, Error> {
        let Some(number) = key else { return Ok(Bytes::copy_from_slice(stored)) };
        if self.0.vault.key(number).is_none()
            && let Some(file) = self.0.vault.read(|state| state.file.clone())
        {
            // Another node may have made it.
            let learned = self.learn_data_keys(&file).await;
            learned.map_err(|error| locked(id, number, &error.to_string()))?;
        }
        let missing = || locked(id, number, "this server does not have that key");
        let key = self.0.vault.key(number).ok_or_else(missing)?;
        let damaged = || locked(id, number, "it was not sealed for this message, or is damaged");
        let packed = opened(&key, &place_of_text(id), stored).ok_or_else(damaged)?;
        unpacked(packed).ok_or_else(damaged)
    }

    async fn data_keys(&self) -> Result<Vec<SealedKey>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(KEYS).await?;
        let rows = pipeline.client().query(&statement, &[]).await.map_err(failure::error)?;
        rows.iter().map(sealed_key).collect::<Result<_, _>>().map_err(failure::error)
    }

    /// Has this node know the data keys that there are by now.
    async fn learn_data_keys(&self, file: &FileKey) -> Result<Vec<SealedKey>, VaultError> {
        let keys = self.data_keys().await?;
        let known = self.0.vault.read(|state| state.keys.clone());
        let new: Vec<_> = keys.iter().filter(|key| !known.contains_key(&key.id)).collect();
        let opened = opened_all(file, new)?;
        self.0.vault.write(|state| state.keys.extend(opened));
        Ok(keys)
    }

    async fn add_data_key(
        &self,
        id: i32,
        file: &FileKey,
        ids: &dyn IdSource,
        now: Instant,
    ) -> Result<bool, Error> {
        let sealed = file.seal(id, &ids.secret(), nonce(ids));
        let sealed = sealed.ok_or_else(|| Error::internal("a data key cannot be sealed"))?;
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(ADD).await.map_err(failure::error)?;
        let (name, now) = (file.name.as_str(), Timestamptz(now));
        let added = connection.execute(&statement, &[&id, &sealed, &name, &now]).await;
        added.map(|count| count > 0).map_err(failure::error)
    }
}

fn sealed_key(row: &tokio_postgres::Row) -> Result<SealedKey, tokio_postgres::Error> {
    let made_at: Timestamptz = row.try_get(3)?;
    Ok(SealedKey {
        id: row.try_get(0)?,
        sealed: row.try_get(1)?,
        sealed_by: row.try_get(2)?,
        made_at: made_at.0,
    })
}

fn opened_all<'k>(
    file: &FileKey,
    keys: impl IntoIterator<Item = &'k SealedKey>,
) -> Result<BTreeMap<i32, Arc<LessSafeKey>>, VaultError> {
    let open = |key: &SealedKey| {
        let plain = file.open(key).ok_or(VaultError::Foreign(key.id))?;
        Ok((key.id, Arc::new(cipher(&plain))))
    };
    keys.into_iter().map(open).collect()
}

/// What is said where a text cannot be read.
fn locked(id: Uuid, number: i32, why: &str) -> Error {
    Error::Conflict(format!("the text of message {id} is sealed with data key {number}: {why}"))
}

fn place_of_key(id: i32) -> Vec<u8> {
    [&b"v2_data_key "[..], &id.to_be_bytes()].concat()
}

fn place_of_text(id: Uuid) -> Vec<u8> {
    [&b"v2_message.raw "[..], id.as_bytes()].concat()
}

fn nonce(ids: &dyn IdSource) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&ids.secret()[..NONCE_LEN]);
    nonce
}

fn cipher(bytes: &[u8; KEY]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("a key of 32 bytes"))
}

fn sealed(
    key: &LessSafeKey,
    place: &[u8],
    plain: &[u8],
    nonce: [u8; NONCE_LEN],
) -> Option<Vec<u8>> {
    let mut all = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
    all.extend(nonce);
    all.extend_from_slice(plain);
    let once = Nonce::assume_unique_for_key(nonce);
    let text = &mut all[NONCE_LEN..];
    let tag = key.seal_in_place_separate_tag(once, Aad::from(place), text).ok()?;
    all.extend_from_slice(tag.as_ref());
    Some(all)
}

fn opened(key: &LessSafeKey, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut rest = rest.to_vec();
    let length = key.open_in_place(nonce, Aad::from(place), &mut rest).ok()?.len();
    rest.truncate(length);
    Some(rest)
}

/// A text with how it is written before it.
fn packed(text: &[u8]) -> Vec<u8> {
    if DEFLATED.contains(&text.len()) {
        let mut encoder = DeflateEncoder::new(vec![SMALLER], Compression::fast());
        let written = encoder.write_all(text).and_then(|()| encoder.finish());
        if let Ok(smaller) = written
            && smaller.len() <= text.len()
        {
            return smaller;
        }
    }
    [&[PLAIN][..], text].concat()
}

fn unpacked(packed: Vec<u8>) -> Option<Bytes> {
    match *packed.first()? {
        PLAIN => Some(Bytes::from(packed).slice(1..)),
        SMALLER => {
            let mut text = Vec::new();
            DeflateDecoder::new(&packed[1..]).read_to_end(&mut text).ok()?;
            Some(text.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemIds;

    fn vault() -> Vault {
        let vault = Vault::default();
        vault.write(|state| {
            state.keys.insert(1, Arc::new(cipher(&[1; KEY])));
            state.keys.insert(2, Arc::new(cipher(&[2; KEY])));
            state.ids = Some(Arc::new(SystemIds::default()));
            state.seals = true;
        });
        vault
    }

    /// Covers: v2 P6.
    #[test]
    fn a_text_opens_for_its_message_with_its_key_only() {
        let vault = vault();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let long = "OBX|1|NM|718-7^Haemoglobin^LN||13.5|g/dL\r".repeat(100);
        for text in ["", "MSH|^~\\&|", &long] {
            let (number, stored) = vault.seal(one, text.as_bytes()).unwrap().expect("sealed");
            assert_eq!(number, 2, "the newest key");
            let open = |number: i32, id: Uuid, stored: &[u8]| {
                let key = vault.key(number).expect("known");
                opened(&key, &place_of_text(id), stored).and_then(unpacked)
            };
            assert_eq!(open(2, one, &stored).as_deref(), Some(text.as_bytes()));
            assert_eq!(open(1, one, &stored), None);
            assert_eq!(open(2, other, &stored), None, "it is bound to its message");
            let mut damaged = stored.to_vec();
            *damaged.last_mut().unwrap() ^= 1;
            assert_eq!(open(2, one, &damaged), None);
            assert!(
                text.is_empty() || !stored.windows(text.len()).any(|part| part == text.as_bytes())
            );
            let again = vault.seal(one, text.as_bytes()).unwrap().expect("sealed").1;
            assert_ne!(again, stored, "no nonce comes twice");
        }
        assert!(vault.seal(one, long.as_bytes()).unwrap().unwrap().1.len() < long.len() / 4);
        vault.write(|state| state.seals = false);
        assert_eq!(vault.seal(one, b"MSH").unwrap(), None);
    }

    /// Covers: v2 P6.
    #[test]
    fn a_data_key_opens_with_the_key_of_its_file_in_its_row_only() {
        let (file, other) = (FileKey::new(&[7; KEY]), FileKey::new(&[8; KEY]));
        assert_ne!(file.name(), other.name());
        let ids = SystemIds::default();
        let sealed = file.seal(1, &[5; KEY], nonce(&ids)).unwrap();
        let row = |id| SealedKey {
            id,
            sealed: sealed.clone(),
            sealed_by: file.name().to_owned(),
            made_at: Instant::from_micros(0),
        };
        assert_eq!(file.open(&row(1)), Some([5; KEY]));
        assert_eq!(file.open(&row(2)), None);
        assert_eq!(other.open(&row(1)), None);
        assert!(matches!(opened_all(&other, &[row(1)]), Err(VaultError::Foreign(1))));
    }
}
