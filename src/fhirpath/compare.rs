//! Equality, equivalence and order of items.
//!
//! Comparing trees and texts takes steps from the evaluation's budget; where none are left the
//! answer is no, and the evaluator, finding its budget empty, fails.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#equality>, <https://hl7.org/fhirpath/N1/#comparison>

use std::cmp::Ordering;

use super::decimal::Decimal;
use super::item::{Item, System};
use super::operators::BYTES_A_STEP;
use super::temporal::TemporalKind;
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;

/// `=` of two items; `None` when it cannot be told (dates of different precision).
pub(super) fn equal(
    left: &Item<'_>,
    right: &Item<'_>,
    schema: &Schema,
    steps: &mut u64,
) -> Option<bool> {
    if let (Item::Node(left), Item::Node(right)) = (left, right)
        && (left.value.as_object().is_some() || right.value.as_object().is_some())
    {
        return Some(same(left.value, right.value, steps));
    }
    match (left, right) {
        (Item::Target(left), Item::Target(right)) => {
            return Some(left.reference == right.reference);
        }
        (Item::Type(left), Item::Type(right)) => return Some(left == right),
        _ => {}
    }
    match (left.system(schema), right.system(schema)) {
        (Some(left), Some(right)) if pay(shared_bytes(&left, &right), steps) => {
            equal_values(&left, &right)
        }
        (None, None) => match (left, right) {
            (Item::Node(left), Item::Node(right)) => Some(
                same(left.value, right.value, steps)
                    && match (left.sibling, right.sibling) {
                        (Some(left), Some(right)) => same(left, right, steps),
                        (left, right) => left.is_none() && right.is_none(),
                    },
            ),
            _ => Some(false),
        },
        _ => Some(false),
    }
}

fn equal_values(left: &System<'_>, right: &System<'_>) -> Option<bool> {
    match (left, right) {
        (System::Boolean(left), System::Boolean(right)) => Some(left == right),
        (System::String(left), System::String(right)) => Some(left == right),
        (System::Temporal(left), System::Temporal(right)) => {
            let is_time = |kind| kind == TemporalKind::Time;
            if is_time(left.kind()) != is_time(right.kind()) {
                return Some(false);
            }
            Some(left.compare(right)? == Ordering::Equal)
        }
        // A date of the document against a text: as text.
        (System::Temporal(date), System::String(text))
        | (System::String(text), System::Temporal(date)) => Some(date.text() == *text),
        (System::Quantity(_), _) | (_, System::Quantity(_)) => {
            match (left.to_quantity(), right.to_quantity()) {
                (Some(left), Some(right)) => Some(left.order(&right)? == Ordering::Equal),
                _ => Some(false),
            }
        }
        _ => match (left.to_decimal(), right.to_decimal()) {
            (Some(left), Some(right)) => Some(left == right),
            _ => Some(false),
        },
    }
}

/// `~` of two items.
pub(super) fn equivalent(
    left: &Item<'_>,
    right: &Item<'_>,
    schema: &Schema,
    steps: &mut u64,
) -> bool {
    match (left.system(schema), right.system(schema)) {
        (Some(System::String(left)), Some(System::String(right))) => {
            same_folded(&left, &right, steps)
        }
        (Some(System::Temporal(left)), Some(System::Temporal(right))) => {
            left.same_precision(&right) && left.compare(&right) == Some(Ordering::Equal)
        }
        (Some(left), Some(right)) => match (left.to_decimal(), right.to_decimal()) {
            (Some(left), Some(right)) => left.is_equivalent(right),
            _ => match (left.to_quantity(), right.to_quantity()) {
                (Some(left), Some(right)) => left.is_equivalent(&right),
                _ => equal_values(&left, &right).unwrap_or(false),
            },
        },
        _ => match (left, right) {
            (Item::Node(left), Item::Node(right)) => same_members(left.value, right.value, steps),
            _ => equal(left, right, schema, steps).unwrap_or(false),
        },
    }
}

