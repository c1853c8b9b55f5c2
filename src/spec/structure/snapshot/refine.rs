//! What becomes of an element when a profile says more of it.

use crate::fhir::json::Value;

use super::super::element::{Element, ElementType};
use super::super::read::{Difference, Max};

/// Applies what `difference` says to `element`; what would allow more than before is left as it was.
pub(super) fn refine(element: &mut Element, difference: &Difference) {
    let said = &difference.element;
    element.min = difference.min.map_or(element.min, |min| min.max(element.min));
    let max = difference.max.and_then(Max::bound);
    element.max = match (element.max, max) {
        (Some(before), Some(max)) => Some(before.min(max)),
        (before, max) => before.or(max),
    };
    if said.slicing.is_some() {
        element.slicing.clone_from(&said.slicing);
    }
    if !said.representation.is_empty() {
        element.representation.clone_from(&said.representation);
    }
    if !said.types.is_empty() {
        element.types = types(&element.types, &said.types);
    }
    if said.content_reference.is_some() {
        element.content_reference.clone_from(&said.content_reference);
    }
    for (before, value) in [
        (&mut element.fixed, &said.fixed),
        (&mut element.pattern, &said.pattern),
        (&mut element.min_value, &said.min_value),
        (&mut element.max_value, &said.max_value),
    ] {
        replace(before, value.as_ref());
    }
    element.max_length = match (element.max_length, said.max_length) {
        (Some(before), Some(length)) => Some(before.min(length)),
        (before, length) => before.or(length),
    };
    refine_binding(element, said);
    if said.narrative_languages.is_some() {
        element.narrative_languages.clone_from(&said.narrative_languages);
    }
    for invariant in &said.invariants {
        match element.invariants.iter_mut().find(|known| known.key == invariant.key) {
            Some(known) => known.clone_from(invariant),
            None => element.invariants.push(invariant.clone()),
        }
    }
    element.slice_is_constraining |= said.slice_is_constraining;
    element.must_support |= said.must_support;
    element.is_modifier |= said.is_modifier;
    element.is_summary |= said.is_summary;
}

fn replace(before: &mut Option<Value<'static>>, value: Option<&Value<'static>>) {
    if value.is_some() {
        *before = value.cloned();
    }
}

fn refine_binding(element: &mut Element, said: &Element) {
    let Some(binding) = &said.binding else { return };
    let mut binding = binding.clone();
    if let Some(before) = element.binding.take() {
        binding.strength = binding.strength.max(before.strength);
        binding.value_set = binding.value_set.or(before.value_set);
        binding.max_value_set = binding.max_value_set.or(before.max_value_set);
    }
    element.binding = Some(binding);
}

/// The types that are said, with the regular expressions of those that were there.
fn types(before: &[ElementType], said: &[ElementType]) -> Vec<ElementType> {
    let with_regex = |said: &ElementType| {
        let known = before.iter().find(|known| known.code == said.code);
        let regex = said.regex.clone().or_else(|| known.and_then(|known| known.regex.clone()));
        ElementType { regex, ..said.clone() }
    };
    said.iter().map(with_regex).collect()
}
