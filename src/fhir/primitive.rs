//! The text of a primitive value: is it one of its type?
//!
//! Every matcher is written by hand over bytes, takes the whole text and never allocates. What it
//! accepts is the regex of the R4 text plus the rules that a regex cannot hold: the real calendar,
//! ranges, padding. It changes nothing: the text that was checked is the text that is kept.
//!
//! Spec: <https://hl7.org/fhir/R4/datatypes.html#primitive>

use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};

use super::datetime::DateTime;
use super::id::LogicalId;
use super::schema::Primitive;

/// Longest string: 1 MB in characters.
pub const MAX_STRING: usize = 1024 * 1024;

/// Largest exponent of a decimal, either way: that of a double. Written out, as the database keeps
/// it, a larger one is all zeros that no one measured.
pub const MAX_EXPONENT: u32 = 308;

/// Longest decimal, in characters: far more than the 18 digits that FHIR asks to keep.
pub const MAX_DECIMAL: usize = 1024;

/// Takes what [`check`] takes: many encoders leave bits behind the last byte that are not zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

type Check = Result<(), &'static str>;

/// Whether `text` is a value of the type `primitive`.
///
/// # Errors
/// What a value of this type looks like, or which rule the text breaks; the text itself is never
/// in it, for it may be about a person.
pub fn check(primitive: Primitive, text: &str) -> Check {
    if text.is_empty() {
        return Err("a value must not be empty");
    }
    match primitive {
        Primitive::Base64Binary => base64(text.as_bytes()),
        Primitive::Boolean => holds(matches!(text, "true" | "false"), "true or false"),
        Primitive::Canonical | Primitive::Uri | Primitive::Url => uri(text),
        Primitive::Code => code(text.as_bytes()),
        Primitive::Date => DateTime::parse_date(text).map(drop).ok_or(DATE),
        Primitive::DateTime => DateTime::parse(text).map(drop).ok_or(DATE_TIME),
        Primitive::Decimal => decimal(text.as_bytes()),
        Primitive::Id => holds(is_id(text), "an id is 1 to 64 letters, digits, '-' and '.'"),
        Primitive::Instant => DateTime::parse_instant(text).map(drop).ok_or(INSTANT),
        Primitive::Integer => {
            integer(text, i64::from(i32::MIN), "an integer is -2147483648 to 2147483647")
        }
        Primitive::Markdown => long_text(text),
        Primitive::Oid => holds(is_oid(text), "an oid is urn:oid: and numbers with dots"),
        Primitive::PositiveInt => integer(text, 1, "a positiveInt is 1 to 2147483647"),
        Primitive::String => string(text),
        Primitive::Time => holds(DateTime::is_time(text), "a time is hh:mm:ss, without a zone"),
        Primitive::UnsignedInt => unsigned(text),
        Primitive::Uuid => holds(is_uuid(text), "a uuid is urn:uuid: and 36 lower-case characters"),
    }
}

const DATE: &str = "a date is YYYY, YYYY-MM or YYYY-MM-DD and in the calendar";
const DATE_TIME: &str =
    "a dateTime is a date, or YYYY-MM-DDThh:mm:ss with a zone, and in the calendar";
const INSTANT: &str = "an instant is YYYY-MM-DDThh:mm:ss with a zone, and in the calendar";

fn holds(condition: bool, otherwise: &'static str) -> Check {
    if condition { Ok(()) } else { Err(otherwise) }
}

/// Whether the text has a character that no FHIR string may hold: below U+0020 but tab, CR and LF.
pub fn has_control(bytes: &[u8]) -> bool {
    // Numbers instead of conditions: without a branch in the loop the compiler makes it wide.
    let odd = |byte: u8| {
        u8::from(byte < 0x20)
            & u8::from(byte != b'\t')
            & u8::from(byte != b'\n')
            & u8::from(byte != b'\r')
    };
    bytes.iter().fold(0, |found, &byte| found | odd(byte)) != 0
}

fn long_text(text: &str) -> Check {
    if text.len() > MAX_STRING && text.chars().count() > MAX_STRING {
        return Err("a string has at most 1048576 characters");
    }
    holds(!has_control(text.as_bytes()), "a string must not hold control characters")
}

fn string(text: &str) -> Check {
    long_text(text)?;
    let visible = |byte: u8| !byte.is_ascii_whitespace();
    holds(text.bytes().any(visible), "a string must not be spaces only")
}

fn code(bytes: &[u8]) -> Check {
    const RULE: &str = "a code has no spaces around it and single ones within";
    let mut after_space = true;
    for &byte in bytes {
        match byte {
            b' ' if after_space => return Err(RULE),
            b' ' => after_space = true,
            0..=0x20 => return Err("a code must not hold control characters or tabs"),
            _ => after_space = false,
        }
    }
    holds(!after_space, RULE)
}

fn uri(text: &str) -> Check {
    // Control characters and ASCII white space are all at or below the space.
    holds(!text.bytes().any(|byte| byte <= 0x20), "a uri has no white space")
}

