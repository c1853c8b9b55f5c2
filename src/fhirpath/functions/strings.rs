//! Texts: `startsWith()`, `contains()`, `length()` and their kin.
//!
//! Positions count characters, not bytes.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#string-manipulation>

use std::borrow::Cow;

use super::{Call, Function, function, one};
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::Item;

pub(super) static TABLE: &[Function] = &[
    function("contains", 1, 1, |call| test(call, |text, part| text.contains(part))),
    function("endsWith", 1, 1, |call| test(call, |text, part| text.ends_with(part))),
    function("indexOf", 1, 1, index_of),
    function("length", 0, 0, length),
    function("lower", 0, 0, |call| Ok(optional(call.text_input()?.map(|t| t.to_lowercase())))),
    function("startsWith", 1, 1, |call| test(call, |text, part| text.starts_with(part))),
    function("substring", 1, 2, substring),
    function("upper", 0, 0, |call| Ok(optional(call.text_input()?.map(|t| t.to_uppercase())))),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

fn optional<'v>(item: Option<impl Into<Item<'v>>>) -> Vec<Item<'v>> {
    item.into_iter().map(Into::into).collect()
}

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
