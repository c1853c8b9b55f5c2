//! What says that a month of the record was dropped when its time was over, signed so that nobody but who
//! holds the key can have rows go unseen.

use std::fmt;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::fhir::Instant;

use super::checkpoint::{PublicKey, SigningKey};
use super::merkle::Hash;
use super::{from_hex, hex};

/// The first line of what is signed: no checkpoint begins so.
const KIND: &str = "kiln audit retirement";

/// What [`Batches`] are called where there are none.
const NONE: &str = "none";

/// Batches of the log, by their numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batches(Vec<(u64, u64)>);

impl Batches {
    /// Those of `numbers`, which ascend.
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for number in numbers {
            match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => runs.push((number, number)),
            }
        }
        Self(runs)
    }

    /// Whether the batch of this number is among them.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |all: u64, (first, last)| all.saturating_add((last - first).saturating_add(1)))
    }

    /// The number of the last one.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    /// Reads what is written by its display: runs that ascend.
    fn parse(text: &str) -> Option<Self> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        if text == NONE {
            return Some(Self(runs));
        }
        for run in text.split(',') {
            let (first, last) = run.split_once('-')?;
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            if first > last || runs.last().is_some_and(|(_, before)| *before >= first) {
                return None;
            }
            runs.push((first, last));
        }
        Some(Self(runs))
    }
}

impl fmt::Display for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NONE);
        }
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{first}-{last}")?;
        }
        Ok(())
    }
}

/// A digest over batches and the sum of their rows.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    rows: u64,
    hasher: Sha256,
}

impl Sum {
    /// Adds a batch: its number, how many rows it has, the root over them, and the place of the last one.
    pub fn add(&mut self, number: u64, (size, root): (u32, &Hash), (xid, id): (i64, Uuid)) {
        self.rows += u64::from(size);
        self.hasher.update(number.to_be_bytes());
        self.hasher.update(size.to_be_bytes());
        self.hasher.update(root);
        self.hasher.update(xid.to_be_bytes());
        self.hasher.update(id.as_bytes());
    }

    /// How many rows they have.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The digest over all that was added, in that order.
    pub fn digest(&self) -> Hash {
        self.hasher.clone().finalize().into()
    }
}

/// That the rows of some batches were dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Retirement {
    /// Whose record, as in checkpoints.
    pub log: String,
    /// The month of the rows, six digits.
    pub month: String,
    /// When, in whole milliseconds.
    pub at: Instant,
    /// How many rows.
    pub rows: u64,
    /// Which batches.
    pub batches: Batches,
    /// The digest over these.
    pub digest: Hash,
    /// The SHA-256 of the file that the rows were written to.
    pub archive: Hash,
}

impl Retirement {
    /// What is signed: a line each for what this is, whose, of which month, when, how many rows, how many
    /// batches and which, and the two hashes.
    pub fn text(&self) -> String {
        let Self { log, month, at, rows, batches, digest, archive } = self;
        let (count, digest, archive) = (batches.count(), hex(digest), hex(archive));
        format!("{KIND}\n{log}\n{month}\n{at}\n{rows}\n{count}\n{batches}\n{digest}\n{archive}\n")
    }

    /// Reads what [`Retirement::text`] wrote; `None` when it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.split('\n').collect();
        let [KIND, log, month, at, rows, _, batches, digest, archive, ""] = lines[..] else {
            return None;
        };
        let is_month = month.len() == 6 && month.bytes().all(|byte| byte.is_ascii_digit());
        let read = Self {
            log: log.to_owned(),
            month: is_month.then(|| month.to_owned())?,
            at: Instant::parse(at)?,
            rows: rows.parse().ok()?,
            batches: Batches::parse(batches)?,
            digest: from_hex(digest)?,
            archive: from_hex(archive)?,
        };
        (read.text() == text).then_some(read)
    }
}

/// The text of a [`Retirement`] with a signature, as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedRetirement {
    /// What is signed.
    pub text: String,
    /// By whom.
    pub key: PublicKey,
    /// The signature.
    pub signature: Vec<u8>,
}

impl SignedRetirement {
    /// Signs.
    pub fn new(retirement: &Retirement, key: &SigningKey) -> Self {
        let text = retirement.text();
        Self { signature: key.sign_text(&text), text, key: key.public() }
    }

