//! The filters of a composition.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-filter-operator.html>

use std::collections::HashSet;

use regex::{Regex, RegexBuilder};

use super::concepts::Concepts;
use super::places::Places;
use super::value_set::Filter;

/// The largest compiled expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// The concepts that a filter lets pass.
///
/// # Errors
/// What of the filter is not understood.
pub(super) fn matching(system: &Concepts, filter: &Filter) -> Result<Places, String> {
    let Filter { property, op, value } = filter;
    if value.is_empty() || property.is_empty() {
        return Err(format!("a filter {op:?} lacks its property or its value"));
    }
    let none = || Places::none(system.len());
    let closure =
        |is_below| system.find(value).map_or_else(none, |at| system.closure(at, is_below));
    Ok(match &**op {
        "is-a" => closure(true),
        "descendent-of" => {
            let mut found = closure(true);
            if let Some(at) = system.find(value) {
                found.remove(at);
            }
            found
        }
        "is-not-a" => closure(true).complement(system.len()),
        "child-of" => {
            let children = system.find(value).map_or(&[][..], |at| system.children(at));
            Places::of(system.len(), children.iter().copied())
        }
        "generalizes" => closure(false),
        "=" => having(system, property, is_one_of(system, property, [&**value])),
        "in" | "not-in" => {
            let wanted = value.split(',').map(str::trim);
            let found = having(system, property, is_one_of(system, property, wanted));
            if &**op == "in" { found } else { found.complement(system.len()) }
        }
        "exists" => {
            let found = having(system, property, |_| true);
            match &**value {
                "true" => found,
                "false" => found.complement(system.len()),
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
fn having(system: &Concepts, property: &str, passes: impl Fn(&str) -> bool) -> Places {
    let of = |places: &[u32]| places.iter().any(|at| passes(system.code(*at)));
    let has = |at: u32| match property {
        "code" | "concept" => passes(system.code(at)),
        "display" => system.display(at).is_some_and(&passes),
        "parent" => of(system.parents(at)),
        "child" => of(system.children(at)),
        _ => system.properties(at).any(|it| it.name == property && passes(it.value)),
    };
    Places::of(system.len(), system.all().filter(|at| has(*at)))
}

/// Codes are the same as their system says, other texts when they are equal.
fn is_one_of<'s>(
    system: &'s Concepts,
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
