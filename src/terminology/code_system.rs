//! The codes of one code system: properties, hierarchy, what is below and above.
//!
//! Spec: <https://hl7.org/fhir/R4/codesystem.html>

use std::borrow::Cow;
use std::collections::HashMap;

use crate::fhir::json::{Object, Value};

use super::about::{self, About, PROPERTIES};
use super::builtin;
use super::concepts::{Builder, Concepts, Designation, Property, PropertyKind};
use super::expand::SNOMED;
use super::release::Release;
use super::value_set::canonical;

/// Properties that name a concept's parents, by the code they usually have.
const PARENTS: [&str; 2] = ["parent", "subsumedBy"];
/// Properties that name a concept's children.
const CHILDREN: [&str; 1] = ["child"];

/// How much of a system a CodeSystem has.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Content {
    /// All codes.
    Complete,
    /// Nothing but the description.
    Nothing,
    /// Some codes.
    Part,
    /// Displays and properties for codes of another one.
    Supplement,
}

/// One code system.
#[derive(Debug)]
pub struct CodeSystem {
    pub(super) url: Box<str>,
    pub(super) version: Option<Box<str>>,
    pub(super) content: Content,
    /// The value set that has all of its codes.
    pub(super) value_set: Option<Box<str>>,
    pub(super) concepts: Concepts,
    pub(super) about: About,
}

impl CodeSystem {
    /// The code system of a resource or of a pack's record; without a url there is none.
    pub(super) fn read(resource: &Value<'_>) -> Option<Self> {
        let content = match resource.str_at("content") {
            Some("complete") | None => Content::Complete,
            Some("not-present") => Content::Nothing,
            Some("supplement") => Content::Supplement,
            Some(_) => Content::Part,
        };
        let mut about = About::read(resource);
        Some(Self {
            url: resource.str_at("url")?.into(),
            version: resource.str_at("version").map(Into::into),
            content,
            value_set: resource.str_at("valueSet").map(Into::into),
            concepts: Reader::of(resource, &mut about).read(resource),
            about,
        })
    }

    /// The code system of a release.
    pub fn released(release: Release) -> Self {
        let Release { url, version, name, is_complete, concepts } = release;
        let version = Some(version).filter(|version| !version.is_empty());
        let content = if is_complete { Content::Complete } else { Content::Part };
        let mut system = Self::of(url, content, concepts);
        system.version = version;
        system.about.name = Some(name);
        system
    }

    /// A code system that no resource defines.
    pub(super) fn of(url: Box<str>, content: Content, concepts: Concepts) -> Self {
        let about = About { is_case_sensitive: true, ..About::default() };
        let (version, value_set) = (None, None);
        Self { url, version, content, value_set, concepts, about }
    }

    /// The same as a release, where it has codes of its own.
    pub(super) fn into_release(self, name: &str) -> Option<Release> {
        let Self { url, version, content, concepts, .. } = self;
        let is_complete = content == Content::Complete;
        let (version, name) = (version.unwrap_or_default(), name.into());
        let has_codes = content != Content::Supplement && !concepts.is_empty();
        has_codes.then_some(Release { url, version, name, is_complete, concepts })
    }

    /// `url|version`, as far as it has them.
    pub(super) fn canonical(&self) -> String {
        canonical(&self.url, self.version.as_deref())
    }

    /// Whether a concept only groups others.
    pub(super) fn is_abstract(&self, at: u32) -> bool {
        let code = self.about.code_of("notSelectable");
        let mut properties = self.concepts.properties(at);
        properties.any(|it| it.value == "true" && (it.name == code || it.name == "abstract"))
    }

    /// Whether it can tell of a code: where a grammar makes codes, those at hand are only some.
    pub(super) fn tells_of(&self, code: &str) -> bool {
        let is_listed = || self.concepts.find(code).is_some();
        self.has_codes() && (builtin::accepts(&self.url, code).is_none() || is_listed())
    }

    /// Whether a code that is not at hand may be one of its codes nevertheless: an expression by its
    /// grammar. One of SNOMED CT is no plain number.
    ///
    /// <https://hl7.org/fhir/R4/codesystem-definitions.html#CodeSystem.compositional>
    pub(super) fn may_compose(&self, code: &str) -> bool {
        let has_grammar = match &*self.url {
            SNOMED => code.contains(|it: char| !it.is_ascii_digit()),
            _ => self.about.is_compositional,
        };
        has_grammar && self.concepts.find(code).is_none()
    }

    /// Whether any of its codes is known.
    pub(super) fn has_codes(&self) -> bool {
        !self.concepts.is_empty()
    }
}

/// Reads the concepts of a resource.
struct Reader<'r> {
    about: &'r mut About,
    concepts: Builder,
    by_key: HashMap<Box<str>, u32>,
    is_case_sensitive: bool,
    /// The properties that link concepts; `true` for those that name a parent.
    relations: HashMap<Box<str>, bool>,
    /// The concepts that such a property names.
    related: Vec<(u32, bool, Box<str>)>,
}

impl<'r> Reader<'r> {
    fn of(resource: &Value<'_>, about: &'r mut About) -> Self {
        let is_case_sensitive = about.is_case_sensitive;
        Self {
            about,
            concepts: Builder::new(is_case_sensitive),
            by_key: HashMap::new(),
            is_case_sensitive,
            relations: relations(resource),
            related: Vec::new(),
        }
    }

