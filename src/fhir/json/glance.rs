//! A few properties of an object, read without the rest of it.
//!
//! What is not asked for is passed over by quotes and brackets alone, without a tree: of documents that
//! this server has written itself that is all that parsing would tell of it.

use std::borrow::Cow;

use super::parse::{JsonError, located, parse};
use super::{Object, Value};

/// Those of the properties of the object `text` that `names` has, in the order of the text.
///
/// # Errors
/// [`JsonError`] for what is no object, or has a name that is there twice or is written with escapes;
/// what is passed over is not checked.
pub fn glance<'t>(text: &'t [u8], names: &[impl AsRef<str>]) -> Result<Object<'t>, JsonError> {
    let mut scan = Scan { text, at: 0 };
    scan.object(names).map_err(|reason| located(text, scan.at, reason))
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

type Step<T> = Result<T, String>;

impl<'t> Scan<'t> {
    fn object(&mut self, names: &[impl AsRef<str>]) -> Step<Object<'t>> {
        let mut found = Object::new();
        self.space();
        self.expect(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return self.end(found);
        }
        loop {
            self.space();
            let name = self.name()?;
            self.space();
            self.expect(b':')?;
            self.space();
            let start = self.at;
            self.skip()?;
            if names.iter().any(|wanted| wanted.as_ref().as_bytes() == name) {
                let value = self.value(start)?;
                let name = std::str::from_utf8(name).map_err(|_| "a name is no text")?;
                if found.contains(name) {
                    return Err(format!("duplicate property {name:?}"));
                }
                found.push_unchecked(Cow::Borrowed(name), value);
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return self.end(found);
                }
                _ => return Err("expected ',' or '}'".to_owned()),
            }
        }
    }

    /// `found`, where nothing follows.
    fn end(&mut self, found: Object<'t>) -> Step<Object<'t>> {
        self.space();
        match self.peek() {
            None => Ok(found),
            Some(_) => Err("text after the end of the document".to_owned()),
        }
    }

    /// What was passed over from `start` on, as a tree.
    fn value(&self, start: usize) -> Step<Value<'t>> {
        let text: &'t [u8] = self.text;
        parse(&text[start..self.at]).map_err(|fault| fault.reason)
    }

    fn name(&mut self) -> Step<&'t [u8]> {
        if self.peek() != Some(b'"') {
            return Err("expected a property name in double quotes".to_owned());
        }
        let start = self.at + 1;
        self.string()?;
        let name = &self.text[start..self.at - 1];
        if name.contains(&b'\\') {
            return Err("a name is written with escapes".to_owned());
        }
        Ok(name)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Step<()> {
        if self.peek() != Some(byte) {
            return Err(format!("expected {:?}", byte as char));
        }
        self.at += 1;
        Ok(())
    }

    /// Passes over a value, however deep.
    fn skip(&mut self) -> Step<()> {
        let mut open = 0_usize;
        loop {
            let byte = self.peek().ok_or("unexpected end of the document")?;
            match byte {
                b'"' => self.string()?,
                b'{' | b'[' => (open, self.at) = (open + 1, self.at + 1),
                b'}' | b']' => {
                    open = open.checked_sub(1).ok_or("a value is missing")?;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if open > 0 => {
                    self.at += 1;
                    continue;
                }
                b',' | b':' => return Err("a value is missing".to_owned()),
                _ => self.word(),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// Passes over a number, `true`, `false` or `null`.
    fn word(&mut self) {
        let ends = |byte| matches!(byte, b',' | b'}' | b']' | b'"' | b' ' | b'\n' | b'\r' | b'\t');
        while self.peek().is_some_and(|byte| !ends(byte)) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Step<()> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let next = memchr::memchr2(b'"', b'\\', rest).ok_or("string without an end")?;
            self.at += next;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                // What an escape is about, a quote maybe, is part of the string.
                _ => self.at += 2,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_nothing_else() {
        let text = r#" {"a": {"b":[1,"}]\"",{"subject":"no"}]}, "subject" :{"reference":"Pätient/\u0061"},
            "n":-1.5e3,"t":true,"empty":{},"none":[],"s":"\\","link":[ {"x":null} ] } "#;
        for (names, expected) in [
            (&["subject"][..], r#"{"subject":{"reference":"Pätient/a"}}"#),
            (&["link", "n"], r#"{"n":-1.5e3,"link":[{"x":null}]}"#),
            (&["s", "t", "empty", "none"], r#"{"t":true,"empty":{},"none":[],"s":"\\"}"#),
            (&["b", "reference", "x"], "{}"),
            (&[], "{}"),
        ] {
            let found = glance(text.as_bytes(), names).expect("an object");
            assert_eq!(Value::Object(found).to_text(), expected, "{names:?}");
        }
        assert!(glance(b"{}", &["a"]).expect("an object").is_empty());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1"#,
            r#"{"a":1,}"#,
            r#"{"a":[1}"#,
            r#"{"a":"x}"#,
            r#"{"a":"x\"#,
            r#"{"a":1}x"#,
            r#"{"a":1 2}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":nul}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":,"b":1}"#,
        ] {
            assert!(glance(text.as_bytes(), &["a"]).is_err(), "{text}");
        }
    }
}
