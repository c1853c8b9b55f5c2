//! What a document refers to, wherever in it.
//!
//! `store` asks the same of what is stored (`search::mentions`). What stands in `meta` is about the
//! document, and no part of it.

use crate::fhir::json::Value;
use crate::fhir::reference::Target;
use crate::fhir::{LogicalId, ResourceType};

/// Whether a resource has a reference to `target` within an element that is called as one of `under`;
/// without such names, anywhere.
pub(super) fn is_in(
    resource: &Value<'_>,
    target: &(ResourceType, LogicalId),
    under: &[&str],
    base: &str,
) -> bool {
    let sought = Sought { target, under, base };
    let Value::Object(resource) = resource else { return false };
    let mut parts = resource.iter().filter(|(name, _)| *name != "meta");
    parts.any(|(name, value)| sought.is_in((name, value), under.is_empty()))
}

struct Sought<'s> {
    target: &'s (ResourceType, LogicalId),
    under: &'s [&'s str],
    base: &'s str,
}

impl Sought<'_> {
    /// No deeper than a document may be nested.
    fn is_in(&self, (name, value): (&str, &Value<'_>), is_within: bool) -> bool {
        let is_here = is_within || self.under.contains(&name);
        match value {
            // A text is within an element only where one is around it.
            Value::String(text) => is_within && name == "reference" && self.is_target(text),
            Value::Array(items) => items.iter().any(|item| self.is_in((name, item), is_within)),
            Value::Object(object) => object.iter().any(|part| self.is_in(part, is_here)),
            _ => false,
        }
    }

    fn is_target(&self, text: &str) -> bool {
        let (of, id) = self.target;
        matches!(
            Target::parse(text, self.base),
            Target::Local { resource_type, id: named, .. } if resource_type == *of && named == *id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;

    #[test]
    fn every_reference_counts_and_nothing_else() {
        let target = (ResourceType::PATIENT, "a".parse().expect("an id"));
        for (text, anywhere, as_author) in [
            (r#"{"subject":{"reference":"Patient/a"}}"#, true, false),
            (r#"{"author":[{"reference":"Patient/a/_history/2"}]}"#, true, true),
            (r#"{"author":[{"party":{"reference":"http://x/fhir/Patient/a"}}]}"#, true, true),
            (r#"{"x":[{"author":{"reference":"Patient/a#b"}}]}"#, true, true),
            (
                r#"{"extension":[{"valueReference":{"reference":"https://x/fhir/Patient/a"}}]}"#,
                true,
                false,
            ),
            (r#"{"contained":[{"x":[[{"reference":"Patient/a"}]]}]}"#, true, false),
            (
                r#"{"author":{"reference":"Patient/b"},"x":{"reference":"http://y/Patient/a"}}"#,
                false,
                false,
            ),
            (r#"{"author":"Patient/a","reference":{"display":"Patient/a"}}"#, false, false),
            (
                r#"{"meta":{"extension":[{"valueReference":{"reference":"Patient/a"}}]}}"#,
                false,
                false,
            ),
            (r#"{"reference":{"reference":"Patient/a"}}"#, true, false),
        ] {
            let value = json::parse(text.as_bytes()).expect(text);
            let is_in = |under| is_in(&value, &target, under, "http://x/fhir");
            assert_eq!((is_in(&[]), is_in(&["author"])), (anywhere, as_author), "{text}");
        }
    }
}