/// The content of a base64Binary.
///
/// # Errors
/// For text that [`check`] refuses.
pub fn base64_content(text: &str) -> Result<Vec<u8>, DecodeError> {
    let plain: String = text.split_ascii_whitespace().collect();
    BASE64.decode(plain)
}

fn base64(bytes: &[u8]) -> Check {
    const RULE: &str = "base64 is groups of four characters, padded at the end with '='";
    let mut in_group = 0_u8;
    let mut padding = 0_u8;
    let mut groups = false;
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => in_group += 1,
            b'=' if in_group >= 2 => {
                in_group += 1;
                padding += 1;
            }
            b' ' | b'\t' | b'\n' | b'\r' if in_group == 0 => {}
            _ => return Err(RULE),
        }
        if in_group == 4 {
            in_group = 0;
            groups = true;
        }
    }
    holds(groups && in_group == 0, RULE)
}

/// Whether the text is a logical id.
pub fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (1..=LogicalId::MAX_LEN).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_oid(text: &str) -> bool {
    let Some(arcs) = text.strip_prefix("urn:oid:") else { return false };
    let mut arcs = arcs.split('.');
    let root = matches!(arcs.next(), Some("0" | "1" | "2"));
    let mut others = 0;
    let plain = arcs.all(|arc| {
        others += 1;
        arc == "0" || (!arc.is_empty() && !arc.starts_with('0') && is_digits(arc.as_bytes()))
    });
    root && plain && others > 0
}

fn is_uuid(text: &str) -> bool {
    let Some(uuid) = text.strip_prefix("urn:uuid:") else { return false };
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    uuid.len() == 36 && uuid.bytes().enumerate().all(fits)
}

