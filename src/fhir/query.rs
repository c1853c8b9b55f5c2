//! The query of a FHIR URL, decoded once: names and values in order.
//!
//! Repeated names are kept: whether that is allowed is each parameter's own rule. What the
//! parameters mean is told elsewhere.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#parameters>, rest 1.5, 1.6

use std::borrow::Cow;

use thiserror::Error;

use super::IssueCode;

/// Parameters that any interaction takes: they are about the form of its answer.
const GENERAL: [&str; 5] = ["_elements", "_format", "_pretty", "_summary", "_total"];

/// Longest path and query, in bytes: of a request's URL, and of a URL that a Bundle asks by.
pub const MAX_URL_BYTES: usize = 16 * 1024;

/// Most parameters of one query: each takes many times the memory of its text.
const MOST_PARAMETERS: usize = 1_000;

/// The parameters of a request, decoded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query(Vec<(String, String)>);

/// Why a query cannot be read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum InvalidQuery {
    /// A broken escape, or bytes that are not UTF-8.
    #[error("{0:?} is not percent-encoded UTF-8")]
    Encoding(String),
    /// A character that no text of FHIR has.
    #[error("{0:?} has the character U+0000")]
    Nothing(String),
    /// More parameters than are read.
    #[error("more parameters than the {MOST_PARAMETERS} that are allowed")]
    TooMany,
    /// A parameter that may stand once stands twice.
    #[error("{0} may stand once only")]
    Repeated(String),
    /// A parameter that means nothing to the interaction.
    #[error("parameter {0:?} is not known here")]
    Unknown(String),
}

impl InvalidQuery {
    /// The kind of fault, for an outcome.
    pub fn code(&self) -> IssueCode {
        match self {
            Self::Encoding(_) | Self::Nothing(_) | Self::Repeated(_) => IssueCode::Invalid,
            Self::TooMany => IssueCode::TooCostly,
            Self::Unknown(_) => IssueCode::NotSupported,
        }
    }
}

