//! Math: `round()`, `power()`, `sqrt()` and their kin.
//!
//! What can be exact is; roots, exponentials and logarithms have 15 digits. Where there is no
//! result, as for the root of a negative number, the collection is empty.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#math>

use super::{Call, Function, function, optional};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::{Item, System};
use crate::fhirpath::quantity::Quantity;

pub(super) static TABLE: &[Function] = &[
    function("abs", 0, 0, absolute),
    function("ceiling", 0, 0, |call| whole(call, |value| value.ceiling(0))),
    function("exp", 0, 0, |call| computed(call, f64::exp)),
    function("floor", 0, 0, |call| whole(call, |value| value.floor(0))),
    function("ln", 0, 0, |call| computed(call, f64::ln)),
    function("log", 1, 1, logarithm),
    function("power", 1, 1, power),
    function("round", 0, 1, round),
    function("sqrt", 0, 0, |call| computed(call, f64::sqrt)),
    function("truncate", 0, 0, |call| whole(call, Decimal::truncated)),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

/// Most digits after the point that can be rounded to.
const MAX_PRECISION: i64 = 28;

/// The number of the input; `None` when it is empty.
fn number(call: &mut Call<'_, '_, '_>) -> Outcome<Option<Decimal>> {
    let Some(item) = call.single_input()? else { return Ok(None) };
    match item.system(call.schema()).and_then(|value| value.to_decimal()) {
        Some(number) => Ok(Some(number)),
        None => call.fail("the function works on a number"),
    }
}

/// The number of the first argument; `None` when it is empty.
fn argument(call: &mut Call<'_, '_, '_>) -> Outcome<Option<Decimal>> {
    let Some(value) = call.value_argument(0)? else { return Ok(None) };
    match value.to_decimal() {
        Some(number) => Ok(Some(number)),
        None => call.fail("the argument is no number"),
    }
}

fn whole<'v>(call: &mut Call<'_, '_, 'v>, cut: fn(Decimal) -> Decimal) -> Items<'v> {
    Ok(optional(number(call)?.map(cut).and_then(Decimal::to_integer)))
}

fn computed<'v>(call: &mut Call<'_, '_, 'v>, function: fn(f64) -> f64) -> Items<'v> {
    let number = number(call)?;
    Ok(optional(number.and_then(|number| Decimal::nearest(function(number.approximate())))))
}

fn absolute<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    let positive = |value: Decimal| if value.digits() < 0 { value.negated() } else { value };
    let value = match item.system(call.schema()) {
        Some(System::Integer(value)) => return Ok(optional(value.checked_abs())),
        Some(System::Decimal(value)) => System::Decimal(positive(value)),
        Some(System::Quantity(Quantity { value, unit })) => {
            System::Quantity(Quantity { value: positive(value), unit })
        }
        _ => return call.fail("the function works on a number or a quantity"),
    };
    Ok(optional(Some(value)))
}

fn logarithm<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let (number, base) = (number(call)?, argument(call)?);
    let found = number.zip(base).and_then(|(number, base)| {
        Decimal::nearest(number.approximate().ln() / base.approximate().ln())
    });
    Ok(optional(found))
}

/// Exact where the exponent is a whole number and the digits suffice.
fn power<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let is_whole = |value: &Decimal| value.scale() == 0;
    let (number, exponent) = (number(call)?, argument(call)?);
    let Some((base, exponent)) = number.zip(exponent) else { return Ok(Vec::new()) };
    let exact = exponent.to_integer().and_then(|times| raised(base, times));
    let found = exact.or_else(|| Decimal::nearest(base.approximate().powf(exponent.approximate())));
    if is_whole(&base) && is_whole(&exponent) && exponent.digits() >= 0 {
        return Ok(optional(found.and_then(Decimal::to_integer)));
    }
    Ok(optional(found))
}

fn raised(base: Decimal, times: i64) -> Option<Decimal> {
    // More digits than a decimal has need no more than this many factors.
    let factors = usize::try_from(times).ok().filter(|&factors| factors <= 128)?;
    let is_exact = base.scale() as usize * factors <= MAX_PRECISION as usize;
    is_exact.then_some(())?;
    (0..factors).try_fold(Decimal::from(1), |product, _| product.times(base))
}

fn round<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let number = number(call)?;
    let precision = call.integer_argument(0)?.unwrap_or(0);
    let Some(scale) = u32::try_from(precision).ok().filter(|_| precision <= MAX_PRECISION) else {
        return call.fail("a precision is a whole number from 0 to 28");
    };
    Ok(optional(number.and_then(|number| number.rounded(scale))))
}
