//! Proofs for outsiders: JSON that shows, with the public key alone, that a row is in the record or that
//! the record only grew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use thiserror::Error;

use super::checkpoint::{PublicKey, Signed};
use super::merkle::{self, Hash};
use super::{batch_leaf, from_hex, hex};

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ProofError {
    /// The hashes do not lead from one to the other.
    #[error("the hashes do not lead to the signed root")]
    Broken,
    /// It is not a proof of ours.
    #[error("this is no proof, or not whole")]
    Malformed,
    /// Its checkpoint is not signed by the key.
    #[error("the checkpoint is not signed by this key")]
    Unsigned,
}

/// What a proof shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Shown {
    /// A row with this encoding is in the record of the checkpoint.
    Row {
        /// What was sealed of it.
        encoding: Vec<u8>,
        /// The size of the checkpoint.
        size: u64,
    },
    /// The record of the second checkpoint is that of the first with more behind.
    Growth {
        /// The size of the first.
        old: u64,
        /// The size of the second.
        new: u64,
    },
}

/// Shows that the row with `encoding`, at `index` of the rows of batch `batch`, is in the record of
/// `signed`, whose batches are `log`.
pub fn of_row(
    encoding: &[u8],
    (rows, index): (&[Hash], usize),
    (log, batch): (&[Hash], usize),
    signed: &Signed,
) -> Value {
    json!({
        "proves": "row",
        "encoding": STANDARD.encode(encoding),
        "batch": {
            "index": index,
            "size": rows.len(),
            "path": texts(&merkle::inclusion(rows, index)),
            "root": hex(&merkle::root(rows)),
        },
        "log": { "index": batch, "path": texts(&merkle::inclusion(log, batch)) },
        "checkpoint": signed.to_json(),
    })
}

/// Shows that the record of `new`, whose batches are `log`, has that of `old` as its beginning.
pub fn of_growth(old: &Signed, new: &Signed, log: &[Hash]) -> Value {
    let path = merkle::consistency(log, usize::try_from(old.checkpoint.size).unwrap_or(usize::MAX));
    json!({
        "proves": "growth",
        "from": old.to_json(),
        "path": texts(&path),
        "checkpoint": new.to_json(),
    })
}

/// Checks a proof by a public key that is known from elsewhere.
///
/// # Errors
/// [`ProofError`]
pub fn check(proof: &Value, key: PublicKey) -> Result<Shown, ProofError> {
    let signed = read_signed(&proof["checkpoint"], key)?;
    match proof["proves"].as_str() {
        Some("row") => check_row(proof, &signed),
        Some("growth") => {
            let old = read_signed(&proof["from"], key)?;
            let path = hashes(&proof["path"])?;
            let (old, new) = (old.checkpoint, signed.checkpoint);
            if old.log != new.log || !merkle::is_consistent(old.tree(), new.tree(), &path) {
                return Err(ProofError::Broken);
            }
            Ok(Shown::Growth { old: old.size, new: new.size })
        }
        _ => Err(ProofError::Malformed),
    }
}

fn check_row(proof: &Value, signed: &Signed) -> Result<Shown, ProofError> {
    let malformed = ProofError::Malformed;
    let number = |value: &Value| value.as_u64().ok_or(malformed);
    let encoding = proof["encoding"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let encoding = encoding.ok_or(malformed)?;
    let batch = &proof["batch"];
    let root: Hash = batch["root"].as_str().and_then(from_hex).ok_or(malformed)?;
    let (index, size) = (number(&batch["index"])?, number(&batch["size"])?);
    let leaf = merkle::leaf(&encoding);
    let rows = hashes(&batch["path"])?;
    let in_log = number(&proof["log"]["index"])?;
    let log = hashes(&proof["log"]["path"])?;
    let tree = signed.checkpoint.tree();
    let entry = batch_leaf(&root, u32::try_from(size).map_err(|_| malformed)?);
    if !merkle::includes(&leaf, index, size, &rows, &root)
        || !merkle::includes(&entry, in_log, tree.size, &log, &tree.root)
    {
        return Err(ProofError::Broken);
    }
    Ok(Shown::Row { encoding, size: tree.size })
}

fn read_signed(value: &Value, key: PublicKey) -> Result<Signed, ProofError> {
    let signed = Signed::from_json(value).ok_or(ProofError::Malformed)?;
    if signed.is_signed_by(&[key]) { Ok(signed) } else { Err(ProofError::Unsigned) }
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| hex(hash)).collect()
}

