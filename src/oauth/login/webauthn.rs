//! Security keys and platform authenticators as a second factor: WebAuthn with ES256.
//!
//! Registration asks for no attestation and takes none. An assertion must be of our challenge, our
//! origin and our relying party, with the user present, and its count must not go back. What the
//! browser sends is bytes in base64url; nothing of it is believed before its signature.
//!
//! Spec: <https://www.w3.org/TR/webauthn-2/#sctn-registering-a-new-credential>, section 7.2

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::oauth::secret;

use super::cbor::Cbor;

/// Bytes of a challenge.
pub const CHALLENGE: usize = 32;
/// The one algorithm: ES256 (COSE -7).
const ES256: i64 = -7;
/// Flags of authenticator data: user present, credential attached.
const PRESENT: u8 = 0x01;
const ATTACHED: u8 = 0x40;
/// The longest id of a credential (WebAuthn section 5.8.3).
const LONGEST_ID: usize = 1023;

/// Why a registration or an assertion is refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Refused {
    /// It is not in the form that it must have.
    #[error("the security key sent what cannot be read")]
    Form,
    /// It answers another question, another page or another site.
    #[error("the answer of the security key is not for this page")]
    Foreign,
    /// The person did not touch it.
    #[error("the security key was not touched")]
    Absent,
    /// Its key is of another kind, or it brings an attestation.
    #[error("this kind of security key cannot be used")]
    Kind,
    /// The signature is not of the key.
    #[error("the signature of the security key is wrong")]
    Signature,
}

/// What an answer must be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The challenge that was asked.
    pub challenge: &'a [u8],
    /// The origin of our pages.
    pub origin: &'a str,
    /// Its host.
    pub relying_party: &'a str,
}

/// A credential that was registered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// What the browser names it by.
    pub id: Vec<u8>,
    /// Its public key, an uncompressed point of P-256.
    pub key: Vec<u8>,
    /// Its count at the beginning.
    pub count: u32,
}

#[derive(Deserialize)]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    is_cross_origin: bool,
}

/// Reads a registration.
///
/// # Errors
/// [`Refused`] says why it cannot be taken.
pub fn register(
    client_data: &[u8],
    attestation: &[u8],
    expected: Expected<'_>,
) -> Result<Credential, Refused> {
    check_client(client_data, "webauthn.create", expected)?;
    let (object, rest) = Cbor::read(attestation).ok_or(Refused::Form)?;
    if !rest.is_empty() {
        return Err(Refused::Form);
    }
    if object.named("fmt") != Some(&Cbor::Text("none")) {
        return Err(Refused::Kind);
    }
    let Some(Cbor::Bytes(data)) = object.named("authData") else { return Err(Refused::Form) };
    let data = AuthenticatorData::read(data, expected)?;
    if data.flags & ATTACHED == 0 {
        return Err(Refused::Form);
    }
    // The model of the authenticator, then the length of the id.
    let (_, rest) = data.rest.split_at_checked(16).ok_or(Refused::Form)?;
    let (length, rest) = rest.split_at_checked(2).ok_or(Refused::Form)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length == 0 || length > LONGEST_ID {
        return Err(Refused::Form);
    }
    let (id, rest) = rest.split_at_checked(length).ok_or(Refused::Form)?;
    let (key, _) = Cbor::read(rest).ok_or(Refused::Form)?;
    Ok(Credential { id: id.to_vec(), key: point(&key)?, count: data.count })
}

/// The point of a COSE key for ES256 on P-256.
fn point(key: &Cbor<'_>) -> Result<Vec<u8>, Refused> {
    let is_es256 =
        key.int_at(1) == Some(2) && key.int_at(3) == Some(ES256) && key.int_at(-1) == Some(1);
    match (is_es256, key.bytes_at(-2), key.bytes_at(-3)) {
        (true, Some(x), Some(y)) if x.len() == 32 && y.len() == 32 => Ok([&[4], x, y].concat()),
        _ => Err(Refused::Kind),
    }
}

/// Checks an assertion by the public `key`; the count that it brings.
///
/// # Errors
/// [`Refused`] says why it does not count.
pub fn assert(
    key: &[u8],
    client_data: &[u8],
    authenticator_data: &[u8],
    signature: &[u8],
    expected: Expected<'_>,
) -> Result<u32, Refused> {
    check_client(client_data, "webauthn.get", expected)?;
    let data = AuthenticatorData::read(authenticator_data, expected)?;
    let signed = [authenticator_data, &Sha256::digest(client_data)].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(&signed, signature)
        .map_err(|_| Refused::Signature)?;
    Ok(data.count)
}

/// What the browser says of the page and the question.
fn check_client(bytes: &[u8], kind: &str, expected: Expected<'_>) -> Result<(), Refused> {
    let data: ClientData = serde_json::from_slice(bytes).map_err(|_| Refused::Form)?;
    let challenge = URL_SAFE_NO_PAD.decode(&data.challenge).map_err(|_| Refused::Form)?;
    let is_ours = secret::is_same(&challenge, expected.challenge);
    let is_here = data.origin == expected.origin && !data.is_cross_origin;
    if data.r#type == kind && is_ours && is_here { Ok(()) } else { Err(Refused::Foreign) }
}

