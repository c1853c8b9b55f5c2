//! Conversion: `toInteger()`, `convertsToDate()` and their kin.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#conversion>

use std::borrow::Cow;

use super::{Call, Function, function, one, optional};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::{Item, System};
use crate::fhirpath::quantity::{Quantity, is_calendar_unit};
use crate::fhirpath::temporal::{Temporal, TemporalKind};

pub(super) static TABLE: &[Function] = &[
    function("convertsToBoolean", 0, 0, |call| converts(call, to_boolean)),
    function("convertsToDate", 0, 0, |call| converts(call, to_date)),
    function("convertsToDateTime", 0, 0, |call| converts(call, to_date_time)),
    function("convertsToDecimal", 0, 0, |call| converts(call, to_decimal)),
    function("convertsToInteger", 0, 0, |call| converts(call, to_integer)),
    function("convertsToQuantity", 0, 1, |call| {
        let is_empty = call.input.is_empty();
        let converted = quantity(call)?;
        Ok(if is_empty { Vec::new() } else { one(!converted.is_empty()) })
    }),
    function("convertsToString", 0, 0, |call| converts(call, to_text)),
    function("convertsToTime", 0, 0, |call| converts(call, to_time)),
    function("toBoolean", 0, 0, |call| converted(call, to_boolean)),
    function("toDate", 0, 0, |call| converted(call, to_date)),
    function("toDateTime", 0, 0, |call| converted(call, to_date_time)),
    function("toDecimal", 0, 0, |call| converted(call, to_decimal)),
    function("toInteger", 0, 0, |call| converted(call, to_integer)),
    function("toQuantity", 0, 1, quantity),
    function("toString", 0, 0, |call| converted(call, to_text)),
    function("toTime", 0, 0, |call| converted(call, to_time)),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

type Conversion = for<'v> fn(System<'v>) -> Option<System<'v>>;

fn converted<'v>(call: &mut Call<'_, '_, 'v>, convert: Conversion) -> Items<'v> {
    let value = call.value_input()?;
    Ok(optional(value.and_then(convert)))
}

fn converts<'v>(call: &mut Call<'_, '_, 'v>, convert: Conversion) -> Items<'v> {
    if call.input.is_empty() {
        return Ok(Vec::new());
    }
    let value = call.value_input()?;
    Ok(one(value.and_then(convert).is_some()))
}

fn to_boolean(value: System<'_>) -> Option<System<'_>> {
    let truth = match value {
        System::Boolean(value) => value,
        System::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => true,
            "false" | "f" | "no" | "n" | "0" | "0.0" => false,
            _ => return None,
        },
        number => match number.to_decimal()?.to_integer()? {
            0 => false,
            1 => true,
            _ => return None,
        },
    };
    Some(System::Boolean(truth))
}

/// A number as a text may have it: FHIRPath allows a plus sign before it.
fn number(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_plain =
        !(digits.contains(['e', 'E']) || text.starts_with('+') && digits.starts_with('-'));
    if is_plain { Decimal::parse(digits) } else { None }
}

fn to_integer(value: System<'_>) -> Option<System<'_>> {
    let whole = match value {
        System::Boolean(value) => i64::from(value),
        System::Integer(value) => value,
        System::String(text) if !text.contains('.') => number(&text)?.to_integer()?,
        _ => return None,
    };
    Some(System::Integer(whole))
}

fn to_decimal(value: System<'_>) -> Option<System<'_>> {
    let decimal = match value {
        System::Boolean(value) => Decimal::from(i64::from(value)),
        System::String(text) => number(&text)?,
        number => number.to_decimal()?,
    };
    Some(System::Decimal(decimal))
}

#[expect(clippy::unnecessary_wraps, reason = "one of the conversions, of which others can fail")]
fn to_text(value: System<'_>) -> Option<System<'_>> {
    let text = match value {
        System::String(text) => text,
        other => Cow::Owned(other.to_text()),
    };
    Some(System::String(text))
}

/// The date or time that a text is: kept, when the text borrows from the document.
fn temporal(text: Cow<'_, str>) -> Option<Temporal<'_>> {
    match text {
        Cow::Borrowed(text) => Temporal::parse(text),
        Cow::Owned(text) => Temporal::parse(&text).map(Temporal::detached),
    }
}

fn to_date(value: System<'_>) -> Option<System<'_>> {
    let date = match value {
        System::Temporal(value) => value.to_date()?,
        System::String(text) => {
            let read = temporal(text)?;
            (read.kind() != TemporalKind::Time).then(|| read.to_date())??
        }
        _ => return None,
    };
    Some(System::Temporal(date))
}

fn to_date_time(value: System<'_>) -> Option<System<'_>> {
    let read = match value {
        System::Temporal(value) => value,
        System::String(text) => temporal(text)?,
        _ => return None,
    };
    (read.kind() != TemporalKind::Time).then(|| System::Temporal(read.to_date_time()))
}

fn to_time(value: System<'_>) -> Option<System<'_>> {
    let read = match value {
        System::Temporal(value) => value,
        System::String(text) => temporal(text)?,
        _ => return None,
    };
    (read.kind() == TemporalKind::Time).then_some(System::Temporal(read))
}

/// `toQuantity(unit)`: the quantity, in that unit when one is asked for.
fn quantity<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let value = call.value_input()?;
    let wanted = call.text_argument(0)?;
    let found = value.and_then(to_quantity).and_then(|found| match wanted {
        None => Some(found),
        Some(unit) => Some(Quantity { value: found.converted(&unit)?, unit }),
    });
    Ok(optional(found.map(System::Quantity)))
}

fn to_quantity(value: System<'_>) -> Option<Quantity<'_>> {
    match value {
        System::Boolean(value) => Some(Quantity::plain(Decimal::from(i64::from(value)))),
        System::Quantity(quantity) => Some(quantity),
        System::String(Cow::Borrowed(text)) => quantity_text(text),
        System::String(Cow::Owned(text)) => {
            let Quantity { value, unit } = quantity_text(&text)?;
            Some(Quantity { value, unit: Cow::Owned(unit.into_owned()) })
        }
        number => number.to_decimal().map(Quantity::plain),
    }
}

/// `1`, `1 day`, `1 'mg'`.
fn quantity_text(text: &str) -> Option<Quantity<'_>> {
    let end = text.find(|next: char| !(next.is_ascii_digit() || matches!(next, '+' | '-' | '.')));
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    let value = number(digits)?;
    let unit = rest.trim_ascii();
    if rest.is_empty() {
        return Some(Quantity::plain(value));
    }
    if let Some(code) = unit.strip_prefix('\'').and_then(|unit| unit.strip_suffix('\'')) {
        let fits = !code.is_empty() && !code.contains('\'');
        return fits.then_some(Quantity { value, unit: Cow::Borrowed(code) });
    }
    let is_apart = rest.starts_with([' ', '\t', '\r', '\n']);
    (is_apart && is_calendar_unit(unit)).then_some(Quantity { value, unit: Cow::Borrowed(unit) })
}
