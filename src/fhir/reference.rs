//! The text of a reference, taken apart.
//!
//! Spec: <https://hl7.org/fhir/R4/references.html>

use super::id::{LogicalId, VersionId};
use super::resource_type::ResourceType;

/// What a `Reference.reference` text means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target<'a> {
    /// Any other absolute URL.
    Absolute(&'a str),
    /// `Type?criteria`: to be found by a search (transactions only).
    Conditional {
        /// The type searched.
        resource_type: ResourceType,
        /// The query after `?`.
        criteria: &'a str,
    },
    /// `#id`: a contained resource (`#` alone is the container).
    Contained(&'a str),
    /// `Type/id` or `Type/id/_history/v`, relative or under the server's own base.
    Local {
        /// The type named.
        resource_type: ResourceType,
        /// The id named.
        id: LogicalId,
        /// The version, when the reference is version specific.
        version: Option<VersionId>,
        /// What follows `#`.
        fragment: Option<&'a str>,
    },
    /// None of the forms FHIR knows.
    Malformed,
    /// `urn:uuid:` or `urn:oid:`.
    Urn(&'a str),
}

impl<'a> Target<'a> {
    /// Reads `text`; `base` is the server's public FHIR base without a trailing slash.
    ///
    /// http and https count as one base (rest 1.7).
    pub fn parse(text: &'a str, base: &str) -> Self {
        if let Some(fragment) = text.strip_prefix('#') {
            return Self::Contained(fragment);
        }
        if let Some(local) = strip_base(text, base) {
            return Self::local(local).unwrap_or(Self::Absolute(text));
        }
        if text.starts_with("urn:") {
            return Self::Urn(text);
        }
        if has_scheme(text) {
            return Self::Absolute(text);
        }
        Self::local(text).unwrap_or(Self::Malformed)
    }

    fn local(text: &'a str) -> Option<Self> {
        if let Some((name, criteria)) = text.split_once('?') {
            let resource_type = name.parse().ok()?;
            return Some(Self::Conditional { resource_type, criteria });
        }
        let (path, fragment) = match text.split_once('#') {
            Some((path, fragment)) => (path, Some(fragment)),
            None => (text, None),
        };
        let mut parts = path.split('/');
        let resource_type = parts.next()?.parse().ok()?;
        let id = parts.next()?.parse().ok()?;
        let version = match (parts.next(), parts.next(), parts.next()) {
            (None, None, None) => None,
            (Some("_history"), Some(version), None) => Some(version.parse().ok()?),
            _ => return None,
        };
        Some(Self::Local { resource_type, id, version, fragment })
    }
}

/// The type that a reference names, wherever its target is: `Patient/1`,
/// `http://host/fhir/Patient/1/_history/2`, `Patient?identifier=1`.
pub fn named_type(text: &str) -> Option<ResourceType> {
    let path = text.split('#').next()?;
    let name = if let Some((name, _)) = path.split_once('?') {
        name.rsplit('/').next()?
    } else {
        let mut parts = path.rsplit('/').skip(1);
        match parts.next()? {
            "_history" => parts.nth(1)?,
            name => name,
        }
    };
    name.parse().ok()
}

/// The name of the type that `Reference.type` states, as a name or as the url of its definition.
pub fn stated_type(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

/// What follows the server's base and a slash; `None` when `text` is not under it.
pub fn strip_base<'a>(text: &'a str, base: &str) -> Option<&'a str> {
    after_scheme(text)?.strip_prefix(after_scheme(base)?)?.strip_prefix('/')
}

/// What follows the scheme of a URL.
pub fn after_scheme(url: &str) -> Option<&str> {
    url.split_once("://").map(|(_, rest)| rest)
}

/// Whether the text starts with a URI scheme and a colon.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_type_wherever_it_leads() {
        for (text, expected) in [
            ("Patient/1", Some("Patient")),
            ("Patient/1/_history/2", Some("Patient")),
            ("http://host/fhir/Patient/1", Some("Patient")),
            ("http://host/fhir/Patient/1/_history/2#x", Some("Patient")),
            ("Patient?identifier=a/b", Some("Patient")),
            ("http://host/fhir/Patient?identifier=1", Some("Patient")),
            ("patient/1", None),
            ("1", None),
            ("urn:uuid:1", None),
            ("#p", None),
            ("_history/2", None),
            ("", None),
        ] {
            let found = named_type(text);
            assert_eq!(found.as_ref().map(|of| of.as_str()), expected, "{text:?}");
        }
    }

    #[test]
    fn each_form_of_a_reference_is_told_apart() {
        let base = "http://example.org/fhir";
        let local = |version: Option<i32>, fragment| Target::Local {
            resource_type: ResourceType::PATIENT,
            id: "p1".parse().expect("id"),
            version: version.map(VersionId),
            fragment,
        };
        for (text, expected) in [
            ("Patient/p1", local(None, None)),
            ("Patient/p1/_history/2", local(Some(2), None)),
            ("Patient/p1#x", local(None, Some("x"))),
            ("http://example.org/fhir/Patient/p1", local(None, None)),
            ("https://example.org/fhir/Patient/p1", local(None, None)),
            (
                "http://example.org:81/fhir/Patient/p1",
                Target::Absolute("http://example.org:81/fhir/Patient/p1"),
            ),
            ("http://other/Patient/p1", Target::Absolute("http://other/Patient/p1")),
            ("#c1", Target::Contained("c1")),
            ("#", Target::Contained("")),
            ("urn:uuid:1", Target::Urn("urn:uuid:1")),
            (
                "Patient?identifier=a|b",
                Target::Conditional {
                    resource_type: ResourceType::PATIENT,
                    criteria: "identifier=a|b",
                },
            ),
            ("John", Target::Malformed),
            ("patient/p1", Target::Malformed),
            ("Patient/p_1", Target::Malformed),
            ("Patient/p1/x", Target::Malformed),
            ("/Patient/p1", Target::Malformed),
            ("", Target::Malformed),
        ] {
            assert_eq!(Target::parse(text, base), expected, "{text:?}");
        }
    }
}
