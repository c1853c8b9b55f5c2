//! The codes of an expansion as elements of it.
//!
//! Properties are an element of R5: in R4 they are its extensions.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-definitions.html#ValueSet.expansion.contains>,
//! <https://hl7.org/fhir/R5/valueset-definitions.html#ValueSet.expansion.contains.property>

use std::collections::{BTreeMap, HashMap};

use crate::fhir::json::{Object, Value};
use crate::terminology::about::{
    AS_PROPERTIES, DEPRECATED, PROPERTIES, REPEATED, STANDARDS_STATUS,
};
use crate::terminology::code_system::CodeSystem;
use crate::terminology::scope::Scope;
use crate::terminology::set::Entry;

use super::display::{Languages, Named, Names};
use super::lookup::typed;

const OF_CONTAINS: &str =
    "http://hl7.org/fhir/5.0/StructureDefinition/extension-ValueSet.expansion.contains.property";
const OF_EXPANSION: &str =
    "http://hl7.org/fhir/5.0/StructureDefinition/extension-ValueSet.expansion.property";

/// Codes within codes: how deep. JSON is read up to a depth of 100, of which each takes two.
const MAX_NESTING: usize = 40;

/// What is wanted of each code.
pub(super) struct Wanted<'r> {
    /// Languages and uses; none: all.
    pub(super) designations: Vec<&'r str>,
    pub(super) with_designations: bool,
    pub(super) properties: Vec<&'r str>,
    pub(super) languages: Languages,
}

/// Makes elements of codes.
pub(super) struct Shown<'s, 'i, 'r> {
    scope: &'s Scope<'i>,
    wanted: &'s Wanted<'r>,
    /// Code and uri of the properties that were shown.
    seen: BTreeMap<String, String>,
}

/// The properties of a code by their code, each with the name of its value and the value.
type Properties = BTreeMap<String, (&'static str, Value<'static>)>;

impl<'s, 'i, 'r> Shown<'s, 'i, 'r> {
    pub(super) fn new(scope: &'s Scope<'i>, wanted: &'s Wanted<'r>) -> Self {
        Self { scope, wanted, seen: BTreeMap::new() }
    }

