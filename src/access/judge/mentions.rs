//! What a document refers to, and who wrote it, wherever it says so.
//!
//! `store` asks the same of what is stored (`search::mentions`). What stands in `meta` is about the
//! document, and no part of it.

use crate::fhir::json::{Object, Value};
use crate::fhir::reference::strip_base;
use crate::fhir::{LogicalId, ResourceType};
use crate::search::request::untold;

/// Elements of an author that refer to who it is.
const OWN: [&str; 2] = ["actor", "who"];

/// What is looked for, as [`Filter::Mentions`](crate::search::request::Filter::Mentions) has it.
pub(super) struct Sought<'s> {
    pub(super) target: &'s (ResourceType, LogicalId),
    pub(super) under: &'s [&'s str],
    pub(super) is_certain: bool,
    /// The public base of this server.
    pub(super) base: &'s str,
}

impl Sought<'_> {
    /// Whether a resource has it. No deeper is looked than a document may be nested.
    pub(super) fn is_in(&self, resource: &Value<'_>) -> bool {
        let Value::Object(resource) = resource else { return false };
        let mut parts = resource.iter().filter(|(name, _)| *name != "meta");
        if self.under.is_empty() {
            return parts.any(|part| self.is_said(part));
        }
        if !self.is_certain {
            return parts.any(|part| self.may_be_within(part, false));
        }
        parts.any(|(name, value)| {
            self.under.contains(&name) && items(value).iter().any(|it| self.is_own(it))
        })
    }

    /// Whether it is referred to, or, where not only that counts, named by any text.
    fn is_said(&self, (name, value): (&str, &Value<'_>)) -> bool {
        match value {
            Value::String(text) => (name == "reference" || !self.is_certain) && self.names(text),
            Value::Array(items) => items.iter().any(|item| self.is_said((name, item))),
            Value::Object(object) => object.iter().any(|part| self.is_said(part)),
            _ => false,
        }
    }

    /// Whether an author of the resource is it.
    fn is_own(&self, author: &Value<'_>) -> bool {
        let refers = |reference: &Value<'_>| {
            reference.str_at("reference").is_some_and(|text| self.names(text))
        };
        refers(author)
            || OWN.iter().filter_map(|name| author.get(name)).any(|it| items(it).iter().any(refers))
    }

    /// Whether somebody may be it within an element that says who wrote something.
    fn may_be_within(&self, (name, value): (&str, &Value<'_>), is_within: bool) -> bool {
        let is_within = is_within || self.under.contains(&name);
        match value {
            Value::Array(items) => {
                items.iter().any(|item| self.may_be_within((name, item), is_within))
            }
            Value::Object(object) => {
                is_within && self.may_be(object)
                    || object.iter().any(|part| self.may_be_within(part, is_within))
            }
            _ => false,
        }
    }

    /// Whether it may be who is referred to.
    fn may_be(&self, reference: &Object<'_>) -> bool {
        match reference.get("reference") {
            Some(text) => text.as_str().is_some_and(|text| {
                let path = self.path(text);
                self.names(text) || untold(self.target.0).iter().any(|it| path.starts_with(it))
            }),
            None => reference.contains("identifier"),
        }
    }

    /// Whether a text is about it: as a reference, with a version and a fragment; else with anything behind it.
    fn names(&self, text: &str) -> bool {
        let (of, id) = self.target;
        let path =
            self.path(text).strip_prefix(of.as_str()).and_then(|rest| rest.strip_prefix('/'));
        path.and_then(|rest| rest.strip_prefix(id.as_str())).is_some_and(|rest| {
            if self.is_certain {
                is_version(rest)
            } else {
                rest.is_empty() || rest.starts_with(['/', '|', '#', '?'])
            }
        })
    }

    /// A text without the server's base. What begins with `#` is about what is contained, whatever follows.
    fn path<'t>(&self, text: &'t str) -> &'t str {
        let path = strip_base(text, self.base).filter(|_| !text.starts_with('#'));
        path.unwrap_or(text)
    }
}

