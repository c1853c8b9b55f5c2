//! XML text as a stream of tokens whose names are resolved to namespaces.
//!
//! The reader underneath is lenient; this layer refuses what XML 1.0 refuses and what FHIR
//! refuses besides: DOCTYPE, undeclared entities, illegal names and characters, repeated
//! attributes, text outside the root.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesDecl, Event};

use super::attribute::{Attribute, is_space, scan};

/// Most attributes of one element, and most namespace prefixes in scope: beyond what any
/// document needs, and a bound on the work of looking for repetitions.
pub(super) const MAX_ATTRIBUTES: usize = 100;

/// A fault and the byte where it stands.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }
}

pub(super) type Step<T> = Result<T, Fault>;

/// The namespaces that FHIR's XML knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Namespace {
    Fhir,
    None,
    Other,
    SchemaInstance,
    Xhtml,
}

impl Namespace {
    pub(super) const FHIR: &str = "http://hl7.org/fhir";
    pub(super) const XHTML: &str = "http://www.w3.org/1999/xhtml";

    fn from_uri(uri: &str) -> Self {
        match uri {
            "" => Self::None,
            Self::FHIR => Self::Fhir,
            "http://www.w3.org/2001/XMLSchema-instance" => Self::SchemaInstance,
            Self::XHTML => Self::Xhtml,
            _ => Self::Other,
        }
    }
}

/// A start tag, or an empty element's only tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'a> {
    /// Where its `<` stands.
    pub(super) at: usize,
    /// Whether it has no content (`<a/>`), so that no end tag follows.
    pub(super) is_empty: bool,
    /// Its name without a prefix.
    pub(super) name: &'a str,
    pub(super) namespace: Namespace,
    /// Length of the prefix with its colon; 0 without one.
    pub(super) prefix_len: usize,
}

/// What the document has next.
#[derive(Debug)]
pub(super) enum Token<'a> {
    CData {
        at: usize,
    },
    /// An end tag; `at` is where its `<` stands.
    Close {
        at: usize,
    },
    /// A comment or a processing instruction.
    Comment,
    /// The end of the document.
    End,
    Open(Tag<'a>),
    /// `&name;`
    Reference {
        at: usize,
        name: &'a str,
    },
    /// Character data without references; `at` is where it starts.
    Text {
        at: usize,
        text: &'a str,
    },
}

struct Binding<'a> {
    /// Empty for the default namespace.
    prefix: &'a str,
    namespace: Namespace,
}

