//! Secrets of clients as they are kept: hashed, two at a time, and until they expire.
//!
//! Spec: security T5, M9

use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::fhir::Instant;
use crate::oauth::Authority;
use crate::oauth::secret::{self, Fresh};

/// How many secrets of one client count at a time.
const SECRETS: usize = 2;

/// Whether a hash is among those of secrets that count still. All are compared.
pub(super) fn knows(secrets: &str, hash: &[u8; 32], now: Instant) -> bool {
    let shown = secret::hex(hash);
    let same = |known: &Kept| {
        let is_live = known.expires.is_none_or(|at| at > now);
        secret::is_same(known.hash.as_bytes(), shown.as_bytes()) & is_live
    };
    kept(secrets).iter().map(same).fold(false, std::ops::BitOr::bitor)
}

/// A secret of a client as it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Kept {
    hash: String,
    /// When it was made.
    #[serde(deserialize_with = "instant")]
    pub created: Instant,
    /// From when on it counts no more.
    #[serde(default, deserialize_with = "instant_or_none")]
    pub expires: Option<Instant>,
}

fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<Instant, D::Error> {
    let text = String::deserialize(from)?;
    Instant::parse(&text).ok_or_else(|| D::Error::custom("no instant"))
}

fn instant_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Instant>, D::Error> {
    instant(from).map(Some)
}

/// The secrets of a client, oldest first. One that cannot be read counts for nothing.
pub fn kept(secrets: &str) -> Vec<Kept> {
    let list: Vec<Value> = serde_json::from_str(secrets).unwrap_or_default();
    list.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect()
}

/// The secrets of a client and a new one that does not expire; the oldest goes where there are too many.
pub fn with_secret(secrets: &str, hash: &[u8; 32], now: Instant) -> String {
    with_secret_until(secrets, hash, now, None)
}

fn with_secret_until(
    secrets: &str,
    hash: &[u8; 32],
    now: Instant,
    expires: Option<Instant>,
) -> String {
    let mut list: Vec<Value> = serde_json::from_str(secrets).unwrap_or_default();
    let mut one = json!({ "hash": secret::hex(hash), "created": now.to_string() });
    if let Some(expires) = expires {
        one["expires"] = json!(expires.to_string());
    }
    list.push(one);
    let surplus = list.len().saturating_sub(SECRETS);
    Value::from(list.split_off(surplus)).to_string()
}

impl Authority {
    /// A new secret of a client, and all of its secrets as they are kept.
    pub(in crate::oauth) fn fresh_secret(&self, secrets: &str) -> (SecretString, String) {
        let Fresh { text, hash } = Fresh::new(secret::CLIENT, &*self.ids);
        let now = self.clock.now();
        let lifetime = self.settings.client_secret;
        let expires = lifetime.map(|lifetime| now.plus_millis(lifetime.as_millis() as i64));
        (text, with_secret_until(secrets, &hash, now, expires))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn two_secrets_count_at_a_time() {
        let mut secrets = "[]".to_owned();
        let all = ["a", "b", "c"].map(secret::hash);
        for hash in &all {
            secrets = with_secret(&secrets, hash, at(0));
        }
        assert_eq!(all.map(|hash| knows(&secrets, &hash, at(0))), [false, true, true]);
        assert!(!knows("[]", &all[0], at(0)) && !knows("", &all[0], at(0)));
    }

    #[test]
    fn a_secret_counts_until_it_expires() {
        let hash = secret::hash("s");
        let secrets = with_secret_until("[]", &hash, at(0), Some(at(5_000_000)));
        assert_eq!(
            [0, 4_999_999, 5_000_000].map(|now| knows(&secrets, &hash, at(now))),
            [true, true, false]
        );
        let listed = kept(&secrets);
        assert_eq!((listed[0].created, listed[0].expires), (at(0), Some(at(5_000_000))));
        assert!(kept(r#"[{"hash":"x"},{"hash":"x","created":"soon"},1]"#).is_empty());
    }
}
