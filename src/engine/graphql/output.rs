//! The answer as it grows: what is known, and where something that is still to be read will stand.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::fhir::json::{Object, Value};

use super::fault::{Fault, Faults, Place};

/// Whether the values of a name are a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Listing {
    /// Always one, though none or several may be there.
    Many,
    /// One at most: several are a fault.
    Single,
    /// Where there are several.
    Unset,
}

/// A part of an object.
#[derive(Debug)]
pub(super) enum Entry {
    /// A list without values.
    Empty(String),
    /// Whatever a fetch comes to.
    Later(usize),
    /// What could not be told.
    Null(String),
    /// A value of a name.
    Value { key: String, listing: Listing, out: Out, place: Place },
}

/// A value.
#[derive(Debug)]
pub(super) enum Out {
    Leaf(Value<'static>),
    Object(Vec<Entry>),
}

/// What the values of one name come to.
struct Collected {
    key: String,
    listing: Listing,
    is_null: bool,
    values: Vec<Value<'static>>,
}

/// The object that entries make; `fetched` has what fetches came to, each of which stands in one place.
pub(super) fn assemble(
    entries: Vec<Entry>,
    fetched: &mut [Vec<Entry>],
    faults: &mut Faults,
) -> Value<'static> {
    let mut all: Vec<Collected> = Vec::new();
    let mut places = HashMap::new();
    collect(entries, fetched, faults, (&mut all, &mut places));
    let value = |Collected { key, listing, is_null, mut values }: Collected| {
        let value = match (listing, values.len()) {
            (_, 0) if is_null => Value::Null,
            (Listing::Single | Listing::Unset, 1) => values.remove(0),
            _ => Value::Array(values),
        };
        (Cow::Owned(key), value)
    };
    let mut object = Object::new();
    // Each name is there once.
    for (key, value) in all.into_iter().map(value) {
        object.push_unchecked(key, value);
    }
    object.into()
}

type Names<'a> = (&'a mut Vec<Collected>, &'a mut HashMap<String, usize>);

fn collect(
    entries: Vec<Entry>,
    fetched: &mut [Vec<Entry>],
    faults: &mut Faults,
    (all, places): Names<'_>,
) {
    for entry in entries {
        let (key, listing) = match &entry {
            Entry::Empty(key) => (key, Listing::Many),
            Entry::Later(slot) => {
                let found = fetched.get_mut(*slot).map(std::mem::take).unwrap_or_default();
                collect(found, fetched, faults, (all, places));
                continue;
            }
            Entry::Null(key) => (key, Listing::Unset),
            Entry::Value { key, listing, .. } => (key, *listing),
        };
        let at = *places.entry(key.clone()).or_insert_with(|| {
            all.push(Collected { key: key.clone(), listing, is_null: false, values: Vec::new() });
            all.len() - 1
        });
        let Some(slot) = all.get_mut(at) else { continue };
        if slot.listing == Listing::Unset {
            slot.listing = listing;
        }
        match entry {
            Entry::Null(_) => slot.is_null = true,
            Entry::Value { key, out, place, .. } => {
                if slot.listing == Listing::Single && !slot.values.is_empty() {
                    faults.add(Fault::at(format!("{key} is a @singleton of several"), place));
                    continue;
                }
                let value = match out {
                    Out::Leaf(value) => value,
                    Out::Object(entries) => assemble(entries, fetched, faults),
                };
                slot.values.push(value);
            }
            Entry::Empty(_) | Entry::Later(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(key: &str, listing: Listing, text: &'static str) -> Entry {
        let out = Out::Leaf(Value::from(text));
        Entry::Value { key: key.to_owned(), listing, out, place: Place::default() }
    }

    #[test]
    fn names_are_lists_where_they_are_or_where_there_are_several() {
        let mut fetched = vec![
            vec![leaf("later", Listing::Unset, "x"), Entry::Later(1)],
            vec![leaf("inner", Listing::Many, "y")],
        ];
        let entries = vec![
            leaf("one", Listing::Unset, "a"),
            leaf("two", Listing::Unset, "a"),
            Entry::Later(0),
            leaf("two", Listing::Unset, "b"),
            leaf("list", Listing::Many, "a"),
            Entry::Empty("none".to_owned()),
            Entry::Null("null".to_owned()),
            leaf("single", Listing::Single, "a"),
        ];
        let mut faults = Faults::default();
        let value = assemble(entries, &mut fetched, &mut faults);
        let expected = concat!(
            r#"{"one":"a","two":["a","b"],"later":"x","inner":["y"],"list":["a"],"none":[],"#,
            r#""null":null,"single":"a"}"#
        );
        assert_eq!(value.to_text(), expected);
        assert!(faults.is_empty());
        let entries = vec![leaf("a", Listing::Single, "x"), leaf("a", Listing::Single, "y")];
        assert_eq!(assemble(entries, &mut [], &mut faults).to_text(), r#"{"a":"x"}"#);
        assert!(!faults.is_empty());
    }
}