    fn read(mut self, resource: &Value<'_>) -> Concepts {
        // Other meanings of nesting say nothing about subsumption.
        let is_nested = matches!(resource.str_at("hierarchyMeaning"), None | Some("is-a"));
        let mut rest: Vec<(Option<u32>, &Value<'_>)> = Vec::new();
        rest.extend(resource.items_at("concept").iter().rev().map(|concept| (None, concept)));
        while let Some((parent, value)) = rest.pop() {
            let Some(at) = self.add(value) else { continue };
            if let Some(parent) = parent.filter(|_| is_nested) {
                self.concepts.link(parent, at);
            }
            rest.extend(value.items_at("concept").iter().rev().map(|inner| (Some(at), inner)));
        }
        for (at, is_parent, code) in std::mem::take(&mut self.related) {
            let Some(other) = self.by_key.get(&*self.key(&code)).copied() else { continue };
            let (parent, child) = if is_parent { (other, at) } else { (at, other) };
            self.concepts.link(parent, child);
        }
        self.concepts.build()
    }

    /// What a code is known by: codes of most systems differ by more than case.
    fn key<'c>(&self, code: &'c str) -> Cow<'c, str> {
        if self.is_case_sensitive { Cow::Borrowed(code) } else { Cow::Owned(code.to_lowercase()) }
    }

    fn add(&mut self, value: &Value<'_>) -> Option<u32> {
        let code = value.str_at("code")?;
        let key: Box<str> = self.key(code).into();
        if let Some(at) = self.by_key.get(&key) {
            return Some(*at);
        }
        let at = self.concepts.push(code, value.str_at("display"));
        self.by_key.insert(key, at);
        if let Some(definition) = value.str_at("definition") {
            self.concepts.define(at, definition);
        }
        self.add_designations(at, value);
        self.add_extensions(at, value);
        for (name, kind, text) in value.items_at("property").iter().filter_map(property) {
            let is_inactive = match name {
                "inactive" => &*text == "true",
                "status" => matches!(&*text, "inactive" | "retired"),
                _ => false,
            };
            if is_inactive {
                self.concepts.retire(at);
            }
            if let Some(is_parent) = self.relations.get(name) {
                self.related.push((at, *is_parent, (&*text).into()));
            }
            self.concepts.property(at, Property { name, kind, value: &text });
        }
        Some(at)
    }

    fn add_designations(&mut self, at: u32, concept: &Value<'_>) {
        let all = concept.items_at("designation").iter();
        for (which, value) in (0..).zip(all.filter(|it| it.str_at("value").is_some())) {
            let of = value.get("use");
            let text = |of: Option<&'_ Value<'_>>, name| -> Box<str> {
                of.and_then(|it| it.str_at(name)).unwrap_or_default().into()
            };
            self.concepts.designation(
                at,
                Designation {
                    language: &text(Some(value), "language"),
                    use_system: &text(of, "system"),
                    use_code: &text(of, "code"),
                    value: &text(Some(value), "value"),
                },
            );
            for extension in about::extensions(value, &about::OF_DESIGNATIONS) {
                self.about.of_designations.push((at, which, extension));
            }
        }
    }

    /// Extensions with a plain value are kept as properties that their url names.
    fn add_extensions(&mut self, at: u32, concept: &Value<'_>) {
        for extension in concept.items_at("extension") {
            let Some(name) = extension.str_at("url").filter(|url| is_kept(url)) else { continue };
            let value = extension.as_object().into_iter().flat_map(Object::iter);
            for (kind, value) in value.filter_map(|(name, value)| typed(name, value)) {
                self.concepts.property(at, Property { name, kind, value: &value });
            }
        }
    }
}

/// The properties that link concepts; `true` for those that name a parent.
fn relations(resource: &Value<'_>) -> HashMap<Box<str>, bool> {
    let mut found: HashMap<Box<str>, bool> = HashMap::new();
    found.extend(PARENTS.map(|name| (name.into(), true)));
    found.extend(CHILDREN.map(|name| (name.into(), false)));
    for defined in resource.items_at("property") {
        let (Some(code), Some(uri)) = (defined.str_at("code"), defined.str_at("uri")) else {
            continue;
        };
        match uri.strip_prefix(PROPERTIES) {
            Some("parent") => found.insert(code.into(), true),
            Some("child") => found.insert(code.into(), false),
            _ => None,
        };
    }
    found
}

/// Whether an extension of a concept is kept.
fn is_kept(url: &str) -> bool {
    about::REPEATED.contains(&url) || about::AS_PROPERTIES.iter().any(|(of, ..)| *of == url)
}

/// The name, type and value of a property, as text.
fn property<'v>(value: &'v Value<'_>) -> Option<(&'v str, PropertyKind, Cow<'v, str>)> {
    let code = value.str_at("code")?;
    let mut values = value.as_object()?.iter();
    let (kind, text) = values.find_map(|(name, value)| typed(name, value))?;
    Some((code, kind, text))
}

/// The type and the text of a `value[x]`.
fn typed<'v>(name: &str, value: &'v Value<'_>) -> Option<(PropertyKind, Cow<'v, str>)> {
    let kind = match name.strip_prefix("value")? {
        "Boolean" => PropertyKind::Boolean,
        "Code" => PropertyKind::Code,
        "Coding" => PropertyKind::Coding,
        "DateTime" => PropertyKind::DateTime,
        "Decimal" => PropertyKind::Decimal,
        "Integer" => PropertyKind::Integer,
        _ => PropertyKind::String,
    };
    let text = match value {
        Value::String(text) => Cow::Borrowed(&**text),
        Value::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Value::Number(digits) => Cow::Borrowed(&**digits),
        Value::Object(coding) => {
            let part = |name| coding.get(name).and_then(Value::as_str);
            let rest = ["system", "version", "display"].map(|name| part(name).unwrap_or_default());
            Cow::Owned(Property::of_coding([part("code")?, rest[0], rest[1], rest[2]]))
        }
        Value::Array(_) | Value::Null => return None,
    };
    Some((kind, text))
}
