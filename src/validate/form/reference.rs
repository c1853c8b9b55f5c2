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
    /// An absolute URL or a urn.
    Absolute,
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
            Shape::Absolute => {}
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
    relative(text).unwrap_or(if has_scheme(text) { Shape::Absolute } else { Shape::Malformed })
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
            ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", Shape::Absolute),
            ("http://example.org/fhir/Patient/1", Shape::Absolute),
            ("http://example.org/a b", Shape::Malformed),
            ("http:", Shape::Malformed),
            (":x", Shape::Malformed),
        ] {
            assert_eq!(shape(text), expected, "{text:?}");
        }
    }
}
