//! `aggregate()` and `sort()`.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#aggregates>, <https://hl7.org/fhirpath/#sortkeyselector-expression-asc--desc--collection>

use std::borrow::Cow;
use std::cmp::Ordering;
use std::mem::{Discriminant, discriminant};

use super::{Call, Function, function};
use crate::fhirpath::ast::{Kind, Node as Tree};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::eval::{Frame, Outcome};
use crate::fhirpath::item::{Item, System};
use crate::fhirpath::temporal::{Fields, TemporalKind};

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

/// Sorts by the keys; one with a minus before it, also of texts, goes from large to small. Items
/// without a key come first, either way.
fn sort<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let input = call.take_input();
    if input.len() < 2 {
        return Ok(input);
    }
    let mut criteria: Vec<_> = call.arguments.iter().map(criterion).collect();
    if criteria.is_empty() {
        criteria.push((None, false));
    }
    let mut keyed = Vec::with_capacity(input.len());
    for (index, item) in input.into_iter().enumerate() {
        let keys = criteria.iter().map(|(tree, _)| key(call, *tree, &item, index));
        keyed.push((keys.collect::<Outcome<Vec<_>>>()?, item));
    }
    let mut bytes = 0;
    for at in 0..criteria.len() {
        let mut column = keyed.iter().filter_map(|(keys, _)| keys[at].as_ref()).peekable();
        let first = column.peek().map(|key| key.kind());
        for key in column {
            bytes += key.bytes();
            if Some(key.kind()) != first {
                return call.fail("the items have no order");
            }
        }
    }
    let rounds = keyed.len().ilog2() as usize + 1;
    call.evaluator.spend(keyed.len() * criteria.len() * rounds, call.start)?;
    call.spend_bytes(bytes.saturating_mul(rounds))?;
    keyed.sort_by(|(left, _), (right, _)| {
        let orders = left.iter().zip(right).zip(&criteria).map(|((left, right), (_, falls))| {
            let is_turned = *falls && left.is_some() && right.is_some();
            if is_turned { right.cmp(left) } else { left.cmp(right) }
        });
        orders.fold(Ordering::Equal, Ordering::then)
    });
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

/// What a key is computed by, and whether the largest comes first.
fn criterion(argument: &Tree) -> (Option<&Tree>, bool) {
    match &argument.kind {
        Kind::Polarity { negative: true, of } => (Some(of), true),
        _ => (Some(argument), false),
    }
}

/// The key of an item: what `tree` gives for it, or the item itself.
fn key<'v>(
    call: &mut Call<'_, '_, 'v>,
    tree: Option<&'v Tree>,
    item: &Item<'v>,
    index: usize,
) -> Outcome<Option<Key<'v>>> {
    let focus = std::slice::from_ref(item);
    let frame = Frame { focus, index: Some(index), ..call.frame };
    let found = match tree {
        Some(tree) => call.evaluator.single(tree, frame)?,
        None => Some(item.clone()),
    };
    match found.map(|item| item.system(call.schema()).and_then(Key::of)) {
        None => Ok(None),
        Some(Some(key)) => Ok(Some(key)),
        Some(None) => call.fail("the items have no order"),
    }
}

/// What an item is sorted by. Keys of one kind have a total order, which `<` of dates and of
/// quantities is not.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
enum Key<'v> {
    Amount(Decimal, Cow<'v, str>),
    Date((Fields, u8)),
    Text(Cow<'v, str>),
    Time((Fields, u8)),
}

impl<'v> Key<'v> {
    /// `None` for a boolean: true is not more than false.
    fn of(value: System<'v>) -> Option<Self> {
        Some(match value {
            System::Boolean(_) => return None,
            System::Decimal(number) => Self::Amount(number, Cow::Borrowed("1")),
            System::Integer(number) => Self::Amount(number.into(), Cow::Borrowed("1")),
            System::Quantity(quantity) => {
                let (value, unit) = quantity.sort_key();
                Self::Amount(value, unit)
            }
            System::String(text) => Self::Text(text),
            System::Temporal(moment) if moment.kind() == TemporalKind::Time => {
                Self::Time(moment.sort_key())
            }
            System::Temporal(moment) => Self::Date(moment.sort_key()),
        })
    }

    /// What those have in common that have an order: the form and, of an amount, the unit.
    fn kind(&self) -> (Discriminant<Self>, &str) {
        let unit = match self {
            Self::Amount(_, unit) => unit,
            Self::Date(_) | Self::Text(_) | Self::Time(_) => "",
        };
        (discriminant(self), unit)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Amount(..) | Self::Date(_) | Self::Time(_) => 0,
        }
    }
}
