//! Words as the XHTML of a narrative: paragraphs and a list, and nothing that a text could break out of.
//!
//! Spec: <https://hl7.org/fhir/R4/narrative.html>

use crate::fhir::json::{Object, Value};

/// A generated narrative.
pub(super) fn narrative(paragraphs: &[String], items: &[String]) -> Value<'static> {
    let mut div = String::from("<div xmlns=\"http://www.w3.org/1999/xhtml\">");
    for text in paragraphs {
        element("p", text, &mut div);
    }
    if !items.is_empty() {
        div.push_str("<ul>");
        for text in items {
            element("li", text, &mut div);
        }
        div.push_str("</ul>");
    }
    div.push_str("</div>");
    Object::new().with("status", "generated").with("div", div).into()
}

fn element(name: &str, text: &str, out: &mut String) {
    out.extend(["<", name, ">"]);
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out.extend(["</", name, ">"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        const START: &str = "<div xmlns=\"http://www.w3.org/1999/xhtml\">";
        for (text, escaped) in [
            ("plain", "plain"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("a & b &amp; \"c\"", "a &amp; b &amp;amp; &quot;c&quot;"),
            ("one\ntwo\u{1}\u{85}", "one two  "),
            ("Größe µ", "Größe µ"),
        ] {
            let made = narrative(&[text.to_owned()], &[]);
            let expected = format!("{START}<p>{escaped}</p></div>");
            assert_eq!(made.str_at("div"), Some(&*expected), "{text:?}");
            let made = narrative(&[], &[text.to_owned(), String::new()]);
            let expected = format!("{START}<ul><li>{escaped}</li><li></li></ul></div>");
            assert_eq!(made.str_at("div"), Some(&*expected), "{text:?}");
            assert_eq!(made.str_at("status"), Some("generated"));
        }
    }
}