    /// Whether its key has signed it and is one of `trusted`.
    pub fn is_signed_by(&self, trusted: &[PublicKey]) -> bool {
        trusted.contains(&self.key) && self.key.has_signed_text(&self.text, &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    fn retirement() -> Retirement {
        Retirement {
            log: "0123456789abcdef".to_owned(),
            month: "201901".to_owned(),
            at: Instant::parse("2026-01-02T03:04:05.678Z").unwrap(),
            rows: 2_500,
            batches: Batches::of([0, 1, 2, 7]),
            digest: [9; 32],
            archive: [7; 32],
        }
    }

    #[test]
    fn batches_are_read_as_they_are_written() {
        for (numbers, text, count) in [
            (&[][..], "none", 0),
            (&[4], "4-4", 1),
            (&[0, 1, 2, 7], "0-2,7-7", 4),
            (&[u64::MAX], "18446744073709551615-18446744073709551615", 1),
        ] {
            let batches = Batches::of(numbers.iter().copied());
            assert_eq!(batches.to_string(), text);
            assert_eq!((batches.count(), batches.last()), (count, numbers.last().copied()));
            assert_eq!(Batches::parse(text), Some(batches.clone()));
            for number in 0..9 {
                assert_eq!(batches.contains(number), numbers.contains(&number), "{text} {number}");
            }
        }
        for text in ["", "1", "2-1", "1-2,2-3", "3-3,1-1", "1-2,", "a-b", "-1-2"] {
            assert_eq!(Batches::parse(text), None, "{text}");
        }
        // What nobody has signed is counted without an overflow.
        let most = format!("0-{}", u64::MAX);
        assert_eq!(Batches::parse(&most).unwrap().count(), u64::MAX);
    }

    #[test]
    fn what_is_signed_is_read_as_it_was_written() {
        let text = retirement().text();
        assert_eq!(Retirement::parse(&text), Some(retirement()));
        let other = ["batches", " audit", "\n2500\n", "\n4\n", "0-2,", "201901", "0909", "Z\n"];
        for (at, part) in other.into_iter().enumerate() {
            let bent = text.replacen(part, "?", 1);
            // The first one is in no text: what is not bent is read.
            assert_eq!(Retirement::parse(&bent).is_some(), at == 0, "{part}");
        }
        for bent in [text.replace("\n2500\n", "\n+2500\n"), format!("{text}\n"), String::new()] {
            assert_eq!(Retirement::parse(&bent), None, "{bent}");
        }
    }

    #[test]
    fn it_counts_as_signed_only_as_it_was_and_by_a_trusted_key() {
        let (own, other) = (key(), key());
        let signed = SignedRetirement::new(&retirement(), &own);
        let trusted = [own.public()];
        assert!(signed.is_signed_by(&trusted));
        assert!(!signed.is_signed_by(&[other.public()]));
        assert!(!signed.is_signed_by(&[]));
        for (part, by) in [("2500", "2501"), ("0-2", "0-3"), ("201901", "201902"), ("07", "17")] {
            let text = signed.text.replacen(part, by, 1);
            assert_ne!(text, signed.text);
            assert!(!SignedRetirement { text, ..signed.clone() }.is_signed_by(&trusted), "{part}");
        }
        let foreign =
            SignedRetirement { key: own.public(), ..SignedRetirement::new(&retirement(), &other) };
        assert!(!foreign.is_signed_by(&trusted));
    }

    #[test]
    fn a_sum_tells_batches_apart_by_all_that_is_known_of_them() {
        let id = Uuid::from_u128(1);
        let sum = |number, size, root: u8, xid, id| {
            let mut sum = Sum::default();
            sum.add(number, (size, &[root; 32]), (xid, id));
            (sum.rows(), sum.digest())
        };
        let one = sum(1, 5, 1, 1, id);
        assert_eq!(one, sum(1, 5, 1, 1, id));
        for other in [
            sum(2, 5, 1, 1, id),
            sum(1, 6, 1, 1, id),
            sum(1, 5, 2, 1, id),
            sum(1, 5, 1, 2, id),
            sum(1, 5, 1, 1, Uuid::from_u128(2)),
        ] {
            assert_ne!(one.1, other.1);
        }
        assert_eq!((one.0, Sum::default().rows()), (5, 0));
    }
}
