//! Escapes inside values, decoded once and byte by byte.
//!
//! | escape | becomes |
//! |---|---|
//! | `\F\ \S\ \T\ \R\ \E\ \P\` | the separators |
//! | `\X41\` | bytes in the character set of the message; neighbours are joined |
//! | `\.br\ \.sp\ \.ce\` | a line end (`.sp3`: three) |
//! | `\.sk4\ \.ti4\ \.in4\` | spaces |
//! | `\.fi\ \.nf\ \H\ \N\` | nothing |
//! | `\Zxx\` | what the sender's profile says, else itself |
//! | anything else, and what has no end | itself |
//!
//! A line end inside a value becomes a newline.
//!
//! Spec: v2 S51

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::separators::Separators;
use crate::hl7v2::charset::Charset;

/// The most spaces or lines that one escape makes.
const MOST: usize = 200;

/// What escapes of a sender's own stand for, by their names: `Zxx`.
pub type Escapes = BTreeMap<String, String>;

/// `raw` with its escapes decoded.
pub fn decode<'a>(raw: &'a str, separators: &Separators, charset: Charset) -> Cow<'a, str> {
    decode_with(raw, separators, charset, None)
}

/// The same where the sender has escapes of its own. What they stand for is not looked at again.
pub(super) fn decode_with<'a>(
    raw: &'a str,
    separators: &Separators,
    charset: Charset,
    own: Option<&Escapes>,
) -> Cow<'a, str> {
    let bytes = raw.as_bytes();
    let escape = separators.escape.unwrap_or(b'\r');
    if memchr::memchr3(escape, b'\r', b'\n', bytes).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr3(escape, b'\r', b'\n', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let found = &rest[at..];
        if found.starts_with(['\r', '\n']) {
            text.push('\n');
            rest = found.strip_prefix("\r\n").unwrap_or(&found[1..]);
            continue;
        }
        let length =
            one(found, escape, (separators, own), charset, &mut text).unwrap_or_else(|| {
                text.push(char::from(escape));
                1
            });
        rest = &found[length..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Decodes the escape at the beginning of `found`: how long it was, or `None` when it is none.
fn one(
    found: &str,
    escape: u8,
    (separators, own): (&Separators, Option<&Escapes>),
    charset: Charset,
    text: &mut String,
) -> Option<usize> {
    let end = memchr::memchr(escape, &found.as_bytes()[1..])?;
    let name = &found[1..=end];
    let separator = match name {
        "F" => Some(separators.field),
        "S" => Some(separators.component),
        "T" => separators.subcomponent,
        "R" => separators.repetition,
        "E" => separators.escape,
        "P" => Some(separators.truncation.unwrap_or(b'#')),
        "H" | "N" => return Some(end + 2),
        _ if name.starts_with('Z') => {
            text.push_str(own?.get(name)?);
            return Some(end + 2);
        }
        _ if name.starts_with('X') => return bytes(found, escape, charset, text),
        _ => {
            layout(name.strip_prefix('.')?, text)?;
            return Some(end + 2);
        }
    };
    text.push(char::from(separator?));
    Some(end + 2)
}

/// The layout commands: `br`, `sp3`, `ti-2` and so on.
fn layout(command: &str, text: &mut String) -> Option<()> {
    let (name, number) = command.split_at_checked(2)?;
    let number = number.strip_prefix(['+', ' ']).unwrap_or(number).trim_end();
    let count = match number.strip_prefix('-').unwrap_or(number) {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().unwrap_or(MOST).min(MOST))
        }
        _ => return None,
    };
    let is_back = number.starts_with('-');
    match name {
        "br" | "ce" if count.is_none() => text.push('\n'),
        "sp" if !is_back => text.extend(std::iter::repeat_n('\n', count.unwrap_or(1))),
        "sk" if !is_back => text.extend(std::iter::repeat_n(' ', count.unwrap_or(1))),
        "in" | "ti" => {
            let spaces = if is_back { 0 } else { count.unwrap_or(0) };
            text.extend(std::iter::repeat_n(' ', spaces));
        }
        "fi" | "nf" if count.is_none() => {}
        _ => return None,
    }
    Some(())
}

/// A run of `\X..\` escapes: its length, when all of it can be read as text.
fn bytes(found: &str, escape: u8, charset: Charset, text: &mut String) -> Option<usize> {
    let mut length = 0;
    let mut all = Vec::new();
    let mut wide = String::new();
    while let Some(rest) = found[length..].strip_prefix(char::from(escape)) {
        let Some(digits) = rest.strip_prefix('X') else { break };
        let Some(end) = memchr::memchr(escape, digits.as_bytes()) else { break };
        let digits = &digits[..end];
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            break;
        }
        wide.extend((digits.len() % 2 == 1).then_some('0'));
        wide.push_str(digits);
        length += end + 3;
    }
    for pair in wide.as_bytes().chunks(2) {
        let pair = str::from_utf8(pair).ok()?;
        all.push(u8::from_str_radix(pair, 16).ok()?);
    }
    if all.is_empty() {
        return None;
    }
    let decoded = if all.contains(&0) { units(&all)? } else { charset.decode(&all)?.into_owned() };
    let is_text = |c: char| !c.is_control() || matches!(c, '\t' | '\r' | '\n');
    if !decoded.chars().all(is_text) {
        return None;
    }
    text.push_str(&decoded.replace("\r\n", "\n").replace('\r', "\n"));
    Some(length)
}

