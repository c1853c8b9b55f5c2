//! Texts that prove something: made at random, shown once, kept as hashes.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::clock::IdSource;

pub use crate::store::oauth::Hash;

/// What access tokens begin with.
pub const ACCESS: &str = "kiln_at_";
/// What authorization codes begin with.
pub const CODE: &str = "kiln_ac_";
/// What secrets of clients begin with.
pub const CLIENT: &str = "kiln_cs_";
/// What refresh tokens begin with.
pub const REFRESH: &str = "kiln_rt_";

/// What registration access tokens begin with.
pub const REGISTRATION: &str = "kiln_rg_";

/// Base64url digits of 256 bits.
const DIGITS: usize = 43;

/// A secret that was just made.
#[derive(Debug)]
pub struct Fresh {
    /// What its owner gets.
    pub text: SecretString,
    /// What is kept.
    pub hash: Hash,
}

impl Fresh {
    /// A new one that begins with `prefix`.
    pub fn new(prefix: &str, ids: &dyn IdSource) -> Self {
        Self::of(prefix, &ids.secret())
    }

    /// The one of those bytes.
    fn of(prefix: &str, bytes: &[u8; 32]) -> Self {
        let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
        let hash = hash(&text);
        Self { text: SecretString::from(text), hash }
    }

    /// The same, readable by whoever has `old` alone.
    pub(super) fn sealed_for(&self, prefix: &str, old: &str) -> Option<Vec<u8>> {
        let bytes = bytes_of(prefix, self.text.expose_secret())?;
        Some(bytes.iter().zip(mask(old)).map(|(byte, mask)| byte ^ mask).collect())
    }

    /// What was sealed for `old`.
    pub(super) fn unsealed(prefix: &str, sealed: &[u8], old: &str) -> Option<Self> {
        let sealed: [u8; 32] = sealed.try_into().ok()?;
        let mut bytes = mask(old);
        bytes.iter_mut().zip(sealed).for_each(|(byte, sealed)| *byte ^= sealed);
        Some(Self::of(prefix, &bytes))
    }
}

/// SHA-256 of a code, token or secret, by which it is found again. All of them are random, so that
/// a slow hash would add nothing.
pub fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

/// A hash as hexadecimal digits.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |all, (left, right)| all | (left ^ right)) == 0
}

/// The SHA-256 of a verifier as a challenge has it (PKCE, S256).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// Bits that only who has `old` can make, used for one successor.
fn mask(old: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"successor of ").chain_update(old).finalize().into()
}

fn bytes_of(prefix: &str, text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(prefix).filter(|digits| digits.len() == DIGITS)?;
    URL_SAFE_NO_PAD.decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemIds;

    #[test]
    fn a_secret_has_256_bits_and_its_debug_form_does_not_show_it() {
        let fresh = Fresh::new(ACCESS, &SystemIds::default());
        let text = fresh.text.expose_secret();
        assert_eq!(text.len(), ACCESS.len() + DIGITS);
        assert_eq!(fresh.hash, hash(text));
        assert!(!format!("{fresh:?}").contains(text));
    }

    #[test]
    fn a_successor_is_read_by_who_has_the_one_before_and_by_nobody_else() {
        let ids = SystemIds::default();
        let (old, next) = (Fresh::new(REFRESH, &ids), Fresh::new(REFRESH, &ids));
        let sealed = next.sealed_for(REFRESH, old.text.expose_secret()).expect("a token");
        let read = Fresh::unsealed(REFRESH, &sealed, old.text.expose_secret()).expect("a token");
        assert_eq!(read.text.expose_secret(), next.text.expose_secret());
        let other = Fresh::unsealed(REFRESH, &sealed, "kiln_rt_x").expect("a token");
        assert_ne!(other.hash, next.hash);
        assert!(Fresh::unsealed(REFRESH, b"short", "x").is_none());
    }

    #[test]
    fn a_challenge_is_that_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn texts_are_compared_whole() {
        for (left, right, expected) in
            [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "ab", false)]
        {
            assert_eq!(is_same(left.as_bytes(), right.as_bytes()), expected, "{left} {right}");
        }
    }
}
