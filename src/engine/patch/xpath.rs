//! The selectors of XML Patch: the part of XPath that names one node by its path.
//!
//! `Patient/name[2]/given[@value='Jim']/@value`, with or without prefixes. Steps are names or
//! `*`; predicates are a position, `last()`, or an attribute or child that is there or equals a
//! text. `text()` is one node of text: between elements there are several, and a position tells
//! which. An unprefixed name stands for an element of any namespace: FHIR's names and those of
//! the narrative never meet in one place.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc5261#section-4.1>

use super::{Step, invalid};
use crate::fhir::codec::xml::tree::{Content, Element, Vocabulary};

/// A node that a selector found: the way to it by places among its parent's children, for an
/// attribute the way to its element.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Selected {
    pub(super) way: Vec<usize>,
    pub(super) part: Part,
}

/// What kind of node a selector means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    Attribute(String),
    Element,
    Text,
}

/// Longest selector, in bytes.
const MAX_LENGTH: usize = 4096;

struct Test<'s> {
    vocabulary: Option<Vocabulary>,
    /// `None` is `*`.
    name: Option<&'s str>,
}

enum Predicate<'s> {
    Last,
    Position(usize),
    /// Steps, perhaps an attribute at their end, perhaps a text it must equal.
    Value(Vec<Test<'s>>, Option<&'s str>, Option<&'s str>),
}

/// The one node of `root` that `selector` names; `namespace` resolves its prefixes.
pub(super) fn select(
    selector: &str,
    root: &Element,
    namespace: &dyn Fn(&str) -> Option<Vocabulary>,
) -> Step<Selected> {
    if selector.len() > MAX_LENGTH {
        return invalid("the selector is too long");
    }
    let mut parser = Parser { whole: selector, rest: selector.trim(), namespace };
    parser.take("/");
    let mut found = vec![Vec::new()];
    let mut part = Part::Element;
    let mut is_first = true;
    loop {
        if !is_first && parser.take("@") {
            part = Part::Attribute(parser.qualified()?.to_owned());
        } else if !is_first && parser.take("text()") {
            part = Part::Text;
            let predicates = parser.predicates()?;
            found = found.iter().flat_map(|way| texts(&predicates, root, way)).collect();
        } else {
            let name = parser.test()?;
            let predicates = parser.predicates()?;
            found = if is_first {
                step_to_root(&name, &predicates, root)
            } else {
                found.iter().flat_map(|way| step(&name, &predicates, root, way)).collect()
            };
            is_first = false;
            if parser.take("/") {
                continue;
            }
        }
        break;
    }
    if !parser.rest.is_empty() {
        return parser.fail();
    }
    if let Part::Attribute(name) = &part {
        found.retain(|way| at(root, way).is_some_and(|one| one.attribute(name).is_some()));
    }
    match (found.pop(), found.is_empty()) {
        (Some(way), true) => Ok(Selected { way, part }),
        (None, _) => invalid(format!("nothing is found at {selector:?}")),
        (Some(_), false) => invalid(format!("several nodes are found at {selector:?}")),
    }
}

/// The element at the end of `way`.
pub(super) fn at<'t>(root: &'t Element, way: &[usize]) -> Option<&'t Element> {
    way.iter().try_fold(root, |element, &place| match element.children.get(place)? {
        Content::Element(child) => Some(child),
        Content::Text(_) => None,
    })
}

/// The element at the end of `way`, to be changed.
pub(super) fn at_mut<'t>(root: &'t mut Element, way: &[usize]) -> Step<&'t mut Element> {
    let found =
        way.iter().try_fold(root, |element, &place| match element.children.get_mut(place) {
            Some(Content::Element(child)) => Some(child),
            _ => None,
        });
    found.map_or_else(|| invalid("the selector leads nowhere"), Ok)
}

fn step_to_root(test: &Test<'_>, predicates: &[Predicate<'_>], root: &Element) -> Vec<Vec<usize>> {
    let mut found = if test.fits(root) { vec![(0, root)] } else { Vec::new() };
    filter(&mut found, predicates);
    found.iter().map(|_| Vec::new()).collect()
}

