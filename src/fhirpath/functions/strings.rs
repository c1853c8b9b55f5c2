//! Texts: `startsWith()`, `contains()`, `length()` and their kin.
//!
//! Positions count characters, not bytes.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#string-manipulation>

use std::borrow::Cow;

use super::{Call, Function, function, one, optional};
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::{Item, System};

pub(super) static TABLE: &[Function] = &[
    function("contains", 1, 1, |call| test(call, |text, part| text.contains(part))),
    function("endsWith", 1, 1, |call| test(call, |text, part| text.ends_with(part))),
    function("indexOf", 1, 1, index_of),
    function("join", 0, 1, join),
    function("lastIndexOf", 1, 1, last_index_of),
    function("length", 0, 0, length),
    function("lower", 0, 0, |call| Ok(optional(call.text_input()?.map(|t| t.to_lowercase())))),
    function("replace", 2, 2, replace),
    function("split", 1, 1, split),
    function("startsWith", 1, 1, |call| test(call, |text, part| text.starts_with(part))),
    function("substring", 1, 2, substring),
    function("toChars", 0, 0, to_chars),
    function("trim", 0, 0, |call| Ok(optional(call.text_input()?.map(|t| t.trim().to_owned())))),
    function("upper", 0, 0, |call| Ok(optional(call.text_input()?.map(|t| t.to_uppercase())))),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

/// The input and the first argument, where both are there.
fn pair<'v>(call: &mut Call<'_, '_, 'v>) -> Outcome<Option<(Cow<'v, str>, Cow<'v, str>)>> {
    let (text, part) = (call.text_input()?, call.text_argument(0)?);
    Ok(text.zip(part))
}

fn test<'v>(call: &mut Call<'_, '_, 'v>, holds: fn(&str, &str) -> bool) -> Items<'v> {
    Ok(optional(pair(call)?.map(|(text, part)| holds(&text, &part))))
}

fn index_of<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let found = pair(call)?
        .map(|(text, part)| text.find(&*part).map_or(-1, |at| text[..at].chars().count() as i64));
    Ok(optional(found))
}

fn last_index_of<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let found = pair(call)?
        .map(|(text, part)| text.rfind(&*part).map_or(-1, |at| text[..at].chars().count() as i64));
    Ok(optional(found))
}

/// The texts of the input as one, with the argument between them.
fn join<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let separator = call.text_argument(0)?.unwrap_or_default();
    let mut joined = String::new();
    for (at, item) in call.take_input().into_iter().enumerate() {
        let Some(System::String(text)) = item.system(call.schema()) else {
            return call.fail("the function works on texts");
        };
        call.spend_bytes(separator.len() + text.len())?;
        if at > 0 {
            joined.push_str(&separator);
        }
        joined.push_str(&text);
    }
    Ok(one(joined))
}

fn replace<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let found = pair(call)?;
    let substitute = call.text_argument(1)?;
    let Some(((text, part), substitute)) = found.zip(substitute) else { return Ok(Vec::new()) };
    let times = text.matches(&*part).count();
    call.spend_bytes(times.saturating_mul(substitute.len()))?;
    Ok(one(text.replace(&*part, &substitute)))
}

fn split<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some((text, separator)) = pair(call)? else { return Ok(Vec::new()) };
    if separator.is_empty() {
        return Ok(one(text.into_owned()));
    }
    let count = text.matches(&*separator).count() + 1;
    call.evaluator.spend(count, call.start)?;
    Ok(text.split(&*separator).map(|part| Item::from(part.to_owned())).collect())
}

fn to_chars<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(text) = call.text_input()? else { return Ok(Vec::new()) };
    call.evaluator.spend(text.len(), call.start)?;
    Ok(text.chars().map(|next| Item::from(next.to_string())).collect())
}

fn length<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    Ok(optional(call.text_input()?.map(|text| text.chars().count() as i64)))
}

fn substring<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(text) = call.text_input()? else { return Ok(Vec::new()) };
    let Some(start) = call.integer_argument(0)? else { return Ok(Vec::new()) };
    let amount =
        call.integer_argument(1)?.map_or(usize::MAX, |amount| usize::try_from(amount).unwrap_or(0));
    let Ok(start) = usize::try_from(start) else { return Ok(Vec::new()) };
    let Some((from, _)) = text.char_indices().nth(start) else { return Ok(Vec::new()) };
    Ok(one(text[from..].chars().take(amount).collect::<String>()))
}
