//! The form of a backup: what a program of PostgreSQL writes, encrypted while it flows.
//!
//! ```text
//! kiln backup 1\n
//! {"made_at":"..","kiln":"..","key":"..","salt":".."}\n      what anybody may read of it
//! piece, piece, .. , last piece                              65,536 bytes each but the last, and 16 behind each
//! ```
//!
//! The key of a file is made of the backup key and of all that stands before the pieces (HKDF with SHA-256), so that
//! none of it can be another. Each piece is sealed by AES-256-GCM; its nonce is its number, and whether it is the last one: a
//! piece that is altered, missing, cut off, doubled or in another place does not open (the STREAM construction of
//! Hoang, Reyhanitabar, Rogaway and Vizár, 2015, as in age). What is read was whole up to there; whether nothing is missing behind
//! it, is known at the end alone.

use std::io::{self, BufRead, Read, Write};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::audit::{from_hex, hex};

/// How a backup begins.
const MAGIC: &[u8] = b"kiln backup 1\n";
/// Bytes of a piece, and of what is behind each.
const PIECE: usize = 65_536;
const TAG: usize = 16;
/// The head is shorter.
const LONGEST_HEAD: u64 = 4_096;

/// Why a file cannot be read as a backup.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It was altered, cut off, or put together anew.
    #[error("the backup is not as it was made: it was altered or cut off")]
    Damaged,
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none.
    #[error("this is no backup of Kiln")]
    Foreign,
    /// It was made with another key.
    #[error("the backup was made with the key {made_with}, and this is {given}")]
    OtherKey {
        /// The name of that key.
        made_with: String,
        /// The name of the one at hand.
        given: String,
    },
}

impl From<BackupError> for io::Error {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Io(cause) => cause,
            other => Self::other(other),
        }
    }
}

/// What backups are encrypted with.
#[derive(Clone)]
pub struct BackupKey([u8; 32]);

impl BackupKey {
    /// The key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What it is called: it tells nothing of the key.
    pub fn name(&self) -> String {
        let digest = Sha256::new_with_prefix("kiln backup key").chain_update(self.0).finalize();
        hex(&digest[..8])
    }

    /// The key of a file that begins so.
    fn of_file(&self, salt: &[u8; 32], head: &[u8]) -> LessSafeKey {
        let secret = Salt::new(HKDF_SHA256, salt).extract(&self.0);
        let info = [head];
        let made = secret.expand(&info, &AES_256_GCM).map(UnboundKey::from);
        LessSafeKey::new(made.expect("32 bytes are no more than HKDF gives"))
    }
}

/// What anybody may read of a backup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Head {
    /// When it was made.
    pub made_at: String,
    /// By which version of this program.
    pub kiln: String,
}

/// The nonce of a piece: no two of a file have the same.
fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = is_last.into();
    Nonce::assume_unique_for_key(bytes)
}

/// Encrypts what is written to it. Without [`Sealing::finish`] it is no backup.
pub struct Sealing<W: Write> {
    out: W,
    key: LessSafeKey,
    number: u64,
    piece: Vec<u8>,
}

impl<W: Write> Sealing<W> {
    /// Begins a backup; `salt` is random, and never comes twice.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(mut out: W, head: &Head, key: &BackupKey, salt: [u8; 32]) -> io::Result<Self> {
        let Head { made_at, kiln } = head;
        let line =
            json!({ "made_at": made_at, "kiln": kiln, "key": key.name(), "salt": hex(&salt) });
        let text = [MAGIC, line.to_string().as_bytes(), b"\n"].concat();
        out.write_all(&text)?;
        let key = key.of_file(&salt, &text);
        Ok(Self { out, key, number: 0, piece: Vec::with_capacity(PIECE + TAG) })
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = nonce(self.number, is_last);
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.piece);
        sealed.map_err(|_| io::Error::other("a piece cannot be sealed"))?;
        self.out.write_all(&self.piece)?;
        self.piece.clear();
        self.number += 1;
        Ok(())
    }

    /// Writes the last piece; where the backup was written to.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A whole piece is written when it is known that another one follows.
        if self.piece.len() == PIECE && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads what was encrypted.
pub struct Opening<R: BufRead> {
    from: R,
    /// What anybody may read of it.
    pub head: Head,
    key: LessSafeKey,
    number: u64,
    /// The sealed piece behind what was opened.
    next: Vec<u8>,
    opened: Vec<u8>,
    at: usize,
}

impl<R: BufRead> Opening<R> {
    /// Begins to read a backup.
    ///
    /// # Errors
    /// [`BackupError`] for what is none, or was made with another key.
    pub fn begin(mut from: R, key: &BackupKey) -> Result<Self, BackupError> {
        let mut text = Vec::new();
        for _ in 0..2 {
            from.by_ref().take(LONGEST_HEAD).read_until(b'\n', &mut text)?;
        }
        let line = text.strip_prefix(MAGIC).ok_or(BackupError::Foreign)?;
        let said: Value = serde_json::from_slice(line).map_err(|_| BackupError::Damaged)?;
        let part = |name: &str| said[name].as_str().map(str::to_owned).ok_or(BackupError::Damaged);
        let (made_with, given) = (part("key")?, key.name());
        if made_with != given {
            return Err(BackupError::OtherKey { made_with, given });
        }
        let salt = from_hex(&part("salt")?).ok_or(BackupError::Damaged)?;
        let head = Head { made_at: part("made_at")?, kiln: part("kiln")? };
        let key = key.of_file(&salt, &text);
        let mut own =
            Self { from, head, key, number: 0, next: Vec::new(), opened: Vec::new(), at: 0 };
        own.next = own.sealed()?;
        Ok(own)
    }

