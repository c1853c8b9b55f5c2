//! Public keys of clients (JWK), and signatures by them.
//!
//! Spec: RFC 7517, RFC 7518, security T6 to T8

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

use crate::oauth::form::has_nul;

/// Most keys of one client.
const MAX_KEYS: usize = 50;
/// Smallest modulus, in bits.
const MIN_BITS: usize = 2048;

/// How an assertion or a token is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: tokens of outside servers only.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSA PKCS#1 v1.5 with SHA-256: tokens of outside servers only.
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
}

impl Algorithm {
    /// Those that clients may sign by, as they are written.
    pub const NAMES: [&str; 2] = ["RS384", "ES384"];

    /// The algorithm of exactly that name, by which a client signs.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "ES384" => Some(Self::Es384),
            "RS384" => Some(Self::Rs384),
            _ => None,
        }
    }

    /// The same, by which an outside server signs its tokens.
    pub fn of_tokens(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            other => Self::parse(other),
        }
    }

    fn key_type(self) -> &'static str {
        match self {
            Self::Es256 | Self::Es384 => "EC",
            Self::Rs256 | Self::Rs384 => "RSA",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
        }
    }
}

/// The keys of a client.
#[derive(Clone, Debug, Default)]
pub struct Jwks(Vec<Map<String, Value>>);

impl Jwks {
    /// Reads a set of keys.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let value: Value = serde_json::from_slice(text).map_err(|_| "is not JSON")?;
        if has_nul(&value) {
            return Err("has a NUL");
        }
        let keys = value.get("keys").and_then(Value::as_array).ok_or("has no `keys`")?;
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err("has no key, or too many");
        }
        let keys = keys.iter().map(|key| key.as_object().cloned().ok_or("has a key that is none"));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        // Whoever sends a private key here does not know what it sends.
        if keys.iter().any(|key| key.contains_key("d") || key.contains_key("k")) {
            return Err("has a private key: only public ones belong here");
        }
        Ok(Self(keys))
    }

    /// Whether there is a key of that id, of whatever kind.
    pub fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| text(key, "kid") == Some(id))
    }

    /// The one key of that id which such a signature can be by.
    pub fn find(&self, id: &str, algorithm: Algorithm) -> Option<Key> {
        let fits = |key: &&Map<String, Value>| {
            text(key, "kid") == Some(id) && text(key, "kty") == Some(algorithm.key_type())
        };
        let mut fitting = self.0.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Key::of(key, algorithm),
            _ => None,
        }
    }
}

fn text<'k>(key: &'k Map<String, Value>, name: &str) -> Option<&'k str> {
    key.get(name).and_then(Value::as_str)
}

fn bytes(key: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(key, name)?).ok()
}

/// A key that signatures are checked by.
#[derive(Debug)]
pub enum Key {
    /// A point on the curve of the algorithm, uncompressed.
    Point(Algorithm, Vec<u8>),
    /// Modulus and exponent.
    Modulus(Algorithm, Vec<u8>, Vec<u8>),
}

