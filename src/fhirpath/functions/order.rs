//! `aggregate()` and `sort()`.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#aggregates>, <https://hl7.org/fhirpath/#sortkeyselector-expression-asc--desc--collection>

use std::cmp::Ordering;

use super::{Call, Function, function};
use crate::fhirpath::ast::{Kind, Node as Tree};
use crate::fhirpath::compare;
use crate::fhirpath::eval::{Frame, Outcome};
use crate::fhirpath::item::Item;

pub(super) static TABLE: &[Function] =
    &[function("aggregate", 1, 2, aggregate), function("sort", 0, 8, sort)];

type Items<'v> = Outcome<Vec<Item<'v>>>;

fn aggregate<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let arguments = call.arguments;
    let Some(aggregator) = arguments.first() else { return Ok(Vec::new()) };
    let mut total = call.argument(1)?;
    for (index, item) in call.take_input().iter().enumerate() {
        let focus = std::slice::from_ref(item);
        let frame = Frame { focus, index: Some(index), total: Some(&total) };
        total = call.evaluator.items(aggregator, frame)?;
    }
    Ok(total)
}

/// One key of an item, and whether the largest comes first.
type Key<'v> = (Option<Item<'v>>, bool);

/// Sorts by the keys; one with a minus before it, also of texts, goes from large to small. Items
/// without a key come first, either way.
fn sort<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let arguments = call.arguments;
    let mut keyed: Vec<(Vec<Key<'v>>, Item<'v>)> = Vec::new();
    for (index, item) in call.take_input().into_iter().enumerate() {
        let mut keys = Vec::with_capacity(arguments.len().max(1));
        for argument in arguments {
            keys.push(key(call, argument, &item, index)?);
        }
        if arguments.is_empty() {
            keys.push((Some(item.clone()), false));
        }
        keyed.push((keys, item));
    }
    let schema = call.schema();
    let comparisons = keyed.len() * (keyed.len().max(2).ilog2() as usize + 1);
    call.evaluator.spend(comparisons * arguments.len().max(1), call.start)?;
    let mut is_ordered = true;
    keyed.sort_by(|(left, _), (right, _)| {
        let mut orders = left.iter().zip(right).map(|((left, is_falling), (right, _))| {
            let (Some(left), Some(right)) = (left, right) else {
                return left.is_some().cmp(&right.is_some());
            };
            let order = compare::order(left, right, schema);
            is_ordered &= order.is_ok();
            let order = order.ok().flatten().unwrap_or(Ordering::Equal);
            if *is_falling { order.reverse() } else { order }
        });
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
    if !is_ordered {
        return call.fail("the items have no order");
    }
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

fn key<'v>(
    call: &mut Call<'_, '_, 'v>,
    argument: &'v Tree,
    item: &Item<'v>,
    index: usize,
) -> Outcome<Key<'v>> {
    let (tree, is_falling) = match &argument.kind {
        Kind::Polarity { negative: true, of } => (&**of, true),
        _ => (argument, false),
    };
    let focus = std::slice::from_ref(item);
    let frame = Frame { focus, index: Some(index), ..call.frame };
    Ok((call.evaluator.single(tree, frame)?, is_falling))
}
