//! Combining: `union()`, `combine()`.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#combining>

use super::{Call, Function, function};
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::Item;

pub(super) static TABLE: &[Function] =
    &[function("combine", 1, 1, combine), function("union", 1, 1, union)];

fn combine<'v>(call: &mut Call<'_, '_, 'v>) -> Outcome<Vec<Item<'v>>> {
    let mut all = call.take_input();
    all.append(&mut call.argument(0)?);
    Ok(all)
}

fn union<'v>(call: &mut Call<'_, '_, 'v>) -> Outcome<Vec<Item<'v>>> {
    let (all, mut out) = (combine(call)?, Vec::new());
    call.evaluator.distinct(all, call.start, &mut out)?;
    Ok(out)
}