/// The tokens of one document, in order.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    reader: Reader<&'a [u8]>,
    /// Attributes of the tag given last, namespace declarations included.
    pub(super) attributes: Vec<Attribute<'a>>,
    bindings: Vec<Binding<'a>>,
    /// For each open element the number of bindings outside it.
    scopes: Vec<usize>,
    /// Set after an empty element: its scope ends with the next token.
    ends_scope: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_comments = true;
        Self {
            text,
            reader,
            attributes: Vec::new(),
            bindings: Vec::new(),
            scopes: Vec::new(),
            ends_scope: false,
        }
    }

    /// Bytes consumed so far.
    pub(super) fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX).min(self.text.len())
    }

    /// The next token.
    pub(super) fn token(&mut self) -> Step<Token<'a>> {
        if std::mem::take(&mut self.ends_scope) {
            self.leave_scope();
        }
        let at = self.position();
        let event = self.reader.read_event();
        let end = self.position();
        let token = match event {
            Err(fault) => return Err(self.ill_formed(&fault)),
            Ok(Event::CData(_)) => Token::CData { at },
            Ok(Event::Comment(_) | Event::PI(_)) => Token::Comment,
            Ok(Event::Decl(declaration)) => {
                check_declaration(at, &declaration)?;
                Token::Comment
            }
            Ok(Event::DocType(_)) => return Err(Fault::new(at, "DOCTYPE is not allowed")),
            Ok(Event::Empty(_)) => Token::Open(self.open(at, end, true)?),
            Ok(Event::End(_)) => {
                self.leave_scope();
                Token::Close { at }
            }
            Ok(Event::Eof) if self.scopes.is_empty() => Token::End,
            Ok(Event::Eof) => return Err(Fault::new(at, "the document ends inside an element")),
            Ok(Event::GeneralRef(_)) => {
                Token::Reference { at, name: self.slice(at + 1, end.saturating_sub(1)) }
            }
            Ok(Event::Start(_)) => Token::Open(self.open(at, end, false)?),
            Ok(Event::Text(_)) => {
                let text = self.slice(at, end);
                match text.find("]]>") {
                    Some(found) => return Err(Fault::new(at + found, "\"]]>\" in text")),
                    None => Token::Text { at, text },
                }
            }
        };
        Ok(token)
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    fn ill_formed(&self, fault: &quick_xml::Error) -> Fault {
        let at = usize::try_from(self.reader.error_position()).unwrap_or(0);
        let text = fault.to_string();
        let reason = text.strip_prefix("ill-formed document: ").unwrap_or(&text);
        Fault::new(at, reason.strip_prefix("syntax error: ").unwrap_or(reason))
    }

    fn open(&mut self, at: usize, end: usize, is_empty: bool) -> Step<Tag<'a>> {
        let content = self.slice(at + 1, end.saturating_sub(1 + usize::from(is_empty)));
        let space = content.bytes().position(|byte| is_space(byte.into()));
        let name_len = space.unwrap_or(content.len());
        let name = &content[..name_len];
        check_name(name).map_err(|reason| Fault::new(at, reason))?;
        self.scopes.push(self.bindings.len());
        self.ends_scope = is_empty;
        self.attributes.clear();
        for attribute in scan(&content[name_len..], at + 1 + name_len) {
            self.attribute(attribute?)?;
        }
        let (prefix, local) = split_name(name);
        let namespace = self.resolve(prefix).ok_or_else(|| undeclared(at, prefix))?;
        let prefix_len = name.len() - local.len();
        Ok(Tag { at, is_empty, name: local, namespace, prefix_len })
    }

    fn attribute(&mut self, attribute: Attribute<'a>) -> Step<()> {
        let Attribute { at, name, .. } = attribute;
        check_name(name).map_err(|reason| Fault::new(at, reason))?;
        if self.attributes.iter().any(|other| other.name == name) {
            return Err(Fault::new(at, format!("attribute {name:?} stands twice")));
        }
        if let Some(prefix) = attribute.declared_prefix() {
            let namespace = Namespace::from_uri(&attribute.value()?);
            if !prefix.is_empty() && namespace == Namespace::None {
                return Err(Fault::new(at, "a namespace prefix needs a name"));
            }
            self.bindings.push(Binding { prefix, namespace });
        }
        self.attributes.push(attribute);
        if self.attributes.len().max(self.bindings.len()) > MAX_ATTRIBUTES {
            return Err(Fault::new(at, "too many attributes"));
        }
        Ok(())
    }

    /// The namespace bound to `prefix`; the empty prefix asks for the default one.
    pub(super) fn resolve(&self, prefix: &str) -> Option<Namespace> {
        let is_default = prefix.is_empty();
        let bound = self.bindings.iter().rev().find(|binding| {
            // Most names have no prefix: spare them the comparison of texts.
            if is_default { binding.prefix.is_empty() } else { binding.prefix == prefix }
        });
        match bound {
            Some(binding) => Some(binding.namespace),
            None => is_default.then_some(Namespace::None),
        }
    }

    fn leave_scope(&mut self) {
        let outside = self.scopes.pop().unwrap_or(0);
        self.bindings.truncate(outside);
    }
}

pub(super) fn undeclared(at: usize, prefix: &str) -> Fault {
    Fault::new(at, format!("namespace prefix {prefix:?} is not declared"))
}

/// The prefix, empty when there is none, and the rest of a name.
fn split_name(name: &str) -> (&str, &str) {
    match name.bytes().position(|byte| byte == b':') {
        Some(colon) => (&name[..colon], &name[colon + 1..]),
        None => ("", name),
    }
}

/// The encodings that a document may name.
const UTF_8: [&str; 3] = ["ascii", "us-ascii", "utf-8"];

fn check_declaration(at: usize, declaration: &BytesDecl<'_>) -> Step<()> {
    let refuse = |reason: &str| Err(Fault::new(at, reason));
    if at != 0 {
        return refuse("an XML declaration may only stand at the start");
    }
    if declaration.version().ok().as_deref() != Some("1.0") {
        return refuse("the XML version must be 1.0");
    }
    match declaration.encoding() {
        None => Ok(()),
        // What is written in ASCII is written in UTF-8 too: the file of UCUM says so.
        Some(Ok(name)) if UTF_8.iter().any(|known| name.eq_ignore_ascii_case(known)) => Ok(()),
        Some(_) => refuse("the encoding must be UTF-8"),
    }
}

/// Checks a qualified name: at most one colon, and only characters that names may have.
fn check_name(name: &str) -> Result<(), Cow<'static, str>> {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
    let is_part = |byte: u8| is_start(byte) || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_valid =
        |part: &str| part.bytes().next().is_some_and(is_start) && part.bytes().skip(1).all(is_part);
    let (prefix, local) = split_name(name);
    if is_valid(local) && (prefix.len() + local.len() == name.len() || is_valid(prefix)) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Cow::Owned(format!("{shown:?} is not a name")))
}
