//! The key that this node signs id_tokens with.
//!
//! The private half stays in a file that only its owner may read. The public halves of all nodes are in
//! the database, so that a token of one node can be checked by the keys that another one publishes. A
//! key that is replaced is published for a day more.
//!
//! Spec: security K4, RFC 7517, RFC 7638

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use getrandom::SysRng;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::RSA_PKCS1_SHA256;
use rsa::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The name of the file.
const FILE: &str = "id-token.pem";
/// Bits of a new key.
const BITS: usize = 2048;

/// Why there is no key to sign with.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file is not to be read, or not to be written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Others may read it.
    #[error("{}: others than its owner may read it; make it 0600", .0.display())]
    Open(PathBuf),
    /// It is no RSA key of at least 2048 bits.
    #[error("{}: not an RSA key of 2048 to 4096 bits, as PKCS#8 in PEM", .0.display())]
    Unfit(PathBuf),
    /// A new one could not be made.
    #[error("a key to sign with could not be made")]
    Unmade,
}

/// A key to sign with.
pub struct SigningKey {
    pair: KeyPair,
    /// Its id: the thumbprint of the public half.
    pub id: String,
    /// The public half (JWK) as JSON.
    pub jwk: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id).finish()
    }
}

impl SigningKey {
    fn of(der: &[u8]) -> Option<Self> {
        let pair = KeyPair::from_pkcs8(der).ok()?;
        let public: PublicKeyComponents<Vec<u8>> = PublicKeyComponents::from(pair.public());
        let n = URL_SAFE_NO_PAD.encode(&public.n);
        let e = URL_SAFE_NO_PAD.encode(&public.e);
        // The order of these members is that of RFC 7638.
        let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint));
        let jwk = json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": n, "e": e,
        });
        Some(Self { pair, id, jwk: jwk.to_string() })
    }

    /// A signed JWT with these claims; `None` when there is no randomness to sign with.
    pub fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.id });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let random = SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature).ok()?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Some(token)
    }
}

/// The keys of a folder: the one in use, read anew when its file changes.
#[derive(Debug)]
pub struct Keys {
    folder: PathBuf,
    current: RwLock<Arc<SigningKey>>,
}

impl Keys {
    /// Reads the key of a folder, or makes the folder and the key.
    ///
    /// # Errors
    /// Each [`KeyError`].
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        let current = Arc::new(read_or_make(folder)?);
        Ok(Self { folder: folder.to_owned(), current: RwLock::new(current) })
    }

    /// The key to sign with.
    pub fn current(&self) -> Arc<SigningKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a new key in the place of the one in the file, from where it is read at the next look; its
    /// id.
    ///
    /// # Errors
    /// Each [`KeyError`]; the key in use stays.
    pub fn rotate(&self) -> Result<String, KeyError> {
        rotate(&self.folder).map(|key| key.id)
    }

    /// Looks at the file again, and makes a new key when it is older than `longest`; the key that it
    /// replaced, if it did.
    ///
    /// # Errors
    /// Each [`KeyError`]; the key in use stays.
    pub fn refresh(&self, longest: Duration) -> Result<Option<Arc<SigningKey>>, KeyError> {
        let path = self.folder.join(FILE);
        let age = fs::metadata(&path).and_then(|it| it.modified()).ok();
        let age = age.and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > longest) {
            rotate(&self.folder)?;
        }
        let found = read_or_make(&self.folder)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if found.id == current.id {
            return Ok(None);
        }
        Ok(Some(std::mem::replace(&mut *current, Arc::new(found))))
    }
}

fn rotate(folder: &Path) -> Result<SigningKey, KeyError> {
    make_folder(folder)?;
    let path = folder.join(FILE);
    let made = write_new(folder)?;
    fs::rename(&made, &path).map_err(|cause| KeyError::File { path: path.clone(), cause })?;
    read(&path)
}

fn read_or_make(folder: &Path) -> Result<SigningKey, KeyError> {
    make_folder(folder)?;
    let path = folder.join(FILE);
    match read(&path) {
        Err(KeyError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let made = write_new(folder)?;
    // Another process may have made one meanwhile: that one counts.
    let linked = fs::hard_link(&made, &path);
    let _ = fs::remove_file(&made);
    match linked {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            Err(KeyError::File { path, cause })
        }
        _ => read(&path),
    }
}

fn make_folder(folder: &Path) -> Result<(), KeyError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|cause| KeyError::File { path: folder.to_owned(), cause })
}

/// Makes a key in a file of its own, and says which.
fn write_new(folder: &Path) -> Result<PathBuf, KeyError> {
    let key = rsa::PrivateKey::new(&mut SysRng, BITS).map_err(|_| KeyError::Unmade)?;
    let der = key.to_pkcs8_der().map_err(|_| KeyError::Unmade)?;
    let id = SigningKey::of(der.as_bytes()).ok_or(KeyError::Unmade)?.id;
    let path = folder.join(format!(".{FILE}.{}", &id[..12]));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "-----BEGIN PRIVATE KEY-----")?;
        let text = STANDARD.encode(der.as_bytes());
        for line in text.as_bytes().chunks(64) {
            file.write_all(line)?;
            file.write_all(b"\n")?;
        }
        writeln!(file, "-----END PRIVATE KEY-----")?;
        file.sync_all()
    };
    write().map_err(|cause| KeyError::File { path: path.clone(), cause })?;
    Ok(path)
}

fn read(path: &Path) -> Result<SigningKey, KeyError> {
    let fault = |cause| KeyError::File { path: path.to_owned(), cause };
    let mode = fs::metadata(path).map_err(fault)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Open(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(fault)?;
    let digits: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(digits.trim()).ok();
    der.and_then(|der| SigningKey::of(&der)).ok_or_else(|| KeyError::Unfit(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("kiln-keys-{}-{name}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Covers: security K4.
    #[test]
    fn a_key_is_made_once_kept_to_its_owner_and_replaced() {
        let folder = Folder::new("made");
        let keys = Keys::open(&folder.0).expect("a key");
        let first = keys.current();
        assert_eq!(Keys::open(&folder.0).expect("the same").current().id, first.id);
        let path = folder.0.join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let day = Duration::from_hours(24);
        assert!(keys.refresh(day).expect("read").is_none());
        let second = rotate(&folder.0).expect("another");
        let replaced = keys.refresh(day).expect("read").expect("another");
        assert_eq!((replaced.id.as_str(), &keys.current().id), (first.id.as_str(), &second.id));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keys::open(&folder.0), Err(KeyError::Open(_))));
        fs::write(&path, "nothing").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Keys::open(&folder.0), Err(KeyError::Unfit(_))));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_is_signed_is_verified_by_the_published_half() {
        let folder = Folder::new("signed");
        let key = Keys::open(&folder.0).expect("a key").current();
        let token = key.sign(&json!({ "sub": "a" })).expect("signed");
        let (signed, signature) = token.rsplit_once('.').expect("parts");
        let jwk: Value = serde_json::from_str(&key.jwk).expect("JSON");
        let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let public = RsaPublicKeyComponents { n: part("n"), e: part("e") };
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let verified = public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature);
        assert!(verified.is_ok());
        assert!(!format!("{key:?}").contains(jwk["n"].as_str().unwrap()));
        assert_eq!(jwk.get("d"), None);
    }
}
