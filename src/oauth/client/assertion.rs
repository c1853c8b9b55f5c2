//! Clients that prove who they are by a signature (`private_key_jwt`).
//!
//! What is not exactly as it must be is refused: the algorithm, the audience, the time, the key. An
//! assertion counts once, whichever node it comes to.
//!
//! Spec: RFC 7523, SMART Backend Services, security T6 to T8

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::fhir::Instant;
use crate::oauth::Authority;
use crate::oauth::refusal::Refusal;
use crate::oauth::secret;
use crate::store::oauth::assertion;
use crate::store::oauth::client::{Client, ClientKind};

use super::jwk::{Algorithm, Jwks};

/// Longest assertion that is read.
const MAX_BYTES: usize = 16 * 1024;
/// Longest time that an assertion may be from its end, in seconds.
const LONGEST: i64 = 300;
/// How much clocks may differ, in seconds.
const SKEW: i64 = 60;
/// Longest `jti`.
const MAX_JTI: usize = 512;

/// The client that an assertion proves.
///
/// # Errors
/// `invalid_client` for anything that is wrong with it.
pub(super) async fn authenticate(
    authority: &Authority,
    assertion: &str,
    id: Option<&str>,
) -> Result<Client, Refusal> {
    let read = Assertion::parse(assertion).map_err(Refusal::client)?;
    let now = authority.clock.now();
    let audiences = [&authority.settings.token_endpoint(), &authority.settings.issuer];
    read.check(&audiences.map(String::as_str), now).map_err(Refusal::client)?;
    if id.is_some_and(|id| id != read.issuer) {
        return Err(Refusal::client("client_id is not the issuer of the assertion"));
    }
    let wrong = || Refusal::client("the client is not known, or its signature is wrong");
    let client = authority.client(&read.issuer).await?.ok_or_else(wrong)?;
    if client.kind != ClientKind::Key {
        return Err(wrong());
    }
    if read.key_url.is_some() && read.key_url != client.jwks_uri {
        return Err(Refusal::client("jku is not the registered address of the keys"));
    }
    let keys = keys(authority, &client, &read.key_id).await.ok_or_else(wrong)?;
    let key = keys.find(&read.key_id, read.algorithm).ok_or_else(wrong)?;
    if !key.verifies(read.signed.as_bytes(), &read.signature) {
        return Err(wrong());
    }
    let expires = seconds(read.expires + SKEW);
    let jti = secret::hash(&read.id);
    if assertion::remember(&authority.store, &client.id, &jti, expires).await? {
        Ok(client)
    } else {
        Err(Refusal::client("the assertion was used before"))
    }
}

async fn keys(authority: &Authority, client: &Client, id: &str) -> Option<Arc<Jwks>> {
    if let Some(jwks) = &client.jwks {
        return Jwks::parse(jwks.as_bytes()).ok().map(Arc::new);
    }
    let url = client.jwks_uri.as_deref()?;
    authority.client_keys.keys(&authority.outbound, url, id).await
}

fn seconds(seconds: i64) -> Instant {
    Instant::from_micros(seconds.saturating_mul(1_000_000))
}

/// An assertion that is well formed; who made it is not known yet.
#[derive(Debug)]
struct Assertion<'a> {
    algorithm: Algorithm,
    key_id: String,
    key_url: Option<String>,
    issuer: String,
    audience: Vec<String>,
    expires: i64,
    not_before: Option<i64>,
    issued: Option<i64>,
    id: String,
    /// Header and claims as they were sent.
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Assertion<'a> {
    fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("the assertion is too long");
        }
        let (signed, signature) = text.rsplit_once('.').ok_or("the assertion is no JWT")?;
        let (header, claims) = signed.split_once('.').ok_or("the assertion is no JWT")?;
        let header = object(header).ok_or("the header of the assertion cannot be read")?;
        let claims = object(claims).ok_or("the claims of the assertion cannot be read")?;
        let signature = URL_SAFE_NO_PAD.decode(signature);
        let signature = signature.map_err(|_| "the signature of the assertion cannot be read")?;
        let algorithm = text_of(&header, "alg").and_then(Algorithm::parse);
        let algorithm = algorithm.ok_or("alg is RS384 or ES384")?;
        if header.contains_key("crit") {
            return Err("crit names what is not known here");
        }
        let key_id = text_of(&header, "kid").ok_or("kid is missing")?.to_owned();
        let key_url = match header.get("jku") {
            None => None,
            Some(Value::String(url)) => Some(url.clone()),
            Some(_) => return Err("jku is no text"),
        };
        let issuer = text_of(&claims, "iss").ok_or("iss is missing")?;
        if text_of(&claims, "sub") != Some(issuer) {
            return Err("sub is not iss");
        }
        let id = text_of(&claims, "jti").filter(|id| (1..=MAX_JTI).contains(&id.len()));
        Ok(Self {
            algorithm,
            key_id,
            key_url,
            issuer: issuer.to_owned(),
            audience: audience(&claims).ok_or("aud is missing")?,
            expires: number(&claims, "exp")?.ok_or("exp is missing")?,
            not_before: number(&claims, "nbf")?,
            issued: number(&claims, "iat")?,
            id: id.ok_or("jti is missing or too long")?.to_owned(),
            signed,
            signature,
        })
    }

    /// Whether it is for one of `audiences`, and for now.
    fn check(&self, audiences: &[&str], now: Instant) -> Result<(), &'static str> {
        let is_ours = |audience: &String| audiences.contains(&audience.as_str());
        if self.audience.is_empty() || !self.audience.iter().all(is_ours) {
            return Err("aud is not this token endpoint");
        }
        let now = now.as_micros().div_euclid(1_000_000);
        if self.expires <= now {
            return Err("the assertion has expired");
        }
        if self.expires - now > LONGEST + SKEW {
            return Err("exp is more than five minutes from now");
        }
        if self.not_before.is_some_and(|at| at > now + SKEW)
            || self.issued.is_some_and(|at| at > now + SKEW)
        {
            return Err("the assertion is not valid yet");
        }
        Ok(())
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn text_of<'o>(object: &'o Map<String, Value>, name: &str) -> Option<&'o str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Seconds since 1970; a fraction counts as the second before it.
fn number(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, &'static str> {
    const FAR: i64 = 1 << 40;
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| Some(value.as_f64()?.floor() as i64));
    let is_time = |at: &i64| (0..FAR).contains(at);
    whole.filter(is_time).map(Some).ok_or("exp, nbf and iat are seconds since 1970")
}

