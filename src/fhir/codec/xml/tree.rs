//! An XML document as a tree of elements, for those who change XML as XML (XML Patch).
//!
//! Prefixes and declarations are resolved on reading and written anew: FHIR's elements without a
//! prefix, the narrative's `div` with its own default namespace. Comments and processing
//! instructions are dropped, as everywhere; so is white space between FHIR's elements.

use std::borrow::Cow;

use super::XmlError;
use super::attribute::{escape, unknown_reference};
use super::entity::resolve;
use super::source::{Fault, Namespace, Source, Step, Tag, Token};

/// Deepest nesting of elements.
pub const MAX_DEPTH: usize = 100;

/// The namespace of an element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Vocabulary {
    /// FHIR's own.
    Fhir,
    /// Any other, or none.
    Other,
    /// The narrative's.
    Xhtml,
}

/// One element.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Element {
    /// Its namespace.
    pub vocabulary: Vocabulary,
    /// Its name without a prefix.
    pub name: String,
    /// Its attributes by their qualified names, declarations of namespaces included.
    pub attributes: Vec<(String, String)>,
    /// What stands in it, in order.
    pub children: Vec<Content>,
}

/// What can stand in an element.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// An element.
    Element(Element),
    /// Text with its references resolved.
    Text(String),
}

impl Element {
    /// The value of the attribute `name`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The elements in it.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|child| match child {
            Content::Element(element) => Some(element),
            Content::Text(_) => None,
        })
    }

    /// All text directly in it.
    pub fn text(&self) -> String {
        let texts = self.children.iter().filter_map(|child| match child {
            Content::Element(_) => None,
            Content::Text(text) => Some(text.as_str()),
        });
        texts.collect()
    }

    /// Elements from here to the deepest one.
    pub fn depth(&self) -> usize {
        1 + self.elements().map(Self::depth).max().unwrap_or(0)
    }
}

/// Reads a document.
///
/// # Errors
/// [`XmlError`] with the line and column of the first fault; also beyond [`MAX_DEPTH`].
pub fn read(text: &str) -> Result<Element, XmlError> {
    let mut source = Source::new(text);
    document(&mut source).map_err(|fault| XmlError::located(text.as_bytes(), fault, String::new()))
}

fn document(source: &mut Source<'_>) -> Step<Element> {
    let mut root = None;
    loop {
        match source.token()? {
            Token::Open(tag) if root.is_none() => root = Some(element(source, &tag, MAX_DEPTH)?),
            Token::Open(tag) => return Err(Fault::new(tag.at, "a second root element")),
            Token::Comment => {}
            Token::Text { text, .. } if text.trim().is_empty() => {}
            Token::End => {
                return root.ok_or_else(|| Fault::new(source.position(), "there is no element"));
            }
            Token::CData { at }
            | Token::Close { at }
            | Token::Reference { at, .. }
            | Token::Text { at, .. } => return Err(Fault::new(at, "text outside the root")),
        }
    }
}

fn element(source: &mut Source<'_>, tag: &Tag<'_>, depth: usize) -> Step<Element> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Fault::new(tag.at, "elements are nested too deeply"));
    };
    let vocabulary = match tag.namespace {
        Namespace::Fhir => Vocabulary::Fhir,
        Namespace::Xhtml => Vocabulary::Xhtml,
        Namespace::None | Namespace::Other | Namespace::SchemaInstance => Vocabulary::Other,
    };
    let attributes = source.attributes.iter();
    let attributes = attributes.map(|one| Ok((one.name.to_owned(), one.value()?.into_owned())));
    let attributes = attributes.collect::<Step<_>>()?;
    let mut element =
        Element { vocabulary, name: tag.name.to_owned(), attributes, children: Vec::new() };
    if tag.is_empty {
        return Ok(element);
    }
    let mut text = String::new();
    loop {
        match source.token()? {
            Token::CData { at } => {
                let raw = source.text.get(at + 9..source.position().saturating_sub(3));
                text.push_str(raw.unwrap_or_default());
            }
            Token::Comment => {}
            Token::Reference { at, name } => match resolve(name) {
                Some(character) => text.push(character),
                None => return Err(unknown_reference(at, name)),
            },
            Token::Text { text: more, .. } => text.push_str(&line_ends(more)),
            Token::Open(tag) => {
                element.push_text(&mut text);
                let child = self::element(source, &tag, depth)?;
                element.children.push(Content::Element(child));
            }
            Token::Close { .. } => {
                element.push_text(&mut text);
                return Ok(element);
            }
            Token::End => return Err(Fault::new(tag.at, "the element does not end")),
        }
    }
}

/// XML's line end is one line feed, however it was written.
fn line_ends(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

impl Element {
    fn push_text(&mut self, text: &mut String) {
        let text = std::mem::take(text);
        let kept = self.vocabulary == Vocabulary::Xhtml || !text.trim().is_empty();
        if kept && !text.is_empty() {
            self.children.push(Content::Text(text));
        }
    }
}

/// The document as text.
pub fn write(root: &Element) -> String {
    let mut out = Vec::new();
    write_element(root, None, &mut out);
    // Names and texts are strings, and escapes are ASCII.
    String::from_utf8(out).unwrap_or_default()
}

fn write_element(element: &Element, outer: Option<Vocabulary>, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(element.name.as_bytes());
    if outer != Some(element.vocabulary) {
        let namespace = match element.vocabulary {
            Vocabulary::Fhir => Namespace::FHIR,
            Vocabulary::Other => "",
            Vocabulary::Xhtml => Namespace::XHTML,
        };
        write_attribute("xmlns", namespace, out);
    }
    for (name, value) in &element.attributes {
        if name != "xmlns" && !name.starts_with("xmlns:") {
            write_attribute(name, value, out);
        }
    }
    if element.children.is_empty() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    for child in &element.children {
        match child {
            Content::Element(child) => write_element(child, Some(element.vocabulary), out),
            Content::Text(text) => write_text(text, out),
        }
    }
    out.extend_from_slice(b"</");
    out.extend_from_slice(element.name.as_bytes());
    out.push(b'>');
}

fn write_attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    escape(value, out);
    out.push(b'"');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'\r' => out.extend_from_slice(b"&#13;"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_with_its_namespaces_written_plainly() {
        for (text, expected) in [
            (
                r#"<f:Patient xmlns:f="http://hl7.org/fhir"> <f:active value="a&amp;&#10;b"/></f:Patient>"#,
                r#"<Patient xmlns="http://hl7.org/fhir"><active value="a&amp;&#10;b"/></Patient>"#,
            ),
            (
                "<a><!-- c --><d xmlns='http://www.w3.org/1999/xhtml'>x &lt; <b> </b><![CDATA[<]]></d></a>",
                r#"<a xmlns=""><d xmlns="http://www.w3.org/1999/xhtml">x &lt; <b> </b>&lt;</d></a>"#,
            ),
        ] {
            let tree = read(text).expect(text);
            assert_eq!(write(&tree), expected);
            assert_eq!(read(expected).map(|tree| write(&tree)).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "<a>".repeat(200_000);
        for text in ["", "x", "<a>", "<a/><b/>", "<a>&x;</a>", "<!DOCTYPE a><a/>", "<x:a/>", &deep]
        {
            assert!(read(text).is_err(), "{}", text.chars().take(20).collect::<String>());
        }
    }
}
