//! Signatures: a client's assertion is made here, the server's id_token is verified.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA384,
    RsaKeyPair, RsaPublicKeyComponents,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A client's private key.
pub(super) struct Signer {
    key: Key,
    id: String,
}

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads a private key (PKCS#8 in PEM).
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn read(file: &Path, id: &str) -> Result<Self, String> {
        let told = |reason: &dyn fmt::Display| format!("{}: {reason}", file.display());
        let key = PrivateKeyDer::from_pem_file(file).map_err(|error| told(&error))?;
        let key = Key::of(key.secret_der())
            .ok_or_else(|| told(&"neither an RSA nor a P-384 key in PKCS#8"))?;
        Ok(Self { key, id: id.to_owned() })
    }

    /// A signed token over `claims`.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, String> {
        let algorithm = match self.key {
            Key::Ec(_) => "ES384",
            Key::Rsa(_) => "RS384",
        };
        let header = json!({ "alg": algorithm, "kid": self.id, "typ": "JWT" });
        let encode = |part: &Value| BASE64_URL.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let random = SystemRandom::new();
        let refused = |_| "the key does not sign".to_owned();
        let signature = match &self.key {
            Key::Ec(key) => {
                key.sign(&random, signed.as_bytes()).map_err(refused)?.as_ref().to_vec()
            }
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA384, &random, signed.as_bytes(), &mut signature)
                    .map_err(refused)?;
                signature
            }
        };
        Ok(format!("{signed}.{}", BASE64_URL.encode(signature)))
    }
}

impl Key {
    fn of(pkcs8: &[u8]) -> Option<Self> {
        let ec =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8, &SystemRandom::new());
        match ec {
            Ok(key) => Some(Self::Ec(key)),
            Err(_) => RsaKeyPair::from_pkcs8(pkcs8).ok().map(Self::Rsa),
        }
    }
}

/// Header and claims of a signed token, unverified.
pub(super) fn parts(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.');
    let mut next = || {
        let bytes = BASE64_URL.decode(parts.next()?).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    };
    Some((next()?, next()?))
}

/// An RSA key of a key set, as numbers.
pub(super) struct RsaPublic {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl RsaPublic {
    /// Reads a key of a key set.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(key: &Value) -> Result<Self, String> {
        let number = |name: &str| {
            let text = key[name].as_str().ok_or_else(|| format!("an RSA key without {name}"))?;
            BASE64_URL.decode(text).map_err(|error| format!("an RSA key's {name}: {error}"))
        };
        let key = Self { n: number("n")?, e: number("e")? };
        let bits = key.n.iter().skip_while(|byte| **byte == 0).count() * 8;
        if bits < 2048 { Err(format!("an RSA key of {bits} bits")) } else { Ok(key) }
    }

    /// Whether the key made the signature (RS256) of `token`.
    pub(super) fn has_signed(&self, token: &str) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else { return false };
        let key = RsaPublicKeyComponents { n: &self.n, e: &self.e };
        BASE64_URL.decode(signature).is_ok_and(|signature| {
            key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).is_ok()
        })
    }
}

/// The challenge of a PKCE verifier (S256).
pub(super) fn challenge(verifier: &str) -> String {
    BASE64_URL.encode(Sha256::digest(verifier))
}

/// The code of a second factor (RFC 6238: SHA-1, 6 digits, 30 s) at `seconds`.
pub(super) fn totp(secret: &str, seconds: i64) -> Option<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &base32(secret)?);
    let tag = hmac::sign(&key, &(seconds / 30).to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[19] & 15);
    let number = u32::from_be_bytes(tag[at..at + 4].try_into().ok()?) & 0x7fff_ffff;
    Some(format!("{:06}", number % 1_000_000))
}

fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| !matches!(byte, b' ' | b'-' | b'=')) {
        let digit = match byte.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(digit);
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
    use ring::signature::{ECDSA_P384_SHA384_FIXED, KeyPair as _, UnparsedPublicKey};

    use super::*;

    #[test]
    fn an_assertion_is_signed_by_its_key() {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let key = Key::of(&pair.serialize_der()).unwrap();
        let Key::Ec(public) = &key else { panic!("P-384") };
        let public = public.public_key().as_ref().to_vec();
        let token = Signer { key, id: "k1".into() }.sign(&json!({ "iss": "app" })).unwrap();
        let (header, claims) = parts(&token).unwrap();
        assert_eq!(header, json!({ "alg": "ES384", "kid": "k1", "typ": "JWT" }));
        assert_eq!(claims, json!({ "iss": "app" }));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public);
        assert!(public.verify(signed.as_bytes(), &signature).is_ok());
        assert!(Key::of(b"no key").is_none());
        assert!(parts("a.b").is_none() && parts("").is_none());
    }

    #[test]
    fn published_values_of_pkce_and_of_codes_come_out() {
        let challenge = challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        // RFC 6238, appendix B: the last six of eight digits.
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (seconds, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")]
        {
            assert_eq!(totp(secret, seconds).as_deref(), Some(code));
        }
        assert_eq!(totp("not base32!", 0), None);
    }

    #[test]
    fn keys_that_are_too_short_or_incomplete_are_told() {
        let short = json!({ "n": BASE64_URL.encode([255; 128]), "e": "AQAB" });
        assert_eq!(RsaPublic::of(&short).err().as_deref(), Some("an RSA key of 1024 bits"));
        assert!(RsaPublic::of(&json!({ "n": "AQAB" })).is_err());
        let long = json!({ "n": BASE64_URL.encode([255; 256]), "e": "AQAB" });
        assert!(!RsaPublic::of(&long).unwrap().has_signed("a.b.c"));
    }
}
