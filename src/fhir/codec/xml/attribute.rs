//! The attributes of a tag: found, unescaped on demand, and written.

use std::borrow::Cow;

use super::entity::{is_legal, resolve};
use super::source::{Fault, Step};

/// One attribute as it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    /// Where its name stands in the document.
    pub(super) at: usize,
    /// Where it ends, its closing quote included.
    pub(super) end: usize,
    /// Its name with its prefix.
    pub(super) name: &'a str,
    raw: &'a str,
}

impl<'a> Attribute<'a> {
    /// The prefix that this attribute declares: empty for the default namespace; `None` when
    /// it declares none.
    pub(super) fn declared_prefix(&self) -> Option<&'a str> {
        match self.name.strip_prefix("xmlns")? {
            "" => Some(""),
            rest => rest.strip_prefix(':'),
        }
    }

    /// The value: references resolved, and white space as XML wants it (a tab or line end that
    /// is not written as a reference becomes a space).
    ///
    /// # Errors
    /// A reference that stands for nothing, or a bare `<`.
    pub(super) fn value(&self) -> Step<Cow<'a, str>> {
        let special = |byte: u8| byte == b'&' || byte == b'<' || byte < 0x20;
        let Some(first) = self.raw.bytes().position(special) else {
            return Ok(Cow::Borrowed(self.raw));
        };
        let mut out = String::with_capacity(self.raw.len());
        out.push_str(&self.raw[..first]);
        let mut rest = &self.raw[first..];
        while let Some(character) = rest.chars().next() {
            let mut len = character.len_utf8();
            match character {
                '&' => {
                    let (name, length) = self.reference(rest)?;
                    out.push(name);
                    len = length;
                }
                '<' => return Err(Fault::new(self.at, "\"<\" in an attribute value")),
                '\r' => {
                    out.push(' ');
                    len += usize::from(rest.as_bytes().get(1) == Some(&b'\n'));
                }
                '\n' | '\t' => out.push(' '),
                other => out.push(other),
            }
            rest = &rest[len..];
        }
        Ok(Cow::Owned(out))
    }

    /// The character that the reference at the start of `rest` stands for, and its length.
    fn reference(&self, rest: &str) -> Step<(char, usize)> {
        // No legal reference is longer than this; without the bound a value of many `&` would
        // be searched again and again.
        let window = rest.as_bytes().iter().take(40);
        let end = window.clone().position(|&byte| byte == b';');
        let name = end.and_then(|end| rest.get(1..end)).unwrap_or_default();
        match resolve(name) {
            Some(character) => Ok((character, name.len() + 2)),
            None => Err(unknown_reference(self.at, name)),
        }
    }
}

pub(super) fn unknown_reference(at: usize, name: &str) -> Fault {
    let shown: String = name.chars().take(40).collect();
    Fault::new(at, format!("reference \"&{shown};\" stands for no character"))
}

/// The attributes in `text`, the part of a tag after its name, which starts at byte `at`.
pub(super) fn scan(text: &str, at: usize) -> impl Iterator<Item = Step<Attribute<'_>>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let trimmed = rest.trim_start_matches(is_space);
        if trimmed.is_empty() {
            return None;
        }
        let start = at + text.len() - trimmed.len();
        if trimmed.len() == rest.len() {
            rest = "";
            return Some(Err(Fault::new(start, "attributes must have white space before them")));
        }
        let found = attribute(trimmed, start);
        rest = found.as_ref().map_or("", |found| &trimmed[found.end - start..]);
        Some(found)
    })
}

fn attribute(text: &str, at: usize) -> Step<Attribute<'_>> {
    let malformed = || Fault::new(at, "an attribute must have the form name=\"value\"");
    // Names and values are short: a plain loop over bytes beats a search that has to be set up.
    let equals = text.bytes().position(|byte| byte == b'=').ok_or_else(malformed)?;
    let value = text[equals + 1..].trim_start_matches(is_space);
    let quote = value.bytes().next().filter(|quote| b"\"'".contains(quote));
    let quote = quote.ok_or_else(malformed)?;
    let inside = &value[1..];
    let len = inside.bytes().position(|byte| byte == quote).ok_or_else(malformed)?;
    let end = at + text.len() - inside.len() + len + 1;
    Ok(Attribute { at, end, name: text[..equals].trim_end_matches(is_space), raw: &inside[..len] })
}

