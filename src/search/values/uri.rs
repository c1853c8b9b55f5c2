//! Uris: literal texts; a canonical has a version and a fragment behind its url.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#uri>, <https://hl7.org/fhir/R4/references.html#canonical>
//! (rest 4.121, 4.122, 4.125, 4.141 to 4.145)

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

/// Whether `version` is asked for by `prefix`: all of it or whole parts of it (`1` finds `1.0`).
pub fn is_version_below(version: &str, prefix: &str) -> bool {
    let rest = version.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || prefix.ends_with('.'))
}

/// Whether a uri takes part in `:above` and `:below`: urns have no hierarchy (rest 4.142).
pub fn is_hierarchical(uri: &str) -> bool {
    !uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("urn:")) && uri != "urn"
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_version_prefix_ends_at_a_part() {
        for (version, prefix, expected) in [
            ("1.0", "1", true),
            ("1.1", "1", true),
            ("1", "1", true),
            ("10.0", "1", false),
            ("1.0", "1.", true),
            ("2.1", "1", false),
        ] {
            assert_eq!(is_version_below(version, prefix), expected, "{version} {prefix}");
        }
    }

    #[test]
    fn urns_have_no_hierarchy() {
        for (uri, expected) in [
            ("http://a/b", true),
            ("urn:oid:1.2", false),
            ("URN:uuid:1", false),
            ("urn://localhost/test", false),
            ("urn", false),
            ("ürn", true),
        ] {
            assert_eq!(is_hierarchical(uri), expected, "{uri}");
        }
    }
}
