//! The separators of a message, as its first segment names them.

/// The bytes that separate; `None` where a sender names none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Separators {
    /// MSH-1, usually `|`.
    pub field: u8,
    /// Usually `^`.
    pub component: u8,
    /// Usually `~`.
    pub repetition: Option<u8>,
    /// Usually `\`.
    pub escape: Option<u8>,
    /// Usually `&`.
    pub subcomponent: Option<u8>,
    /// `#` since 2.7, where it is named: marks a value that was cut off.
    pub truncation: Option<u8>,
}

impl Default for Separators {
    /// `|^~\&`
    fn default() -> Self {
        Self {
            field: b'|',
            component: b'^',
            repetition: Some(b'~'),
            escape: Some(b'\\'),
            subcomponent: Some(b'&'),
            truncation: None,
        }
    }
}

impl Separators {
    /// Those of a first segment: the byte after its name, then up to five until that byte comes again.
    /// `None` when they are no separators: letters, digits, ends of lines and frames, or two that are the
    /// same.
    pub fn of_header(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let field = *bytes.get(3)?;
        let rest = &bytes[4..];
        let length = memchr::memchr(field, rest).unwrap_or(rest.len());
        let named = &rest[..length];
        let fits = |byte: &u8| {
            byte.is_ascii()
                && !byte.is_ascii_alphanumeric()
                && !matches!(byte, 0 | b'\x0b' | b'\x1c' | b'\r' | b'\n' | b'"' | b' ')
        };
        let are_distinct = |(at, byte): (usize, &u8)| !named[..at].contains(byte);
        let are_sound = fits(&field)
            && (1..=5).contains(&named.len())
            && named.iter().all(fits)
            && named.iter().enumerate().all(are_distinct);
        are_sound.then(|| Self {
            field,
            component: named[0],
            repetition: named.get(1).copied(),
            escape: named.get(2).copied(),
            subcomponent: named.get(3).copied(),
            truncation: named.get(4).copied(),
        })
    }

    /// MSH-2 as it is written.
    pub fn encoding_characters(&self) -> String {
        let rest = [self.repetition, self.escape, self.subcomponent, self.truncation];
        let all = std::iter::once(self.component).chain(rest.into_iter().map_while(|byte| byte));
        all.map(char::from).collect()
    }

    /// Adds a value to `text` so that it is read as it was: separators become escapes, line ends `.br`.
    pub fn write(&self, value: &str, text: &mut String) {
        let Some(escape) = self.escape else {
            text.extend(value.chars().map(|c| if self.is_special(c) { ' ' } else { c }));
            return;
        };
        let escape = char::from(escape);
        for c in value.chars() {
            let name = match u8::try_from(c).ok() {
                Some(byte) if byte == self.field => "F",
                Some(byte) if byte == self.component => "S",
                Some(byte) if Some(byte) == self.repetition => "R",
                Some(byte) if Some(byte) == self.escape => "E",
                Some(byte) if Some(byte) == self.subcomponent => "T",
                Some(byte) if Some(byte) == self.truncation => "P",
                Some(b'\n') => ".br",
                Some(byte) if byte < b' ' => "",
                _ => {
                    text.push(c);
                    continue;
                }
            };
            if !name.is_empty() {
                text.extend([escape]);
                text.push_str(name);
                text.extend([escape]);
            }
        }
    }

    fn is_special(&self, c: char) -> bool {
        let Ok(byte) = u8::try_from(c) else { return false };
        let all = [self.repetition, self.subcomponent, self.truncation];
        byte < b' ' || byte == self.field || byte == self.component || all.contains(&Some(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_what_the_header_names() {
        for (header, expected) in [
            ("MSH|^~\\&|", Some("^~\\&")),
            ("MSH|^~\\&#|A", Some("^~\\&#")),
            ("MSH$%~\\&$A", Some("%~\\&")),
            ("MSH|^~\\|A", Some("^~\\")),
            ("MSH|^|A", Some("^")),
            ("MSH|^~\\&", Some("^~\\&")),
            ("MSH|^~\\\u{6}|A", Some("^~\\\u{6}")),
            ("MSH|^~\\\u{b}|A", None),
            ("MSH|^~\\\u{1c}|A", None),
            ("MSH||A", None),
            ("MSH|^^\\&|A", None),
            ("MSH|^~\\&#!|A", None),
            ("MSHa^~\\&aA", None),
            ("MSH|^~X&|A", None),
            ("MSH|^~é|A", None),
            ("MSH", None),
            ("MSé|^~\\&|", None),
        ] {
            let read = Separators::of_header(header).map(|found| found.encoding_characters());
            assert_eq!(read.as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let separators = Separators::default();
        let mut text = String::new();
        separators.write("a|b^c&d~e\\f\ng\u{1}é", &mut text);
        assert_eq!(text, r"a\F\b\S\c\T\d\R\e\E\f\.br\gé");
    }
}