pub(super) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// Appends `text` as the inside of a double-quoted attribute value.
///
/// White space other than the space becomes a reference, so that reading gives it back; a
/// character that XML 1.0 cannot carry becomes U+FFFD.
pub(super) fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let (escape, len): (&str, usize) = match byte {
            b'&' => ("&amp;", 1),
            b'<' => ("&lt;", 1),
            b'>' => ("&gt;", 1),
            b'"' => ("&quot;", 1),
            b'\t' => ("&#9;", 1),
            b'\n' => ("&#10;", 1),
            b'\r' => ("&#13;", 1),
            0..0x20 => ("\u{fffd}", 1),
            0xEF if matches!(bytes.get(at..at + 3), Some([0xEF, 0xBF, 0xBE | 0xBF])) => {
                ("\u{fffd}", 3)
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(escape.as_bytes());
        from = at + len;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Where the first character stands that XML 1.0 cannot carry.
pub(super) fn first_illegal(text: &str) -> Option<usize> {
    let suspect = |byte: u8| (byte < 0x20 && !b"\t\n\r".contains(&byte)) || byte == 0xEF;
    let mut from = 0;
    while let Some(found) = text.as_bytes()[from..].iter().position(|&byte| suspect(byte)) {
        let at = from + found;
        let character = text[at..].chars().next()?;
        if !is_legal(character) {
            return Some(at);
        }
        from = at + character.len_utf8();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Result<Vec<(String, String)>, String> {
        let mut found = Vec::new();
        for attribute in scan(text, 0) {
            let attribute = attribute.map_err(|fault| fault.reason)?;
            let value = attribute.value().map_err(|fault| fault.reason)?;
            found.push((attribute.name.to_owned(), value.into_owned()));
        }
        Ok(found)
    }

    #[test]
    fn values_are_unescaped_and_their_white_space_normalised() {
        for (text, expected) in [
            (" a=\"1\" b = '2 \"'", vec![("a", "1"), ("b", "2 \"")]),
            (" a=\"&lt;&#65;&#x1F600;&amp;amp;\"", vec![("a", "<A😀&amp;")]),
            (" a=\"1\r\n2\n3\t4&#10;5\"", vec![("a", "1 2 3 4\n5")]),
            (" a=\"  x  \"\n", vec![("a", "  x  ")]),
            ("  ", vec![]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            assert_eq!(values(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        let form = "an attribute must have the form name=\"value\"";
        for (text, reason) in [
            (" a", form),
            (" a=1", form),
            (" a=\"1", form),
            (" a=", form),
            (" a=\"1\"b=\"2\"", "attributes must have white space before them"),
            (" a=\"<\"", "\"<\" in an attribute value"),
            (" a=\"&\"", "reference \"&;\" stands for no character"),
            (" a=\"&x;\"", "reference \"&x;\" stands for no character"),
            (" a=\"&#0;\"", "reference \"&#0;\" stands for no character"),
        ] {
            assert_eq!(values(text), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_escaped_value_reads_back_unless_xml_cannot_carry_it() {
        for (text, back) in [
            ("plain é 😀", "plain é 😀"),
            ("<a b=\"c\">&amp;'", "<a b=\"c\">&amp;'"),
            ("a\tb\nc\r\nd", "a\tb\nc\r\nd"),
            ("a\u{1}b\u{fffe}\u{ffff}\u{fffd}", "a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            let mut out = b" v=\"".to_vec();
            escape(text, &mut out);
            out.push(b'"');
            let out = String::from_utf8(out).expect("UTF-8");
            assert_eq!(values(&out), Ok(vec![("v".to_owned(), back.to_owned())]), "{text:?}");
        }
    }

    #[test]
    fn illegal_characters_are_found() {
        for (text, expected) in
            [("a\t\r\nb\u{feff}\u{fffd}", None), ("a\u{0}", Some(1)), ("é\u{ffff}", Some(2))]
        {
            assert_eq!(first_illegal(text), expected, "{text:?}");
        }
    }
}
