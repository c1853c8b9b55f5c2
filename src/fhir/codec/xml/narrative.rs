//! The narrative's `div`: XHTML taken over as text, byte for byte where it can stand alone.
//!
//! What stands between a document and its `div` in JSON is only what the text needs to stand
//! alone: a prefix bound outside is taken off, a namespace declared outside is declared. The
//! same walk proves that a `div` from JSON is well formed before it is put into XML, where
//! HTML's named entities become numeric ones.
//!
//! Spec: <https://hl7.org/fhir/R4/narrative.html>, rest 7.60, 7.64, 7.65

use std::borrow::Cow;
use std::ops::Range;

use super::attribute::{first_illegal, is_space, unknown_reference};
use super::entity::{html_entity, is_legal, resolve};
use super::source::{Fault, Namespace, Source, Step, Tag, Token, undeclared};

/// Stretches of the source text to be replaced, in order.
type Edits = Vec<(Range<usize>, String)>;

/// The text of the `div` whose start tag was just read from `source`.
pub(super) fn read<'a>(source: &mut Source<'a>, div: &Tag<'a>) -> Step<Cow<'a, str>> {
    let edits = walk(source, div, false)?;
    Ok(edited(source.text, div.at..source.position(), &edits))
}

/// The `div` of a JSON document in the form that may stand in an XML document.
///
/// # Errors
/// Says why the text is not one well-formed XHTML `div`.
pub(super) fn to_xml(text: &str) -> Result<Cow<'_, str>, String> {
    let text = text.trim_matches(is_space);
    if first_illegal(text).is_some() {
        let legal = text.replace(|character| !is_legal(character), "\u{fffd}");
        return Ok(Cow::Owned(to_xml(&legal)?.into_owned()));
    }
    match without_named(text) {
        Some(numeric) => Ok(Cow::Owned(fragment(&numeric)?.into_owned())),
        None => fragment(text),
    }
}

/// The text with HTML's named entities as numeric ones; `None` when it has none.
fn without_named(text: &str) -> Option<String> {
    let mut edits = Edits::new();
    let mut from = 0;
    while let Some(found) = text[from..].find(['&', '<']) {
        let at = from + found;
        from = at + 1;
        if let Some(end) = end_of_verbatim(text, at) {
            from = end;
        } else if text[at..].starts_with('&') {
            let name = text[from..].split(|c: char| !c.is_ascii_alphanumeric()).next()?;
            from += name.len();
            let is_named = text[from..].starts_with(';') && resolve(name).is_none();
            if let Some(character) = html_entity(name).filter(|_| is_named) {
                edits.push((at..from + 1, format!("&#{};", u32::from(character))));
            }
        }
    }
    (!edits.is_empty()).then(|| edited(text, 0..text.len(), &edits).into_owned())
}

/// Where the comment or CDATA section at `at` ends, in which `&` is just a character.
fn end_of_verbatim(text: &str, at: usize) -> Option<usize> {
    let (_, close) = [("<!--", "-->"), ("<![CDATA[", "]]>")]
        .into_iter()
        .find(|(open, _)| text[at..].starts_with(open))?;
    Some(text[at..].find(close).map_or(text.len(), |end| at + end + close.len()))
}

fn fragment(text: &str) -> Result<Cow<'_, str>, String> {
    let mut source = Source::new(text);
    let edits = single(&mut source).map_err(|fault| fault.reason)?;
    Ok(edited(text, 0..text.len(), &edits))
}

fn single(source: &mut Source<'_>) -> Step<Edits> {
    let div = match source.token()? {
        Token::Open(tag) if tag.name == "div" => tag,
        _ => return Err(Fault::new(0, "a narrative must be one <div>")),
    };
    let edits = walk(source, &div, div.namespace == Namespace::None)?;
    match source.token()? {
        Token::End => Ok(edits),
        _ => Err(Fault::new(source.position(), "a narrative must be one <div>")),
    }
}

/// Reads to the end of `div`; a `bare` one, from JSON, has no namespace yet.
fn walk<'a>(source: &mut Source<'a>, div: &Tag<'a>, bare: bool) -> Step<Edits> {
    let mut edits = Edits::new();
    check(source, div, bare, true, &mut edits)?;
    // For each open element the length of its prefix, which its end tag has as well.
    let mut open: Vec<usize> = Vec::new();
    if !div.is_empty {
        open.push(div.prefix_len);
    }
    while !open.is_empty() {
        match source.token()? {
            Token::Close { at } => match open.pop() {
                Some(len) if len > 0 => edits.push((at + 2..at + 2 + len, String::new())),
                _ => {}
            },
            Token::End => return Err(Fault::new(div.at, "the narrative has no end")),
            Token::Open(tag) => {
                check(source, &tag, bare, false, &mut edits)?;
                if !tag.is_empty {
                    open.push(tag.prefix_len);
                }
            }
            Token::Reference { at, name } if resolve(name).is_none() => {
                return Err(unknown_reference(at, name));
            }
            Token::CData { .. } | Token::Comment | Token::Reference { .. } | Token::Text { .. } => {
            }
        }
    }
    Ok(edits)
}