    /// One behind the other.
    pub(super) fn flat(&mut self, entries: &[Entry<'i>]) -> Vec<Value<'static>> {
        entries.iter().map(|entry| self.element(entry).into()).collect()
    }

    /// Each below a parent of it that is among them; codes that a list names stay outside, and so does
    /// what would lie too deep.
    pub(super) fn nested(&mut self, entries: &[Entry<'i>]) -> Vec<Value<'static>> {
        let mut parents = parents(entries);
        let depths = tree(&mut parents);
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
        let mut roots = Vec::new();
        for (place, parent) in parents.iter().enumerate() {
            parent.map_or(&mut roots, |parent| &mut children[parent]).push(place);
        }
        let mut elements: Vec<Option<Object<'static>>> =
            entries.iter().map(|entry| Some(self.element(entry))).collect();
        // From the deepest up each has all that is below it.
        let mut deepest_first: Vec<usize> = (0..entries.len()).collect();
        deepest_first.sort_by_key(|place| std::cmp::Reverse(depths[*place]));
        for place in deepest_first {
            let inner: Vec<Value<'static>> = children[place]
                .iter()
                .filter_map(|it| elements[*it].take())
                .map(Into::into)
                .collect();
            if let Some(element) = elements[place].as_mut().filter(|_| !inner.is_empty()) {
                element.set("contains", inner);
            }
        }
        roots.into_iter().filter_map(|it| elements[it].take()).map(Into::into).collect()
    }

    /// The properties that were shown, as extensions of the expansion.
    pub(super) fn properties(&self) -> Vec<Value<'static>> {
        let declared = self.seen.iter().map(|(code, uri)| {
            let uri = Some(uri.clone()).filter(|uri| !uri.is_empty());
            let code = inner("code", "valueCode", code.clone());
            let parts = std::iter::once(code).chain(uri.map(|it| inner("uri", "valueUri", it)));
            extension(OF_EXPANSION, parts.collect())
        });
        declared.collect()
    }

    fn element(&mut self, entry: &Entry<'i>) -> Object<'static> {
        let names = Names::of(self.scope, entry.concept, entry.listing, &self.wanted.languages);
        let is_abstract = entry.concept.is_some_and(|(system, at)| system.is_abstract(at));
        let (properties, mut extensions) = self.said(entry);
        for (code, (kind, value)) in properties {
            let parts = vec![inner("code", "valueCode", code), inner("value", kind, value)];
            extensions.push(extension(OF_CONTAINS, parts));
        }
        let told = names.designations.iter();
        let told = told.filter(|it| self.wanted.with_designations && self.is_wanted(it));
        let designations: Vec<Value<'static>> = told.map(Named::to_value).collect();
        let true_if = |flag: bool| flag.then_some(true);
        let some = |list: Vec<Value<'static>>| (!list.is_empty()).then_some(list);
        Object::new()
            .with_some("extension", some(extensions))
            .with("system", entry.url.to_owned())
            .with_some("abstract", true_if(is_abstract))
            .with_some("inactive", true_if(entry.is_inactive()))
            .with("code", entry.code.to_owned())
            .with_some("display", names.display.map(str::to_owned))
            .with_some("designation", some(designations))
    }

    fn is_wanted(&self, named: &Named<'_>) -> bool {
        let tokens = &self.wanted.designations;
        tokens.is_empty() || tokens.iter().any(|token| named.is_of(token))
    }

    /// Properties and extensions of a code: of its system, of supplements, of the value set, which
    /// wins.
    fn said(&mut self, entry: &Entry<'i>) -> (Properties, Vec<Value<'static>>) {
        let (mut properties, mut extensions) = (Properties::new(), Vec::new());
        if let Some((system, at)) = entry.concept {
            let is_wanted = |name: &str| self.wanted.properties.contains(&name);
            if let Some(definition) =
                system.concepts.definition(at).filter(|_| is_wanted("definition"))
            {
                let value = Value::from(definition.to_owned());
                properties.insert("definition".to_owned(), ("valueString", value));
                self.seen.insert("definition".to_owned(), format!("{PROPERTIES}definition"));
            }
            self.of_system(system, at, entry, &mut properties, &mut extensions);
            let supplements: Vec<_> = self.scope.supplements_of(&system.url).collect();
            for supplement in supplements {
                if let Some(at) = supplement.concepts.find(entry.code) {
                    self.of_system(supplement, at, entry, &mut properties, &mut extensions);
                }
            }
        }
        let more = entry.listing.and_then(|it| it.more.as_ref());
        for listed in more.iter().flat_map(|it| &it.extensions) {
            let url = listed.str_at("url").unwrap_or_default();
            match AS_PROPERTIES.iter().find(|(of, ..)| *of == url && url != STANDARDS_STATUS) {
                Some((_, code, kind, uri)) => {
                    let value = super::asked::value(listed).map(|it| it.clone().into_owned());
                    let value = value.unwrap_or(Value::Null);
                    properties.insert((*code).to_owned(), (kind, value));
                    self.seen.insert((*code).to_owned(), format!("{PROPERTIES}{uri}"));
                }
                None => extensions.push(listed.clone()),
            }
        }
        (properties, extensions)
    }

    fn of_system(
        &mut self,
        system: &CodeSystem,
        at: u32,
        entry: &Entry<'i>,
        properties: &mut Properties,
        extensions: &mut Vec<Value<'static>>,
    ) {
        for property in system.concepts.properties(at) {
            let (kind, value) = typed(property);
            if let Some((_, code, kind, uri)) =
                AS_PROPERTIES.iter().find(|(of, ..)| *of == property.name)
            {
                properties.insert((*code).to_owned(), (kind, value));
                self.seen.insert((*code).to_owned(), format!("{PROPERTIES}{uri}"));
            } else if REPEATED.contains(&property.name) && property.name != DEPRECATED {
                extensions.push(
                    Object::new().with("url", property.name.to_owned()).with(kind, value).into(),
                );
            } else if self.wanted.properties.contains(&property.name)
                || (property.name == "status" && entry.is_inactive())
            {
                let uri = system.about.uri_of(property.name);
                properties.insert(property.name.to_owned(), (kind, value));
                self.seen.insert(property.name.to_owned(), uri);
            }
        }
    }
}

/// The place of a parent of each entry.
fn parents(entries: &[Entry<'_>]) -> Vec<Option<usize>> {
    let mut places: HashMap<(*const CodeSystem, u32), usize> = HashMap::new();
    for (place, entry) in entries.iter().enumerate() {
        if let (Some((system, at)), None) = (entry.concept, entry.listing) {
            places.insert((std::ptr::from_ref(system), at), place);
        }
    }
    let parent = |entry: &Entry<'_>| {
        let (system, at) = entry.concept.filter(|_| entry.listing.is_none())?;
        let mut parents = system.concepts.parents(at).iter();
        parents.find_map(|it| places.get(&(std::ptr::from_ref(system), *it)).copied())
    };
    entries.iter().map(parent).collect()
}

/// Makes trees of `parents`, cutting circles and what lies too deep; how deep each place is, from 1.
fn tree(parents: &mut [Option<usize>]) -> Vec<usize> {
    let mut depths = vec![0; parents.len()];
    let mut is_seen = vec![false; parents.len()];
    for place in 0..parents.len() {
        let (mut path, mut above) = (Vec::new(), Some(place));
        while let Some(at) = above.filter(|at| !std::mem::replace(&mut is_seen[*at], true)) {
            path.push(at);
            above = parents[at];
        }
        for at in path.into_iter().rev() {
            // Without a depth of its own, the parent is below this place too.
            let parent = parents[at].filter(|it| (1..MAX_NESTING).contains(&depths[*it]));
            parents[at] = parent;
            depths[at] = 1 + parent.map_or(0, |it| depths[it]);
        }
    }
    depths
}

fn extension(url: &'static str, parts: Vec<Value<'static>>) -> Value<'static> {
    Object::new().with("extension", parts).with("url", url).into()
}

fn inner(
    url: &'static str,
    kind: &'static str,
    value: impl Into<Value<'static>>,
) -> Value<'static> {
    Object::new().with("url", url).with(kind, value).into()
}
