//! Subsetting: `first()`, `tail()`, `take()` and their kin.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#subsetting>

use super::{Call, Function, function};
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::Item;

pub(super) static TABLE: &[Function] = &[
    function("exclude", 1, 1, exclude),
    function("first", 0, 0, |call| {
        call.input.truncate(1);
        Ok(call.take_input())
    }),
    function("intersect", 1, 1, intersect),
    function("last", 0, 0, |call| Ok(call.input.pop().into_iter().collect())),
    function("single", 0, 0, |call| Ok(call.single_input()?.into_iter().collect())),
    function("skip", 1, 1, skip),
    function("tail", 0, 0, |call| Ok(call.take_input().into_iter().skip(1).collect())),
    function("take", 1, 1, take),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

fn amount(call: &mut Call<'_, '_, '_>) -> Outcome<Option<usize>> {
    let amount = call.integer_argument(0)?;
    Ok(amount.map(|amount| usize::try_from(amount).unwrap_or(0)))
}

fn skip<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(amount) = amount(call)? else { return Ok(Vec::new()) };
    Ok(call.take_input().into_iter().skip(amount).collect())
}

fn take<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(amount) = amount(call)? else { return Ok(Vec::new()) };
    call.input.truncate(amount);
    Ok(call.take_input())
}

fn intersect<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let (input, other) = (call.take_input(), call.argument(0)?);
    let (mut shared, mut out) = (Vec::new(), Vec::new());
    for item in input {
        if call.evaluator.contains(&other, &item, call.start)? {
            shared.push(item);
        }
    }
    call.evaluator.distinct(shared, call.start, &mut out)?;
    Ok(out)
}

fn exclude<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let (input, other) = (call.take_input(), call.argument(0)?);
    let mut out = Vec::new();
    for item in input {
        if !call.evaluator.contains(&other, &item, call.start)? {
            out.push(item);
        }
    }
    Ok(out)
}
