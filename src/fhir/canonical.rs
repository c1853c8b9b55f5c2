//! Canonicals: the url of a definition, perhaps with a version and a fragment.
//!
//! Spec: <https://hl7.org/fhir/R4/references.html#canonical>

use std::cmp::Ordering;

/// A canonical reference taken apart: `url|version#fragment`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Canonical<'a> {
    /// What comes before `|` and `#`; the case counts.
    pub url: &'a str,
    /// What comes after `|`.
    pub version: Option<&'a str>,
    /// What comes after `#` behind a version; one without a version is part of the url.
    pub fragment: Option<&'a str>,
}

impl<'a> Canonical<'a> {
    /// Takes the text of a canonical apart.
    pub fn parse(text: &'a str) -> Self {
        let Some((url, rest)) = text.split_once('|') else {
            return Self::literal(text);
        };
        let (version, fragment) = match rest.split_once('#') {
            Some((version, fragment)) => (version, Some(fragment)),
            None => (rest, None),
        };
        let some = |part: &'a str| (!part.is_empty()).then_some(part);
        Self { url, version: some(version), fragment: fragment.and_then(some) }
    }

    /// A uri that is no canonical: all of it is the url.
    pub fn literal(text: &'a str) -> Self {
        Self { url: text, version: None, fragment: None }
    }
}

/// Compares business versions: numbers by size, other parts by letters; none is the oldest.
///
/// <https://hl7.org/fhir/R4/resource.html#canonical>
pub fn compare_versions(one: Option<&str>, other: Option<&str>) -> Ordering {
    fn parts(text: &str) -> impl Iterator<Item = (u64, &str)> {
        let parts = text.split(|letter: char| !letter.is_alphanumeric());
        parts.map(|part| (part.parse().unwrap_or(0), part))
    }
    let (Some(one), Some(other)) = (one, other) else { return one.cmp(&other) };
    parts(one).cmp(parts(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        for (older, newer) in [
            (None, Some("1")),
            (Some("1.9"), Some("1.10")),
            (Some("2"), Some("10")),
            (Some("1.0"), Some("1.0.1")),
            (Some("2023-01"), Some("2023-09")),
            (Some("1.0-alpha"), Some("1.0-beta")),
        ] {
            assert_eq!(compare_versions(older, newer), Ordering::Less, "{older:?} {newer:?}");
            assert_eq!(compare_versions(newer, older), Ordering::Greater, "{older:?} {newer:?}");
        }
    }

    #[test]
    fn a_canonical_splits_at_its_version() {
        for (text, url, version, fragment) in [
            ("http://a/b", "http://a/b", None, None),
            ("http://a/b|1.0", "http://a/b", Some("1.0"), None),
            ("http://a/b|1.0#x", "http://a/b", Some("1.0"), Some("x")),
            ("http://a/b|", "http://a/b", None, None),
            ("http://a/rdf#54135-9", "http://a/rdf#54135-9", None, None),
            ("", "", None, None),
        ] {
            assert_eq!(Canonical::parse(text), Canonical { url, version, fragment }, "{text:?}");
        }
    }
}