fn audience(claims: &Map<String, Value>) -> Option<Vec<String>> {
    match claims.get("aud")? {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "https://h.org/auth/token";
    const ISSUER: &str = "https://h.org/auth";
    const NOW: i64 = 1_800_000_000;

    fn of(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.AAAA", part(header), part(claims))
    }

    /// What is said of an assertion with these members in place of the right ones; null takes one
    /// away.
    fn said(header: Value, claims: Value) -> Result<(), &'static str> {
        let mut all = [
            json!({ "alg": "RS384", "kid": "k", "typ": "JWT" }),
            json!({ "iss": "c", "sub": "c", "aud": TOKEN, "exp": NOW + 300, "jti": "j" }),
        ];
        for (whole, changes) in all.iter_mut().zip([header, claims]) {
            for (name, value) in changes.as_object().expect("an object") {
                let whole = whole.as_object_mut().expect("an object");
                if value.is_null() {
                    whole.remove(name);
                } else {
                    whole.insert(name.clone(), value.clone());
                }
            }
        }
        let text = of(&all[0], &all[1]);
        Assertion::parse(&text)?.check(&[TOKEN, ISSUER], seconds(NOW))
    }

    #[test]
    fn an_assertion_that_is_as_it_must_be_is_taken() {
        for (header, claims) in [
            (json!({}), json!({})),
            (json!({ "alg": "ES384", "typ": null }), json!({})),
            (json!({ "jwk": { "kty": "RSA" }, "x5c": ["x"] }), json!({})),
            (json!({}), json!({ "aud": ISSUER })),
            (json!({}), json!({ "aud": [TOKEN, ISSUER] })),
            (json!({}), json!({ "exp": NOW + 360 })),
            (json!({}), json!({ "exp": NOW + 1, "iat": NOW, "nbf": NOW })),
            (json!({}), json!({ "exp": 1_800_000_100.5 })),
        ] {
            assert_eq!(said(header.clone(), claims.clone()), Ok(()), "{header} {claims}");
        }
    }

    #[test]
    fn whatever_is_wrong_with_an_assertion_refuses_it() {
        for (header, claims) in [
            (json!({ "alg": "none" }), json!({})),
            (json!({ "alg": "HS384" }), json!({})),
            (json!({ "alg": "RS256" }), json!({})),
            (json!({ "alg": null }), json!({})),
            (json!({ "kid": null }), json!({})),
            (json!({ "kid": "" }), json!({})),
            (json!({ "crit": ["b64"] }), json!({})),
            (json!({ "jku": 1 }), json!({})),
            (json!({}), json!({ "iss": "other" })),
            (json!({}), json!({ "sub": "other" })),
            (json!({}), json!({ "sub": null })),
            (json!({}), json!({ "aud": "https://h.org/auth/revoke" })),
            (json!({}), json!({ "aud": "https://h.org/auth/token/" })),
            (json!({}), json!({ "aud": [TOKEN, "https://evil.org"] })),
            (json!({}), json!({ "aud": [] })),
            (json!({}), json!({ "aud": null })),
            (json!({}), json!({ "aud": 1 })),
            (json!({}), json!({ "exp": NOW })),
            (json!({}), json!({ "exp": NOW - 1 })),
            (json!({}), json!({ "exp": NOW + 361 })),
            (json!({}), json!({ "exp": NOW + 3600 })),
            (json!({}), json!({ "exp": null })),
            (json!({}), json!({ "exp": "soon" })),
            (json!({}), json!({ "exp": 1e300 })),
            (json!({}), json!({ "exp": -1 })),
            (json!({}), json!({ "nbf": NOW + 61 })),
            (json!({}), json!({ "iat": NOW + 61 })),
            (json!({}), json!({ "jti": null })),
            (json!({}), json!({ "jti": "" })),
            (json!({}), json!({ "jti": "j".repeat(513) })),
        ] {
            assert!(said(header.clone(), claims.clone()).is_err(), "{header} {claims}");
        }
        for text in
            ["", ".", "..", "a.b", "a.b.c", "e30.e30", "e30.e30.", "e30.e30.A", "e30.W10.AA"]
        {
            assert!(Assertion::parse(text).is_err(), "{text}");
        }
    }
}
