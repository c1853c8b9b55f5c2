//! The filters of a composition.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-filter-operator.html>

use std::collections::HashSet;

use regex::{Regex, RegexBuilder};

use super::concepts::Concepts;
use super::places::Places;
use super::value_set::Filter;

/// The largest compiled expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 16;

/// A filter made ready for one system.
#[derive(Debug)]
pub(super) struct Ready<'f> {
    property: &'f str,
    test: Test<'f>,
}

#[derive(Debug)]
enum Test<'f> {
    /// Below the place, itself included where that is said; `None`: below nothing.
    Below(Option<u32>, bool),
    /// Not below the place and not it.
    NotBelow(Option<u32>),
    /// A child of the place.
    ChildOf(Option<u32>),
    /// Above the place, or it.
    Above(Option<u32>),
    /// A value of the property is one of these: texts, and places where it names codes.
    OneOf(HashSet<&'f str>, HashSet<u32>),
    /// None is.
    NoneOf(HashSet<&'f str>, HashSet<u32>),
    /// There is a value of the property, or there is not.
    Exists(bool),
    /// A value of the property matches as a whole.
    Matches(Regex),
}

impl<'f> Ready<'f> {
    /// Reads the filter.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(super) fn new(system: &Concepts, filter: &'f Filter) -> Result<Self, String> {
        let Filter { property, op, value } = filter;
        if value.is_empty() || property.is_empty() {
            return Err(format!("a filter {op:?} lacks its property or its value"));
        }
        let place = || system.find(value);
        let listed = || value.split(',').map(str::trim).collect::<HashSet<_>>();
        let test = match &**op {
            "is-a" => Test::Below(place(), true),
            "descendent-of" => Test::Below(place(), false),
            "is-not-a" => Test::NotBelow(place()),
            "child-of" => Test::ChildOf(place()),
            "generalizes" => Test::Above(place()),
            "=" => one_of(system, property, HashSet::from([&**value])),
            "in" => one_of(system, property, listed()),
            "not-in" => match one_of(system, property, listed()) {
                Test::OneOf(texts, places) => Test::NoneOf(texts, places),
                other => other,
            },
            "exists" => Test::Exists(match &**value {
                "true" => true,
                "false" => false,
                other => {
                    return Err(format!("a filter \"exists\" is true or false, not {other:?}"));
                }
            }),
            "regex" => Test::Matches(whole(value)?),
            other => return Err(format!("there is no filter {other:?}")),
        };
        Ok(Self { property, test })
    }

    /// The concepts of the system that pass.
    pub(super) fn all(&self, system: &Concepts) -> Places {
        let count = system.len();
        let closure = |at: Option<u32>, is_below| {
            at.map_or_else(|| Places::none(count), |at| system.closure(at, is_below))
        };
        match &self.test {
            Test::Below(at, with_itself) => {
                let mut found = closure(*at, true);
                if let Some(at) = at.filter(|_| !with_itself) {
                    found.remove(at);
                }
                found
            }
            Test::NotBelow(at) => closure(*at, true).complement(count),
            Test::ChildOf(parent) => {
                let children = parent.map_or(&[][..], |at| system.children(at));
                Places::of(count, children.iter().copied())
            }
            Test::Above(at) => closure(*at, false),
            _ => Places::of(count, system.all().filter(|at| self.passes(system, *at))),
        }
    }

    /// Whether one concept passes.
    pub(super) fn passes(&self, system: &Concepts, at: u32) -> bool {
        let has = |texts: &HashSet<&str>, places: &HashSet<u32>| {
            self.any(system, at, |text| {
                let found = || system.find(text).is_some_and(|at| places.contains(&at));
                texts.contains(text) || (!places.is_empty() && found())
            })
        };
        match &self.test {
            Test::Below(top, with_itself) => top
                .is_some_and(|top| if top == at { *with_itself } else { system.subsumes(top, at) }),
            Test::NotBelow(top) => !top.is_some_and(|top| system.subsumes(top, at)),
            Test::ChildOf(parent) => {
                parent.is_some_and(|parent| system.parents(at).contains(&parent))
            }
            Test::Above(under) => under.is_some_and(|under| system.subsumes(at, under)),
            Test::OneOf(texts, places) => has(texts, places),
            Test::NoneOf(texts, places) => !has(texts, places),
            Test::Exists(wanted) => self.any(system, at, |_| true) == *wanted,
            Test::Matches(regex) => self.any(system, at, |text| regex.is_match(text)),
        }
    }

    /// Whether one value of the property passes.
    fn any(&self, system: &Concepts, at: u32, passes: impl Fn(&str) -> bool) -> bool {
        let linked = |places: &[u32]| places.iter().any(|at| passes(system.code(*at)));
        match self.property {
            "code" | "concept" => passes(system.code(at)),
            "display" => system.display(at).is_some_and(passes),
            "parent" => linked(system.parents(at)),
            "child" => linked(system.children(at)),
            name => system.properties(at).any(|it| it.name == name && passes(it.text())),
        }
    }
}

/// Codes are the same as their system says, other texts when they are equal.
fn one_of<'f>(system: &Concepts, property: &str, texts: HashSet<&'f str>) -> Test<'f> {
    let is_code = matches!(property, "code" | "concept" | "parent" | "child");
    let places = texts.iter().filter(|_| is_code).filter_map(|text| system.find(text)).collect();
    Test::OneOf(texts, places)
}

fn whole(expression: &str) -> Result<Regex, String> {
    let built =
        RegexBuilder::new(&format!("^(?:{expression})$")).size_limit(MAX_REGEX_BYTES).build();
    built.map_err(|_| format!("{expression:?} is no regular expression"))
}
