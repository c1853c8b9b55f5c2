//! Numbers: NM, SN, quantities, ranges, and the ranges of references.

use std::fmt::Write as _;

use crate::fhir::json::{Object, Value};

use super::{Args, Context, Json, NoteKind, Rep, filled, list, object, text, units};

/// The decimal of FHIR that a text is, its digits kept: `1.0` stays `1.0`.
///
/// What FHIR does not allow is put right: a sign of plus, zeros before, a dot without a digit.
pub fn decimal(text: &str, comma: bool) -> Option<String> {
    let text = text.trim();
    let text = if comma && !text.contains('.') && text.matches(',').count() == 1 {
        text.replace(',', ".")
    } else {
        text.to_owned()
    };
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (number, exponent) = match rest.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.filter(|fraction| !fraction.is_empty());
    if !digits(whole) || !fraction.is_none_or(digits) || whole.len() + number.len() > 40 {
        return None;
    }
    if whole.is_empty() && fraction.is_none() {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    };
    let mut out = format!("{sign}{whole}");
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        let power: i32 = exponent.parse().ok().filter(|power: &i32| power.abs() <= 64)?;
        // Writing to a String cannot fail.
        let _ = write!(out, "e{power}");
    }
    Some(out)
}

/// The comparator that a text begins with, and the rest.
fn compared(text: &str) -> (&'static str, &str) {
    let text = text.trim();
    let signs = [
        ("<=", "<="),
        (">=", ">="),
        ("≤", "<="),
        ("≥", ">="),
        ("=<", "<="),
        ("<", "<"),
        (">", ">"),
    ];
    for (sign, comparator) in signs {
        if let Some(rest) = text.strip_prefix(sign) {
            return (comparator, rest.trim());
        }
    }
    ("", text)
}

fn number(digits: String) -> Json {
    Value::Number(digits.into())
}

/// A Quantity of a text such as `<0.5`; `None` when it is no number.
pub fn quantity_of(
    digits: &str,
    unit: Option<&Rep<'_>>,
    context: &Context<'_>,
) -> Option<Object<'static>> {
    let (comparator, rest) = compared(digits);
    let value = decimal(rest, context.site.decimal_comma)?;
    let mut quantity = object([("value", Some(number(value))), ("comparator", text(comparator))]);
    if let Some(unit) = unit {
        units::put(&mut quantity, unit, context);
    }
    Some(quantity)
}

/// An NM, or the number of a CQ, as a Quantity. `unit`: the field with its unit.
pub fn nm(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let found = quantity_of(rep.c(1), args.rep("unit"), context);
    wanted(rep, found.map(Json::from), context)
}

/// A CQ as a Quantity: the number and its unit.
pub fn cq(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let own = rep.component(2);
    let unit = if own.is_valued() { Some(&own) } else { args.rep("unit") };
    wanted(rep, quantity_of(rep.c(1), unit, context).map(Json::from), context)
}

/// A number without a unit.
pub fn plain(rep: &Rep<'_>, _: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let found = decimal(rep.c(1), context.site.decimal_comma).map(number);
    wanted(rep, found, context)
}

/// A whole number; `least`: the smallest that is taken.
pub fn integer(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let least: i64 = args.text("least").parse().unwrap_or(0);
    let digits = rep.c(1).split('.').next().unwrap_or_default();
    let found: Option<i64> = digits.parse().ok().filter(|value| *value >= least);
    let found = found.filter(|value| i32::try_from(*value).is_ok());
    wanted(rep, found.map(|value| number(value.to_string())), context)
}

fn wanted(rep: &Rep<'_>, found: Option<Json>, context: &Context<'_>) -> Option<Json> {
    if found.is_none() && rep.is_valued() {
        context.note(NoteKind::DataType, "it is no number of the kind that is asked for");
    }
    found
}

/// A Range of two texts, each with the unit.
pub fn range_of(
    low: &str,
    high: &str,
    unit: Option<&Rep<'_>>,
    context: &Context<'_>,
) -> Option<Json> {
    let low = quantity_of(low, unit, context).map(without_comparator);
    let high = quantity_of(high, unit, context).map(without_comparator);
    filled(object([("low", low.map(Json::from)), ("high", high.map(Json::from))]))
}

