//! Text to tokens.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#lexical-elements>

use super::parser::ParseError;
use super::temporal::Temporal;

/// One token and the byte it starts at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind<'t>,
    pub(super) start: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind<'t> {
    /// `` `name` ``
    Delimited(String),
    /// `$this`, `$index`, `$total`, without the `$`.
    Dollar(&'t str),
    End,
    /// `name`, keywords included.
    Identifier(&'t str),
    Number(&'t str),
    String(String),
    Symbol(&'static str),
    /// A date, date-time or time, without its `@`.
    Temporal(&'t str),
}

/// Symbols, each before any that is its beginning.
const SYMBOLS: [&str; 24] = [
    "!=", "!~", "<=", ">=", "(", ")", "[", "]", "{", "}", "|", "=", "~", "<", ">", "+", "-", "*",
    "/", "&", ",", ".", "%", "!",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space()?;
        let start = lexer.at;
        let kind = lexer.token()?;
        let last = kind == TokenKind::End;
        tokens.push(Token { kind, start });
        if last {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.text, at, reason))
    }

    fn skip_space(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            self.at += rest.len() - trimmed.len();
            if let Some(comment) = trimmed.strip_prefix("//") {
                self.at += 2 + comment.find(['\r', '\n']).unwrap_or(comment.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return self.fail(self.at, "the comment does not end"),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<TokenKind<'t>, ParseError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(TokenKind::End) };
        match first {
            '\'' => self.quoted('\'').map(TokenKind::String),
            '`' => self.quoted('`').map(TokenKind::Delimited),
            '@' => self.temporal(),
            '$' => {
                self.at += 1;
                Ok(TokenKind::Dollar(self.take_while(is_name)))
            }
            '0'..='9' => Ok(TokenKind::Number(self.number())),
            'a'..='z' | 'A'..='Z' | '_' => Ok(TokenKind::Identifier(self.take_while(is_name))),
            _ => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(&symbol) if symbol != "!" => {
                    self.at += symbol.len();
                    Ok(TokenKind::Symbol(symbol))
                }
                _ => self.fail(self.at, format!("{first:?} has no meaning here")),
            },
        }
    }

    fn take_while(&mut self, wanted: fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|next| !wanted(next)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// `12` or `1.5`; a point without a digit after it is the next token.
    fn number(&mut self) -> &'t str {
        let start = self.at;
        self.take_while(is_digit);
        if let Some(fraction) = self.rest().strip_prefix('.')
            && fraction.starts_with(is_digit)
        {
            self.at += 1;
            self.take_while(is_digit);
        }
        &self.text[start..self.at]
    }

    fn temporal(&mut self) -> Result<TokenKind<'t>, ParseError> {
        let start = self.at;
        self.at += 1;
        let from = self.at;
        self.take_while(|next| is_digit(next) || next == '-');
        if self.rest().starts_with('T') {
            self.at += 1;
            self.take_while(|next| is_digit(next) || next == ':');
            if let Some(fraction) = self.rest().strip_prefix('.')
                && fraction.starts_with(is_digit)
            {
                self.at += 1;
                self.take_while(is_digit);
            }
            self.offset();
        }
        let text = &self.text[from..self.at];
        match Temporal::parse(text) {
            Some(_) => Ok(TokenKind::Temporal(text)),
            None => self.fail(start, format!("@{text} is not a date or time")),
        }
    }

    fn offset(&mut self) {
        let rest = self.rest();
        if rest.starts_with('Z') {
            self.at += 1;
        } else if let Some(offset) = rest.get(..6) {
            let shape = |(at, byte): (usize, u8)| match at {
                0 => byte == b'+' || byte == b'-',
                3 => byte == b':',
                _ => byte.is_ascii_digit(),
            };
            if offset.bytes().enumerate().all(shape) {
                self.at += 6;
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        let mut characters = self.rest().chars();
        while let Some(next) = characters.next() {
            match next {
                '\\' => {
                    let Some(resolved) = escape(&mut characters) else {
                        let at = self.text.len() - characters.as_str().len();
                        return self.fail(at - 1, "the escape after \\ is not known");
                    };
                    out.push(resolved);
                }
                _ if next == quote => {
                    self.at = self.text.len() - characters.as_str().len();
                    return Ok(out);
                }
                _ => out.push(next),
            }
        }
        self.fail(start, format!("the text after {quote} does not end"))
    }
}

fn escape(characters: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match characters.next()? {
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => unicode(characters)?,
        plain @ ('\'' | '"' | '`' | '\\' | '/') => plain,
        _ => return None,
    })
}

/// What four hexadecimal digits after `\u` stand for, or eight in two escapes that are a pair.
pub(super) fn unicode(characters: &mut std::str::Chars<'_>) -> Option<char> {
    let hex4 = |characters: &mut std::str::Chars<'_>| {
        (0..4).try_fold(0, |value, _| Some(value * 16 + characters.next()?.to_digit(16)?))
    };
    let high = hex4(characters)?;
    if !(0xD800..=0xDBFF).contains(&high) {
        return char::from_u32(high);
    }
    let is_pair = characters.next() == Some('\\') && characters.next() == Some('u');
    let low = is_pair.then(|| hex4(characters))??;
    let low = (0xDC00..=0xDFFF).contains(&low).then_some(low - 0xDC00)?;
    char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + low)
}

fn is_digit(next: char) -> bool {
    next.is_ascii_digit()
}

fn is_name(next: char) -> bool {
    next.is_ascii_alphanumeric() || next == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind<'_>> {
        tokens(text).expect(text).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn each_kind_of_token_is_told_apart() {
        use TokenKind::{Delimited, Dollar, End, Identifier, Number, String, Symbol, Temporal};
        for (text, expected) in [
            ("a.b", vec![Identifier("a"), Symbol("."), Identifier("b"), End]),
            ("1.5.toString", vec![Number("1.5"), Symbol("."), Identifier("toString"), End]),
            ("1.a", vec![Number("1"), Symbol("."), Identifier("a"), End]),
            ("$this", vec![Dollar("this"), End]),
            ("a /* b */ // c\n!=", vec![Identifier("a"), Symbol("!="), End]),
            (r"'\u002a\'\\\/'", vec![String(r"*'\/".to_owned()), End]),
            (r"'\uD83D\uDE00'", vec![String("\u{1F600}".to_owned()), End]),
            ("`a b`", vec![Delimited("a b".to_owned()), End]),
            ("@2015-02-04T14:34:28.1Z", vec![Temporal("2015-02-04T14:34:28.1Z"), End]),
            ("@T14:30.a", vec![Temporal("T14:30"), Symbol("."), Identifier("a"), End]),
            (
                "@2015-02-04T14:34+01:00 + 1",
                vec![Temporal("2015-02-04T14:34+01:00"), Symbol("+"), Number("1"), End],
            ),
            ("%`x`", vec![Symbol("%"), Delimited("x".to_owned()), End]),
        ] {
            assert_eq!(kinds(text), expected, "{text}");
        }
    }

    #[test]
    fn faults_name_their_column() {
        for (text, column) in
            [("a ! b", 3), ("'ab", 1), ("a /* b", 3), (r"'\q'", 3), ("é", 1), ("@2015-99", 1)]
        {
            assert_eq!(tokens(text).expect_err(text).column, column, "{text}");
        }
    }
}
