//! Sealing what must be read again, such as the secret of an authenticator app.
//!
//! AES-256-GCM with a key that lies in a file of this deployment and never in the database: who has
//! the database alone has no second factor. What is sealed is bound to its place.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Bytes of the key.
pub const KEY: usize = 32;
/// The name of its file.
pub const FILE: &str = "factors.key";

/// Why there is no key.
#[derive(Debug, Error)]
pub enum SealError {
    /// The file cannot be made or read.
    #[error("cannot use {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The file holds no key, or others can read it.
    #[error("{}: {reason}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Seals and opens.
pub struct Seal(LessSafeKey);

impl Seal {
    /// The key in `folder`, made of `fresh` when there is none.
    ///
    /// # Errors
    /// [`SealError`] says what is wrong with the file.
    pub fn open(folder: &Path, fresh: [u8; KEY]) -> Result<Self, SealError> {
        Ok(Self(cipher(&key_in(folder, FILE, Some(fresh))?)))
    }

    /// Seals `plain` for `place`. `nonce` must never come twice.
    pub fn seal(&self, plain: &[u8], place: &[u8], nonce: [u8; NONCE_LEN]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let aad = Aad::from(place);
        let once = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(once, aad, &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// What was sealed for `place`; none when it is damaged or belongs elsewhere.
    pub fn open_sealed(&self, sealed: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut rest = rest.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(place), &mut rest).ok()?;
        Some(plain.to_vec())
    }
}

/// The key in a file of `folder`, which its owner alone may read; made of `fresh` when there is none.
///
/// # Errors
/// [`SealError`] says what is wrong with the file; without `fresh` it must be there.
pub fn key_in(folder: &Path, file: &str, fresh: Option<[u8; KEY]>) -> Result<[u8; KEY], SealError> {
    let path = folder.join(file);
    let fault = |cause| SealError::File { path: path.clone(), cause };
    let unfit = |reason| SealError::Unfit { path: path.clone(), reason };
    match fresh.map_or(Ok(()), |fresh| make(&path, &fresh)) {
        Ok(()) => {}
        // Another node may have made it a moment ago.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(fault(cause)),
    }
    if is_open_to_others(&path).map_err(fault)? {
        return Err(unfit("others than its owner can read it; make its mode 0600"));
    }
    let bytes = std::fs::read(&path).map_err(fault)?;
    bytes.try_into().map_err(|_| unfit("is no key of 32 bytes"))
}

fn cipher(key: &[u8; KEY]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes"))
}

/// Makes the file, whole or not at all, for its owner alone.
fn make(path: &Path, key: &[u8]) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    // Named by what is random: others may make theirs at this moment, the first one counts.
    let digest = Sha256::digest(key);
    let whole = folder.join(format!(".{}.new", URL_SAFE_NO_PAD.encode(&digest[..9])));
    write_private(&whole, key)?;
    let linked = std::fs::hard_link(&whole, path);
    std::fs::remove_file(&whole)?;
    std::fs::File::open(folder)?.sync_all()?;
    linked
}

/// Writes a new file that only its owner can read.
///
/// # Errors
/// What the system says; [`ErrorKind::AlreadyExists`] where there is one.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> std::io::Result<bool> {
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path)?);
    Ok(mode & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> std::io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_with_its_key_only() {
        let folder = std::env::temp_dir().join(format!("kiln-seal-{}", std::process::id()));
        let seal = Seal::open(&folder, [1; KEY]).unwrap();
        let sealed = seal.seal(b"secret", b"a", [3; NONCE_LEN]).unwrap();
        assert_eq!(seal.open_sealed(&sealed, b"a").unwrap(), b"secret");
        assert_eq!(seal.open_sealed(&sealed, b"b"), None);
        assert_eq!(seal.open_sealed(&sealed[..5], b"a"), None);
        // The file is kept: another start opens what was sealed before.
        let again = Seal::open(&folder, [2; KEY]).unwrap();
        assert_eq!(again.open_sealed(&sealed, b"a").unwrap(), b"secret");
        #[cfg(unix)]
        {
            let path = folder.join(FILE);
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&path, open).unwrap();
            assert!(matches!(Seal::open(&folder, [1; KEY]), Err(SealError::Unfit { .. })));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
