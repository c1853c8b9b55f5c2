//! Narratives: the languages of their sections, and where their links lead.
//!
//! Spec: <https://hl7.org/fhir/R4/narrative.html>,
//! <http://hl7.org/fhir/StructureDefinition/narrative-language-control>

use crate::fhir::json::Value;
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::Node;
use crate::validate::place::Place;

use super::findings::By;
use super::walk::Walk;

impl<'w> Walk<'w> {
    /// Checks that a narrative has a section for each language that a profile asks for.
    pub(super) fn narrative_languages(
        &mut self,
        wanted: &str,
        node: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let Some(div) = node.value.str_at("div") else { return };
        if !self.pay(div.len() as u64, place) {
            return;
        }
        let sections = sections(div);
        let language = match wanted {
            "_resource" => self.scope.resource.str_at("language"),
            "_no" | "_yes" => None,
            language => Some(language),
        };
        let rule = match (wanted, language) {
            ("_no", _) if !sections.is_empty() => "no sections by language are allowed".to_owned(),
            ("_yes", _) if sections.is_empty() => "sections by language are required".to_owned(),
            (_, Some(language)) if !sections.contains(&language) => {
                let shown: String = language.chars().take(40).collect();
                format!("a section in the language {shown} is required")
            }
            _ => return,
        };
        let (severity, code) = (Severity::Error, IssueCode::Structure);
        self.findings.add(severity, code, place, format_args!("{rule}"), by);
    }

    /// Checks that the links inside the narrative of a resource lead somewhere: to an anchor, to an
    /// element with that id, or to what is contained. The elements were walked before.
    pub(super) fn narrative_links(&mut self, resource: &'w Value<'w>, place: &Place<'_>) {
        let Some(div) = resource.get("text").and_then(|text| text.str_at("div")) else { return };
        // That of a Bundle's entry, or of a Composition, may be read as a part of a whole.
        let is_part = self.entries.is_some() || resource.get("section").is_some();
        if is_part || !div.contains("href=\"#") {
            return;
        }
        if !self.pay(div.len() as u64, place) {
            return;
        }
        let root = self.scope.root;
        let contained = root.items_at("contained").iter().chain([root, resource]);
        let mut known: Vec<&str> = contained.filter_map(|it| it.str_at("id")).collect();
        known.extend(attributes(div, "name"));
        known.extend(attributes(div, "id"));
        known.sort_unstable();
        let is_known = |id: &str| known.binary_search(&id).is_ok() || self.ids.contains(id);
        let links = attributes(div, "href").filter_map(|link| link.strip_prefix('#'));
        let Some(lost) = links.filter(|id| !id.is_empty()).find(|id| !is_known(id)) else { return };
        let shown: String = lost.chars().take(80).collect();
        let rule = format_args!("the link #{shown} leads nowhere in the resource");
        let place = place.child("text");
        let (severity, code) = (Severity::Error, IssueCode::NotFound);
        self.findings.add(severity, code, &place.child("div"), rule, By::default());
    }
}

/// The values of an attribute, wherever it stands.
fn attributes<'d>(div: &'d str, name: &'d str) -> impl Iterator<Item = &'d str> {
    tags(div).filter_map(move |tag| attribute(tag, name))
}

/// The value of an attribute of a tag; `lang` is `xml:lang` too.
fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    tag.match_indices(name).find_map(|(at, _)| {
        let before = tag[..at].trim_end_matches("xml:");
        let value = tag[at + name.len()..].trim_ascii_start().strip_prefix('=')?;
        let value = value.trim_ascii_start();
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let is_whole = before.ends_with(|byte: char| byte.is_ascii_whitespace());
        value[1..].split(quote).next().filter(|_| is_whole)
    })
}

/// What stands between `<` and `>` of each tag; comments are left out.
fn tags(div: &str) -> impl Iterator<Item = &str> {
    let mut rest = div;
    std::iter::from_fn(move || {
        loop {
            let from = rest.find('<')? + 1;
            let inside = &rest[from..];
            if inside.starts_with("!--") {
                rest = &inside[inside.find("-->")?..];
                continue;
            }
            let mut quote = None;
            let end = inside.find(|letter: char| {
                match (quote, letter) {
                    (None, '>') => return true,
                    (None, '"' | '\'') => quote = Some(letter),
                    (Some(open), _) if open == letter => quote = None,
                    _ => {}
                }
                false
            })?;
            rest = &inside[end..];
            return Some(&inside[..end]);
        }
    })
}

/// The languages of the parts that a narrative consists of.
fn sections(div: &str) -> Vec<&str> {
    let (mut depth, mut found) = (0_usize, Vec::new());
    for tag in tags(div) {
        if tag.starts_with('/') {
            depth = depth.saturating_sub(1);
            continue;
        }
        let is_div = tag.split_ascii_whitespace().next() == Some("div");
        if depth == 1 && is_div {
            found.extend(attribute(tag, "lang"));
        }
        depth += usize::from(!tag.ends_with('/'));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_of_a_narrative_have_languages() {
        for (div, expected) in [
            ("<div><div lang=\"en\">x</div><div xml:lang='de'>y</div></div>", &["en", "de"][..]),
            ("<div lang=\"en\"><p lang=\"de\">x</p></div>", &[]),
            ("<div><p><div lang=\"en\">x</div></p><br/><div lang='fr'/></div>", &["fr"]),
            ("<div><!-- <div lang='en'> --><div title='lang=\"x\"'>y</div></div>", &[]),
            ("<div><div hreflang='en'>x</div></div>", &[]),
            ("<div", &[]),
            ("", &[]),
        ] {
            assert_eq!(sections(div), expected, "{div}");
        }
    }
}
