//! The tokens of a document.
//!
//! Spec: <https://spec.graphql.org/October2021/#sec-Appendix-Grammar-Summary.Lexical-Tokens>

use super::fault::{Fault, Place, clipped};

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'d> {
    /// Nothing comes any more.
    End,
    /// One of `! $ & ( ) : = @ [ ] { | }`.
    Mark(char),
    /// A name or a keyword.
    Name(&'d str),
    /// A number as it is written.
    Number(&'d str),
    /// `...`
    Spread,
    /// A text with its escapes resolved.
    Text(String),
}

impl Token<'_> {
    /// The token in a message.
    pub(super) fn named(&self) -> String {
        match self {
            Self::End => "the end of the document".to_owned(),
            Self::Mark(mark) => format!("{mark:?}"),
            Self::Name(text) | Self::Number(text) => format!("{:?}", clipped(text)),
            Self::Spread => "\"...\"".to_owned(),
            Self::Text(_) => "a text".to_owned(),
        }
    }
}

/// Reads tokens one after the other.
#[derive(Debug)]
pub(super) struct Lexer<'d> {
    rest: &'d str,
    place: Place,
}

impl<'d> Lexer<'d> {
    pub(super) fn new(text: &'d str) -> Self {
        Self { rest: text, place: Place { line: 1, column: 1 } }
    }

    /// The next token and where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'d>, Place), Fault> {
        self.skip_ignored();
        let place = self.place;
        let token = match self.rest.chars().next() {
            None => Token::End,
            Some('"') => Token::Text(self.text()?),
            Some(mark) if "!$&():=@[]{|}".contains(mark) => {
                self.take(1);
                Token::Mark(mark)
            }
            Some('.') if self.rest.starts_with("...") => {
                self.take(3);
                Token::Spread
            }
            Some('-' | '0'..='9') => Token::Number(self.number()?),
            Some('A'..='Z' | '_' | 'a'..='z') => {
                let is_part = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
                let length = self.rest.bytes().take_while(|byte| is_part(*byte)).count();
                Token::Name(self.take(length))
            }
            Some(other) => {
                return Err(Fault::at(format!("{other:?} begins nothing in GraphQL"), place));
            }
        };
        Ok((token, place))
    }

    /// Passes over what means nothing.
    fn skip_ignored(&mut self) {
        loop {
            let ignored = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | ',' | '\u{feff}');
            let length = self.rest.len() - self.rest.trim_start_matches(ignored).len();
            self.take(length);
            if !self.rest.starts_with('#') {
                return;
            }
            let length = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
            self.take(length);
        }
    }

    /// The next `bytes`, which end between characters.
    fn take(&mut self, bytes: usize) -> &'d str {
        let (taken, rest) = self.rest.split_at(bytes);
        let mut chars = taken.chars().peekable();
        while let Some(char) = chars.next() {
            let is_end = match char {
                '\n' => true,
                '\r' => chars.peek() != Some(&'\n') && !rest.starts_with('\n'),
                _ => false,
            };
            if is_end {
                self.place = Place { line: self.place.line + 1, column: 1 };
            } else {
                self.place.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    fn fault(&self, text: &str) -> Fault {
        Fault::at(text, self.place)
    }

    fn number(&mut self) -> Result<&'d str, Fault> {
        let bytes = self.rest.as_bytes();
        let digits =
            |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        let is_at = |at: usize, marks: &[u8]| bytes.get(at).is_some_and(|it| marks.contains(it));
        let mut at = usize::from(is_at(0, b"-"));
        let whole = digits(at);
        let mut is_sound = whole > 0 && (whole == 1 || !is_at(at, b"0"));
        at += whole;
        if is_at(at, b".") {
            let fraction = digits(at + 1);
            is_sound &= fraction > 0;
            at += 1 + fraction;
        }
        if is_at(at, b"eE") {
            let sign = usize::from(is_at(at + 1, b"+-"));
            let exponent = digits(at + 1 + sign);
            is_sound &= exponent > 0;
            at += 1 + sign + exponent;
        }
        let is_more = bytes
            .get(at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
        if !is_sound || is_more {
            return Err(self.fault("not a number"));
        }
        Ok(self.take(at))
    }

    fn text(&mut self) -> Result<String, Fault> {
        if self.rest.starts_with("\"\"\"") {
            return self.block();
        }
        let begin = self.rest;
        let mut chars = begin.char_indices().skip(1);
        let mut text = String::new();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.take(at + 1);
                    return Ok(text);
                }
                '\\' => {
                    let after = begin.get(at + 1..).unwrap_or_default();
                    let (char, length) =
                        escaped(after).ok_or_else(|| self.fault("a text with a bad escape"))?;
                    text.push(char);
                    // What belongs to an escape is of one byte a character.
                    for _ in 0..length {
                        chars.next();
                    }
                }
                '\n' | '\r' => break,
                '\0' => return Err(self.fault("a text with the character U+0000")),
                other => text.push(other),
            }
        }
        Err(self.fault("a text without an end"))
    }

    /// A text between three quotes: its lines without the space that all of them begin with.
    fn block(&mut self) -> Result<String, Fault> {
        let inner = self.rest.get(3..).unwrap_or_default();
        let mut end = None;
        let mut from = 0;
        while let Some(found) = inner.get(from..).and_then(|rest| rest.find("\"\"\"")) {
            let at = from + found;
            if !inner.get(..at).is_some_and(|before| before.ends_with('\\')) {
                end = Some(at);
                break;
            }
            from = at + 3;
        }
        let end = end.ok_or_else(|| self.fault("a text without an end"))?;
        let raw = inner.get(..end).unwrap_or_default();
        if raw.contains('\0') {
            return Err(self.fault("a text with the character U+0000"));
        }
        let raw = raw.replace("\r\n", "\n").replace('\r', "\n").replace("\\\"\"\"", "\"\"\"");
        self.take(end + 6);
        Ok(without_indent(&raw))
    }
}

