//! One-time codes of an authenticator app.
//!
//! Six digits, 30 seconds, HMAC-SHA-1: what all such apps can do. The step before and the one after
//! count too; which step was used last is kept by the store, so that no code works twice.
//!
//! Spec: RFC 6238, RFC 4226, RFC 4648 section 6

use ring::hmac;

use crate::oauth::secret;

/// Bytes of a secret: those of the hash (RFC 4226 section 4).
pub const SECRET: usize = 20;
const STEP_S: i64 = 30;
const DIGITS: u32 = 6;

/// The step that `code` belongs to, when it is one of those around now.
pub fn step_of(secret: &[u8], code: &str, now_s: i64) -> Option<i64> {
    let digits: String = code.chars().filter(|it| !it.is_whitespace()).collect();
    if digits.len() != DIGITS as usize || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let now = now_s.div_euclid(STEP_S);
    let mut found = None;
    for step in [now - 1, now, now + 1] {
        let expected = code_of(secret, step);
        let is_same = secret::is_same(expected.as_bytes(), digits.as_bytes());
        found = if is_same { Some(step) } else { found };
    }
    found
}

/// The code of a step.
pub fn code_of(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 0xf);
    let number = u32::from_be_bytes([tag[at] & 0x7f, tag[at + 1], tag[at + 2], tag[at + 3]]);
    format!("{:06}", number % 10_u32.pow(DIGITS))
}

/// The step at a moment.
pub fn step_at(now_s: i64) -> i64 {
    now_s.div_euclid(STEP_S)
}

/// A secret as people type it.
pub fn base32(secret: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for chunk in secret.chunks(5) {
        let mut bytes = [0; 8];
        bytes[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(bytes);
        for place in 0..(chunk.len() * 8).div_ceil(5) {
            let index = (bits >> (35 - 5 * place)) & 31;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (time, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_of(KEY, step_at(time)), expected, "{time}");
        }
    }

    #[test]
    fn a_code_is_good_for_its_step_and_those_beside_it() {
        for (time, code, expected) in [
            (59, "287082", Some(1)),
            (60, "287 082", Some(1)),
            (29, "287082", Some(1)),
            (90, "287082", None),
            (59, "287083", None),
            (59, "28708", None),
            (59, "2870820", None),
            (59, "28708x", None),
            (59, "２８７０８２", None),
        ] {
            assert_eq!(step_of(KEY, code, time), expected, "{time} {code}");
        }
    }

    #[test]
    fn a_secret_is_written_as_the_rfc_says() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "MY"),
            (b"fo", "MZXQ"),
            (b"foo", "MZXW6"),
            (b"foob", "MZXW6YQ"),
            (b"fooba", "MZXW6YTB"),
            (b"foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes), expected);
        }
    }
}
