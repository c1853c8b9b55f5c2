//! Filtering and projection: `where()`, `select()`, `repeat()`.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#filtering-and-projection>

use super::{Call, Function, function};
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::Item;

pub(super) static TABLE: &[Function] = &[
    function("repeat", 1, 1, repeat),
    function("select", 1, 1, select),
    function("where", 1, 1, filter),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

fn filter<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let mut out = Vec::new();
    for (index, item) in call.take_input().into_iter().enumerate() {
        if call.holds(0, &item, index)? {
            out.push(item);
        }
    }
    Ok(out)
}

fn select<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let mut out = Vec::new();
    for (index, item) in call.take_input().iter().enumerate() {
        out.append(&mut call.project(0, item, index)?);
    }
    Ok(out)
}

/// Projects what the projection gives, until it gives nothing new.
fn repeat<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let mut out: Vec<Item<'v>> = Vec::new();
    let mut fresh = call.take_input();
    while !fresh.is_empty() {
        let from = out.len();
        for (index, item) in fresh.iter().enumerate() {
            for found in call.project(0, item, index)? {
                if !call.evaluator.contains(&out, &found, call.start)? {
                    out.push(found);
                }
            }
        }
        fresh = out[from..].to_vec();
    }
    Ok(out)
}