fn without_comparator(mut quantity: Object<'static>) -> Object<'static> {
    quantity.remove("comparator");
    quantity
}

/// An SN by its form: a type of FHIR and the value.
///
/// `>^100` is a Quantity, `^10^-^20` a Range, `^1^:^128` a Ratio; all else, such as `^1^+`, is a
/// text.
pub fn sn(rep: &Rep<'_>, unit: Option<&Rep<'_>>, context: &Context<'_>) -> (&'static str, Json) {
    let (sign, first, between, second) = (rep.c(1), rep.c(2), rep.c(3), rep.c(4));
    let found = match (sign, between) {
        ("" | "=" | "<" | ">" | "<=" | ">=", "") => {
            let sign = if sign == "=" { "" } else { sign };
            let found = quantity_of(&format!("{sign}{first}"), unit, context);
            found.map(|found| ("Quantity", found.into()))
        }
        ("" | "=", "-") if !first.is_empty() && !second.is_empty() => {
            let both = [first, second];
            let is_number = |text: &&str| decimal(text, context.site.decimal_comma).is_some();
            let found = both.iter().all(is_number);
            found.then(|| range_of(first, second, unit, context)).flatten().map(|it| ("Range", it))
        }
        ("" | "=" | "<" | ">" | "<=" | ">=", ":" | "/") => ratio(rep, unit, context),
        _ => None,
    };
    found.unwrap_or_else(|| {
        let units = unit.map(super::rep::Rep::text).unwrap_or_default();
        let words = [sign, first, between, second, units].map(str::to_owned);
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        ("string", words.join(" ").into())
    })
}

fn ratio(
    rep: &Rep<'_>,
    unit: Option<&Rep<'_>>,
    context: &Context<'_>,
) -> Option<(&'static str, Json)> {
    let sign = if rep.c(1) == "=" { "" } else { rep.c(1) };
    let numerator = quantity_of(&format!("{sign}{}", rep.c(2)), unit, context)?;
    let denominator = quantity_of(rep.c(4), unit, context)?;
    let both = Object::new().with("numerator", numerator).with("denominator", denominator);
    Some(("Ratio", both.into()))
}

/// The range of OBX-7: what of it is a number as low and high, and all of it as text.
///
/// `unit`: the field with the unit.
pub fn ref_range(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let words = rep.joined(" ");
    let unit = args.rep("unit");
    let (low, high) = bounds(&words, context.site.decimal_comma);
    let bound = |digits: Option<&str>| {
        let found = quantity_of(digits?, unit, context)?;
        Some(Json::from(without_comparator(found)))
    };
    filled(object([("low", bound(low)), ("high", bound(high)), ("text", text(&words))]))
}

/// The two ends of `3.5 - 5.0`, `<10`, `>=60`, `-2`..; both or neither are numbers.
fn bounds(words: &str, comma: bool) -> (Option<&str>, Option<&str>) {
    let is_number = |text: &str| decimal(text, comma).is_some();
    let (sign, rest) = compared(words);
    match sign {
        "<" | "<=" if is_number(rest) => return (None, Some(rest)),
        ">" | ">=" if is_number(rest) => return (Some(rest), None),
        "" => {}
        _ => return (None, None),
    }
    // The dash of a range is not the sign of its first number, unless nothing is before it.
    for (at, _) in words.match_indices('-') {
        let (low, high) = (words[..at].trim(), words[at + 1..].trim());
        match (low, high) {
            ("", high) if is_number(high) => return (None, Some(high)),
            (low, "") if is_number(low) => return (Some(low), None),
            (low, high) if is_number(low) && is_number(high) => return (Some(low), Some(high)),
            _ => {}
        }
    }
    (None, None)
}

/// An NR as a Range. `unit`: the field with its unit.
pub fn nr(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    range_of(rep.c(1), rep.c(2), args.rep("unit"), context)
}

/// An NA, all its numbers, as a SampledData without a rate: each is of its own.
pub fn na(reps: &[&Rep<'_>], unit: Option<&Rep<'_>>, context: &Context<'_>) -> Option<Json> {
    let mut data = Vec::new();
    let mut width = 1;
    for rep in reps {
        width = width.max(rep.len());
        for at in 1..=rep.len() {
            data.push(decimal(rep.c(at), context.site.decimal_comma).unwrap_or("E".to_owned()));
        }
    }
    let mut origin = object([("value", Some(number("0".to_owned())))]);
    if let Some(unit) = unit {
        units::put(&mut origin, unit, context);
    }
    let sampled = Object::new()
        .with("origin", origin)
        .with("period", number("1".to_owned()))
        .with("dimensions", u64::try_from(width).unwrap_or(1))
        .with_some("data", text(&data.join(" ")));
    list(vec![sampled.into()]).and_then(|one| one.as_array().and_then(|one| one.first().cloned()))
}
