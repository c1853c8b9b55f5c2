//! Separators and escapes: `,` `$` `|` and `\` stand for themselves behind a `\`.
//!
//! A value is split first at commas, then at `$`, then at `|`, and the parts are unescaped last
//! (rest 4.12, 4.28 to 4.33). Percent escapes were decoded before.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#escaping>

use std::fmt::{self, Write as _};

const SPECIAL: [char; 4] = ['$', ',', '\\', '|'];

/// The parts of `text` between the separators that are not escaped; the parts still are.
pub(super) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    text.split(move |character| {
        let is_end = character == separator && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_end
    })
}

/// `text` with its escapes resolved; `None` where a `\` stands before anything else (rest 4.28).
pub(super) fn unescape(text: &str) -> Option<Box<str>> {
    if !text.contains('\\') {
        return Some(text.into());
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\\' => characters.next().filter(|next| SPECIAL.contains(next))?,
            other => other,
        });
    }
    Some(out.into())
}

/// A text that prints with its special characters escaped.
pub(super) struct Escaped<'t>(pub(super) &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if SPECIAL.contains(&character) {
                f.write_char('\\')?;
            }
            f.write_char(character)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_split_unless_they_are_escaped() {
        for (text, separator, expected) in [
            ("a,b", ',', &["a", "b"][..]),
            (r"a\,b", ',', &[r"a\,b"]),
            (r"a\\,b", ',', &[r"a\\", "b"]),
            (r"a\\\,b", ',', &[r"a\\\,b"]),
            (r"code\,", ',', &[r"code\,"]),
            ("a,", ',', &["a", ""]),
            ("", ',', &[""]),
            (r"http://foo\,123|ABC", '|', &[r"http://foo\,123", "ABC"]),
            (r"a\$b$c", '$', &[r"a\$b", "c"]),
            ("é,ü", ',', &["é", "ü"]),
        ] {
            assert_eq!(split(text, separator).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn an_escape_is_its_character_and_any_other_is_illegal() {
        for (text, expected) in [
            ("plain", Some("plain")),
            (r"A\, B", Some("A, B")),
            (r"\|\$\,\\", Some(r"|$,\")),
            (r"Smith\,Jr", Some("Smith,Jr")),
            (r"code\,", Some("code,")),
            (r"xx\xx", None),
            (r"xx\", None),
            (r"\\\", None),
            ("", Some("")),
        ] {
            let found = unescape(text);
            assert_eq!(found.as_deref(), expected, "{text:?}");
            if let Some(plain) = found {
                assert_eq!(unescape(&Escaped(&plain).to_string()).as_ref(), Some(&plain));
            }
        }
    }
}
