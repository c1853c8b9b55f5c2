//! A strict reader of the little CBOR that WebAuthn needs.
//!
//! Definite lengths, shortest forms, no tags, no floats, bounded depth: what CTAP2 calls canonical.
//! Whatever else comes is refused.
//!
//! Spec: RFC 8949; CTAP 2.1 section 8

/// Deepest nesting.
const DEEPEST: u8 = 4;
/// Most members of a map or array.
const MOST: u64 = 64;

/// A value, borrowed from its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cbor<'a> {
    /// Values in order.
    Array(Vec<Cbor<'a>>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A whole number.
    Int(i64),
    /// Keys with values.
    Map(Vec<(Cbor<'a>, Cbor<'a>)>),
    /// `true` and `false`.
    Bool(bool),
    /// Text.
    Text(&'a str),
}

impl<'a> Cbor<'a> {
    /// Reads one value from the start of `bytes`; it and what follows it.
    pub fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        value(bytes, 0)
    }

    /// The bytes under a number.
    pub fn bytes_at(&self, key: i64) -> Option<&'a [u8]> {
        match self.at(&Cbor::Int(key))? {
            Cbor::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number under a number.
    pub fn int_at(&self, key: i64) -> Option<i64> {
        match self.at(&Cbor::Int(key))? {
            Cbor::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The value under a name.
    pub fn named(&self, name: &str) -> Option<&Cbor<'a>> {
        let Cbor::Map(members) = self else { return None };
        let is_it = |key: &Cbor<'_>| matches!(key, Cbor::Text(text) if *text == name);
        members.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
    }

    fn at(&self, key: &Cbor<'_>) -> Option<&Cbor<'a>> {
        let Cbor::Map(members) = self else { return None };
        members.iter().find(|(found, _)| found == key).map(|(_, value)| value)
    }
}

fn value(bytes: &[u8], depth: u8) -> Option<(Cbor<'_>, &[u8])> {
    if depth > DEEPEST {
        return None;
    }
    let (&first, rest) = bytes.split_first()?;
    if first == 0xf4 || first == 0xf5 {
        return Some((Cbor::Bool(first == 0xf5), rest));
    }
    let (number, rest) = argument(first & 0x1f, rest)?;
    match first >> 5 {
        0 => Some((Cbor::Int(i64::try_from(number).ok()?), rest)),
        1 => Some((Cbor::Int(-1 - i64::try_from(number).ok()?), rest)),
        2 => {
            let (text, rest) = rest.split_at_checked(usize::try_from(number).ok()?)?;
            Some((Cbor::Bytes(text), rest))
        }
        3 => {
            let (text, rest) = rest.split_at_checked(usize::try_from(number).ok()?)?;
            Some((Cbor::Text(std::str::from_utf8(text).ok()?), rest))
        }
        4 if number <= MOST => {
            let (mut members, mut rest) = (Vec::new(), rest);
            for _ in 0..number {
                let (member, after) = value(rest, depth + 1)?;
                members.push(member);
                rest = after;
            }
            Some((Cbor::Array(members), rest))
        }
        5 if number <= MOST => {
            let (mut members, mut rest) = (Vec::<(Cbor<'_>, Cbor<'_>)>::new(), rest);
            for _ in 0..number {
                let (key, after) = value(rest, depth + 1)?;
                let (member, after) = value(after, depth + 1)?;
                if members.iter().any(|(known, _)| *known == key) {
                    return None;
                }
                members.push((key, member));
                rest = after;
            }
            Some((Cbor::Map(members), rest))
        }
        _ => None,
    }
}

/// The number that comes with a first byte, in its shortest form only.
fn argument(kind: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    let (size, least) = match kind {
        0..=23 => return Some((u64::from(kind), rest)),
        24 => (1, 24),
        25 => (2, 1 << 8),
        26 => (4, 1 << 16),
        27 => (8, 1 << 32),
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(size)?;
    let number = digits.iter().fold(0, |sum, digit| sum << 8 | u64::from(*digit));
    (number >= least).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_what_is_not_canonical_is_refused() {
        let map = Cbor::Map(vec![(Cbor::Int(1), Cbor::Int(2)), (Cbor::Int(-1), Cbor::Text("a"))]);
        for (bytes, expected) in [
            (&[0x00][..], Some(Cbor::Int(0))),
            (&[0x18, 0x18], Some(Cbor::Int(24))),
            (&[0x38, 0x63], Some(Cbor::Int(-100))),
            (&[0x19, 0x01, 0x00], Some(Cbor::Int(256))),
            (&[0x42, 1, 2], Some(Cbor::Bytes(&[1, 2]))),
            (&[0x82, 0xf4, 0xf5], Some(Cbor::Array(vec![Cbor::Bool(false), Cbor::Bool(true)]))),
            (&[0xa2, 1, 2, 0x20, 0x61, b'a'], Some(map)),
            // Longer than need be, indefinite, tagged, a float, cut off, a key twice, too many.
            (&[0x18, 0x17], None),
            (&[0x5f, 0xff], None),
            (&[0xc0, 0x00], None),
            (&[0xf9, 0, 0], None),
            (&[0x42, 1], None),
            (&[0xa2, 1, 2, 1, 3], None),
            (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None),
            (&[0x81, 0x81, 0x81, 0x81, 0x81, 0x00], None),
            (&[0x62, 0xff, 0xfe], None),
            (&[], None),
        ] {
            assert_eq!(Cbor::read(bytes).map(|it| it.0), expected, "{bytes:x?}");
        }
    }
}
