//! The codes of one code system: properties, hierarchy, what is below and above.
//!
//! Spec: <https://hl7.org/fhir/R4/codesystem.html>

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::fhir::json::Value;

/// Properties that name a concept's parents, by the code they usually have.
const PARENTS: [&str; 2] = ["parent", "subsumedBy"];
/// Properties that name a concept's children.
const CHILDREN: [&str; 1] = ["child"];
/// Where the standard properties are defined: their codes follow.
const PROPERTIES: &str = "http://hl7.org/fhir/concept-properties#";

/// How much of a system a CodeSystem has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
pub(super) struct CodeSystem {
    pub(super) url: Box<str>,
    pub(super) version: Option<Box<str>>,
    pub(super) content: Content,
    /// The value set that has all of its codes.
    pub(super) value_set: Option<Box<str>>,
    case_sensitive: bool,
    concepts: Vec<Concept>,
    by_code: HashMap<Box<str>, u32>,
}

/// One code.
#[derive(Debug, Default)]
pub(super) struct Concept {
    pub(super) code: Box<str>,
    pub(super) display: Option<Box<str>>,
    pub(super) is_inactive: bool,
    /// Code and value of each property, as text.
    pub(super) properties: Vec<(Box<str>, Box<str>)>,
    pub(super) parents: Vec<u32>,
    pub(super) children: Vec<u32>,
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
        let mut system = Self {
            url: resource.str_at("url")?.into(),
            version: resource.str_at("version").map(Into::into),
            content,
            value_set: resource.str_at("valueSet").map(Into::into),
            case_sensitive: resource.get("caseSensitive").and_then(Value::as_bool) == Some(true),
            concepts: Vec::new(),
            by_code: HashMap::new(),
        };
        let mut links = system.read_concepts(resource);
        links.extend(system.related(&relations(resource)));
        system.link(links);
        Some(system)
    }

    /// Whether any of its codes is known.
    pub(super) fn has_codes(&self) -> bool {
        !self.concepts.is_empty()
    }

    /// The place of a code.
    pub(super) fn find(&self, code: &str) -> Option<u32> {
        self.by_code.get(&*self.key(code)).copied()
    }

    /// The concept at a place.
    pub(super) fn concept(&self, at: u32) -> &Concept {
        &self.concepts[at as usize]
    }

    /// All places.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = u32> {
        0..self.concepts.len() as u32
    }

    /// The concept and all below it, or above it; in no order, each once, however they are linked.
    pub(super) fn closure(&self, start: u32, is_below: bool) -> HashSet<u32> {
        let mut found = HashSet::from([start]);
        let mut rest = vec![start];
        while let Some(at) = rest.pop() {
            let concept = self.concept(at);
            let next = if is_below { &concept.children } else { &concept.parents };
            rest.extend(next.iter().filter(|at| found.insert(**at)));
        }
        found
    }

    /// What a code is known by: codes of most systems differ by more than case.
    fn key<'c>(&self, code: &'c str) -> Cow<'c, str> {
        if self.case_sensitive { Cow::Borrowed(code) } else { Cow::Owned(code.to_lowercase()) }
    }

    /// Reads the concepts; gives the links, parent and child, that nesting makes.
    fn read_concepts(&mut self, resource: &Value<'_>) -> Vec<(u32, u32)> {
        // Other meanings of nesting say nothing about subsumption.
        let is_nested = matches!(resource.str_at("hierarchyMeaning"), None | Some("is-a"));
        let mut links = Vec::new();
        let mut rest: Vec<(Option<u32>, &Value<'_>)> = Vec::new();
        rest.extend(resource.items_at("concept").iter().rev().map(|concept| (None, concept)));
        while let Some((parent, value)) = rest.pop() {
            let Some(at) = self.add(value) else { continue };
            links.extend(parent.filter(|_| is_nested).map(|parent| (parent, at)));
            rest.extend(value.items_at("concept").iter().rev().map(|inner| (Some(at), inner)));
        }
        links
    }

    fn add(&mut self, value: &Value<'_>) -> Option<u32> {
        let code = value.str_at("code")?;
        let key: Box<str> = self.key(code).into();
        if let Some(at) = self.by_code.get(&key) {
            return Some(*at);
        }
        let at = u32::try_from(self.concepts.len()).ok()?;
        let properties: Vec<(Box<str>, Box<str>)> =
            value.items_at("property").iter().filter_map(property).collect();
        let is_inactive = properties.iter().any(|(name, value)| match (&**name, &**value) {
            ("inactive", text) => text == "true",
            ("status", text) => matches!(text, "inactive" | "retired"),
            _ => false,
        });
        let display = value.str_at("display").map(Into::into);
        let (parents, children) = Default::default();
        let code = code.into();
        self.concepts.push(Concept { code, display, is_inactive, properties, parents, children });
        self.by_code.insert(key, at);
        Some(at)
    }

    /// The links, parent and child, that properties name.
    fn related(&self, relations: &HashMap<Box<str>, bool>) -> Vec<(u32, u32)> {
        let mut links = Vec::new();
        for (at, concept) in (0..).zip(&self.concepts) {
            for (name, value) in &concept.properties {
                let Some(is_parent) = relations.get(name) else { continue };
                let Some(other) = self.find(value) else { continue };
                links.push(if *is_parent { (other, at) } else { (at, other) });
            }
        }
        links
    }

    /// Links parents and children, however often that was said.
    fn link(&mut self, mut links: Vec<(u32, u32)>) {
        links.sort_unstable();
        links.dedup();
        for (parent, child) in links {
            self.concepts[parent as usize].children.push(child);
            self.concepts[child as usize].parents.push(parent);
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

fn property(value: &Value<'_>) -> Option<(Box<str>, Box<str>)> {
    let code = value.str_at("code")?;
    let (_, value) = value.as_object()?.iter().find(|(name, _)| name.starts_with("value"))?;
    let text = match value {
        Value::String(text) => text.clone().into_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(digits) => digits.clone().into_owned(),
        Value::Object(coding) => coding.get("code")?.as_str()?.to_owned(),
        Value::Array(_) | Value::Null => return None,
    };
    Some((code.into(), text.into()))
}
