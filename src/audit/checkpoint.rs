//! Checkpoints: how far the record is sealed, signed so that nobody can say otherwise later.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::fhir::Instant;

use super::merkle::{Hash, Tree};
use super::{from_hex, hex};

/// How far the record was sealed at a moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Whose record: sixteen digits that are those of one deployment.
    pub log: String,
    /// How many batches there are.
    pub size: u64,
    /// How many rows they have.
    pub rows: u64,
    /// When, in whole milliseconds.
    pub at: Instant,
    /// The root over the batches.
    pub root: Hash,
}

impl Checkpoint {
    /// What is signed: a line each for what this is, whose, how many batches and rows, when, and the
    /// root in base64.
    pub fn text(&self) -> String {
        let (log, size, rows, at) = (&self.log, self.size, self.rows, self.at);
        let root = STANDARD.encode(self.root);
        format!("kiln audit checkpoint\n{log}\n{size}\n{rows}\n{at}\n{root}\n")
    }

    /// The tree it speaks of.
    pub fn tree(&self) -> Tree {
        Tree { size: self.size, root: self.root }
    }
}

/// A public key that checkpoints are checked by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether `signature` is this key's over `checkpoint`.
    pub fn has_signed(&self, checkpoint: &Checkpoint, signature: &[u8]) -> bool {
        self.has_signed_text(&checkpoint.text(), signature)
    }

    /// Whether `signature` is this key's over a text, whose first line says what it is.
    pub(super) fn has_signed_text(&self, text: &str, signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(text.as_bytes(), signature).is_ok()
    }

    /// Reads the hexadecimal digits of a key.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text.trim()).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// The key that checkpoints are signed with.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl SigningKey {
    /// A new key as it is kept (PKCS#8); `None` when the system has no randomness.
    pub fn generate() -> Option<Vec<u8>> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Some(made.as_ref().to_vec())
    }

    /// The key of what [`SigningKey::generate`] gave; `None` when it is none.
    pub fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8(bytes).ok().map(Self)
    }

    /// The key that others check by.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs.
    pub fn sign(&self, checkpoint: Checkpoint) -> Signed {
        let signature = self.sign_text(&checkpoint.text());
        Signed { checkpoint, key: self.public(), signature }
    }

    /// The signature over a text, whose first line says what it is.
    pub(super) fn sign_text(&self, text: &str) -> Vec<u8> {
        self.0.sign(text.as_bytes()).as_ref().to_vec()
    }
}

/// A checkpoint with its signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// By whom.
    pub key: PublicKey,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Signed {
    /// Whether its key has signed it and is one of `trusted`.
    pub fn is_signed_by(&self, trusted: &[PublicKey]) -> bool {
        trusted.contains(&self.key) && self.key.has_signed(&self.checkpoint, &self.signature)
    }

    /// As it is exported: one JSON object.
    pub fn to_json(&self) -> Value {
        let Checkpoint { log, size, rows, at, root } = &self.checkpoint;
        json!({
            "log": log,
            "size": size,
            "rows": rows,
            "time": at.to_string(),
            "root": hex(root),
            "key": self.key.to_string(),
            "signature": STANDARD.encode(&self.signature),
        })
    }

    /// Reads what [`Signed::to_json`] wrote; `None` when it is something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let checkpoint = Checkpoint {
            log: value["log"].as_str()?.to_owned(),
            size: value["size"].as_u64()?,
            rows: value["rows"].as_u64()?,
            at: Instant::parse(value["time"].as_str()?)?,
            root: from_hex(value["root"].as_str()?)?,
        };
        let key = PublicKey::parse(value["key"].as_str()?)?;
        let signature = STANDARD.decode(value["signature"].as_str()?).ok()?;
        Some(Self { checkpoint, key, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        let at = Instant::parse("2026-01-02T03:04:05.678Z").unwrap();
        Checkpoint { log: "0123456789abcdef".to_owned(), size: 3, rows: 2_500, at, root: [9; 32] }
    }

    #[test]
    fn a_checkpoint_counts_as_signed_only_as_it_was_and_by_a_trusted_key() {
        let (own, other) = (key(), key());
        let signed = own.sign(checkpoint());
        let trusted = [own.public()];
        assert!(signed.is_signed_by(&trusted));
        assert!(!signed.is_signed_by(&[other.public()]));
        assert!(!signed.is_signed_by(&[]));
        let changes: [fn(&mut Checkpoint); 5] = [
            |it| it.log.replace_range(..1, "1"),
            |it| it.size += 1,
            |it| it.rows += 1,
            |it| it.at = it.at.plus_millis(1),
            |it| it.root[31] ^= 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut bent = signed.clone();
            change(&mut bent.checkpoint);
            assert!(!bent.is_signed_by(&trusted), "{number}");
        }
        let foreign = Signed { key: own.public(), ..other.sign(checkpoint()) };
        assert!(!foreign.is_signed_by(&trusted));
    }

    #[test]
    fn an_exported_checkpoint_is_read_as_it_was_written() {
        let signed = key().sign(checkpoint());
        let value = signed.to_json();
        assert_eq!(Signed::from_json(&value), Some(signed));
        for name in ["log", "size", "rows", "time", "root", "key", "signature"] {
            let mut value = value.clone();
            value[name] = json!("?");
            let read = Signed::from_json(&value);
            assert!(name == "log" || read.is_none(), "{name}");
        }
    }

    #[test]
    fn a_key_is_not_shown_by_its_debug_form() {
        let key = key();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public()));
        assert!(SigningKey::from_pkcs8(b"no key").is_none());
    }
}