impl Key {
    fn of(key: &Map<String, Value>, algorithm: Algorithm) -> Option<Self> {
        let is_for_signatures = text(key, "use").is_none_or(|it| it == "sig")
            && key
                .get("key_ops")
                .and_then(Value::as_array)
                .is_none_or(|list| list.iter().any(|it| it == "verify"));
        let is_for_this = text(key, "alg").is_none_or(|it| it == algorithm.name());
        if !is_for_signatures || !is_for_this {
            return None;
        }
        match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => {
                let (curve, length) =
                    if algorithm == Algorithm::Es256 { ("P-256", 32) } else { ("P-384", 48) };
                let (x, y) = (bytes(key, "x")?, bytes(key, "y")?);
                let is_of_curve = text(key, "crv") == Some(curve);
                let is_sound = is_of_curve && x.len() == length && y.len() == length;
                is_sound.then(|| Self::Point(algorithm, [&[4], &*x, &*y].concat()))
            }
            Algorithm::Rs256 | Algorithm::Rs384 => {
                let (modulus, exponent) = (bytes(key, "n")?, bytes(key, "e")?);
                let start = modulus.iter().position(|byte| *byte != 0)?;
                let modulus = modulus[start..].to_vec();
                let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
                (bits >= MIN_BITS).then_some(Self::Modulus(algorithm, modulus, exponent))
            }
        }
    }

    /// Whether `signature` is this key's, of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Point(algorithm, point) => {
                let form = match algorithm {
                    Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
                    _ => &ECDSA_P384_SHA384_FIXED,
                };
                UnparsedPublicKey::new(form, point).verify(message, signature).is_ok()
            }
            Self::Modulus(algorithm, n, e) => {
                let form = match algorithm {
                    Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA384,
                };
                RsaPublicKeyComponents { n, e }.verify(form, message, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa(id: &str, bytes: usize, rest: &str) -> String {
        let modulus = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        format!(r#"{{"kty":"RSA","kid":"{id}","n":"{modulus}","e":"AQAB"{rest}}}"#)
    }

    fn set(keys: &[String]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    #[test]
    fn exactly_one_key_of_id_and_type_is_taken() {
        let ec = |id: &str, crv: &str, length: usize| {
            let part = URL_SAFE_NO_PAD.encode(vec![1; length]);
            format!(r#"{{"kty":"EC","kid":"{id}","crv":"{crv}","x":"{part}","y":"{part}"}}"#)
        };
        let keys = [
            rsa("a", 256, ""),
            rsa("twice", 256, ""),
            rsa("twice", 256, ""),
            rsa("small", 128, ""),
            rsa("enc", 256, r#","use":"enc""#),
            rsa("sign", 256, r#","key_ops":["sign"]"#),
            rsa("both", 256, r#","key_ops":["verify"],"use":"sig","alg":"RS384""#),
            rsa("other", 256, r#","alg":"RS256""#),
            ec("a", "P-384", 48),
            ec("p256", "P-256", 32),
            ec("short", "P-384", 47),
        ];
        let jwks = Jwks::parse(set(&keys).as_bytes()).expect("keys");
        let (rs, es) = (Algorithm::Rs384, Algorithm::Es384);
        for (id, algorithm, expected) in [
            ("a", rs, true),
            ("a", es, true),
            ("both", rs, true),
            ("twice", rs, false),
            ("small", rs, false),
            ("enc", rs, false),
            ("sign", rs, false),
            ("other", rs, false),
            ("p256", es, false),
            ("short", es, false),
            ("none", rs, false),
        ] {
            assert_eq!(jwks.find(id, algorithm).is_some(), expected, "{id} {algorithm:?}");
        }
    }

    #[test]
    fn clients_sign_by_rs384_and_es384_alone() {
        for name in ["none", "None", "HS256", "HS384", "RS256", "ES256", "PS384", "rs384", ""] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
        for name in ["RS256", "RS384", "ES256", "ES384"] {
            assert_eq!(Algorithm::of_tokens(name).map(Algorithm::name), Some(name));
        }
        for name in ["none", "HS256", "PS256", "rs256", ""] {
            assert_eq!(Algorithm::of_tokens(name), None, "{name}");
        }
        assert!(Algorithm::NAMES.iter().all(|name| Algorithm::parse(name).is_some()));
    }

    #[test]
    fn a_set_has_public_keys_only() {
        let private = rsa("a", 256, r#","d":"AQAB""#);
        let secret = r#"{"kty":"oct","kid":"a","k":"AQAB"}"#.to_owned();
        for text in [
            set(&[private]),
            set(&[secret]),
            set(&[]),
            set(&vec![rsa("a", 256, ""); 51]),
            "{}".to_owned(),
            "[]".to_owned(),
            "x".to_owned(),
            r#"{"keys":[1]}"#.to_owned(),
            set(&[rsa("a", 256, r#","alg":"\u0000""#)]),
            set(&[rsa("a", 256, r#","\u0000":1"#)]),
        ] {
            assert!(Jwks::parse(text.as_bytes()).is_err(), "{text:.60}");
        }
    }
}
