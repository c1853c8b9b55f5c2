//! The parameters that every answer knows: `_pretty`, `_summary`, `_elements`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#parameters>, rest 1.30, 1.71 to 1.81

use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::query::Query;

use super::shape::Shape;

/// Whether `_pretty` asks for indentation.
///
/// # Errors
/// [`Error::Invalid`] for another value than true or false, under strict handling.
pub fn is_pretty(query: &Query, is_strict: bool) -> Result<bool, Error> {
    match query.first("_pretty") {
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
pub fn shape(query: &Query) -> Result<Shape, Error> {
    if query.is_empty() {
        return Ok(Shape::Whole);
    }
    let summary = match query.once("_summary")? {
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
    let names = query.iter().filter(|(name, _)| *name == "_elements");
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

/// The part of one resource that is asked for; counting is for many (rest 1.74).
///
/// # Errors
/// Those of [`shape`]; [`Error::Invalid`] for `_summary=count`.
pub fn shape_of_one(query: &Query) -> Result<Shape, Error> {
    match shape(query)? {
        Shape::Count => {
            let text = "_summary=count is for searches and history";
            Err(Error::invalid(IssueCode::Invalid, text))
        }
        shape => Ok(shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_is_true_or_false() {
        for (text, lenient, strict) in [
            ("", Some(false), Some(false)),
            ("_pretty=true", Some(true), Some(true)),
            ("_pretty=false", Some(false), Some(false)),
            ("_pretty=", Some(false), Some(false)),
            ("_pretty=1", Some(false), None),
        ] {
            let asked = Query::parse(text).expect(text);
            assert_eq!(is_pretty(&asked, false).ok(), lenient, "{text:?}");
            assert_eq!(is_pretty(&asked, true).ok(), strict, "{text:?}");
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
            let asked = Query::parse(text).expect(text);
            assert_eq!(shape(&asked).ok(), expected, "{text:?}");
            let of_one = expected.filter(|shape| *shape != Shape::Count);
            assert_eq!(shape_of_one(&asked).ok(), of_one, "{text:?}");
        }
    }
}