fn step(
    test: &Test<'_>,
    predicates: &[Predicate<'_>],
    root: &Element,
    way: &[usize],
) -> Vec<Vec<usize>> {
    let children = at(root, way).map_or(&[][..], |element| &element.children);
    let fitting = children.iter().enumerate().filter_map(|(place, child)| match child {
        Content::Element(child) if test.fits(child) => Some((place, child)),
        _ => None,
    });
    let mut found: Vec<_> = fitting.collect();
    filter(&mut found, predicates);
    found.into_iter().map(|(place, _)| [way, &[place]].concat()).collect()
}

/// The ways to the texts directly in the element at `way`.
fn texts(predicates: &[Predicate<'_>], root: &Element, way: &[usize]) -> Vec<Vec<usize>> {
    let children = at(root, way).map_or(&[][..], |element| &element.children);
    let texts = children.iter().enumerate().filter_map(|(place, child)| match child {
        Content::Element(_) => None,
        Content::Text(_) => Some(place),
    });
    let mut found: Vec<usize> = texts.collect();
    for predicate in predicates {
        let wanted = match predicate {
            Predicate::Last => found.last().copied(),
            Predicate::Position(position) => {
                position.checked_sub(1).and_then(|index| found.get(index).copied())
            }
            // A text has neither attributes nor children.
            Predicate::Value(..) => None,
        };
        found = wanted.into_iter().collect();
    }
    found.into_iter().map(|place| [way, &[place]].concat()).collect()
}

fn filter(found: &mut Vec<(usize, &Element)>, predicates: &[Predicate<'_>]) {
    for predicate in predicates {
        match predicate {
            Predicate::Last => *found = found.pop().into_iter().collect(),
            Predicate::Position(position) => {
                let one = position.checked_sub(1).and_then(|index| found.get(index).copied());
                *found = one.into_iter().collect();
            }
            Predicate::Value(tests, attribute, wanted) => {
                found.retain(|(_, element)| has_value(element, tests, *attribute, *wanted));
            }
        }
    }
}

fn has_value(
    element: &Element,
    tests: &[Test<'_>],
    attribute: Option<&str>,
    wanted: Option<&str>,
) -> bool {
    if let Some((test, rest)) = tests.split_first() {
        let mut fitting = element.elements().filter(|child| test.fits(child));
        return fitting.any(|child| has_value(child, rest, attribute, wanted));
    }
    match (attribute, wanted) {
        (None, None) => true,
        (None, Some(wanted)) => element.text() == wanted,
        (Some(name), None) => element.attribute(name).is_some(),
        (Some(name), Some(wanted)) => element.attribute(name) == Some(wanted),
    }
}

impl Test<'_> {
    fn fits(&self, element: &Element) -> bool {
        self.name.is_none_or(|name| name == element.name)
            && self.vocabulary.is_none_or(|one| one == element.vocabulary)
    }
}

struct Parser<'s, 'n> {
    whole: &'s str,
    rest: &'s str,
    namespace: &'n dyn Fn(&str) -> Option<Vocabulary>,
}

impl<'s> Parser<'s, '_> {
    fn fail<T>(&self) -> Step<T> {
        invalid(format!("the selector {:?} is not understood at {:?}", self.whole, self.rest))
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.trim_start();
        let taken = rest.strip_prefix(text);
        self.rest = taken.unwrap_or(rest);
        taken.is_some()
    }

    /// A name with or without a prefix.
    fn qualified(&mut self) -> Step<&'s str> {
        let is_name = |one: char| one.is_alphanumeric() || "_-.:".contains(one);
        let rest = self.rest.trim_start();
        let length = rest.find(|one| !is_name(one)).unwrap_or(rest.len());
        // `a::b` is an axis.
        if length == 0 || rest[..length].contains("::") || rest.starts_with('.') {
            return self.fail();
        }
        self.rest = &rest[length..];
        Ok(&rest[..length])
    }

    fn test(&mut self) -> Step<Test<'s>> {
        if self.take("*") {
            return Ok(Test { vocabulary: None, name: None });
        }
        let name = self.qualified()?;
        let Some((prefix, local)) = name.split_once(':') else {
            return Ok(Test { vocabulary: None, name: Some(name) });
        };
        match (self.namespace)(prefix) {
            Some(one) => Ok(Test { vocabulary: Some(one), name: Some(local) }),
            None => invalid(format!("the prefix {prefix:?} is not declared")),
        }
    }

    fn predicates(&mut self) -> Step<Vec<Predicate<'s>>> {
        let mut predicates = Vec::new();
        while self.take("[") {
            predicates.push(self.predicate()?);
        }
        Ok(predicates)
    }

    fn predicate(&mut self) -> Step<Predicate<'s>> {
        let predicate = if self.take("last()") {
            Predicate::Last
        } else {
            let is_long = self.take("position()") && self.take("=");
            let rest = self.rest.trim_start();
            let length = rest.find(|one: char| !one.is_ascii_digit()).unwrap_or(rest.len());
            if let Ok(position) = rest[..length].parse() {
                self.rest = &rest[length..];
                Predicate::Position(position)
            } else if is_long {
                return self.fail();
            } else {
                self.value()?
            }
        };
        if self.take("]") { Ok(predicate) } else { self.fail() }
    }

    /// `@a`, `@a='x'`, `b/c/@a='x'`, `b='x'`, `.='x'`.
    fn value(&mut self) -> Step<Predicate<'s>> {
        let (mut tests, mut attribute) = (Vec::new(), None);
        if !self.take(".") {
            loop {
                if self.take("@") {
                    attribute = Some(self.qualified()?);
                    break;
                }
                tests.push(self.test()?);
                if !self.take("/") {
                    break;
                }
            }
        }
        let wanted = if self.take("=") { Some(self.literal()?) } else { None };
        Ok(Predicate::Value(tests, attribute, wanted))
    }

    fn literal(&mut self) -> Step<&'s str> {
        for quote in ['\'', '"'] {
            if let Some(inside) = self.rest.trim_start().strip_prefix(quote)
                && let Some((text, rest)) = inside.split_once(quote)
            {
                self.rest = rest;
                return Ok(text);
            }
        }
        self.fail()
    }
}