fn is_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// A whole number: no leading zeros, no fraction, no exponent, within 32 bits.
fn integer(text: &str, least: i64, rule: &'static str) -> Check {
    let (sign, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    let zero_alone = text == "0";
    // Ten digits hold 32 bits; the bound also keeps the sum below within 64.
    if !is_digits(digits) || digits.is_empty() || digits.len() > 10 {
        return Err(rule);
    }
    if digits[0] == b'0' && !zero_alone {
        return Err(rule);
    }
    let size = digits.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    holds((least..=i64::from(i32::MAX)).contains(&(sign * size)), rule)
}

fn unsigned(text: &str) -> Check {
    const RULE: &str = "an unsignedInt is 0 to 2147483647";
    // The one whole number whose regex allows no sign.
    holds(!text.starts_with('+'), RULE)?;
    integer(text, 0, RULE)
}

fn decimal(bytes: &[u8]) -> Check {
    const RULE: &str = "a decimal is digits with an optional fraction and exponent";
    if bytes.len() > MAX_DECIMAL {
        return Err("a decimal has at most 1024 characters");
    }
    let bytes = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let (mantissa, exponent) = match bytes.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
        Some(at) => (&mantissa[..at], Some(&mantissa[at + 1..])),
        None => (mantissa, None),
    };
    let whole_fits = matches!(whole, [b'0'] | [b'1'..=b'9', ..]) && is_digits(whole);
    let fraction_fits = fraction.is_none_or(|digits| !digits.is_empty() && is_digits(digits));
    holds(whole_fits && fraction_fits, RULE)?;
    let Some(exponent) = exponent else { return Ok(()) };
    let ([b'+' | b'-', digits @ ..] | digits) = exponent;
    holds(!digits.is_empty() && is_digits(digits), RULE)?;
    let size = digits
        .iter()
        .fold(0_u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    holds(size <= MAX_EXPONENT, "the exponent of a decimal is -308 to 308")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(primitive: Primitive, cases: &[(&str, bool)]) {
        for (text, valid) in cases {
            assert_eq!(check(primitive, text).is_ok(), *valid, "{primitive:?} {text:?}");
        }
    }

    #[test]
    fn no_type_takes_an_empty_text() {
        for primitive in [Primitive::String, Primitive::Markdown, Primitive::Uri, Primitive::Code] {
            assert!(check(primitive, "").is_err(), "{primitive:?}");
        }
    }

    #[test]
    fn whole_numbers_have_their_ranges() {
        for (text, integer, positive, unsigned) in [
            ("0", true, false, true),
            ("-0", false, false, false),
            ("+0", false, false, false),
            ("1", true, true, true),
            ("+1", true, true, false),
            ("-1", true, false, false),
            ("01", false, false, false),
            ("2147483647", true, true, true),
            ("2147483648", false, false, false),
            ("-2147483648", true, false, false),
            ("-2147483649", false, false, false),
            ("99999999999999999999999999", false, false, false),
            ("1.0", false, false, false),
            ("1e3", false, false, false),
            ("-", false, false, false),
            ("", false, false, false),
        ] {
            table(Primitive::Integer, &[(text, integer)]);
            table(Primitive::PositiveInt, &[(text, positive)]);
            table(Primitive::UnsignedInt, &[(text, unsigned)]);
        }
    }

    #[test]
    fn a_decimal_follows_its_grammar_and_bounds() {
        let long = "1".repeat(MAX_DECIMAL);
        let longer = "1".repeat(MAX_DECIMAL + 1);
        let cases = [
            ("0", true),
            ("-0", true),
            ("0.010", true),
            ("-12.50", true),
            ("1.2E+2", true),
            ("1e308", true),
            ("1e-308", true),
            ("1e309", false),
            ("1e-309", false),
            ("1e99999999999999999999", false),
            ("00", false),
            ("01.5", false),
            ("+1", false),
            (".5", false),
            ("5.", false),
            ("1e", false),
            ("1e+", false),
            ("1.2.3", false),
            ("--1", false),
            ("NaN", false),
            ("Infinity", false),
            ("1,5", false),
            (&long, true),
            (&longer, false),
        ];
        table(Primitive::Decimal, &cases);
    }

    #[test]
    fn strings_hold_something_visible_and_no_control_characters() {
        let cases = [
            ("a", true),
            (" a ", true),
            ("a\tb\r\nc", true),
            ("\u{a0}", true),
            ("é", true),
            ("a\u{0}b", false),
            ("a\u{8}", false),
            ("\u{1b}[31m", false),
        ];
        table(Primitive::String, &cases);
        table(Primitive::Markdown, &cases);
        table(Primitive::String, &[(" \n", false), (&"é".repeat(MAX_STRING), true)]);
        table(Primitive::String, &[(&"é".repeat(MAX_STRING + 1), false)]);
        table(Primitive::Markdown, &[(" \n", true)]);
    }

    #[test]
    fn a_code_has_single_spaces_within() {
        table(
            Primitive::Code,
            &[
                ("final", true),
                ("a b c", true),
                (" a", false),
                ("a ", false),
                ("a  b", false),
                ("a\tb", false),
                ("a\nb", false),
                (" ", false),
                ("ä", true),
            ],
        );
    }

    #[test]
    fn uris_have_no_white_space() {
        for primitive in [Primitive::Canonical, Primitive::Uri, Primitive::Url] {
            table(
                primitive,
                &[
                    ("http://example.org/x|1.0#a", true),
                    ("urn:uuid:x", true),
                    ("#x", true),
                    ("a b", false),
                    (" a", false),
                    ("a\n", false),
                ],
            );
        }
    }

    #[test]
    fn ids_oids_and_uuids_are_exact() {
        table(Primitive::Id, &[("a.b-C1", true), ("a_b", false), (&"x".repeat(65), false)]);
        table(
            Primitive::Oid,
            &[
                ("urn:oid:1.2.3.0", true),
                ("urn:oid:0.9", true),
                ("urn:oid:3.1", false),
                ("urn:oid:1", false),
                ("urn:oid:1.02", false),
                ("urn:oid:1..2", false),
                ("urn:oid:1.2.", false),
                ("1.2.3", false),
            ],
        );
        table(
            Primitive::Uuid,
            &[
                ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", true),
                ("urn:uuid:C757873D-EC9A-4326-A141-556F43239520", false),
                ("urn:uuid:c757873dec9a4326a141556f43239520", false),
                ("c757873d-ec9a-4326-a141-556f43239520", false),
            ],
        );
    }

    #[test]
    fn base64_comes_in_fours_and_ends_in_padding() {
        table(
            Primitive::Base64Binary,
            &[
                ("QQ==", true),
                ("QUI=", true),
                ("QUJD", true),
                ("QUJD\r\n QUJD ", true),
                ("QUI", false),
                ("Q===", false),
                ("QQ==QUJD", false),
                ("QQ=A", false),
                ("QU JD", false),
                ("QUJ-", false),
                ("====", false),
                ("  ", false),
            ],
        );
    }

    #[test]
    fn booleans_and_times_have_one_spelling() {
        table(
            Primitive::Boolean,
            &[("true", true), ("false", true), ("True", false), ("1", false)],
        );
        table(
            Primitive::Time,
            &[
                ("00:00:00", true),
                ("23:59:60", true),
                ("12:30:00.5", true),
                ("12:30", false),
                ("24:00:00", false),
                ("12:30:00Z", false),
                ("12:30:00.", false),
            ],
        );
    }

    #[test]
    fn what_is_base64_can_be_read() {
        for (text, content) in [
            ("YQ==", Some("a")),
            ("YR==", Some("a")),
            ("YWI=", Some("ab")),
            ("YWJ=", Some("ab")),
            ("YWJj\n", Some("abc")),
            (" YWJj\r\n\tYWJj ", Some("abcabc")),
            ("YWJjYR==", Some("abca")),
            ("YW Jj", None),
            ("YQ==YQ==", None),
            ("YQ=", None),
            ("YQ", None),
            ("Y===", None),
            ("YQ==\u{a0}", None),
        ] {
            let found = check(Primitive::Base64Binary, text).ok().map(|()| base64_content(text));
            let found = found.map(|decoded| decoded.expect(text));
            assert_eq!(found.as_deref(), content.map(str::as_bytes), "{text:?}");
        }
    }
}
