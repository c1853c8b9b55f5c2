//! Strings: the beginning, a part, the end or all of a text; uris as texts.
//!
//! `str.v` is cut where a B-tree needs it, so a longer question asks `whole` too.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#string>, <https://hl7.org/fhir/R4/search.html#uri>

use crate::search::request::compare::Part;
use crate::search::values::string::fold;
use crate::store::index::MAX_STRING;

use super::atom::{Atom, HERE};
use super::compile::Compiler;
use super::sql::Binds;

impl Compiler<'_, '_> {
    /// A string.
    pub(super) fn string(
        &mut self,
        part: Part,
        text: &str,
        (is_exact, is_phonetic): (bool, bool),
        hashes: Vec<i64>,
    ) -> Atom {
        let whole = format!("coalesce({HERE}whole, {HERE}v)");
        let binds = &mut self.binds;
        let condition = match (part, is_exact) {
            (Part::Any, false) => format!("strpos({whole}, {}) > 0", binds.text(text)),
            (Part::Any, true) => format!("strpos({HERE}exact, {}) > 0", binds.text(text)),
            (Part::End, is_exact) => {
                // A row without `exact` is a later word, whose end is none of the text's.
                let of = if is_exact { format!("{HERE}exact") } else { whole };
                let asked = binds.text(text);
                format!("{HERE}exact IS NOT NULL AND right({of}, length({asked})) = {asked}")
            }
            (Part::Start, false) => begins(text, binds),
            (Part::Start, true) => format!("starts_with({HERE}exact, {})", binds.text(text)),
            (Part::Whole, false) => {
                let (cut, asked) = (binds.text(cut(text)), binds.text(text));
                let is_all = if is_phonetic { "" } else { " AND %row.exact IS NOT NULL" };
                format!("{HERE}v = {cut} AND {whole} = {asked}{is_all}")
            }
            (Part::Whole, true) => {
                let folded = fold(text);
                let (folded, asked) = (binds.text(cut(&folded)), binds.text(text));
                format!("{HERE}v = {folded} AND {HERE}exact = {asked}")
            }
        };
        Atom::value("str", hashes, condition)
    }

    /// A uri that begins so; urns are below nothing.
    pub(super) fn uri_below(&mut self, beginning: &str, hashes: Vec<i64>) -> Atom {
        let begins = begins(beginning, &mut self.binds);
        let is_urn = format!("lower(left({HERE}v, 4)) = 'urn:'");
        let condition = if begins.is_empty() {
            format!("NOT ({is_urn})")
        } else {
            format!("{begins} AND NOT ({is_urn})")
        };
        Atom::value("str", hashes, condition)
    }

    /// A canonical of a version that is `version` or has more parts (`1` finds `1.0`).
    pub(super) fn version_below(&mut self, url: &str, version: &str, hashes: Vec<i64>) -> Atom {
        let asked = format!("{url}|{version}");
        let parts = if version.ends_with('.') { asked.clone() } else { format!("{asked}.") };
        let range = range(&asked, &mut self.binds);
        let (asked, parts) = (self.binds.text(asked), self.binds.text(parts));
        let whole = format!("coalesce({HERE}whole, {HERE}v)");
        let is_below = format!("({whole} = {asked} OR starts_with({whole}, {parts}))");
        let condition = format!("{range} AND {is_below}");
        Atom::value("str", hashes, condition)
    }
}

/// The condition that the text begins so; empty when every text does.
fn begins(text: &str, binds: &mut Binds) -> String {
    if text.is_empty() {
        return String::new();
    }
    let range = range(text, binds);
    if text.len() <= MAX_STRING {
        return range;
    }
    let asked = binds.text(text);
    format!("{range} AND starts_with(coalesce({HERE}whole, {HERE}v), {asked})")
}

/// The texts that begin with `text`, or with as much of it as is indexed, as a range.
pub(super) fn range(text: &str, binds: &mut Binds) -> String {
    let first = cut(text);
    let from = format!("{HERE}v >= {}", binds.text(first));
    match after(first) {
        Some(after) => format!("{from} AND {HERE}v < {}", binds.text(after)),
        None => from,
    }
}

/// The first text that no longer begins with `text`, in the order of code points.
fn after(text: &str) -> Option<String> {
    let mut rest = text.to_owned();
    while let Some(last) = rest.pop() {
        // The gap of the surrogates has no characters.
        let next = if last == '\u{d7ff}' { 0xe000 } else { u32::from(last) + 1 };
        if let Some(next) = char::from_u32(next) {
            rest.push(next);
            return Some(rest);
        }
    }
    None
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_STRING)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_beginning_is_the_next_text_of_its_length() {
        for (text, expected) in [
            ("a", Some("b")),
            ("mül", Some("müm")),
            ("z\u{10ffff}", Some("{")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(after(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_beginning_is_cut_between_characters() {
        let long = format!("{}ü", "a".repeat(999));
        assert_eq!(cut(&long).len(), 999);
        assert_eq!(cut("short"), "short");
    }
}
