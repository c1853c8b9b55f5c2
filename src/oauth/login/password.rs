//! Passwords: what may be one, how it is kept, and how one is compared.
//!
//! Kept as Argon2id in the usual text form, so that the costs of an old one can be told from those
//! of today. A comparison for an account that is not there costs the same as one that is.
//!
//! Spec: OWASP password storage; NIST SP 800-63B section 3.1.1 (length and a list, no composition).

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;

use crate::oauth::secret;

/// Memory in KiB, passes and lanes: what a hash made today costs.
const COST: Cost = Cost { memory: 19_456, passes: 2, lanes: 1 };
/// Bytes of a salt and of a hash.
pub const SALT: usize = 16;
const HASH: usize = 32;
/// Longer ones are refused: nobody types them, and they would only cost time.
const LONGEST: usize = 256;
/// The most that a stored hash may cost.
const DEAREST: Cost = Cost { memory: 1 << 20, passes: 16, lanes: 16 };

/// So many characters of a name are in no text by chance.
const CERTAIN: usize = 4;
/// The letters of a keyboard.
const ROWS: [&str; 3] = ["qwertyuiop", "asdfghjkl", "zxcvbnm"];

/// Passwords that are tried first.
const COMMON: &str = include_str!("common-passwords.txt");

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Cost {
    memory: u32,
    passes: u32,
    lanes: u32,
}

/// Why a text cannot be a password.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Weakness {
    /// It is on the list, or hardly differs from what is on it.
    #[error("this password is one of those that are tried first; choose another")]
    Common,
    /// It has the account's name in it.
    #[error("the password must not have the user name in it")]
    Name,
    /// It has fewer characters than are asked for.
    #[error("the password needs at least {0} characters")]
    Short(usize),
    /// It has more bytes than are taken.
    #[error("the password is longer than 256 bytes")]
    Long,
}

/// The hashing failed: memory, or parameters that no hash of ours has.
#[derive(Debug, Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(String);

/// Whether `password` may be the one of the account `name`.
///
/// # Errors
/// [`Weakness`] says why not.
pub fn check(password: &SecretString, name: &str, shortest: usize) -> Result<(), Weakness> {
    let text = password.expose_secret();
    if text.len() > LONGEST {
        return Err(Weakness::Long);
    }
    if text.nfkc().count() < shortest {
        return Err(Weakness::Short(shortest));
    }
    let plain: String = text.nfkc().flat_map(char::to_lowercase).collect();
    if has_name(&plain, &name.to_lowercase()) {
        return Err(Weakness::Name);
    }
    let core = plain.trim_matches(|it: char| !it.is_alphabetic());
    let is_known = is_listed(&plain) || is_listed(core) || is_of_listed(core);
    if is_known || is_monotonous(&plain) || is_repeated(&plain) || is_sequence(&plain) {
        return Err(Weakness::Common);
    }
    Ok(())
}

fn is_listed(text: &str) -> bool {
    COMMON.lines().any(|line| line == text)
}

/// Whether the name is in the text, whatever stands between its parts. A name so short that words have it in them
/// by chance counts where there is hardly anything else.
fn has_name(text: &str, name: &str) -> bool {
    let plain = |text: &str| text.chars().filter(|it| it.is_alphanumeric()).collect::<String>();
    let (text, name) = (plain(text), plain(name));
    let rest = text.replace(&name, "");
    let is_there = !name.is_empty() && rest.len() < text.len();
    is_there && (name.chars().count() >= CERTAIN || rest.chars().count() < 6)
}

/// Whether the text is one word of the list or two, with digits and signs between, and in place of letters.
fn is_of_listed(text: &str) -> bool {
    let letter = |it: char| match it {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    };
    let only = |text: &mut dyn Iterator<Item = char>| {
        text.filter(|it| it.is_alphabetic()).collect::<Vec<char>>()
    };
    let is_one = |letters: &[char]| is_listed(&letters.iter().collect::<String>());
    let read = [only(&mut text.chars()), only(&mut text.chars().map(letter))];
    read.iter().any(|letters| {
        let mut splits = (1..letters.len()).map(|at| letters.split_at(at));
        is_one(letters) || splits.any(|(one, other)| is_one(one) && is_one(other))
    })
}