    /// The next sealed piece; empty at the end.
    fn sealed(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE + TAG);
        self.from.by_ref().take((PIECE + TAG) as u64).read_to_end(&mut piece)?;
        Ok(piece)
    }

    /// Opens the next piece; whether there was one.
    fn open(&mut self) -> Result<bool, BackupError> {
        let mut piece = std::mem::take(&mut self.next);
        if piece.is_empty() {
            // The first piece is there, be it empty.
            return if self.number == 0 { Err(BackupError::Damaged) } else { Ok(false) };
        }
        self.next = self.sealed()?;
        let nonce = nonce(self.number, self.next.is_empty());
        let opened = self.key.open_in_place(nonce, Aad::empty(), &mut piece);
        let length = opened.map_err(|_| BackupError::Damaged)?.len();
        piece.truncate(length);
        self.number += 1;
        (self.opened, self.at) = (piece, 0);
        Ok(true)
    }

    /// Reads it to its end, and keeps nothing: how many bytes were encrypted.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] unless it is whole and as it was made.
    pub fn verify(mut self) -> Result<u64, BackupError> {
        let mut count = 0;
        while self.open()? {
            count += self.opened.len() as u64;
        }
        Ok(count)
    }
}

impl<R: BufRead> Read for Opening<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.at == self.opened.len() {
            if !self.open()? {
                return Ok(0);
            }
        }
        let taken = room.len().min(self.opened.len() - self.at);
        room[..taken].copy_from_slice(&self.opened[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 32] = [9; 32];

    fn key() -> BackupKey {
        BackupKey::new([7; 32])
    }

    fn head() -> Head {
        Head { made_at: "2026-01-02T03:04:05.678Z".to_owned(), kiln: "0.1.0".to_owned() }
    }

    fn made(plain: &[u8]) -> Vec<u8> {
        let mut sealing = Sealing::begin(Vec::new(), &head(), &key(), SALT).unwrap();
        // In parts of an odd size, as a pipe gives them.
        for part in plain.chunks(1_021) {
            sealing.write_all(part).unwrap();
        }
        sealing.finish().unwrap()
    }

    fn read(bytes: &[u8], key: &BackupKey) -> Result<Vec<u8>, BackupError> {
        let verified = Opening::begin(bytes, key)?.verify()?;
        let mut plain = Vec::new();
        let mut opening = Opening::begin(bytes, key)?;
        opening.read_to_end(&mut plain)?;
        assert_eq!((verified, opening.head), (plain.len() as u64, head()));
        Ok(plain)
    }

    fn plain(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn what_was_sealed_is_read_whatever_its_size() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 7] {
            let text = plain(length);
            let file = made(&text);
            assert_eq!(read(&file, &key()).unwrap(), text, "{length}");
            // What is in it does not stand in it.
            let part = &text[..length.min(32)];
            assert!(length < 32 || !file.windows(32).any(|it| it == part), "{length}");
        }
    }

    /// Covers: security K9.
    #[test]
    fn every_bit_and_every_end_counts() {
        let file = made(b"a name, a number and a note");
        for end in 0..file.len() {
            assert!(read(&file[..end], &key()).is_err(), "cut off after {end}");
        }
        for (at, bit) in (0..file.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bent = file.clone();
            bent[at] ^= 1 << bit;
            assert!(read(&bent, &key()).is_err(), "bit {bit} of byte {at}");
        }
        let more = [&file[..], b"x"].concat();
        assert!(read(&more, &key()).is_err());
    }

    #[test]
    fn pieces_stay_where_they_are() {
        let file = made(&plain(3 * PIECE + 5));
        let start = file.len() - 3 * (PIECE + TAG) - 5 - TAG;
        let piece = |number: usize| {
            let begin = start + number * (PIECE + TAG);
            &file[begin..(begin + PIECE + TAG).min(file.len())]
        };
        let (head, [one, two, three, last]) = (&file[..start], [0, 1, 2, 3].map(piece));
        assert_eq!([head, one, two, three, last].concat(), file);
        for (name, parts) in [
            ("in another order", vec![head, two, one, three, last]),
            ("one is missing", vec![head, one, three, last]),
            ("one is doubled", vec![head, one, one, two, three, last]),
            ("the last is missing", vec![head, one, two, three]),
            ("the last is first", vec![head, last]),
            ("none is left", vec![head]),
        ] {
            assert!(matches!(read(&parts.concat(), &key()), Err(BackupError::Damaged)), "{name}");
        }
    }

    #[test]
    fn another_key_opens_nothing_and_is_named() {
        let file = made(b"x");
        let other = BackupKey::new([8; 32]);
        let refused = read(&file, &other).unwrap_err().to_string();
        assert!(refused.contains(&key().name()) && refused.contains(&other.name()), "{refused}");
        assert!(!String::from_utf8_lossy(&file).contains(&hex(&[7; 32])));
        for text in [&b""[..], b"x", b"kiln backup 2\n{}\n", b"PGDMP", b"kiln backup 1\n"] {
            assert!(read(text, &key()).is_err());
        }
    }
}
