//! JSON bytes to a [`Value`]: strict, bounded, in one pass.

use std::borrow::Cow;
use std::collections::HashSet;

use thiserror::Error;

use super::{Object, SEARCHED, Value};

/// What a document may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deepest nesting of arrays and objects.
    pub depth: usize,
    /// Most values (of any kind) in one document.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // Real documents have a value in 20 bytes or more: this is a body of 60 MB of them.
        Self { depth: 100, values: 3_000_000 }
    }
}

/// Why a text is not a JSON document, and where.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{reason} at line {line}, column {column}")]
pub struct JsonError {
    /// What is wrong, without the place.
    pub reason: String,
    /// Line of the fault, from 1.
    pub line: usize,
    /// Column of the fault in bytes, from 1.
    pub column: usize,
}

/// Parses one JSON document under the default [`Limits`].
///
/// A byte order mark at the start is skipped (rest 7.48).
///
/// # Errors
/// [`JsonError`] with the line and column of the first fault.
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, JsonError> {
    parse_with(bytes, Limits::default())
}

/// Parses one JSON document under `limits`.
///
/// # Errors
/// [`JsonError`] with the line and column of the first fault.
pub fn parse_with(bytes: &[u8], limits: Limits) -> Result<Value<'_>, JsonError> {
    let skip = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let text = std::str::from_utf8(&bytes[skip..]).map_err(|fault| {
        let valid = skip + fault.valid_up_to();
        located(bytes, valid, "invalid UTF-8".to_owned())
    })?;
    let mut parser = Parser { text, at: 0, depth: limits.depth, values: limits.values };
    parser.document().map_err(|reason| located(text.as_bytes(), parser.at, reason))
}

/// The fault at this place of a document.
pub(super) fn located(bytes: &[u8], at: usize, reason: String) -> JsonError {
    let before = &bytes[..at.min(bytes.len())];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    JsonError { reason, line, column }
}

type Step<T> = Result<T, String>;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Step<Value<'a>> {
        self.space();
        if self.peek().is_none() {
            return Err("empty document".to_owned());
        }
        let value = self.value()?;
        self.space();
        match self.peek() {
            None => Ok(value),
            Some(_) => Err("text after the end of the document".to_owned()),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Step<Value<'a>> {
        self.values = self.values.checked_sub(1).ok_or("too many values")?;
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(Cow::Borrowed(self.number()?))),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(format!("unexpected {:?}", self.character())),
            None => Err("unexpected end of the document".to_owned()),
        }
    }

    fn character(&self) -> char {
        self.text[self.at..].chars().next().unwrap_or(' ')
    }

    fn nested(&mut self, read: fn(&mut Self) -> Step<Value<'a>>) -> Step<Value<'a>> {
        self.depth = self.depth.checked_sub(1).ok_or("nested too deep")?;
        self.at += 1;
        let value = read(self);
        self.depth += 1;
        value
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Step<Value<'a>> {
        if !self.text[self.at..].starts_with(word) {
            return Err(format!("unexpected {:?}", self.character()));
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self) -> Step<Value<'a>> {
        let mut object = Object::new();
        // Small objects are searched, large ones hashed: linear look-ups would make them quadratic.
        let mut seen: Option<HashSet<Cow<'a, str>>> = None;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(object));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err("expected a property name in double quotes".to_owned());
            }
            let start = self.at;
            let name = self.string()?;
            if is_duplicate(&object, &mut seen, name.clone()) {
                self.at = start;
                return Err(format!("duplicate property {name:?}"));
            }
            self.space();
            self.expect(b':')?;
            self.space();
            let value = self.value()?;
            object.push_unchecked(name, value);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(object));
                }
                _ => return Err("expected ',' or '}'".to_owned()),
            }
        }
    }

    fn array(&mut self) -> Step<Value<'a>> {
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.space();
            items.push(self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err("expected ',' or ']'".to_owned()),
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Step<()> {
        if self.peek() != Some(byte) {
            return Err(format!("expected {:?}", byte as char));
        }
        self.at += 1;
        Ok(())
    }

    fn number(&mut self) -> Step<&'a str> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err("a number needs a digit".to_owned()),
        }
        if let Some(b'0'..=b'9') = self.peek() {
            return Err("a number must not start with 0".to_owned());
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after the decimal point")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits("in the exponent")?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, place: &str) -> Step<()> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(format!("a number needs a digit {place}")) } else { Ok(()) }
    }

    fn string(&mut self) -> Step<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let end = self.plain_until();
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Cow::Borrowed(&self.text[start..end]))
            }
            Some(b'\\') => self.escaped(start).map(Cow::Owned),
            Some(_) => Err("control character in a string".to_owned()),
            None => Err("string without an end".to_owned()),
        }
    }

    /// Skips to the next quote, backslash, control character or the end.
    fn plain_until(&mut self) -> usize {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if byte == b'"' || byte == b'\\' || byte < 0x20 {
                break;
            }
            self.at += 1;
        }
        self.at
    }

    fn escaped(&mut self, start: usize) -> Step<String> {
        let mut out = self.text[start..self.at].to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(0..0x20) => return Err("control character in a string".to_owned()),
                Some(_) => {
                    let from = self.at;
                    let end = self.plain_until();
                    out.push_str(&self.text[from..end]);
                }
                None => return Err("string without an end".to_owned()),
            }
        }
    }

    fn escape(&mut self) -> Step<char> {
        self.at += 1;
        let character = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err("unknown escape in a string".to_owned()),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode(&mut self) -> Step<char> {
        let first = self.hex()?;
        let code = match first {
            0xD800..0xDC00 => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err("lone surrogate in a string".to_owned());
                }
                self.at += 1;
                let second = self.hex()?;
                if !(0xDC00..0xE000).contains(&second) {
                    return Err("lone surrogate in a string".to_owned());
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| "lone surrogate in a string".to_owned())
    }

    /// Reads `u` and the four hexadecimal digits of a code unit.
    fn hex(&mut self) -> Step<u32> {
        let digits = self.text.get(self.at + 1..self.at + 5);
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|text| u32::from_str_radix(text, 16).ok());
        let code = code.ok_or("four hexadecimal digits must follow \\u")?;
        self.at += 5;
        Ok(code)
    }
}