/// Bytes with a zero among them are 16 bits a character, as some systems write `\X00E0\`.
fn units(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: v2 B30.
    #[test]
    fn the_table_of_escapes() {
        let western = Charset::named("8859/1").unwrap();
        for (raw, set, expected) in [
            ("plain", Charset::UTF_8, "plain"),
            (r"a\F\b\S\c\T\d\R\e\E\f\P\g", Charset::UTF_8, r"a|b^c&d~e\f#g"),
            (r"50 µg \T\ 3 µg\.br\end", Charset::UTF_8, "50 µg & 3 µg\nend"),
            (r"€€€\F\x", Charset::UTF_8, "€€€|x"),
            (r"\X41\", Charset::UTF_8, "A"),
            (r"\XC3A4\", Charset::UTF_8, "ä"),
            (r"\XC3\\XA4\", Charset::UTF_8, "ä"),
            (r"\XE4\", western, "ä"),
            (r"\XE4\", Charset::UTF_8, r"\XE4\"),
            (r"\X00E0\", Charset::UTF_8, "à"),
            (r"a\X00d\b", Charset::UTF_8, "a\nb"),
            (r"a\X000d\b", Charset::UTF_8, "a\nb"),
            (r"a\X0D0A\b\X0A\c", Charset::UTF_8, "a\nb\nc"),
            (r"a\X0D\\X0A\b", Charset::UTF_8, "a\nb"),
            (r"\XZZ\ \X\ \X07\", Charset::UTF_8, r"\XZZ\ \X\ \X07\"),
            (r"\X41\\XZZ\", Charset::UTF_8, r"A\XZZ\"),
            (
                r"a\.sp2\b\.sk3\c\.ti2\d\.ti-2\e\.in+1\f\.ce\g",
                Charset::UTF_8,
                "a\n\nb   c  de f\ng",
            ),
            (r"a\.fi\\.nf\\H\b\N\c\.sp\d", Charset::UTF_8, "abc\nd"),
            (r"\.sp99999999999999999999\", Charset::UTF_8, &"\n".repeat(MOST)),
            (r"C:\temp file lost", Charset::UTF_8, r"C:\temp file lost"),
            (r"4\5 re.", Charset::UTF_8, r"4\5 re."),
            (r"\\srv\share", Charset::UTF_8, r"\\srv\share"),
            (r"C:\T\x", Charset::UTF_8, "C:&x"),
            (r"\\T\", Charset::UTF_8, r"\&"),
            (r"a\", Charset::UTF_8, r"a\"),
            (r"\E\T\E\", Charset::UTF_8, r"\T\"),
            (
                r"\C2842\ \M254442\ \Zx\ \.zz\ \.é\",
                Charset::UTF_8,
                r"\C2842\ \M254442\ \Zx\ \.zz\ \.é\",
            ),
            ("a\rb\r\nc\nd", Charset::UTF_8, "a\nb\nc\nd"),
        ] {
            assert_eq!(decode(raw, &Separators::default(), set), expected, "{raw}");
        }
    }

    /// Covers: v2 S51.
    #[test]
    fn escapes_of_a_sender_stand_for_what_its_profile_says() {
        let own = [("Z01", "\u{2265}"), ("Zb", r"\F\")];
        let own: Escapes = own.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        for (raw, expected) in [
            (r"\Z01\ 5 mg\T\l", "\u{2265} 5 mg&l"),
            (r"a\Zb\b", r"a\F\b"),
            (r"\Z02\ \Z\", r"\Z02\ \Z\"),
            (r"\Z01", r"\Z01"),
        ] {
            let read = decode_with(raw, &Separators::default(), Charset::UTF_8, Some(&own));
            assert_eq!(read, expected, "{raw}");
            let kept = decode(raw, &Separators::default(), Charset::UTF_8);
            assert_eq!(kept.contains('Z'), raw.contains('Z'), "{raw}");
        }
    }

    #[test]
    fn without_an_escape_character_nothing_is_decoded() {
        let separators = Separators { escape: None, ..Separators::default() };
        assert_eq!(decode(r"a\F\b", &separators, Charset::UTF_8), r"a\F\b");
        let other = Separators { escape: Some(b'!'), field: b'$', ..Separators::default() };
        assert_eq!(decode(r"a!F!b\F\", &other, Charset::UTF_8), r"a$b\F\");
    }
}
