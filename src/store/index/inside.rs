//! Contained resources in the index: each has rows of its own, as if it were a resource.
//!
//! | what | is |
//! |---|---|
//! | its key | made of the container's and of its place among the contained: below zero |
//! | `srow.rt` | the type's code below zero |
//! | `srow.idh` | [`Hasher::contained`](super::super::hash::Hasher::contained): what a reference `#id` leads to |
//! | its parameters | [`Hasher::inside`](super::super::hash::Hasher::inside) of those of its type |
//!
//! So the statements that find resources find contained ones too, each by itself and with the same
//! exactness, where a search asks for them, and never else. They have no rows in `comp`: who may see a
//! contained resource is decided by its container.
//!
//! Spec: <https://hl7.org/fhir/R4/references.html#contained> (rest 4.156, 4.176)

use crate::fhir::ResourceType;

use super::IndexRows;

/// As many places as a body of 32 MiB could have contained resources, as SQL.
macro_rules! places {
    () => {
        "2097152"
    };
}

const PLACES: i64 = number(places!());

const fn number(text: &str) -> i64 {
    let (digits, mut number, mut at) = (text.as_bytes(), 0, 0);
    while at < digits.len() {
        number = number * 10 + (digits[at] - b'0') as i64;
        at += 1;
    }
    number
}

/// The rows of a contained resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ContainedRows {
    /// Its place among the contained resources.
    pub(super) place: usize,
    pub(super) resource_type: ResourceType,
    pub(super) identity: i64,
    pub(super) rows: IndexRows,
}

impl ContainedRows {
    /// Whether `srow` names both alike.
    pub(super) fn is_named_like(&self, other: &Self) -> bool {
        (self.resource_type, self.identity) == (other.resource_type, other.identity)
    }
}

/// The key of a contained resource; `None` beyond the places that keys have room for.
pub(super) fn key(container: i64, place: usize) -> Option<i64> {
    let place = i64::try_from(place).ok().filter(|place| *place < PLACES)?;
    Some(-(container * PLACES + place))
}

/// The place that a key names; `None` for that of a resource.
pub(in crate::store) fn place(key: i64) -> Option<usize> {
    let place = key.checked_neg().filter(|negated| *negated > 0)? % PLACES;
    usize::try_from(place).ok()
}

/// `srow.rt` of contained resources of a type.
pub(in crate::store) fn code(of: ResourceType) -> i16 {
    -of.code()
}

/// SQL: the key is one of what a resource contains; in a form that an index serves.
macro_rules! is_contained_in {
    ($key:literal, $container:literal) => {
        concat!(
            $key,
            " BETWEEN -",
            $container,
            " * ",
            $crate::store::index::inside::places!(),
            " - ",
            $crate::store::index::inside::places!(),
            " + 1 AND -",
            $container,
            " * ",
            $crate::store::index::inside::places!()
        )
    };
}

/// SQL: the container of the contained resource of a key, as part of a static text.
macro_rules! container_of {
    ($key:literal) => {
        concat!("-", $key, " / ", $crate::store::index::inside::places!())
    };
}

pub(in crate::store) use {container_of, is_contained_in, places};

/// SQL: the container of the contained resource whose key is `key`.
pub(in crate::store) fn container(key: &str) -> String {
    format!("(-{key} / {PLACES})")
}

/// SQL: the same for keys of either kind; a resource is its own.
pub(in crate::store) fn home(key: &str) -> String {
    format!("(CASE WHEN {key} < 0 THEN -{key} / {PLACES} ELSE {key} END)")
}

/// SQL: what the contained resource is in the `body` of its container.
pub(in crate::store) fn element(body: &str, key: &str) -> String {
    format!("({body} -> 'contained' -> (-{key} % {PLACES})::int)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_container_and_place() {
        for container in [1, 2, 1_000, 4_000_000_000_000] {
            for at in [0, 1, 2_097_151] {
                let key = key(container, at).expect("a place with room");
                assert!(key < 0, "{key}");
                assert_eq!((-key / PLACES, place(key)), (container, Some(at)), "{key}");
            }
            assert_eq!((key(container, 2_097_152), place(container)), (None, None));
        }
    }
}