/// The order of two values; `Ok(None)` when it cannot be told, `Err` when there is none.
pub(super) fn order(left: &System<'_>, right: &System<'_>) -> Result<Option<Ordering>, ()> {
    match (left, right) {
        (System::String(left), System::String(right)) => Ok(Some(left.cmp(right))),
        (System::Temporal(left), System::Temporal(right)) => {
            let is_time = |kind| kind == TemporalKind::Time;
            let differ = is_time(left.kind()) != is_time(right.kind());
            if differ { Err(()) } else { Ok(left.compare(right)) }
        }
        _ => match (left.to_decimal(), right.to_decimal()) {
            (Some(left), Some(right)) => Ok(Some(left.cmp(&right))),
            _ => match (left.to_quantity(), right.to_quantity()) {
                (Some(left), Some(right)) => Ok(left.order(&right)),
                _ => Err(()),
            },
        },
    }
}

/// The bytes that are looked at when two values are compared.
pub(super) fn shared_bytes(left: &System<'_>, right: &System<'_>) -> usize {
    match (left, right) {
        (System::String(left), System::String(right)) => left.len().min(right.len()),
        _ => 0,
    }
}

/// Whether two texts have the same characters without case, once for each run of white space.
fn same_folded(left: &str, right: &str, steps: &mut u64) -> bool {
    // White space that does not count is looked at too.
    pay(left.len() + right.len(), steps) && folded(left).eq(folded(right))
}

/// The characters in lower case, runs of white space as one blank, none at the ends.
fn folded(text: &str) -> impl Iterator<Item = char> {
    let mut first = true;
    text.split_whitespace().flat_map(move |word| {
        let blank = (!std::mem::take(&mut first)).then_some(' ');
        blank.into_iter().chain(word.chars().flat_map(char::to_lowercase))
    })
}

/// Whether two JSON trees say the same; numbers by value, properties in any order.
pub fn same_tree(left: &Value<'_>, right: &Value<'_>) -> bool {
    let mut steps = u64::MAX;
    same(left, right, &mut steps)
}

/// Takes one step; false when there is none left.
fn step(steps: &mut u64) -> bool {
    take(1, steps)
}

/// Takes the steps for looking at this many bytes; false when there are not as many left.
fn pay(bytes: usize, steps: &mut u64) -> bool {
    take(bytes / BYTES_A_STEP, steps)
}

fn take(cost: usize, steps: &mut u64) -> bool {
    let left = steps.checked_sub(cost as u64);
    *steps = left.unwrap_or(0);
    left.is_some()
}

fn same(left: &Value<'_>, right: &Value<'_>, steps: &mut u64) -> bool {
    if !step(steps) {
        return false;
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            pay(left.len().min(right.len()), steps) && left == right
        }
        (Value::Number(left), Value::Number(right)) => {
            left == right
                || match (Decimal::parse(left), Decimal::parse(right)) {
                    (Some(left), Some(right)) => left == right,
                    _ => false,
                }
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r, steps))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.pairs(right, |left, right| same(left, right, steps))
        }
        _ => left == right,
    }
}

/// [`same`], with arrays in any order and texts as `~` sees them; `id` does not count.
fn same_members(left: &Value<'_>, right: &Value<'_>, steps: &mut u64) -> bool {
    if !step(steps) {
        return false;
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => same_folded(left, right, steps),
        (Value::Array(left), Value::Array(right)) => {
            let mut rest: Vec<_> = right.iter().collect();
            left.len() == right.len()
                && left.iter().all(|value| {
                    let at = rest.iter().position(|there| same_members(value, there, steps));
                    at.map(|at| rest.swap_remove(at)).is_some()
                })
        }
        (Value::Object(left), Value::Object(right)) => {
            let counted = |key: &str| key != "id";
            left.iter().filter(|(key, _)| counted(key)).count()
                == right.iter().filter(|(key, _)| counted(key)).count()
                && left.iter().filter(|(key, _)| counted(key)).all(|(key, value)| {
                    right.get(key).is_some_and(|there| same_members(value, there, steps))
                })
        }
        _ => same(left, right, steps),
    }
}
