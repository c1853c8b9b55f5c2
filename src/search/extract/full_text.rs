//! What full-text search reads of a resource: the narrative's words, and all strings.
//!
//! Apart from the rows: the full-text index is fed after the write, from the change feed.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#text> (`_text`, `_content`; rest 4.164)

use std::borrow::Cow;

use crate::fhir::codec::xml::html_entity;
use crate::fhir::json::Value;

/// The texts of one resource.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FullText<'v> {
    /// For `_text`: what the narrative shows, without markup; `None` when there is none.
    pub narrative: Option<String>,
    /// For `_content`, beside the narrative: every string of the resource but `resourceType` and the
    /// content of attachments; of further narratives (sections, what is contained) what they show.
    pub content: Vec<Cow<'v, str>>,
}

/// The texts of a resource; those of contained resources are among the content.
pub fn full_text<'v>(resource: &'v Value<'v>) -> FullText<'v> {
    let own = resource.get("text").and_then(|text| text.str_at("div"));
    let mut content = Vec::new();
    // A loop over a list of its own: a document may be deeper than the stack likes.
    let mut rest = vec![("", resource)];
    while let Some((name, value)) = rest.pop() {
        match value {
            // The narrative of the resource itself has a place of its own.
            Value::String(text) if name == "div" => {
                let further = own
                    .is_none_or(|own| !std::ptr::eq(own, &raw const **text))
                    .then(|| words(text));
                content.extend(further.filter(|text| !text.is_empty()).map(Cow::Owned));
            }
            Value::String(text) if !is_opaque(name) => content.push(Cow::Borrowed(&**text)),
            Value::Array(items) => rest.extend(items.iter().rev().map(|item| (name, item))),
            Value::Object(object) => {
                let start = rest.len();
                rest.extend(object.iter());
                rest[start..].reverse();
            }
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
        }
    }
    let narrative = own.map(words).filter(|text| !text.is_empty());
    FullText { narrative, content }
}

/// Properties whose strings are no words: base64, the name of the type.
fn is_opaque(name: &str) -> bool {
    matches!(name, "data" | "resourceType")
}

/// The text between the tags, entities resolved, each run of white space one space.
fn words(div: &str) -> String {
    let mut out = String::with_capacity(div.len() / 2);
    let mut rest = div;
    let mut gap = false;
    while let Some(letter) = rest.chars().next() {
        if letter == '<' {
            rest = after_tag(rest);
            gap = true;
            continue;
        }
        let (letter, length) = match letter {
            '&' => entity(rest).unwrap_or((letter, 1)),
            _ => (letter, letter.len_utf8()),
        };
        rest = &rest[length..];
        if letter.is_whitespace() {
            gap = true;
        } else {
            if std::mem::take(&mut gap) && !out.is_empty() {
                out.push(' ');
            }
            out.push(letter);
        }
    }
    out
}

/// What follows the tag or comment at the start of `text`.
fn after_tag(text: &str) -> &str {
    let end = if text.starts_with("<!--") { "-->" } else { ">" };
    text.find(end).map_or("", |at| &text[at + end.len()..])
}

/// The character that the entity at the start of `text` stands for, and its length.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(12).position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
    let character = match name.strip_prefix('#') {
        Some(digits) if digits.starts_with(['x', 'X']) => {
            char::from_u32(number(digits.get(1..)?, 16)?)
        }
        Some(digits) => char::from_u32(number(digits, 10)?),
        None => html_entity(name),
    };
    Some((character?, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    #[test]
    fn a_narrative_is_what_it_shows() {
        for (div, expected) in [
            ("<div>Fever &amp; chills</div>", "Fever & chills"),
            ("<div><p>one</p><p>two</p></div>", "one two"),
            ("<div a='b'>  x\n<!-- > no --> y</div>", "x y"),
            ("<div>&#233;&#xE9;&eacute;&lt;b&gt; &thetasym;</div>", "ééé<b> ϑ"),
            ("<div>&nosuch; &#xZ; &#1114112; &;</div>", "&nosuch; &#xZ; &#1114112; &;"),
            ("<div>a&nbsp;b & c</div>", "a b & c"),
            ("<div>cut <b", "cut"),
            ("<div></div>", ""),
        ] {
            assert_eq!(words(div), expected, "{div}");
        }
    }

    #[test]
    fn content_is_every_string_in_order() {
        let json = r#"{"resourceType":"Patient","text":{"status":"generated","div":"<div>Hi</div>"},
            "contained":[{"resourceType":"Organization","name":"Acme"}],"photo":[{"data":"AAAA",
            "title":"me"}],"name":[{"given":["Ann","Lee"],"family":"Shaw"}],"active":true}"#;
        let patient = parse(json.as_bytes()).expect("JSON");
        let found = full_text(&patient);
        assert_eq!(found.narrative.as_deref(), Some("Hi"));
        assert_eq!(found.content, ["generated", "Acme", "me", "Ann", "Lee", "Shaw"]);
        assert_eq!(full_text(&Value::Null), FullText::default());
    }

    #[test]
    fn further_narratives_are_content_by_what_they_show() {
        let json = r#"{"resourceType":"Composition","text":{"div":"<div>Hi</div>"},
            "contained":[{"resourceType":"Patient","text":{"div":"<div>I &amp; me</div>"}}],
            "section":[{"title":"Plan","text":{"div":"<div><b>Hi</b></div>"}},{"text":{"div":"<div/>"}}]}"#;
        let composition = parse(json.as_bytes()).expect("JSON");
        let found = full_text(&composition);
        assert_eq!(found.narrative.as_deref(), Some("Hi"));
        assert_eq!(found.content, ["I & me", "Plan", "Hi"]);
    }
}