impl Query {
    /// Decodes `name=value&name=value`: `+` is a space, `%XX` are bytes of UTF-8.
    ///
    /// # Errors
    /// [`InvalidQuery::Encoding`], [`InvalidQuery::Nothing`], [`InvalidQuery::TooMany`].
    pub fn parse(text: &str) -> Result<Self, InvalidQuery> {
        let pairs = || text.split('&').filter(|pair| !pair.is_empty());
        if pairs().nth(MOST_PARAMETERS).is_some() {
            return Err(InvalidQuery::TooMany);
        }
        let pairs = pairs().map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?.into_owned(), decode(value, true)?.into_owned()))
        });
        Ok(Self(pairs.collect::<Result<_, InvalidQuery>>()?))
    }

    /// One parameter, of decoded texts.
    pub fn of(name: &str, value: &str) -> Self {
        Self(vec![(name.to_owned(), value.to_owned())])
    }

    /// These parameters and then those of `other`.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The parameters that are not among `names`.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let rest = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        Self(rest.cloned().collect())
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each parameter is among `known` or the general ones; asked where handling is strict.
    ///
    /// # Errors
    /// [`InvalidQuery::Unknown`] naming the first that is not.
    pub fn check_known(&self, known: &[&str]) -> Result<(), InvalidQuery> {
        let is_known = |name: &str| known.contains(&name) || GENERAL.contains(&name);
        match self.iter().find(|(name, _)| !is_known(name)) {
            Some((name, _)) => Err(InvalidQuery::Unknown(name.to_owned())),
            None => Ok(()),
        }
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of `name`, which may stand once only; an empty one counts as absent.
    ///
    /// # Errors
    /// [`InvalidQuery::Repeated`].
    pub fn once(&self, name: &str) -> Result<Option<&str>, InvalidQuery> {
        let mut found = self.iter().filter(|(key, _)| *key == name).map(|(_, value)| value);
        let first = found.next();
        if found.next().is_some() {
            return Err(InvalidQuery::Repeated(name.to_owned()));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// The first value of `name`, whatever follows: for what must not fail, such as `_format`.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// The text of a date or time in a query: the `+` of a zone that was sent raw arrives as a space.
pub fn date_text(value: &str) -> Cow<'_, str> {
    if value.contains(' ') { Cow::Owned(value.replace(' ', "+")) } else { Cow::Borrowed(value) }
}

/// Decodes percent escapes once; with `is_form`, `+` is a space.
///
/// # Errors
/// [`InvalidQuery::Encoding`], [`InvalidQuery::Nothing`].
pub fn decode(text: &str, is_form: bool) -> Result<Cow<'_, str>, InvalidQuery> {
    let clipped = || text.chars().take(80).collect();
    if !text.bytes().any(|byte| byte == b'%' || byte == 0 || (is_form && byte == b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let broken = || InvalidQuery::Encoding(clipped());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' if is_form => b' ',
            b'%' => {
                let digits = [bytes.next().ok_or_else(broken)?, bytes.next().ok_or_else(broken)?];
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(digits[0]), digit(digits[1]));
                (high.ok_or_else(broken)? * 16 + low.ok_or_else(broken)?) as u8
            }
            other => other,
        });
    }
    if out.contains(&0) {
        return Err(InvalidQuery::Nothing(clipped()));
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).expect(text)
    }

    #[test]
    fn a_query_is_decoded_once_and_keeps_repeated_names() {
        for (text, expected) in [
            ("", vec![]),
            ("name=M%C3%BCller", vec![("name", "Müller")]),
            ("name=Müller", vec![("name", "Müller")]),
            ("a=1&b=2&a=3", vec![("a", "1"), ("b", "2"), ("a", "3")]),
            ("a=x+y", vec![("a", "x y")]),
            ("a=x%2By", vec![("a", "x+y")]),
            ("a=%2541", vec![("a", "%41")]),
            ("_since=2020-01-01T00%3A00", vec![("_since", "2020-01-01T00:00")]),
            ("a&b=", vec![("a", ""), ("b", "")]),
            ("&&a=b=c", vec![("a", "b=c")]),
        ] {
            assert_eq!(query(text).iter().collect::<Vec<_>>(), expected, "{text:?}");
        }
        for text in ["a=%", "a=%4", "a=%zz", "a=%ff", "%ff=a"] {
            assert!(Query::parse(text).is_err(), "{text:?}");
        }
        for text in ["a=%00", "a=b%00c", "%00=a", "a=\0", "a=+\0"] {
            assert!(matches!(Query::parse(text), Err(InvalidQuery::Nothing(_))), "{text:?}");
        }
    }

    #[test]
    fn a_query_has_a_bound_on_its_parameters() {
        let text = |count: usize| "a=b&".repeat(count);
        assert_eq!(query(&text(MOST_PARAMETERS)).iter().count(), MOST_PARAMETERS);
        assert_eq!(Query::parse(&text(MOST_PARAMETERS + 1)), Err(InvalidQuery::TooMany));
    }

    #[test]
    fn a_parameter_that_stands_once_is_refused_when_repeated() {
        assert_eq!(query("_count=1").once("_count"), Ok(Some("1")));
        assert_eq!(query("_count=").once("_count"), Ok(None));
        assert_eq!(query("x=1").once("_count"), Ok(None));
        assert!(query("_count=1&_count=1").once("_count").is_err());
        assert_eq!(query("_count=1&_count=2").first("_count"), Some("1"));
    }

    #[test]
    fn a_parameter_is_known_or_the_first_that_is_not_is_named() {
        for (text, known, unknown) in [
            ("", &[][..], None),
            ("_format=json&_pretty=true&_summary=x&_elements=a&_total=none", &[], None),
            ("_since=x&_format=json&foo=1&bar=2", &["_since"], Some("foo")),
            ("_since=x&foo=1", &["_since", "foo"], None),
            ("_since=x", &[], Some("_since")),
        ] {
            let unknown = unknown.map(|name: &str| InvalidQuery::Unknown(name.to_owned()));
            assert_eq!(query(text).check_known(known).err(), unknown, "{text:?}");
        }
    }

    #[test]
    fn a_raw_plus_in_a_date_is_given_back() {
        let found = query("_since=2020-01-01T00:00:00+02:00");
        let text = date_text(found.first("_since").expect("there"));
        assert_eq!(text, "2020-01-01T00:00:00+02:00");
    }
}
