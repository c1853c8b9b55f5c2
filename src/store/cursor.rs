//! Page links: where a page begins, sealed so that nobody can make one up or read values from it.
//!
//! The text holds the order's values of the match beside which the page begins, and names are
//! values: so it is enciphered, by a stream that its own proof begins. It opens only for the same
//! search, or the same history, by the same caller.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::access::Permit;
use crate::error::Error;
use crate::fhir::IssueCode;

use super::hash::Hasher;
use super::search::Count;

/// Where a page begins: beside a match, which is not on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position {
    /// The order's values of that match, as the database writes them; `None` where it has none.
    pub keys: Vec<Option<String>>,
    /// The store's key of that match.
    pub rid: i64,
    /// Whether the page has what comes before the match, not what comes after it.
    pub is_back: bool,
    /// The total, as the first page found it.
    pub total: Option<Count>,
}

/// What a link is bound to.
#[derive(Debug)]
pub struct Seal {
    hasher: Hasher,
    context: Vec<u8>,
}

const BACK: u8 = 1;
const TOTAL: u8 = 2;
const EXACT: u8 = 4;

/// What is said of a link that does not open; `of` is what it was sent for, a search or a history.
pub fn unknown(of: &str) -> Error {
    let text = format!("this page link was not made by this server for this {of}");
    Error::invalid(IssueCode::Invalid, text)
}

impl Seal {
    /// The seal of what was `said` by one caller.
    pub fn new(said: &str, permit: &Permit<'_>, hasher: &Hasher) -> Self {
        let said =
            format!("{said} {:?} {:?} {:?}", permit.actor(), permit.client(), permit.restriction());
        Self::within(said.as_bytes(), hasher)
    }

    /// The seal of one `context`.
    pub fn within(context: &[u8], hasher: &Hasher) -> Self {
        let context = hasher.seal(context).to_be_bytes().to_vec();
        Self { hasher: hasher.clone(), context }
    }

    /// `position` as an opaque text.
    pub fn close(&self, position: &Position) -> String {
        let mut plain = position.to_bytes();
        let proof = self.proof(&plain);
        self.cipher(proof, &mut plain);
        let mut sealed = proof.to_be_bytes().to_vec();
        sealed.append(&mut plain);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// The position behind `text`; `None` when this server did not make it for this search.
    pub fn open(&self, text: &str) -> Option<Position> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (proof, rest) = sealed.split_first_chunk::<8>()?;
        let proof = u64::from_be_bytes(*proof);
        let mut plain = rest.to_vec();
        self.cipher(proof, &mut plain);
        if self.proof(&plain) != proof {
            return None;
        }
        Position::from_bytes(&plain)
    }

    fn proof(&self, plain: &[u8]) -> u64 {
        self.hasher.seal(&[b"proof", &*self.context, plain].concat())
    }

    fn cipher(&self, proof: u64, text: &mut [u8]) {
        for (block, bytes) in text.chunks_mut(8).enumerate() {
            let place = [b"block", &*self.context, &proof.to_be_bytes(), &block.to_be_bytes()];
            let mask = self.hasher.seal(&place.concat()).to_be_bytes();
            bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}

impl Position {
    /// The bytes that are sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { keys, rid, is_back, total } = self;
        let mut flags = if *is_back { BACK } else { 0 };
        if let Some(total) = total {
            flags |= TOTAL | if total.is_exact { EXACT } else { 0 };
        }
        let mut plain = vec![flags];
        plain.extend(rid.to_be_bytes());
        plain.extend(total.iter().flat_map(|total| total.number.to_be_bytes()));
        for key in keys {
            let Some(key) = key else {
                plain.extend(u16::MAX.to_be_bytes());
                continue;
            };
            // Sort texts have at most 256 bytes, numbers and times less than a thousand digits.
            let length = u16::try_from(key.len()).unwrap_or(u16::MAX - 1);
            plain.extend(length.to_be_bytes());
            plain.extend(&key.as_bytes()[..usize::from(length)]);
        }
        plain
    }

    /// The position that the bytes say; `None` where they say none.
    pub fn from_bytes(plain: &[u8]) -> Option<Self> {
        let (&flags, rest) = plain.split_first()?;
        let (rid, mut rest) = rest.split_first_chunk::<8>()?;
        let mut total = None;
        if flags & TOTAL != 0 {
            let (number, after) = rest.split_first_chunk::<8>()?;
            let number = u64::from_be_bytes(*number);
            total = Some(Count { number, is_exact: flags & EXACT != 0 });
            rest = after;
        }
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let length = u16::from_be_bytes(*length);
            if length == u16::MAX {
                keys.push(None);
                rest = after;
                continue;
            }
            let (key, after) = after.split_at_checked(usize::from(length))?;
            keys.push(Some(String::from_utf8(key.to_vec()).ok()?));
            rest = after;
        }
        let is_back = flags & BACK != 0;
        Some(Self { keys, rid: i64::from_be_bytes(*rid), is_back, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_only_where_and_as_it_was_sealed() {
        let hasher = Hasher::with_key([7; 16]);
        let other = Hasher::with_key([8; 16]);
        let here = Seal::within(b"a", &hasher);
        for keys in [
            vec![],
            vec![Some("2024-05-11 10:00:00+00".to_owned())],
            vec![None, Some(String::new()), Some("Müller".to_owned())],
        ] {
            for total in [None, Some(Count { number: 42, is_exact: true })] {
                for is_back in [false, true] {
                    let position = Position { keys: keys.clone(), rid: -7, is_back, total };
                    let text = here.close(&position);
                    assert_eq!(here.open(&text), Some(position), "{text}");
                    assert_eq!(Seal::within(b"b", &hasher).open(&text), None, "{text}");
                    assert_eq!(Seal::within(b"a", &other).open(&text), None, "{text}");
                    for at in 0..text.len() {
                        let mut bytes = text.clone().into_bytes();
                        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                        let changed = String::from_utf8(bytes).expect("text");
                        assert_eq!(here.open(&changed), None, "{changed}");
                    }
                    assert_eq!(here.open(&text[1..]), None);
                }
            }
        }
        for bad in ["", "x", "é", "AAAA", "=", &"A".repeat(64)] {
            assert_eq!(here.open(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_link_shows_no_value() {
        let hasher = Hasher::with_key([7; 16]);
        let name = "Peacock".to_owned();
        let position =
            Position { keys: vec![Some(name.clone())], rid: 1, is_back: false, total: None };
        let text = Seal::within(b"a", &hasher).close(&position);
        let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64");
        assert!(!bytes.windows(4).any(|part| name.as_bytes().windows(4).any(|it| it == part)));
    }
}
