//! The record of who did what, as evidence: a Merkle log over the ledger and what can be proved by it.
//!
//! The rows of the ledger are sealed in batches. A batch is a Merkle tree of its rows; the batches are
//! the leaves of a log whose root is signed after each of them: a [`Checkpoint`]. Who has a
//! checkpoint from outside the database can tell whether the rows before it are still what they
//! were, and can be shown that one row is among them ([`proof`]) or that a later checkpoint only
//! added to an earlier one. Batches stand in the log by their root, so that months whose time to be
//! kept is over can be dropped without breaking what comes after; that they were is signed too ([`Retirement`]).
//!
//! Pure: what is hashed and signed comes from the caller, and nothing is read or written here.
//!
//! [`balp`] says what a row is as AuditEvents, [`disclosure`] what of that a patient is told, [`query`] what a
//! search of them asks of rows, [`dicom`] and [`syslog`] how others get them, [`alert`] which of them somebody
//! should look at.
//!
//! Layer: 3, after `access`. Imports `access`, `fhir`, `search`; owns `ring`'s signatures of checkpoints.
//!
//! Spec: RFC 6962 section 2 (hashes and proofs), RFC 8032 (Ed25519).

pub mod alert;
mod asked;
mod authz;
pub mod balp;
pub mod checkpoint;
pub mod compare;
pub mod dicom;
pub mod disclosure;
pub mod erasure;
pub mod form;
pub mod merkle;
pub mod proof;
pub mod query;
pub mod retirement;
pub mod syslog;
mod token;
mod user;

pub use checkpoint::{Checkpoint, PublicKey, Signed, SigningKey};
pub use compare::{Finding, Sealed, compare, month_text};
pub use erasure::{Erased, SignedErased, UnfitList, erasures_of};
pub use merkle::Hash;
pub use retirement::{Batches, Retirement, SignedRetirement, Sum};

/// Most rows of a batch.
pub const BATCH: usize = 1_000;

/// The leaf of the log that stands for a batch: its root and how many rows it has.
pub fn batch_leaf(root: &Hash, size: u32) -> Hash {
    let mut bytes = [0; 36];
    bytes[..32].copy_from_slice(root);
    bytes[32..].copy_from_slice(&size.to_be_bytes());
    merkle::leaf(&bytes)
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits; `None` when they are not, or not as many as wanted.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != N * 2 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_as_written_and_nothing_else_is() {
        assert_eq!(hex(&[0, 171, 255]), "00abff");
        for (text, expected) in [
            ("00abff", Some([0, 171, 255])),
            ("00ABFF", Some([0, 171, 255])),
            ("00abf", None),
            ("00abfff0", None),
            ("00abfg", None),
            ("0é0é", None),
        ] {
            assert_eq!(from_hex::<3>(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_batch_of_another_size_is_another_leaf() {
        assert_ne!(batch_leaf(&[1; 32], 1), batch_leaf(&[1; 32], 2));
    }
}