/// The character that stands after a backslash, and how many bytes it takes there.
fn escaped(after: &str) -> Option<(char, usize)> {
    let simple = |char| Some((char, 1));
    match after.chars().next()? {
        char @ ('"' | '\\' | '/') => simple(char),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'u' => {
            let first = unit(after.get(1..5)?)?;
            let (code, length) = if (0xd800..0xdc00).contains(&first) {
                let second = unit(after.get(5..)?.strip_prefix("\\u")?.get(..4)?)?;
                let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                (0x1_0000 + ((first - 0xd800) << 10) + low, 11)
            } else {
                (first, 5)
            };
            char::from_u32(code).filter(|char| *char != '\0').map(|char| (char, length))
        }
        _ => None,
    }
}

fn unit(digits: &str) -> Option<u32> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { u32::from_str_radix(digits, 16).ok() } else { None }
}

fn without_indent(raw: &str) -> String {
    let is_space = |char| matches!(char, ' ' | '\t');
    let lines: Vec<&str> = raw.split('\n').collect();
    let is_empty = |line: &&str| line.chars().all(is_space);
    let indent = |line: &&str| line.len() - line.trim_start_matches(is_space).len();
    let later = lines.iter().skip(1).filter(|line| !is_empty(line));
    let common = later.map(indent).min().unwrap_or(0);
    let first = lines.iter().position(|line| !is_empty(line)).unwrap_or(lines.len());
    let last = lines.iter().rposition(|line| !is_empty(line)).map_or(first, |at| at + 1);
    let cut = |(at, line): (usize, &&str)| -> String {
        if at == 0 { (*line).to_owned() } else { line.get(common..).unwrap_or_default().to_owned() }
    };
    let all: Vec<String> =
        lines.iter().enumerate().skip(first).take(last - first).map(cut).collect();
    all.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Token<'_>>, Fault> {
        let mut lexer = Lexer::new(text);
        let mut found = Vec::new();
        loop {
            match lexer.next()?.0 {
                Token::End => return Ok(found),
                token => found.push(token),
            }
        }
    }

    #[test]
    fn texts_are_read_with_their_escapes() {
        for (text, expected) in [
            (r#""""#, Some("")),
            (r#""a b""#, Some("a b")),
            (r#""é\n\t\"\\\/""#, Some("é\n\t\"\\/")),
            (r#""\\""#, Some("\\")),
            (r#""\u00e9x""#, Some("éx")),
            (r#""\ud83d\ude00!""#, Some("\u{1f600}!")),
            (r#""\ud83d""#, None),
            (r#""\ud83dxx""#, None),
            (r#""\ude00""#, None),
            (r#""\u12""#, None),
            (r#""\u+123""#, None),
            (r#""\u0000""#, None),
            (r#""\é""#, None),
            ("\"\0\"", None),
            ("\"a\nb\"", None),
            (r#""a"#, None),
            (r#""a\"#, None),
            (r#""""a""""#, Some("a")),
            ("\"\"\"\n  a\n    b\n  \n\"\"\"", Some("a\n  b")),
            ("\"\"\"\r\n\u{3000}a\r\n b\"\"\"", Some("\u{3000}a\n b")),
            (r#""""a \""" b""""#, Some("a \"\"\" b")),
            (r#""""a"#, None),
            ("\"\"\"\"\"\"", Some("")),
            ("\"\"\"\"\"", None),
        ] {
            let found = all(text).ok().map(|tokens| match &*tokens {
                [Token::Text(text)] => text.clone(),
                other => format!("{other:?}"),
            });
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_those_of_json() {
        for (text, is_one) in [
            ("0", true),
            ("-0", true),
            ("12", true),
            ("-1.50", true),
            ("1e999", true),
            ("1.0E-3", true),
            ("01", false),
            ("-", false),
            ("1.", false),
            ("1.e1", false),
            ("1e", false),
            ("1x", false),
            ("1.2.3", false),
            (".5", false),
        ] {
            assert_eq!(all(text).is_ok(), is_one, "{text}");
        }
    }

    #[test]
    fn places_count_lines_and_characters() {
        let mut lexer = Lexer::new("{ é # ü\r\n  a\r,b\n\"x\" c");
        lexer.next().expect("a brace");
        let fault = lexer.next().expect_err("no letter of GraphQL");
        assert_eq!(fault.place, Some(Place { line: 1, column: 3 }));
        let mut lexer = Lexer::new("{ # ü\r\n  a\r,b\n\"x\" c");
        let mut places = Vec::new();
        while let (token, place) = lexer.next().expect("a token")
            && token != Token::End
        {
            places.push((place.line, place.column));
        }
        assert_eq!(places, [(1, 1), (2, 3), (3, 2), (4, 1), (4, 5)]);
    }
}