fn hashes(value: &Value) -> Result<Vec<Hash>, ProofError> {
    let values = value.as_array().ok_or(ProofError::Malformed)?;
    let hash = |value: &Value| value.as_str().and_then(from_hex).ok_or(ProofError::Malformed);
    values.iter().map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{Checkpoint, SigningKey};
    use super::*;
    use crate::fhir::Instant;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    fn signed(key: &SigningKey, log: &[Hash]) -> Signed {
        key.sign(Checkpoint {
            log: "0".repeat(16),
            size: log.len() as u64,
            rows: 5 * log.len() as u64,
            at: Instant::from_micros(0),
            root: merkle::root(log),
        })
    }

    /// Seven batches of five rows.
    fn record() -> (Vec<Vec<Hash>>, Vec<Hash>) {
        let row = |batch: u8, row: u8| merkle::leaf(&[batch, row]);
        let batches: Vec<Vec<Hash>> =
            (0..7).map(|batch| (0..5).map(|number| row(batch, number)).collect()).collect();
        let log = batches.iter().map(|rows| batch_leaf(&merkle::root(rows), 5)).collect();
        (batches, log)
    }

    #[test]
    fn a_row_is_shown_to_whoever_has_the_public_key() {
        let (key, (batches, log)) = (key(), record());
        let signed = signed(&key, &log);
        for (batch, rows) in batches.iter().enumerate() {
            let encoding = [u8::try_from(batch).unwrap(), 3];
            let proof = of_row(&encoding, (rows, 3), (&log, batch), &signed);
            let shown = Shown::Row { encoding: encoding.to_vec(), size: 7 };
            assert_eq!(check(&proof, key.public()), Ok(shown), "{batch}");
            for (path, value, expected) in [
                ("/encoding", json!("AAAA"), ProofError::Broken),
                ("/encoding", json!("?"), ProofError::Malformed),
                ("/batch/index", json!(4), ProofError::Broken),
                ("/batch/size", json!(6), ProofError::Broken),
                ("/batch/root", json!(hex(&[0; 32])), ProofError::Broken),
                ("/log/index", json!((batch + 1) % 7), ProofError::Broken),
                ("/log/path", json!(["x"]), ProofError::Malformed),
                ("/checkpoint/size", json!(8), ProofError::Unsigned),
                ("/proves", json!("nothing"), ProofError::Malformed),
            ] {
                let mut bent = proof.clone();
                *bent.pointer_mut(path).unwrap() = value;
                assert_eq!(check(&bent, key.public()), Err(expected), "{path}");
            }
            assert_eq!(check(&proof, self::key().public()), Err(ProofError::Unsigned));
        }
    }

    #[test]
    fn growth_is_shown_between_any_two_checkpoints() {
        let (key, (_, log)) = (key(), record());
        for old in 1..=7 {
            let (from, to) = (signed(&key, &log[..old]), signed(&key, &log));
            let proof = of_growth(&from, &to, &log);
            let shown = Shown::Growth { old: old as u64, new: 7 };
            assert_eq!(check(&proof, key.public()), Ok(shown), "{old}");
            let mut other = log[..old].to_vec();
            other[0] = [7; 32];
            let proof = of_growth(&signed(&key, &other), &to, &log);
            assert_eq!(check(&proof, key.public()), Err(ProofError::Broken), "{old}");
        }
    }
}