/// Whether what follows an id is at most a version, whichever, and a fragment.
fn is_version(rest: &str) -> bool {
    let (version, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let is_id = |version: &str| version.parse::<LogicalId>().is_ok();
    (version.is_empty() || version.strip_prefix("/_history/").is_some_and(is_id))
        && !fragment.contains('?')
}

/// What an element is made of where it may be there several times.
fn items<'i, 'v>(value: &'i Value<'v>) -> &'i [Value<'v>] {
    value.as_array().unwrap_or(std::slice::from_ref(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;

    /// Whether a text mentions `Patient/a`: under an author and anywhere, for certain and as it may be.
    fn found(text: &str) -> [bool; 4] {
        let target = (ResourceType::PATIENT, "a".parse().expect("an id"));
        let value = json::parse(text.as_bytes()).expect(text);
        let author: &[&str] = &["author"];
        [(&[][..], true), (&[], false), (author, true), (author, false)].map(
            |(under, is_certain)| {
                let base = "http://x/fhir";
                Sought { target: &target, under, is_certain, base }.is_in(&value)
            },
        )
    }

    #[test]
    fn a_reference_is_certain_and_any_text_may_be_one() {
        for (text, is_certain, may_be) in [
            (r#"{"subject":{"reference":"Patient/a"}}"#, true, true),
            (r#"{"x":[{"author":{"reference":"Patient/a#b"}}]}"#, true, true),
            (
                r#"{"extension":[{"valueReference":{"reference":"https://x/fhir/Patient/a"}}]}"#,
                true,
                true,
            ),
            (r#"{"contained":[{"x":[[{"reference":"Patient/a"}]]}]}"#, true, true),
            (r#"{"reference":{"reference":"Patient/a"}}"#, true, true),
            (r#"{"x":{"reference":"http://y/Patient/a"}}"#, false, false),
            (r#"{"x":{"reference":"Patient/ab"}}"#, false, false),
            (r#"{"x":{"reference":"Patient/A"}}"#, false, false),
            (r#"{"x":{"reference":"Patient/a?x=y"}}"#, false, true),
            (r#"{"content":[{"attachment":{"url":"Patient/a"}}]}"#, false, true),
            (r#"{"instantiatesCanonical":["http://x/fhir/Patient/a|1"]}"#, false, true),
            (
                r#"{"author":"Patient/a","reference":{"display":"Patient/a/_history/1"}}"#,
                false,
                true,
            ),
            (
                r#"{"meta":{"extension":[{"valueReference":{"reference":"Patient/a"}}]}}"#,
                false,
                false,
            ),
        ] {
            assert_eq!(found(text)[..2], [is_certain, may_be], "{text}");
        }
    }

    /// As `store` reads it: any id is a version, and what is contained is nothing of ours.
    #[test]
    fn a_version_is_any_id_and_what_is_contained_is_not_ours() {
        for (text, is_certain) in [
            ("Patient/a/_history/2", true),
            ("Patient/a/_history/99999999999", true),
            ("Patient/a/_history/a.1#x", true),
            ("Patient/a/_history/a_1", false),
            ("Patient/a/_history/", false),
            ("Patient/a/_history/1/2", false),
            ("http://x/fhir/Patient/a/_history/a.1", true),
            ("#x://x/fhir/Patient/a", false),
            ("x#x://x/fhir/Patient/a", true),
        ] {
            let element = format!(r#"{{"subject":{{"reference":"{text}"}}}}"#);
            assert_eq!(found(&element)[0], is_certain, "{text}");
        }
    }

    #[test]
    fn an_author_is_certain_in_ones_own_element_and_may_be_one_who_is_not_told() {
        for (text, is_certain, may_be) in [
            (r#"{"subject":{"reference":"Patient/a"}}"#, false, false),
            (r#"{"author":[{"display":"x"},{"reference":"Patient/a/_history/2"}]}"#, true, true),
            (r#"{"author":[{"who":{"reference":"http://x/fhir/Patient/a"}}]}"#, true, true),
            (r#"{"author":{"actor":{"reference":"Patient/a"}}}"#, true, true),
            (r#"{"author":{"onBehalfOf":{"reference":"Patient/a"}}}"#, false, true),
            (
                r#"{"author":{"extension":[{"valueReference":{"reference":"Patient/a"}}]}}"#,
                false,
                true,
            ),
            (r#"{"author":{"identifier":{"assigner":{"reference":"Patient/a"}}}}"#, false, true),
            (r#"{"section":[{"author":[{"reference":"Patient/a"}]}]}"#, false, true),
            (r#"{"contained":[{"author":{"reference":"Patient/a"}}]}"#, false, true),
            (r#"{"author":{"reference":"Patient/b"}}"#, false, false),
            (r#"{"author":{"reference":"http://y/fhir/Patient/a"}}"#, false, false),
            (r#"{"author":{"reference":"PractitionerRole/r"}}"#, false, false),
            (r#"{"author":{"reference":"http://x/fhir/PractitionerRole/r"}}"#, false, false),
            (r##"{"author":{"reference":"#r"}}"##, false, true),
            (r#"{"author":{"reference":"urn:uuid:7"}}"#, false, true),
            (r#"{"author":{"identifier":{"value":"r"}}}"#, false, true),
            (r#"{"author":{"reference":"Patient/b","identifier":{"value":"r"}}}"#, false, false),
            (r#"{"subject":{"identifier":{"value":"r"}}}"#, false, false),
            (r#"{"author":"Patient/a"}"#, false, false),
            (r#"{"meta":{"author":{"reference":"Patient/a"}}}"#, false, false),
        ] {
            assert_eq!(found(text)[2..], [is_certain, may_be], "{text}");
        }
    }
}
