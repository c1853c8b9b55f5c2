//! Keys that are too short, or on other curves: whatever is signed by them proves nothing.
//!
//! Covers: security T8.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kiln::clock::{Clock as _, SystemClock};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rsa::BoxedUint;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha384};

use super::client::{refused, send, server, text};
use super::signed::{Key, Published, fields, service};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::register;

const SCOPE: &str = "system/Patient.rs";
/// What stands before a SHA-384 in a signature by PKCS#1 v1.5 (RFC 8017 section 9.2).
const SHA384: [u8; 19] = [
    0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, 0x04, 0x30,
];

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An RSA key of any size, which signs by RS384.
struct Rsa(rsa::PrivateKey);

impl Rsa {
    fn of(bits: usize) -> Self {
        Self(rsa::PrivateKey::new(&mut getrandom::SysRng, bits).unwrap())
    }

    fn jwk(&self, id: &str) -> Value {
        let (n, e) = (encoded(&self.0.n_bytes()), encoded(&self.0.e_bytes()));
        json!({ "kty": "RSA", "kid": id, "n": n, "e": e })
    }

    fn assertion(&self, root: &str, id: &str) -> String {
        signed(root, "RS384", id, |message| self.sign(&Sha384::digest(message)))
    }

    /// A signature by PKCS#1 v1.5, by hand: libraries refuse to sign with a key as short as that.
    fn sign(&self, hash: &[u8]) -> Vec<u8> {
        let length = self.0.n_bytes().len();
        let filling = vec![0xff; length - 3 - SHA384.len() - hash.len()];
        let padded = [&[0, 1][..], &filling, &[0], &SHA384, hash].concat();
        let bits = u32::try_from(length * 8).unwrap();
        let base = BoxedUint::from_be_slice(&padded, bits).unwrap();
        let mut power = BoxedUint::one_with_precision(bits);
        for byte in self.0.d().to_be_bytes() {
            for bit in (0..8).rev() {
                power = power.mul_mod(&power, self.0.n());
                if (byte >> bit) & 1 == 1 {
                    power = power.mul_mod(&base, self.0.n());
                }
            }
        }
        let bytes = power.to_be_bytes();
        bytes[bytes.len() - length..].to_vec()
    }
}

/// An assertion as it must be, but for who signs it.
fn signed(root: &str, algorithm: &str, id: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let now = SystemClock.now().as_micros();
    let header = json!({ "alg": algorithm, "kid": id, "typ": "JWT" });
    let claims = json!({
        "iss": "job", "sub": "job", "aud": format!("{root}/auth/token"),
        "exp": now / 1_000_000 + 300, "jti": now.to_string(),
    });
    let message = format!(
        "{}.{}",
        encoded(header.to_string().as_bytes()),
        encoded(claims.to_string().as_bytes())
    );
    let signature = sign(message.as_bytes());
    format!("{message}.{}", encoded(&signature))
}

async fn token(server: &TestServer, assertion: &str) -> Answer {
    send(server, "/auth/token", &fields(assertion, SCOPE)).await
}

#[tokio::test]
async fn a_short_key_proves_nothing_however_it_is_published() {
    let (short, long) = (Rsa::of(1024), Rsa::of(2048));
    let jwks = json!({ "keys": [short.jwk("short"), long.jwk("long")] });
    let published = Published::start(&jwks).await;
    for by_address in [false, true] {
        let server = if by_address {
            let open = [("auth.outbound_networks", "127.0.0.0/8")];
            crate::oauth::browser::server_with(&open).await
        } else {
            server().await
        };
        let root = server.client.root().to_owned();
        let client = if by_address {
            service(None, Some(&published.url), SCOPE)
        } else {
            service(Some(&jwks), None, SCOPE)
        };
        register(&server, &client).await;
        let good = token(&server, &long.assertion(&root, "long")).await.expect(200);
        assert_eq!(text(&good, "scope"), SCOPE, "the same signature by a long key counts");
        let weak = token(&server, &short.assertion(&root, "short")).await;
        refused(&weak, 401, "invalid_client");
        // Nor does the long key's name help the short one.
        refused(&token(&server, &short.assertion(&root, "long")).await, 401, "invalid_client");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_key_on_another_curve_proves_nothing() {
    let server = server().await;
    let random = SystemRandom::new();
    let form = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let der = EcdsaKeyPair::generate_pkcs8(form, &random).unwrap();
    let small = EcdsaKeyPair::from_pkcs8(form, der.as_ref(), &random).unwrap();
    let (x, y) = small.public_key().as_ref()[1..].split_at(32);
    let right = Key::ec();
    let with = |id: &str, changes: &[(&str, &str)]| {
        let mut jwk = right.jwk(id);
        for (name, value) in changes {
            jwk[name] = json!(value);
        }
        jwk
    };
    let padded = |part: &[u8]| encoded(&[&[0; 16][..], part].concat());
    let zero = encoded(&[0; 48]);
    let keys = [
        right.jwk("k"),
        json!({ "kty": "EC", "crv": "P-256", "kid": "p256", "x": encoded(x), "y": encoded(y) }),
        json!({ "kty": "EC", "crv": "P-384", "kid": "said", "x": encoded(x), "y": encoded(y) }),
        json!({ "kty": "EC", "crv": "P-384", "kid": "padded", "x": padded(x), "y": padded(y) }),
        with("named-256", &[("crv", "P-256")]),
        with("named-521", &[("crv", "P-521")]),
        with("named-k1", &[("crv", "secp256k1")]),
        with("okp", &[("kty", "OKP"), ("crv", "Ed25519")]),
        with("off", &[("x", &zero)]),
        with("nowhere", &[("x", &zero), ("y", &zero)]),
    ];
    register(&server, &service(Some(&json!({ "keys": keys })), None, SCOPE)).await;
    let root = server.client.root().to_owned();
    let by_right = |id: &str| right.assertion(&root, &json!({ "kid": id }), &json!({}));
    let by_small = |algorithm: &str, id: &str| {
        signed(&root, algorithm, id, |message| {
            small.sign(&random, message).unwrap().as_ref().to_vec()
        })
    };
    token(&server, &by_right("k")).await.expect(200);
    for id in ["named-256", "named-521", "named-k1", "okp", "off", "nowhere"] {
        let answer = token(&server, &by_right(id)).await;
        assert_eq!(answer.status, 401, "{id}: {answer:?}");
        refused(&answer, 401, "invalid_client");
    }
    for id in ["p256", "said", "padded", "k"] {
        for algorithm in ["ES256", "ES384"] {
            let answer = token(&server, &by_small(algorithm, id)).await;
            assert_eq!(answer.status, 401, "{algorithm} {id}: {answer:?}");
            refused(&answer, 401, "invalid_client");
        }
    }
    server.stop().await;
}
