//! The tags, attributes and references of XHTML text, one after the other.

use memchr::{memchr, memchr2, memmem};

use crate::fhir::codec::xml::html_entity;

use super::{Fault, Step, Tag, allowed};

/// What is left of the text.
pub(super) struct Scanner<'t> {
    rest: &'t str,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { rest: text }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The text up to the next tag or the end, its references checked.
    pub(super) fn text(&mut self) -> Step<&'t str> {
        let end = memchr(b'<', self.rest.as_bytes()).unwrap_or(self.rest.len());
        let text = self.take(end);
        references(text)?;
        match memmem::find(text.as_bytes(), b"]]>") {
            None => Ok(text),
            Some(_) => Err(Fault::form("]]> stands in the text of the narrative")),
        }
    }

    /// The tag or comment that begins here.
    pub(super) fn tag(&mut self) -> Step<Tag<'t>> {
        self.take(1);
        if let Some(rest) = self.rest.strip_prefix("!--") {
            return self.comment(rest);
        }
        if self.rest.starts_with(['!', '?']) {
            return Err(Fault::form(
                "declarations and instructions are not allowed in a narrative",
            ));
        }
        if self.rest.starts_with('/') {
            self.take(1);
            let name = self.name()?;
            self.space();
            self.expect('>')?;
            return Ok(Tag::Close(name));
        }
        let name = self.name()?;
        let namespace = self.attributes()?;
        let is_empty = self.rest.starts_with('/');
        if is_empty {
            self.take(1);
        }
        self.expect('>')?;
        Ok(Tag::Open { name, namespace, is_empty })
    }

    fn comment(&mut self, rest: &'t str) -> Step<Tag<'t>> {
        let end = memmem::find(rest.as_bytes(), b"--");
        let after = end.and_then(|end| rest[end..].strip_prefix("-->"));
        self.rest = after.ok_or_else(|| Fault::form("a comment of the narrative has no end"))?;
        Ok(Tag::Comment)
    }

    /// The attributes up to the end of the tag; the namespace, where one is given.
    fn attributes(&mut self) -> Step<Option<&'t str>> {
        let mut namespace = None;
        // Elements have few attributes; a list is searched faster than a set is built.
        let mut seen: Vec<&str> = Vec::new();
        loop {
            let is_apart = self.space();
            if self.rest.starts_with(['/', '>']) {
                return Ok(namespace);
            }
            if !is_apart {
                return Err(Fault::form("the attributes of the narrative are not apart"));
            }
            let name = self.name()?;
            self.space();
            self.expect('=')?;
            self.space();
            let value = self.quoted()?;
            if seen.contains(&name) || seen.len() > 64 {
                return Err(Fault::form("an attribute of the narrative is there twice"));
            }
            seen.push(name);
            match name {
                "xmlns" => namespace = Some(value),
                _ => attribute(name, value)?,
            }
        }
    }

    fn quoted(&mut self) -> Step<&'t str> {
        let fault = || Fault::form("an attribute of the narrative has no quotes");
        let quote = self.rest.bytes().next().filter(|byte| matches!(byte, b'"' | b'\''));
        let quote = quote.ok_or_else(fault)?;
        self.take(1);
        match memchr2(quote, b'<', self.rest.as_bytes()) {
            Some(end) if self.rest.as_bytes()[end] == quote => {
                let value = self.take(end);
                self.take(1);
                references(value)?;
                Ok(value)
            }
            _ => Err(fault()),
        }
    }

    fn name(&mut self) -> Step<&'t str> {
        let part = |byte: u8| byte.is_ascii_alphanumeric() || b":_-.".contains(&byte);
        let end = self.rest.bytes().position(|byte| !part(byte)).unwrap_or(self.rest.len());
        let name = self.take(end);
        if name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            Ok(name)
        } else {
            Err(Fault::form("a tag of the narrative has no name"))
        }
    }

    /// Skips white space; whether there was some.
    fn space(&mut self) -> bool {
        let rest = self.rest.trim_ascii_start();
        let is_some = rest.len() < self.rest.len();
        self.rest = rest;
        is_some
    }

    fn expect(&mut self, character: char) -> Step<()> {
        let after = self.rest.strip_prefix(character);
        self.rest =
            after.ok_or_else(|| Fault::form("a tag of the narrative is not well formed"))?;
        Ok(())
    }

    /// The next `count` bytes, which must end at a character.
    fn take(&mut self, count: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

fn attribute(name: &str, value: &str) -> Step<()> {
    if !allowed::is_attribute(name) {
        let shown: String = name.chars().take(32).collect();
        return Err(Fault::txt1(&format!("the attribute {shown} is not allowed in a narrative")));
    }
    let acts = match name {
        "background" | "cite" | "href" | "longdesc" | "src" | "usemap" => {
            acts_as_url(&plain(value), name == "src")
        }
        "style" => {
            let style = plain(value);
            ["javascript:", "vbscript:", "expression("].iter().any(|act| style.contains(act))
        }
        _ => false,
    };
    if acts { Err(Fault::txt1(&format!("the attribute {name} holds a script"))) } else { Ok(()) }
}

fn acts_as_url(url: &str, is_image: bool) -> bool {
    let is_data = url.starts_with("data:") && !(is_image && url.starts_with("data:image/"));
    is_data || url.starts_with("javascript:") || url.starts_with("vbscript:")
}

/// The value as a browser reads it: references resolved, white space left out, lower case.
fn plain(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut push = |character: char| {
        if !character.is_whitespace() && !character.is_control() {
            out.push(character.to_ascii_lowercase());
        }
    };
    let mut rest = value;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        rest[..at].chars().for_each(&mut push);
        rest = &rest[at + 1..];
        let Some((name, after)) = rest.split_once(';') else { break };
        resolve(name).into_iter().for_each(&mut push);
        rest = after;
    }
    rest.chars().for_each(push);
    out
}

/// Checks that each `&` begins a reference that stands for a character.
fn references(text: &str) -> Step<()> {
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        rest = &rest[at + 1..];
        let named = rest.split_once(';').filter(|(name, _)| resolve(name).is_some());
        rest = named.ok_or_else(|| Fault::form("an & of the narrative begins no reference"))?.1;
    }
    Ok(())
}

/// The character that the reference `name` stands for: a number, or a name of XML or HTML 4.
fn resolve(name: &str) -> Option<char> {
    let Some(number) = name.strip_prefix('#') else {
        let is_name =
            name.len() <= 8 && name.starts_with(|first: char| first.is_ascii_alphabetic());
        return if is_name { html_entity(name) } else { None };
    };
    let code = match number.strip_prefix('x') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()?
        }
        None if number.bytes().all(|byte| byte.is_ascii_digit()) => number.parse().ok()?,
        _ => return None,
    };
    let is_xml = matches!(code, 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x1_0000..);
    char::from_u32(code).filter(|_| is_xml)
}