/// Checks one tag and finds what it needs to stand alone: no prefix, the default namespace.
fn check(
    source: &Source<'_>,
    tag: &Tag<'_>,
    bare: bool,
    is_root: bool,
    edits: &mut Edits,
) -> Step<()> {
    if tag.namespace != Namespace::Xhtml && !(bare && tag.namespace == Namespace::None) {
        return Err(Fault::new(tag.at, format!("<{}> is not XHTML", tag.name)));
    }
    let name_at = tag.at + 1;
    if tag.prefix_len > 0 {
        edits.push((name_at..name_at + tag.prefix_len, String::new()));
    }
    let is_default = source.resolve("") == Some(Namespace::Xhtml);
    let declares = source.attributes.iter().any(|a| a.declared_prefix() == Some(""));
    if is_root && !(declares && is_default) {
        let name_end = name_at + tag.prefix_len + tag.name.len();
        edits.push((name_end..name_end, format!(" xmlns=\"{}\"", Namespace::XHTML)));
    }
    for attribute in &source.attributes {
        attribute.value()?;
        match (attribute.declared_prefix(), attribute.name.split_once(':')) {
            (Some(""), _) if !is_default => {
                edits.push((attribute.at..attribute.end, String::new()));
            }
            (Some(_), _) | (None, None | Some(("xml", _))) => {}
            (None, Some((prefix, _))) if source.resolve(prefix).is_none() => {
                return Err(undeclared(attribute.at, prefix));
            }
            (None, Some(_)) => {
                let reason = format!("attribute {:?} is not XHTML", attribute.name);
                return Err(Fault::new(attribute.at, reason));
            }
        }
    }
    Ok(())
}

fn edited<'a>(text: &'a str, range: Range<usize>, edits: &Edits) -> Cow<'a, str> {
    if edits.is_empty() {
        return Cow::Borrowed(&text[range]);
    }
    let mut out = String::with_capacity(range.len() + 64);
    let mut from = range.start;
    for (edit, replacement) in edits {
        out.push_str(&text[from..edit.start]);
        out.push_str(replacement);
        from = edit.end;
    }
    out.push_str(&text[from..range.end]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIV: &str = "<div xmlns=\"http://www.w3.org/1999/xhtml\">";

    #[test]
    fn a_div_from_json_becomes_well_formed_xhtml_or_is_refused() {
        let kept =
            format!("{DIV}a <b  class='x'>&amp;&#160;</b>\n<br/><!-- c --><![CDATA[<]]></div>");
        for (text, expected) in [
            (kept.clone(), Ok(kept)),
            (format!(" {DIV}a</div>\n"), Ok(format!("{DIV}a</div>"))),
            ("<div>a</div>".into(), Ok(format!("{DIV}a</div>"))),
            ("<div/>".into(), Ok("<div xmlns=\"http://www.w3.org/1999/xhtml\"/>".into())),
            (format!("{DIV}&nbsp;<p title=\"&eacute;\"/></div>"), Ok(format!("{DIV}&#160;<p title=\"&#233;\"/></div>"))),
            (
                format!("{DIV}<!-- &nbsp; -->&nbsp;<![CDATA[&nbsp;]]>&nbsp</div>"),
                Err("entity or character reference not closed: `;` not found before end of input"),
            ),
            (
                format!("{DIV}<!-- &nbsp; -->&nbsp;<![CDATA[&nbsp;]]>&eacute;</div>"),
                Ok(format!("{DIV}<!-- &nbsp; -->&#160;<![CDATA[&nbsp;]]>&#233;</div>")),
            ),
            (format!("{DIV}\u{1}</div>"), Ok(format!("{DIV}\u{fffd}</div>"))),
            (
                "<h:div xmlns:h=\"http://www.w3.org/1999/xhtml\"><h:p>a</h:p></h:div>".into(),
                Ok("<div xmlns=\"http://www.w3.org/1999/xhtml\" xmlns:h=\"http://www.w3.org/1999/xhtml\"><p>a</p></div>".into()),
            ),
            ("text".into(), Err("a narrative must be one <div>")),
            (String::new(), Err("a narrative must be one <div>")),
            ("<p/>".into(), Err("a narrative must be one <div>")),
            (format!("{DIV}</div><evil/>"), Err("a narrative must be one <div>")),
            (format!("{DIV}</div>text"), Err("a narrative must be one <div>")),
            (format!("{DIV}&bogus;</div>"), Err("reference \"&bogus;\" stands for no character")),
            (format!("{DIV}<p></div>"), Err("expected `</p>`, but `</div>` was found")),
            (format!("{DIV}a & b</div>"), Err("entity or character reference not closed: `;` not found before end of input")),
            (format!("{DIV}<a href=x>y</a></div>"), Err("an attribute must have the form name=\"value\"")),
            (format!("{DIV}<p xmlns=\"urn:x\"/></div>"), Err("<p> is not XHTML")),
            ("<div xmlns=\"urn:x\"/>".into(), Err("<div> is not XHTML")),
            (format!("{DIV}<p x:y=\"\"/></div>"), Err("namespace prefix \"x\" is not declared")),
            (format!("<!DOCTYPE div>{DIV}</div>"), Err("DOCTYPE is not allowed")),
        ] {
            let found = to_xml(&text).map(Cow::into_owned);
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
    }
}
