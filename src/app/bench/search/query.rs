//! One kind of search: what is asked, and what makes an answer to it right.

use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Most forms of one search, so that no answer is found in a cache of one.
const FORMS: usize = 20;
/// What stands for itself in a query string.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What must be in an answer besides a status of success.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expects {
    /// Nothing: there may be no match.
    Anything,
    /// At least one match.
    Matches,
    /// A total above zero.
    Total,
}

/// A search of the mix.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) expects: Expects,
    /// Paths below the base, asked in turn; none when the data has nothing to ask for.
    pub(super) paths: Vec<String>,
}

impl Query {
    /// `form` of some of `values`, of which each finds something.
    pub(super) fn each<T>(name: &'static str, values: &[T], form: impl Fn(&T) -> String) -> Self {
        let step = values.len().div_ceil(FORMS).max(1);
        let paths = values.iter().step_by(step).map(form).collect();
        Self { name, expects: Expects::Matches, paths }
    }

    /// A search that finds something.
    pub(super) fn one(name: &'static str, path: impl Into<String>) -> Self {
        Self { name, expects: Expects::Matches, paths: vec![path.into()] }
    }

    pub(super) fn expecting(self, expects: Expects) -> Self {
        Self { expects, ..self }
    }
}

impl Expects {
    /// Why a successful answer is wrong, read off its text: to parse it would cost the generator
    /// more than the answer cost the server.
    pub(super) fn fault(self, body: &[u8]) -> Option<&'static str> {
        match self {
            Self::Anything => None,
            Self::Matches if memmem::find(body, b"\"match\"").is_some() => None,
            Self::Matches => Some("no match"),
            Self::Total => match total(body) {
                Some(0) => Some("a total of 0"),
                Some(_) => None,
                None => Some("no total"),
            },
        }
    }
}

/// `Bundle.total`.
pub(super) fn total(body: &[u8]) -> Option<u64> {
    let name = b"\"total\"";
    let rest = &body[memmem::find(body, name)? + name.len()..];
    let from = rest.iter().position(u8::is_ascii_digit)?;
    let is_gap = |byte: &u8| *byte == b':' || byte.is_ascii_whitespace();
    if !rest[..from].iter().all(is_gap) {
        return None;
    }
    let mut digits = rest[from..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.try_fold(0_u64, |number, byte| number.checked_mul(10)?.checked_add(u64::from(byte - 48)))
}

/// `text` as it stands in a query string.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// `text` with a backslash before what would part a search value.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | ',' | '|' | '$') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_have_what_is_expected() {
        for (expects, body, fault) in [
            (Expects::Anything, r#"{"total":0}"#, None),
            (Expects::Matches, r#"{"entry":[{"search":{"mode":"match"}}]}"#, None),
            (Expects::Matches, r#"{"entry":[{"search":{"mode":"outcome"}}]}"#, Some("no match")),
            (Expects::Total, r#"{"total":12}"#, None),
            (Expects::Total, "{\"total\" :\n 3}", None),
            (Expects::Total, r#"{"total":0}"#, Some("a total of 0")),
            (Expects::Total, r#"{"link":[]}"#, Some("no total")),
            (Expects::Total, r#"{"total":"1"}"#, Some("no total")),
        ] {
            assert_eq!(expects.fault(body.as_bytes()), fault, "{expects:?} {body}");
        }
    }

    #[test]
    fn values_survive_the_query_string() {
        for (text, expected) in [
            ("http://loinc.org|8302-2", "http%3A%2F%2Floinc.org%7C8302-2"),
            ("a b&c=d", "a%20b%26c%3Dd"),
            ("Müller", "M%C3%BCller"),
        ] {
            assert_eq!(encoded(text), expected, "{text}");
        }
        assert_eq!(escaped(r"a|b,c$d\"), r"a\|b\,c\$d\\");
    }

    #[test]
    fn many_values_are_thinned_out() {
        let values: Vec<usize> = (0..95).collect();
        let query = Query::each("x", &values, ToString::to_string);
        assert_eq!(query.paths.len(), 19);
        assert_eq!(query.paths[1], "5");
    }
}
