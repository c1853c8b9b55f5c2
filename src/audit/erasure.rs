//! What says that a patient's record was erased, signed: a list of these outlives every backup, and what is restored from
//! one is erased again by it.
//!
//! It names the patient by the id alone, and nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fhir::{Instant, LogicalId};

use super::checkpoint::{PublicKey, SigningKey};

/// The first line of what is signed: no checkpoint begins so.
const KIND: &str = "kiln erasure";

/// That a patient's record was erased.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Erased {
    /// Whose data, as in checkpoints: sixteen digits of a deployment, or of a tenant of one.
    pub log: String,
    /// The number of the request.
    pub number: i64,
    /// The how manieth it was, from 1: a list that lacks one shows it.
    pub ordinal: i64,
    /// Of which patient.
    pub patient: LogicalId,
    /// When, in whole milliseconds.
    pub at: Instant,
}

impl Erased {
    /// What is signed: a line each for what this is, whose data, the two numbers, which patient, and when.
    fn text(&self) -> String {
        let Self { log, number, ordinal, patient, at } = self;
        format!("{KIND}\n{log}\n{number}\n{ordinal}\n{patient}\n{at}\n")
    }
}

/// The same with a signature, as a line of the list has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedErased {
    /// What is signed.
    pub erased: Erased,
    /// By whom.
    pub key: PublicKey,
    /// The signature.
    pub signature: Vec<u8>,
}

impl SignedErased {
    /// Signs.
    pub fn new(erased: Erased, key: &SigningKey) -> Self {
        Self { signature: key.sign_text(&erased.text()), erased, key: key.public() }
    }

    /// Whether its key has signed it and is one of `trusted`.
    pub fn is_signed_by(&self, trusted: &[PublicKey]) -> bool {
        trusted.contains(&self.key)
            && self.key.has_signed_text(&self.erased.text(), &self.signature)
    }

    /// As a line has it: one JSON object.
    pub fn to_json(&self) -> Value {
        let Erased { log, number, ordinal, patient, at } = &self.erased;
        json!({
            "log": log,
            "number": number,
            "ordinal": ordinal,
            "patient": patient.as_str(),
            "time": at.to_string(),
            "key": self.key.to_string(),
            "signature": STANDARD.encode(&self.signature),
        })
    }

    /// Reads what [`SignedErased::to_json`] wrote; `None` when it is something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let erased = Erased {
            log: value["log"].as_str()?.to_owned(),
            number: value["number"].as_i64()?,
            ordinal: value["ordinal"].as_i64()?,
            patient: value["patient"].as_str()?.parse().ok()?,
            at: Instant::parse(value["time"].as_str()?)?,
        };
        let key = PublicKey::parse(value["key"].as_str()?)?;
        let signature = STANDARD.decode(value["signature"].as_str()?).ok()?;
        Some(Self { erased, key, signature })
    }
}

/// Why a list of erasures cannot be relied on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnfitList {
    /// One is not there that must have been.
    #[error("erasure {0} is missing in it")]
    Missing(i64),
    /// Nobody who is trusted has signed one.
    #[error("erasure {0} in it is not signed by a key that is trusted here")]
    Unsigned(i64),
}

/// Those of `lines` that are of one log, in their order, where all are signed and none is left out.
///
/// # Errors
/// [`UnfitList`] names the first that is not as it must be.
pub fn erasures_of(
    lines: &[SignedErased],
    log: &str,
    trusted: &[PublicKey],
) -> Result<Vec<Erased>, UnfitList> {
    let mut own: Vec<&SignedErased> = lines.iter().filter(|it| it.erased.log == log).collect();
    own.sort_by_key(|it| it.erased.ordinal);
    // Nodes may have written the same one each.
    own.dedup_by(|one, other| one.erased == other.erased);
    for (it, ordinal) in own.iter().zip(1..) {
        if it.erased.ordinal != ordinal {
            return Err(UnfitList::Missing(ordinal));
        }
        if !it.is_signed_by(trusted) {
            return Err(UnfitList::Unsigned(ordinal));
        }
    }
    Ok(own.into_iter().map(|it| it.erased.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    fn erased(ordinal: i64) -> Erased {
        Erased {
            log: "0123456789abcdef".to_owned(),
            number: ordinal + 7,
            ordinal,
            patient: format!("p{ordinal}").parse().unwrap(),
            at: Instant::parse("2026-01-02T03:04:05.678Z").unwrap(),
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let signed = SignedErased::new(erased(1), &key());
        let value = signed.to_json();
        assert_eq!(SignedErased::from_json(&value), Some(signed));
        for name in ["log", "number", "ordinal", "patient", "time", "key", "signature"] {
            let mut bent = value.clone();
            bent[name] = json!("no/such thing");
            let is_text = name == "log";
            assert_eq!(SignedErased::from_json(&bent).is_some(), is_text, "{name}");
        }
    }

    #[test]
    fn it_counts_as_signed_only_as_it_was_and_by_a_trusted_key() {
        let (own, other) = (key(), key());
        let signed = SignedErased::new(erased(1), &own);
        let trusted = [own.public()];
        assert!(signed.is_signed_by(&trusted));
        assert!(!signed.is_signed_by(&[other.public()]));
        let changes: [fn(&mut Erased); 5] = [
            |it| it.log.replace_range(..1, "1"),
            |it| it.number += 1,
            |it| it.ordinal += 1,
            |it| it.patient = "p2".parse().unwrap(),
            |it| it.at = it.at.plus_millis(1),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut bent = signed.clone();
            change(&mut bent.erased);
            assert!(!bent.is_signed_by(&trusted), "{number}");
        }
    }

    #[test]
    fn a_list_is_whole_or_refused() {
        let (own, other) = (key(), key());
        let trusted = [own.public()];
        let line = |ordinal| SignedErased::new(erased(ordinal), &own);
        let foreign = SignedErased::new(erased(2), &other);
        let elsewhere = {
            let erased = Erased { log: "f".repeat(16), ..erased(9) };
            SignedErased::new(erased, &other)
        };
        let all = Ok(vec![erased(1), erased(2)]);
        for (lines, expected) in [
            (vec![], Ok(vec![])),
            (vec![elsewhere.clone()], Ok(vec![])),
            (vec![line(1), line(2)], all.clone()),
            (vec![line(2), elsewhere, line(1), line(2)], all),
            (vec![line(2)], Err(UnfitList::Missing(1))),
            (vec![line(1), line(3)], Err(UnfitList::Missing(2))),
            (vec![line(1), foreign], Err(UnfitList::Unsigned(2))),
        ] {
            let found = erasures_of(&lines, "0123456789abcdef", &trusted);
            assert_eq!(found, expected, "{lines:?}");
        }
    }
}