/// Whether the text does little else than to stay, to count up or down, or to go along a row of keys.
fn is_sequence(text: &str) -> bool {
    let all: Vec<char> = text.chars().filter(|it| it.is_alphanumeric()).collect();
    let (mut runs, mut going) = (1, None);
    for pair in all.windows(2) {
        match (going, step(pair[0], pair[1])) {
            (None, found @ Some(_)) => going = found,
            (Some(way), Some(found)) if way == found => {}
            _ => (runs, going) = (runs + 1, None),
        }
    }
    runs * 3 <= all.len()
}

/// Which way it goes from a character to the next one: up, down or nowhere. `None`: to somewhere else.
fn step(from: char, to: char) -> Option<i64> {
    let row = ROWS.iter().find(|row| row.contains(from) && row.contains(to));
    let along = row.and_then(|row| Some((row.find(from)? as i64, row.find(to)? as i64)));
    let codes = (i64::from(u32::from(from)), i64::from(u32::from(to)));
    let mut ways = [along, Some(codes)].into_iter().flatten().map(|(from, to)| to - from);
    ways.find(|way| way.abs() <= 1)
}

/// Whether the text has hardly any different characters, only digits, or only goes up or down by one.
fn is_monotonous(text: &str) -> bool {
    let codes: Vec<u32> = text.chars().map(u32::from).collect();
    let mut different = codes.clone();
    different.sort_unstable();
    different.dedup();
    let steps =
        |step: i64| codes.windows(2).all(|pair| i64::from(pair[1]) - i64::from(pair[0]) == step);
    let is_number = text.chars().all(|it| it.is_numeric() || it.is_ascii_punctuation());
    is_number || different.len() < 4 || steps(1) || steps(-1)
}

/// Whether the text is a short one, or one of the list, again and again.
fn is_repeated(text: &str) -> bool {
    let all: Vec<char> = text.chars().collect();
    (1..=all.len() / 2).filter(|size| all.len().is_multiple_of(*size)).any(|size| {
        let unit: String = all[..size].iter().collect();
        let same = all.chunks(size).all(|chunk| chunk == &all[..size]);
        same && (size < 6 || COMMON.lines().any(|line| line == unit))
    })
}

/// The text to keep of a password.
///
/// # Errors
/// [`HashError`] when there is no memory for it.
pub fn hash(password: &SecretString, salt: [u8; SALT]) -> Result<String, HashError> {
    let out = derive(password, &salt, COST)?;
    let Cost { memory, passes, lanes } = COST;
    let (salt, out) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(out));
    Ok(format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${out}"))
}

/// Whether `password` is the one that `kept` is of. Without one, the same work is done for nothing.
///
/// # Errors
/// [`HashError`] when there is no memory for it, or `kept` is no such text.
pub fn is_right(password: &SecretString, kept: Option<&str>) -> Result<bool, HashError> {
    let Some(kept) = kept else {
        derive(password, &[0; SALT], COST)?;
        return Ok(false);
    };
    let (cost, salt, expected) =
        read(kept).ok_or_else(|| HashError("it is kept in an unknown form".to_owned()))?;
    let found = derive(password, &salt, cost)?;
    Ok(secret::is_same(&found, &expected))
}

fn derive(password: &SecretString, salt: &[u8], cost: Cost) -> Result<[u8; HASH], HashError> {
    let fault = |error: argon2::Error| HashError(error.to_string());
    let parameters =
        Params::new(cost.memory, cost.passes, cost.lanes, Some(HASH)).map_err(fault)?;
    // Two keyboards may write one character in two ways.
    let text: String = password.expose_secret().nfkc().collect();
    let text = SecretString::from(text);
    let mut out = [0; HASH];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(text.expose_secret().as_bytes(), salt, &mut out)
        .map_err(fault)?;
    Ok(out)
}

