//! The query string, decoded once, and the parameters that every answer knows.
//!
//! Repeated names are kept in order: whether that is allowed is each parameter's own rule.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#parameters>, rest 1.5, 1.6, 1.30, 1.71 to 1.81

use std::borrow::Cow;

use crate::error::Error;
use crate::fhir::IssueCode;

use super::shape::Shape;

/// The parameters of a request, decoded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query(Vec<(String, String)>);

/// Parameters that any route takes.
const GENERAL: [&str; 5] = ["_elements", "_format", "_pretty", "_summary", "_total"];

impl Query {
    /// Decodes `name=value&name=value`: `+` is a space, `%XX` are bytes of UTF-8.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a broken escape or bytes that are not UTF-8.
    pub fn parse(text: Option<&str>) -> Result<Self, Error> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?.into_owned(), decode(value, true)?.into_owned()))
        });
        Ok(Self(pairs.collect::<Result<_, Error>>()?))
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of `name`, which may stand once only; an empty one counts as absent.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the name is repeated.
    pub fn once(&self, name: &str) -> Result<Option<&str>, Error> {
        let mut found = self.iter().filter(|(key, _)| *key == name).map(|(_, value)| value);
        let first = found.next();
        if found.next().is_some() {
            let text = format!("{name} may stand once only");
            return Err(Error::invalid(IssueCode::Invalid, text));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// The first value of `name`, whatever follows: for what must not fail, such as `_format`.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Refuses parameters outside `known` and the general ones, when the client wants that.
    ///
    /// # Errors
    /// [`Error::NotSupported`] naming the first unknown parameter.
    pub fn check_known(&self, known: &[&str], is_strict: bool) -> Result<(), Error> {
        let is_known = |name: &str| known.contains(&name) || GENERAL.contains(&name);
        match self.iter().find(|(name, _)| is_strict && !is_known(name)) {
            Some((name, _)) => {
                Err(Error::NotSupported(format!("parameter {name:?} is not known here")))
            }
            None => Ok(()),
        }
    }

    /// Whether `_pretty` asks for indentation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another value than true or false, under strict handling.
    pub fn is_pretty(&self, is_strict: bool) -> Result<bool, Error> {
        match self.first("_pretty") {
            Some("true") => Ok(true),
            None | Some("false" | "") => Ok(false),
            Some(other) if is_strict => {
                let text = format!("_pretty is true or false, not {other:?}");
                Err(Error::invalid(IssueCode::Invalid, text))
            }
            Some(_) => Ok(false),
        }
    }

    /// Which part of a resource `_summary` and `_elements` ask for.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown summary, and for both together.
    pub fn shape(&self) -> Result<Shape, Error> {
        if self.is_empty() {
            return Ok(Shape::Whole);
        }
        let summary = match self.once("_summary")? {
            None | Some("false") => Shape::Whole,
            Some("true") => Shape::Summary,
            Some("text") => Shape::Text,
            Some("data") => Shape::Data,
            Some("count") => Shape::Count,
            Some(other) => {
                let text = format!("_summary is true, text, data, count or false, not {other:?}");
                return Err(Error::invalid(IssueCode::Invalid, text));
            }
        };
        let names = self.iter().filter(|(name, _)| *name == "_elements");
        let elements: Vec<Box<str>> = names
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect();
        match (summary, elements.is_empty()) {
            (summary, true) => Ok(summary),
            (Shape::Whole, false) => Ok(Shape::Elements(elements)),
            (_, false) => {
                let text = "_elements and _summary exclude each other";
                Err(Error::invalid(IssueCode::Invalid, text))
            }
        }
    }
}

/// Decodes percent escapes once; with `is_form`, `+` is a space.
///
/// # Errors
/// [`Error::Invalid`] for a broken escape or bytes that are not UTF-8.
pub fn decode(text: &str, is_form: bool) -> Result<Cow<'_, str>, Error> {
    if !text.bytes().any(|byte| byte == b'%' || (is_form && byte == b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let broken = || {
        let text: String = text.chars().take(80).collect();
        Error::invalid(IssueCode::Invalid, format!("{text:?} is not percent-encoded UTF-8"))
    };
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
    String::from_utf8(out).map(Cow::Owned).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).expect(text)
    }

    #[test]
    fn a_query_is_decoded_once_and_keeps_repeated_names() {
        for (text, expected) in [
            ("", vec![]),
            ("name=M%C3%BCller", vec![("name", "Müller")]),
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
            assert!(Query::parse(Some(text)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_parameter_that_stands_once_is_refused_when_repeated() {
        assert_eq!(query("_count=1").once("_count").expect("once"), Some("1"));
        assert_eq!(query("_count=").once("_count").expect("once"), None);
        assert_eq!(query("x=1").once("_count").expect("once"), None);
        assert!(query("_count=1&_count=1").once("_count").is_err());
    }

    #[test]
    fn strict_handling_refuses_unknown_parameters() {
        let found = query("_since=x&_format=json&foo=1");
        assert!(found.check_known(&["_since"], false).is_ok());
        assert!(found.check_known(&["_since"], true).is_err());
        assert!(found.check_known(&["_since", "foo"], true).is_ok());
    }

    #[test]
    fn pretty_is_true_or_false() {
        for (text, lenient, strict) in [
            ("", Some(false), Some(false)),
            ("_pretty=true", Some(true), Some(true)),
            ("_pretty=false", Some(false), Some(false)),
            ("_pretty=", Some(false), Some(false)),
            ("_pretty=1", Some(false), None),
        ] {
            assert_eq!(query(text).is_pretty(false).ok(), lenient, "{text:?}");
            assert_eq!(query(text).is_pretty(true).ok(), strict, "{text:?}");
        }
    }

    #[test]
    fn a_shape_is_one_summary_or_a_list_of_elements() {
        for (text, expected) in [
            ("", Some(Shape::Whole)),
            ("_summary=", Some(Shape::Whole)),
            ("_summary=false", Some(Shape::Whole)),
            ("_summary=true", Some(Shape::Summary)),
            ("_summary=text", Some(Shape::Text)),
            ("_summary=data", Some(Shape::Data)),
            ("_summary=count", Some(Shape::Count)),
            ("_summary=xyz", None),
            ("_summary=true&_summary=data", None),
            ("_elements=", Some(Shape::Whole)),
            ("_elements=a,b", Some(Shape::Elements(vec!["a".into(), "b".into()]))),
            ("_elements=a&_elements=b", Some(Shape::Elements(vec!["a".into(), "b".into()]))),
            ("_elements=a&_summary=false", Some(Shape::Elements(vec!["a".into()]))),
            ("_elements=a&_summary=true", None),
        ] {
            assert_eq!(query(text).shape().ok(), expected, "{text:?}");
        }
    }
}
