//! Texts in other forms: `encode()`, `decode()`, `escape()`, `unescape()`.
//!
//! Spec: <https://hl7.org/fhirpath/#additional-string-functions>

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::{Call, Function, function, optional};
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::Item;
use crate::fhirpath::lexer::unicode;

pub(super) static TABLE: &[Function] = &[
    function("decode", 1, 1, |call| changed(call, decoded)),
    function("encode", 1, 1, |call| changed(call, encoded)),
    function("escape", 1, 1, |call| changed(call, escaped)),
    function("unescape", 1, 1, |call| changed(call, unescaped)),
];

/// Characters of HTML that are escaped, with what stands for them.
const HTML: [(char, &str); 5] =
    [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")];

/// Letters after a backslash in JSON, with what they stand for.
const JSON: [(char, char); 7] = [
    ('"', '"'),
    ('\\', '\\'),
    ('n', '\n'),
    ('r', '\r'),
    ('t', '\t'),
    ('f', '\u{c}'),
    ('b', '\u{8}'),
];

/// The text in the form of that name; `Err` for a form that is not known, `Ok(None)` for a text
/// that is not of it.
type Change = fn(&str, &str) -> Result<Option<String>, ()>;

fn changed<'v>(call: &mut Call<'_, '_, 'v>, change: Change) -> Outcome<Vec<Item<'v>>> {
    let (text, form) = (call.text_input()?, call.text_argument(0)?);
    let Some((text, form)) = text.zip(form) else { return Ok(Vec::new()) };
    // No form makes a character longer than this.
    call.spend_bytes(text.len() * 6)?;
    match change(&text, &form) {
        Ok(text) => Ok(optional(text)),
        Err(()) => call.fail(format!("{form} is not known as a form")),
    }
}

fn encoded(text: &str, form: &str) -> Result<Option<String>, ()> {
    match form {
        "base64" => Ok(Some(STANDARD.encode(text))),
        "hex" => {
            let mut hex = String::with_capacity(text.len() * 2);
            for byte in text.bytes() {
                // Writing to a String does not fail.
                let _ = write!(hex, "{byte:02x}");
            }
            Ok(Some(hex))
        }
        "urlbase64" => Ok(Some(URL_SAFE.encode(text))),
        _ => Err(()),
    }
}

fn decoded(text: &str, form: &str) -> Result<Option<String>, ()> {
    let bytes = match form {
        "base64" => STANDARD.decode(text).ok(),
        "hex" => hex(text.as_bytes()),
        "urlbase64" => URL_SAFE.decode(text).ok(),
        _ => return Err(()),
    };
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
        _ => None,
    };
    text.chunks(2).map(pair).collect()
}

fn escaped(text: &str, form: &str) -> Result<Option<String>, ()> {
    let mut out = String::with_capacity(text.len());
    for next in text.chars() {
        match form {
            "html" => match HTML.iter().find(|(plain, _)| *plain == next) {
                Some((_, entity)) => out.push_str(entity),
                None => out.push(next),
            },
            "json" => match JSON.iter().find(|(_, plain)| *plain == next) {
                Some((letter, _)) => out.extend(['\\', *letter]),
                None if next < ' ' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(next));
                }
                None => out.push(next),
            },
            _ => return Err(()),
        }
    }
    if matches!(form, "html" | "json") { Ok(Some(out)) } else { Err(()) }
}

fn unescaped(text: &str, form: &str) -> Result<Option<String>, ()> {
    match form {
        "html" => {
            let mut out = String::with_capacity(text.len());
            let mut rest = text;
            while let Some(at) = rest.find('&') {
                out.push_str(&rest[..at]);
                rest = &rest[at..];
                let known = HTML.iter().find(|(_, entity)| rest.starts_with(entity));
                let (plain, length) = known.map_or(('&', 1), |(plain, it)| (*plain, it.len()));
                out.push(plain);
                rest = &rest[length..];
            }
            out.push_str(rest);
            Ok(Some(out))
        }
        "json" => Ok(json(text)),
        _ => Err(()),
    }
}

fn json(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(next) = characters.next() {
        if next != '\\' {
            out.push(next);
            continue;
        }
        match characters.next()? {
            '/' => out.push('/'),
            'u' => out.push(unicode(&mut characters)?),
            letter => out.push(JSON.iter().find(|(known, _)| *known == letter)?.1),
        }
    }
    Some(out)
}
