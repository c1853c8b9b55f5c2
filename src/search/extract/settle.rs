//! The values of one parameter, each once.

use std::collections::HashSet;

use super::entry::IndexValue;

/// Up to so many values are compared with each other; more go through a set.
const FEW: usize = 16;

/// Takes out what is there twice, and words of a name that are there as values of their own.
pub(super) fn settle(values: &mut Vec<IndexValue<'_>>) {
    if values.len() < 2 {
        return;
    }
    if values.len() <= FEW {
        for at in (0..values.len()).rev() {
            let (before, rest) = values.split_at(at);
            if before.contains(&rest[0])
                || is_named(&rest[0], before)
                || is_named(&rest[0], &rest[1..])
            {
                values.remove(at);
            }
        }
        return;
    }
    let keep = {
        let whole: HashSet<&str> = values.iter().filter_map(whole).collect();
        let mut seen = HashSet::with_capacity(values.len());
        let mut keep =
            |value| word(value).is_none_or(|word| !whole.contains(word)) && seen.insert(value);
        values.iter().map(&mut keep).collect::<Vec<bool>>()
    };
    let mut keep = keep.into_iter();
    values.retain(|_| keep.next() == Some(true));
}

/// Whether `value` is a word that one of `others` is, whole.
fn is_named(value: &IndexValue<'_>, others: &[IndexValue<'_>]) -> bool {
    word(value).is_some_and(|word| others.iter().any(|other| whole(other) == Some(word)))
}

fn whole<'x>(value: &'x IndexValue<'_>) -> Option<&'x str> {
    match value {
        IndexValue::String { folded, exact: Some(_) } => Some(folded),
        _ => None,
    }
}

fn word<'x>(value: &'x IndexValue<'_>) -> Option<&'x str> {
    match value {
        IndexValue::String { folded, exact: None } => Some(folded),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use super::*;
    use crate::fhirpath::Decimal;
    use crate::search::values::number::NumberRange;

    fn string(folded: &str, is_whole: bool) -> IndexValue<'_> {
        IndexValue::String { folded: folded.into(), exact: is_whole.then(|| folded.into()) }
    }

    #[test]
    fn a_value_stays_once_and_a_word_only_where_it_is_no_value() {
        let names: Vec<String> = (0..40).map(|number| format!("name {number}")).collect();
        for more in [&names[..0], &names[..]] {
            let mut values: Vec<_> = more.iter().map(|name| string(name, true)).collect();
            values.extend([
                string("a", false),
                string("a", true),
                string("b", false),
                string("b", false),
                string("a", true),
                string("a", false),
            ]);
            settle(&mut values);
            let left = values.split_off(more.len());
            assert_eq!(left, [string("a", true), string("b", false)], "{}", more.len());
        }
    }

    #[test]
    fn numbers_that_differ_have_hashes_that_differ() {
        let number =
            |text: &str| IndexValue::Number(NumberRange::exact(Decimal::parse(text).expect(text)));
        let mut values: Vec<_> = (0..20_000).map(|at| number(&format!("0.{at:05}"))).collect();
        // Else a set compares each with all the others.
        let hash = |value| BuildHasherDefault::<DefaultHasher>::default().hash_one(value);
        let hashes: HashSet<u64> = values.iter().map(hash).collect();
        assert_eq!(hashes.len(), values.len());
        assert_eq!(hash(&number("0.5")), hash(&number("0.5000000")));

        values.push(number("0.0500000"));
        settle(&mut values);
        assert_eq!(values.len(), 20_000);
    }
}
