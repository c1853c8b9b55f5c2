//! References: the forms of their text, what they may point to, contained targets.
//!
//! Spec: <https://hl7.org/fhir/R4/references.html>, rest 7.10, 7.11, 7.68

use crate::fhir::json::Object;
use crate::fhir::{IssueCode, ResourceType, primitive};

use super::place::Place;
use super::walk::Walk;

/// What a reference's text is, as far as form goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shape<'t> {
    /// An absolute URL or a urn; the type, when it is the URL of a resource on a server.
    Absolute(Option<ResourceType>),
    /// `Type?criteria`
    Conditional(ResourceType),
    /// `#id`; without an id the container itself.
    Contained(&'t str),
    /// None of the forms that FHIR knows.
    Malformed,
    /// `Type/id` or `Type/id/_history/version`
    Relative(ResourceType),
}

impl<'s, 'd> Walk<'s, 'd> {
    /// Checks a Reference that may point to `targets`; no targets means any.
    pub(super) fn reference(
        &mut self,
        object: &'d Object<'d>,
        targets: &'s [Box<str>],
        place: &Place<'_>,
    ) {
        let Some(text) = object.get("reference").and_then(|value| value.as_str()) else { return };
        let place = place.child("reference");
        match shape(text) {
            Shape::Absolute(of) => {
                let known = of.map(ResourceType::as_str).or_else(|| self.in_bundle(text));
                if let Some(name) = known {
                    self.target(name, targets, &place);
                }
            }
            Shape::Conditional(_) if !self.scope.allows_conditional => {
                let rule = "a conditional reference stands only in a transaction";
                self.findings.add(IssueCode::Value, &place, rule);
            }
            Shape::Contained("") => self.scope.mention(text),
            Shape::Contained(id) => {
                self.scope.mention(text);
                match self.scope.type_of(id) {
                    // An unknown type is reported where it is contained.
                    Some(name) if name.parse::<ResourceType>().is_err() => {}
                    Some(name) => self.target(name, targets, &place),
                    None => {
                        let rule = "the resource contains nothing of this id";
                        self.findings.broken("ref-1", &place, rule);
                    }
                }
            }
            // An empty text was reported as a value.
            Shape::Malformed if text.is_empty() => {}
            Shape::Malformed => {
                let rule = "a reference is Type/id, #id, an absolute URL or a urn";
                self.findings.add(IssueCode::Value, &place, rule);
            }
            Shape::Conditional(of) | Shape::Relative(of) => {
                self.target(of.as_str(), targets, &place);
            }
        }
    }

    /// The type of the entry of this `fullUrl` in the Bundle around the resource.
    fn in_bundle(&self, text: &str) -> Option<&'d str> {
        let found = self.full_urls.binary_search_by_key(&text, |(url, _)| url).ok()?;
        let name = self.full_urls.get(found)?.1;
        // An unknown type is reported where the resource is.
        name.parse::<ResourceType>().is_ok().then_some(name)
    }

    fn target(&mut self, name: &str, targets: &[Box<str>], place: &Place<'_>) {
        if !targets.is_empty() && !targets.iter().any(|target| &**target == name) {
            let rule = format!("may point to {}, not to {name}", targets.join(", "));
            self.findings.add(IssueCode::BusinessRule, place, &rule);
        }
    }
}

fn shape(text: &str) -> Shape<'_> {
    if let Some(id) = text.strip_prefix('#') {
        return Shape::Contained(id);
    }
    if text.bytes().any(|byte| byte <= b' ') {
        return Shape::Malformed;
    }
    relative(text).unwrap_or_else(|| {
        if has_scheme(text) { Shape::Absolute(on_a_server(text)) } else { Shape::Malformed }
    })
}

/// The type that a URL names when it is one of a resource on a FHIR server: it ends in `Type/id`
/// or `Type/id/_history/version`.
///
/// <https://hl7.org/fhir/R4/references.html#literal>
fn on_a_server(text: &str) -> Option<ResourceType> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let (path, version) = match rest.split_once("/_history/") {
        Some((path, version)) => (path, Some(version)),
        None => (rest, None),
    };
    let (base, id) = path.rsplit_once('/')?;
    let (host, name) = base.rsplit_once('/')?;
    let is_plain = |part: &str| !part.contains(['?', '#']);
    let fits = primitive::is_id(id) && version.is_none_or(primitive::is_id) && is_plain(host);
    name.parse().ok().filter(|_| fits)
}

fn relative(text: &str) -> Option<Shape<'_>> {
    let at = text.bytes().position(|byte| !byte.is_ascii_alphabetic())?;
    let (name, rest) = text.split_at(at);
    let name = name.parse();
    if let Some(criteria) = rest.strip_prefix('?') {
        return name.ok().filter(|_| !criteria.is_empty()).map(Shape::Conditional);
    }
    let rest = rest.strip_prefix('/')?;
    let path = rest.split_once('#').map_or(rest, |(path, _)| path);
    let mut parts = path.split('/');
    let id = parts.next().is_some_and(primitive::is_id);
    let version = match (parts.next(), parts.next(), parts.next()) {
        (None, None, None) => true,
        (Some("_history"), Some(version), None) => primitive::is_id(version),
        _ => false,
    };
    if id && version { name.ok().map(Shape::Relative) } else { None }
}

/// Whether the text starts with the scheme of a URI, a colon, and something after it.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_reference_is_told_apart() {
        let patient = ResourceType::PATIENT;
        for (text, expected) in [
            ("Patient/p1", Shape::Relative(patient)),
            ("Patient/p1/_history/a.1", Shape::Relative(patient)),
            ("Patient/p1#x", Shape::Relative(patient)),
            ("Patient?identifier=a|b", Shape::Conditional(patient)),
            ("Patient?", Shape::Malformed),
            ("Patient/", Shape::Malformed),
            ("Patient", Shape::Malformed),
            ("Patient/p_1", Shape::Malformed),
            ("Patient/p1/x", Shape::Malformed),
            ("Patients/p1", Shape::Malformed),
            ("/Patient/p1", Shape::Malformed),
            ("John", Shape::Malformed),
            ("John Smith", Shape::Malformed),
            ("Patient\u{2028}", Shape::Malformed),
            ("é", Shape::Malformed),
            ("", Shape::Malformed),
            ("#", Shape::Contained("")),
            ("#c1", Shape::Contained("c1")),
            ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", Shape::Absolute(None)),
            ("http://example.org/fhir/Patient/1", Shape::Absolute(Some(patient))),
            ("https://example.org/Patient/1/_history/2", Shape::Absolute(Some(patient))),
            ("http://example.org/fhir/patient/1", Shape::Absolute(None)),
            ("http://example.org/fhir/Patient/p_1", Shape::Absolute(None)),
            ("http://example.org/fhir?x=/Patient/1", Shape::Absolute(None)),
            ("http://example.org/fhir/Patient/1/x", Shape::Absolute(None)),
            ("ftp://example.org/fhir/Patient/1", Shape::Absolute(None)),
            ("http://Patient/1", Shape::Absolute(None)),
            ("http://example.org/a b", Shape::Malformed),
            ("http:", Shape::Malformed),
            (":x", Shape::Malformed),
        ] {
            assert_eq!(shape(text), expected, "{text:?}");
        }
    }
}
