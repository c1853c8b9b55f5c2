//! The order of a sorted answer.

use std::cmp::Ordering;

use kiln::spec::search_parameter::SearchType;

use super::held::{Held, Link};
use super::measure::{fold, span};
use super::world::{World, parameter};

/// What one sort key compares; `None`: the resource has no value, and comes last (rest 4.180).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Key {
    Moment(i128),
    Number(i128),
    Text(String),
}

fn key(world: &World, at: usize, code: &str, is_descending: bool) -> Option<Key> {
    let doc = &world.docs[at];
    // Contained resources go by what their containers have.
    let whole = &world.docs[doc.container.unwrap_or(at)];
    match code {
        "_id" => return Some(Key::Text(whole.id.clone())),
        "_lastUpdated" => {
            let text = whole.value.get("meta")?.str_at("lastUpdated")?;
            return Some(Key::Moment(span(text, true).low?));
        }
        _ => {}
    }
    let kind = parameter(doc.of, code)?.search_type;
    let values = world.values(at, code);
    let keys = values.iter().filter_map(|value| match value {
        Held::Text(text) => Some(Key::Text(fold(text))),
        Held::Code { code, is_exact, .. } => {
            Some(Key::Text(if *is_exact { code.clone() } else { code.to_lowercase() }))
        }
        Held::Uri(uri) => Some(Key::Text(uri.clone())),
        Held::Link(Link::Local { of, id, .. }) => Some(Key::Text(format!("{of}/{id}"))),
        Held::Link(Link::Elsewhere(url)) => Some(Key::Text(url.clone())),
        // Spans go by their beginnings; one without is as good as missing.
        Held::Time(span) if kind == SearchType::Date => span.low.map(Key::Moment),
        Held::Amount { range, .. } => Some(Key::Number(if is_descending {
            range.high.unwrap_or(i128::MAX)
        } else {
            range.low.unwrap_or(i128::MIN)
        })),
        _ => None,
    });
    if is_descending { keys.max() } else { keys.min() }
}

/// Where the order is broken: the places of two neighbours.
pub(super) fn fault(
    world: &World,
    sort: &[(&str, bool)],
    found: &[usize],
) -> Option<(usize, usize)> {
    let pairs = found.iter().zip(found.iter().skip(1));
    pairs.map(|(a, b)| (*a, *b)).find(|(a, b)| compare(world, sort, *a, *b) == Ordering::Greater)
}

fn compare(world: &World, sort: &[(&str, bool)], a: usize, b: usize) -> Ordering {
    for (code, is_descending) in sort {
        let keys = (key(world, a, code, *is_descending), key(world, b, code, *is_descending));
        let ordering = match keys {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if *is_descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    Ordering::Equal
}