fn read(kept: &str) -> Option<(Cost, Vec<u8>, Vec<u8>)> {
    let mut parts = kept.strip_prefix("$argon2id$v=19$")?.split('$');
    let mut numbers = parts.next()?.split(',').map(|part| part.split_once('='));
    let mut number = |name: &str| match numbers.next()?? {
        (found, text) if found == name => text.parse::<u32>().ok(),
        _ => None,
    };
    let cost = Cost { memory: number("m")?, passes: number("t")?, lanes: number("p")? };
    let is_fit = cost.memory <= DEAREST.memory
        && cost.passes <= DEAREST.passes
        && cost.lanes <= DEAREST.lanes;
    let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    let hash = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    (is_fit && parts.next().is_none()).then_some((cost, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn what_is_short_common_or_the_name_is_no_password() {
        for (text, expected) in [
            ("correct horse battery", Ok(())),
            ("grüne Wiese am Bach", Ok(())),
            ("elevenchars", Err(Weakness::Short(12))),
            ("passwordpassword", Err(Weakness::Common)),
            ("Password!2026", Err(Weakness::Common)),
            ("123456789012", Err(Weakness::Common)),
            ("abcdefghijklmn", Err(Weakness::Common)),
            ("aaaaaaaaaaaab", Err(Weakness::Common)),
            ("monkeymonkeymonkey", Err(Weakness::Common)),
            ("abcabcabcabcabc", Err(Weakness::Common)),
            ("abcdefgh12345678", Err(Weakness::Common)),
            ("qwertyasdfgh", Err(Weakness::Common)),
            ("4321 poiuytrewq", Err(Weakness::Common)),
            ("P@ssw0rd2026!!", Err(Weakness::Common)),
            ("2026-dragon-2026", Err(Weakness::Common)),
            ("dragon2026monkey", Err(Weakness::Common)),
            ("dragon monkey kettle", Ok(())),
            ("Ada.Miller-1234", Err(Weakness::Name)),
            ("the cat of Ada Miller", Err(Weakness::Name)),
            ("AdaMiller in winter", Err(Weakness::Name)),
            ("miller without a name", Ok(())),
            ("", Err(Weakness::Short(12))),
        ] {
            assert_eq!(check(&secret(text), "ada.miller", 12), expected, "{text:?}");
        }
        assert_eq!(check(&secret(&"x1y2".repeat(65)), "a", 12), Err(Weakness::Long));
        assert_eq!(check(&secret("p4ss phrase"), "a", 8), Err(Weakness::Common));
        assert_eq!(check(&secret("blue kettle"), "a", 8), Ok(()));
        // A short name is in many words.
        assert_eq!(check(&secret("a pathway in patagonia"), "pat", 12), Ok(()));
        assert_eq!(check(&secret("pat pat pat 1234"), "pat", 12), Err(Weakness::Name));
    }

    #[test]
    fn a_kept_password_is_recognized_and_no_other() {
        let kept = hash(&secret("correct horse battery"), [7; SALT]).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(is_right(&secret("correct horse battery"), Some(&kept)).unwrap());
        assert!(!is_right(&secret("Correct horse battery"), Some(&kept)).unwrap());
        assert!(!is_right(&secret("anything"), None).unwrap());
        for damaged in ["", "$argon2id$v=19$m=99999999,t=2,p=1$AAAA$AAAA", "plain"] {
            assert!(is_right(&secret("x"), Some(damaged)).is_err(), "{damaged}");
        }
    }

    #[test]
    fn one_character_in_two_ways_is_one_character() {
        let kept = hash(&secret("caf\u{e9} au lait, bien s\u{fb}r"), [1; SALT]).unwrap();
        assert!(is_right(&secret("cafe\u{301} au lait, bien su\u{302}r"), Some(&kept)).unwrap());
    }
}
