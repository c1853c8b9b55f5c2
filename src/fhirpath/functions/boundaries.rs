//! How precise a value is: `lowBoundary()`, `highBoundary()`, `precision()`, `comparable()`.
//!
//! Spec: <https://hl7.org/fhirpath/#utility-functions>

use super::{Call, Function, function, one, optional};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::{Item, System};
use crate::fhirpath::quantity::Quantity;

pub(super) static TABLE: &[Function] = &[
    function("comparable", 1, 1, comparable),
    function("highBoundary", 0, 1, |call| boundary(call, true)),
    function("lowBoundary", 0, 1, |call| boundary(call, false)),
    function("precision", 0, 0, precision),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

/// Digits after the point of a boundary, unless told otherwise.
const DEFAULT_SCALE: i64 = 8;

/// Most digits after the point of a boundary.
const MAX_SCALE: i64 = 28;

fn boundary<'v>(call: &mut Call<'_, '_, 'v>, is_high: bool) -> Items<'v> {
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    let digits = call.integer_argument(0)?;
    let end = match item.system(call.schema()) {
        Some(System::Temporal(value)) => value.boundary(is_high, digits).map(System::Temporal),
        Some(System::Quantity(Quantity { value, unit })) => {
            end(value, is_high, digits).map(|value| System::Quantity(Quantity { value, unit }))
        }
        Some(value) => match value.to_decimal() {
            Some(value) => end(value, is_high, digits).map(System::Decimal),
            None => return call.fail("the function works on numbers, dates and times"),
        },
        None => return call.fail("the function works on numbers, dates and times"),
    };
    Ok(optional(end))
}

/// The end of what rounds to `value`, rounded outwards to the digits asked for.
fn end(value: Decimal, is_high: bool, digits: Option<i64>) -> Option<Decimal> {
    let digits = digits.unwrap_or(DEFAULT_SCALE);
    let scale = u32::try_from(digits).ok().filter(|_| digits <= MAX_SCALE)?;
    let half = Decimal::of(5, -(value.scale() as i32) - 1)?;
    let end = if is_high { value.plus(half)? } else { value.minus(half)? };
    let cut = if is_high { end.ceiling(scale) } else { end.floor(scale) };
    cut.widened(scale)
}

fn precision<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    match item.system(call.schema()) {
        Some(System::Temporal(value)) => Ok(one(value.digits())),
        Some(System::Decimal(value)) => Ok(one(i64::from(value.scale()))),
        Some(System::Integer(_)) => Ok(one(0)),
        _ => call.fail("the function works on numbers, dates and times"),
    }
}

fn comparable<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    let Some(other) = call.value_argument(0)? else { return Ok(Vec::new()) };
    let value = item.system(call.schema());
    let left = value.as_ref().and_then(System::to_quantity);
    match left.zip(other.to_quantity()) {
        Some((left, right)) => Ok(one(left.is_comparable(&right))),
        None => call.fail("only quantities are comparable"),
    }
}
