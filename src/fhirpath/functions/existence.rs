//! Existence: `exists()`, `all()`, `count()` and their kin.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#existence>

use super::{Call, Function, function, one};
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::{Item, System};

pub(super) static TABLE: &[Function] = &[
    function("all", 1, 1, all),
    function("allFalse", 0, 0, |call| every(call, false)),
    function("allTrue", 0, 0, |call| every(call, true)),
    function("anyFalse", 0, 0, |call| any(call, false)),
    function("anyTrue", 0, 0, |call| any(call, true)),
    function("count", 0, 0, |call| Ok(one(call.input.len() as i64))),
    function("distinct", 0, 0, distinct),
    function("empty", 0, 0, |call| Ok(one(call.input.is_empty()))),
    function("exists", 0, 1, exists),
    function("isDistinct", 0, 0, is_distinct),
    function("not", 0, 0, not),
    function("subsetOf", 1, 1, subset_of),
    function("supersetOf", 1, 1, superset_of),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

fn all<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    for (index, item) in call.take_input().iter().enumerate() {
        if !call.holds(0, item, index)? {
            return Ok(one(false));
        }
    }
    Ok(one(true))
}

fn exists<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    for (index, item) in call.take_input().iter().enumerate() {
        if call.holds(0, item, index)? {
            return Ok(one(true));
        }
    }
    Ok(one(false))
}

fn booleans(call: &mut Call<'_, '_, '_>) -> Outcome<Vec<bool>> {
    let schema = call.schema();
    let values = call.input.iter().map(|item| match item.system(schema) {
        Some(System::Boolean(value)) => Ok(value),
        _ => call.fail("the function works on booleans"),
    });
    values.collect()
}

fn every<'v>(call: &mut Call<'_, '_, 'v>, wanted: bool) -> Items<'v> {
    Ok(one(booleans(call)?.into_iter().all(|value| value == wanted)))
}

fn any<'v>(call: &mut Call<'_, '_, 'v>, wanted: bool) -> Items<'v> {
    Ok(one(booleans(call)?.into_iter().any(|value| value == wanted)))
}

fn distinct<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let (input, mut out) = (call.take_input(), Vec::new());
    call.evaluator.distinct(input, call.start, &mut out)?;
    Ok(out)
}

fn is_distinct<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let count = call.input.len();
    Ok(one(distinct(call)?.len() == count))
}

fn not<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    match item.system(call.schema()) {
        Some(System::Boolean(value)) => Ok(one(!value)),
        // One item that is no boolean counts as true.
        _ => Ok(one(false)),
    }
}

fn subset_of<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let (part, whole) = (call.take_input(), call.argument(0)?);
    contained(call, &part, &whole)
}

fn superset_of<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let (whole, part) = (call.take_input(), call.argument(0)?);
    contained(call, &part, &whole)
}

fn contained<'v>(call: &mut Call<'_, '_, 'v>, part: &[Item<'v>], whole: &[Item<'v>]) -> Items<'v> {
    for item in part {
        if !call.evaluator.contains(whole, item, call.start)? {
            return Ok(one(false));
        }
    }
    Ok(one(true))
}