fn is_duplicate<'a>(
    object: &Object<'a>,
    seen: &mut Option<HashSet<Cow<'a, str>>>,
    name: Cow<'a, str>,
) -> bool {
    if object.len() < SEARCHED {
        return object.contains(&name);
    }
    let seen =
        seen.get_or_insert_with(|| object.iter().map(|(name, _)| name.to_owned().into()).collect());
    !seen.insert(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_refused_with_its_place() {
        let deep = "[".repeat(101);
        let wide = (0..40).fold(String::new(), |wide, n| wide + &format!("\"k{n}\":1,"));
        let wide = format!("{{{wide}\"k3\":2}}");
        for (text, reason) in [
            ("", "empty document at line 1, column 1"),
            ("{", "expected a property name in double quotes at line 1, column 2"),
            ("{\"a\":1,}", "expected a property name in double quotes at line 1, column 8"),
            ("{\"a\":1\n,\"a\":2}", "duplicate property \"a\" at line 2, column 2"),
            ("[1,]", "unexpected ']' at line 1, column 4"),
            ("[1] 2", "text after the end of the document at line 1, column 5"),
            ("01", "a number must not start with 0 at line 1, column 2"),
            ("1.", "a number needs a digit after the decimal point at line 1, column 3"),
            ("NaN", "unexpected 'N' at line 1, column 1"),
            ("'a'", "unexpected '\\'' at line 1, column 1"),
            ("\"a\u{1}\"", "control character in a string at line 1, column 3"),
            ("\"\\ud800\"", "lone surrogate in a string at line 1, column 8"),
            ("\"\\ud800\\u0041\"", "lone surrogate in a string at line 1, column 14"),
            ("\"\\x\"", "unknown escape in a string at line 1, column 3"),
            ("\"a", "string without an end at line 1, column 3"),
            (&deep, "nested too deep at line 1, column 101"),
            (&wide, "duplicate property \"k3\" at line 1, column 312"),
        ] {
            let fault = parse(text.as_bytes()).expect_err(text).to_string();
            assert_eq!(fault, reason, "{text}");
        }
        let fault = parse(b"\"\xff\"").expect_err("invalid UTF-8");
        assert_eq!((fault.line, fault.column), (1, 2));
    }

    #[test]
    fn text_borrows_unless_it_has_escapes() {
        let value = parse(b"\xEF\xBB\xBF[\"plain\", \"\\ud83d\\ude00\"]").expect("parses");
        let items = value.as_array().expect("array");
        assert!(matches!(&items[0], Value::String(Cow::Borrowed("plain"))));
        assert_eq!(items[1].as_str(), Some("😀"));
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let limits = Limits { depth: 10, values: 3 };
        assert!(parse_with(b"[1,2]", limits).is_ok());
        assert!(parse_with(b"[1,2,3]", limits).is_err());
    }
}