struct AuthenticatorData<'a> {
    flags: u8,
    count: u32,
    rest: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    fn read(bytes: &'a [u8], expected: Expected<'_>) -> Result<Self, Refused> {
        let (party, rest) = bytes.split_at_checked(32).ok_or(Refused::Form)?;
        let (head, rest) = rest.split_at_checked(5).ok_or(Refused::Form)?;
        if party != Sha256::digest(expected.relying_party).as_slice() {
            return Err(Refused::Foreign);
        }
        let flags = head[0];
        if flags & PRESENT == 0 {
            return Err(Refused::Absent);
        }
        let count = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        Ok(Self { flags, count, rest })
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;

    const OURS: Expected<'_> = Expected {
        challenge: &[9; CHALLENGE],
        origin: "https://kiln.example",
        relying_party: "kiln.example",
    };

    fn pair() -> EcdsaKeyPair {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref(), &random).unwrap()
    }

    fn client(kind: &str, challenge: &[u8], origin: &str) -> Vec<u8> {
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"}}"#).into()
    }

    fn data(party: &str, flags: u8, count: u32) -> Vec<u8> {
        [&Sha256::digest(party)[..], &[flags], &count.to_be_bytes()].concat()
    }

    fn attestation(format: &str, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0xa3, 0x63];
        out.extend(b"fmt");
        out.push(0x60 + format.len() as u8);
        out.extend(format.as_bytes());
        out.push(0x67);
        out.extend(b"attStmt");
        out.extend([0xa0, 0x68]);
        out.extend(b"authData");
        out.extend([0x58, data.len() as u8]);
        out.extend(data);
        out
    }

    fn registration(pair: &EcdsaKeyPair) -> Vec<u8> {
        let point = pair.public_key().as_ref();
        let mut all = data("kiln.example", 0x41, 5);
        all.extend([0; 16]);
        all.extend([0, 4, 1, 2, 3, 4]);
        all.extend([0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32]);
        all.extend(&point[1..33]);
        all.extend([0x22, 0x58, 32]);
        all.extend(&point[33..]);
        all
    }

    #[test]
    fn a_registration_is_taken_when_it_is_for_us_and_without_attestation() {
        let pair = pair();
        let ours = client("webauthn.create", OURS.challenge, OURS.origin);
        let whole = registration(&pair);
        let taken = register(&ours, &attestation("none", &whole), OURS).unwrap();
        assert_eq!((taken.id, taken.count), (vec![1, 2, 3, 4], 5));
        assert_eq!(taken.key, pair.public_key().as_ref());
        for (client_data, object, expected) in [
            (ours.clone(), attestation("packed", &whole), Refused::Kind),
            (ours.clone(), attestation("none", &whole[..40]), Refused::Form),
            (ours.clone(), attestation("none", &data("kiln.example", 0x40, 0)), Refused::Absent),
            (ours.clone(), attestation("none", &data("evil.example", 0x41, 0)), Refused::Foreign),
            (ours, vec![0xff], Refused::Form),
            (
                client("webauthn.get", OURS.challenge, OURS.origin),
                attestation("none", &whole),
                Refused::Foreign,
            ),
        ] {
            assert_eq!(register(&client_data, &object, OURS), Err(expected));
        }
    }

    #[test]
    fn an_assertion_counts_when_all_of_it_is_right() {
        let pair = pair();
        let random = SystemRandom::new();
        let sign = |client: &[u8], data: &[u8]| {
            let signed = [data, &Sha256::digest(client)].concat();
            pair.sign(&random, &signed).unwrap().as_ref().to_vec()
        };
        let good = client("webauthn.get", OURS.challenge, OURS.origin);
        let present = data("kiln.example", 0x01, 7);
        let key = pair.public_key().as_ref();
        let signature = sign(&good, &present);
        assert_eq!(assert(key, &good, &present, &signature, OURS), Ok(7));
        let cross = String::from_utf8(good.clone()).unwrap();
        let cross = cross.replace('}', r#","crossOrigin":true}"#).into_bytes();
        for (client_data, data, expected) in [
            (
                client("webauthn.create", OURS.challenge, OURS.origin),
                present.clone(),
                Refused::Foreign,
            ),
            (client("webauthn.get", &[8; 32], OURS.origin), present.clone(), Refused::Foreign),
            (
                client("webauthn.get", OURS.challenge, "https://evil.example"),
                present.clone(),
                Refused::Foreign,
            ),
            (cross, present.clone(), Refused::Foreign),
            (good.clone(), data("evil.example", 0x01, 7), Refused::Foreign),
            (good.clone(), data("kiln.example", 0x00, 7), Refused::Absent),
            (good.clone(), vec![0; 3], Refused::Form),
            (b"{}".to_vec(), present.clone(), Refused::Form),
        ] {
            let signature = sign(&client_data, &data);
            assert_eq!(assert(key, &client_data, &data, &signature, OURS), Err(expected));
        }
        let other = data("kiln.example", 0x01, 8);
        assert_eq!(assert(key, &good, &other, &signature, OURS), Err(Refused::Signature));
    }
}
