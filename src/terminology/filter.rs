//! The filters of a composition.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-filter-operator.html>

use std::collections::HashSet;

use regex::{Regex, RegexBuilder};

use super::code_system::{CodeSystem, Concept};
use super::value_set::Filter;

/// The largest compiled expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// The concepts that a filter lets pass.
///
/// # Errors
/// What of the filter is not understood.
pub(super) fn matching(system: &CodeSystem, filter: &Filter) -> Result<HashSet<u32>, String> {
    let Filter { property, op, value } = filter;
    if value.is_empty() || property.is_empty() {
        return Err(format!("a filter {op:?} lacks its property or its value"));
    }
    let below = || system.find(value).map_or_else(HashSet::new, |at| system.closure(at, true));
    let without = |out: &HashSet<u32>| system.all().filter(|at| !out.contains(at)).collect();
    Ok(match &**op {
        "is-a" => below(),
        "descendent-of" => {
            let mut found = below();
            if let Some(at) = system.find(value) {
                found.remove(&at);
            }
            found
        }
        "is-not-a" => without(&below()),
        "child-of" => {
            let parent = system.find(value).map(|at| system.concept(at));
            parent.map_or_else(HashSet::new, |parent| parent.children.iter().copied().collect())
        }
        "generalizes" => {
            system.find(value).map_or_else(HashSet::new, |at| system.closure(at, false))
        }
        "=" => having(system, property, is_one_of(system, property, [&**value])),
        "in" | "not-in" => {
            let wanted = value.split(',').map(str::trim);
            let found = having(system, property, is_one_of(system, property, wanted));
            if &**op == "in" { found } else { without(&found) }
        }
        "exists" => {
            let found = having(system, property, |_| true);
            match &**value {
                "true" => found,
                "false" => without(&found),
                other => {
                    return Err(format!("a filter \"exists\" is true or false, not {other:?}"));
                }
            }
        }
        "regex" => {
            let regex = whole(value)?;
            having(system, property, |text| regex.is_match(text))
        }
        other => return Err(format!("there is no filter {other:?}")),
    })
}

/// The concepts of which one value of the property passes.
fn having(system: &CodeSystem, property: &str, passes: impl Fn(&str) -> bool) -> HashSet<u32> {
    let has = |concept: &Concept| match property {
        "code" | "concept" => passes(&concept.code),
        "display" => concept.display.as_deref().is_some_and(&passes),
        "parent" => linked(system, &concept.parents).any(&passes),
        "child" => linked(system, &concept.children).any(&passes),
        _ => concept.properties.iter().any(|(name, text)| &**name == property && passes(text)),
    };
    system.all().filter(|at| has(system.concept(*at))).collect()
}

fn linked<'s>(system: &'s CodeSystem, places: &'s [u32]) -> impl Iterator<Item = &'s str> {
    places.iter().map(|at| &*system.concept(*at).code)
}

/// Codes are the same as their system says, other texts when they are equal.
fn is_one_of<'s>(
    system: &'s CodeSystem,
    property: &str,
    values: impl IntoIterator<Item = &'s str>,
) -> impl Fn(&str) -> bool {
    let texts: HashSet<&str> = values.into_iter().collect();
    let is_code = matches!(property, "code" | "concept" | "parent" | "child");
    let of_code = texts.iter().filter(|_| is_code).filter_map(|text| system.find(text));
    let places: HashSet<u32> = of_code.collect();
    move |text| {
        texts.contains(text)
            || (is_code && system.find(text).is_some_and(|at| places.contains(&at)))
    }
}

fn whole(expression: &str) -> Result<Regex, String> {
    let built =
        RegexBuilder::new(&format!("^(?:{expression})$")).size_limit(MAX_REGEX_BYTES).build();
    built.map_err(|_| format!("{expression:?} is no regular expression"))
}
