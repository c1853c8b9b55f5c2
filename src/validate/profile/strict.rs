//! What an operator may ask for beyond FHIR: texts without markup, no example urls.
//!
//! Spec: <https://hl7.org/fhir/R4/security.html#narrative>, RFC 2606

use crate::fhir::json::Value;
use crate::fhir::schema::TypeId;
use crate::fhir::{IssueCode, Severity};
use crate::validate::place::Place;

use super::findings::By;
use super::walk::Walk;

/// The domains that documentation uses.
const EXAMPLES: [&str; 3] = ["example.com", "example.net", "example.org"];

impl<'w> Walk<'w> {
    /// Whether texts are looked at that the base definitions say nothing of.
    pub(super) fn is_strict(&self) -> bool {
        let options = self.options;
        options.markup < Severity::Information || options.example_urls < Severity::Information
    }

    /// Checks a text that may be shown somewhere, and where a url leads.
    pub(super) fn text_or_url(&mut self, value: &'w Value<'w>, of: TypeId, place: &Place<'_>) {
        let Some(text) = value.as_str() else { return };
        let (severity, rule) = match self.name(of) {
            "string" if has_markup(text) => {
                (self.options.markup, "the text has markup, which is not taken here")
            }
            "canonical" | "uri" | "url" if is_example(text) => {
                (self.options.example_urls, "the url is one of an example")
            }
            _ => return,
        };
        if severity < Severity::Information {
            let (code, by) = (IssueCode::BusinessRule, By::default());
            self.findings.add(severity, code, place, format_args!("{rule}"), by);
        }
    }
}

/// Whether a text has what a browser takes for a tag.
fn has_markup(text: &str) -> bool {
    let mut parts = text.split('<').skip(1);
    let starts = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '!'))
    };
    parts.any(|part| starts(part) && part.contains('>'))
}

/// Whether a url leads to a domain of examples.
fn is_example(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', ':', '?', '#', '|']).next().unwrap_or_default();
    EXAMPLES.iter().any(|name| {
        host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_told_from_signs() {
        for (text, expected) in [
            ("a <b>c</b>", true),
            ("<script src='x'>", true),
            ("</p>", true),
            ("<!-- x -->", true),
            ("a < b > c", false),
            ("1<2", false),
            ("<5 >3", false),
            ("x <y", false),
            ("", false),
        ] {
            assert_eq!(has_markup(text), expected, "{text}");
        }
    }

    #[test]
    fn the_domains_of_examples_are_known() {
        for (url, expected) in [
            ("http://example.org/a", true),
            ("https://a.example.com:80", true),
            ("http://example.net|1", true),
            ("http://notexample.org/a", false),
            ("http://hl7.org/example.org", false),
            ("urn:example.org", false),
        ] {
            assert_eq!(is_example(url), expected, "{url}");
        }
    }
}
