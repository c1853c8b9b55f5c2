//! Sets of codes in the order of their definition, some of them whole systems whose codes nobody
//! listed.

use std::collections::{BTreeSet, HashSet};

use crate::spec::terminology::{Member, Members};

use super::code_system::CodeSystem;
use super::value_set::Listing;

/// A code in a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'i> {
    /// The system's url.
    pub(super) url: &'i str,
    /// The code, spelled as its system does.
    pub(super) code: &'i str,
    /// The concept, where the system is known.
    pub(super) concept: Option<(&'i CodeSystem, u32)>,
    /// What the value set says of it, where that names it.
    pub(super) listing: Option<&'i Listing>,
}

type Key<'i> = (&'i str, &'i str);

/// A set of codes.
#[derive(Clone, Debug, Default)]
pub(super) struct CodeSet<'i> {
    /// Codes one by one, each once.
    pub(super) entries: Vec<Entry<'i>>,
    /// Systems with all their codes.
    pub(super) systems: BTreeSet<Box<str>>,
}

/// A set that others are added to.
#[derive(Debug, Default)]
pub(super) struct Union<'i> {
    pub(super) set: CodeSet<'i>,
    /// Those of the set and more, once there is something to compare.
    keys: Option<HashSet<Key<'i>>>,
}

impl<'i> Union<'i> {
    /// Adds what is in `other`, in time by its size; whole systems by that of the set.
    pub(super) fn add(&mut self, other: CodeSet<'i>) {
        let set = &mut self.set;
        if !other.systems.is_empty() {
            set.systems.extend(other.systems);
            set.entries.retain(|entry| !set.systems.contains(entry.url));
        }
        let systems = &set.systems;
        let is_single = |entry: &Entry<'_>| !systems.contains(entry.url);
        if set.entries.is_empty() && self.keys.is_none() {
            set.entries = other.entries;
            set.entries.retain(is_single);
        } else if !other.entries.is_empty() {
            let keys = self.keys.get_or_insert_with(|| set.keys());
            let is_new = |it: &Entry<'i>| is_single(it) && keys.insert(it.key());
            set.entries.extend(other.entries.into_iter().filter(is_new));
        }
    }
}

impl<'i> Entry<'i> {
    fn key(&self) -> Key<'i> {
        (self.url, self.code)
    }

    /// Whether the code is no longer to be used.
    pub(super) fn is_inactive(&self) -> bool {
        self.concept.is_some_and(|(system, at)| system.concepts.is_inactive(at))
    }

    /// Whether the code only groups others.
    pub(super) fn is_abstract(&self) -> bool {
        self.concept.is_some_and(|(system, at)| system.is_abstract(at))
    }
}

impl<'i> CodeSet<'i> {
    /// What is in both.
    pub(super) fn intersect(&self, other: &Self) -> Self {
        let (own, others) = (self.keys(), other.keys());
        let of_self = self.entries.iter();
        let of_self = of_self.filter(|it| others.contains(&it.key()) || other.has_all(it));
        let of_other = other.entries.iter();
        let of_other = of_other.filter(|it| !own.contains(&it.key()) && self.has_all(it));
        Self {
            entries: of_self.chain(of_other).copied().collect(),
            systems: self.systems.intersection(&other.systems).cloned().collect(),
        }
    }

    /// Takes out what is in `other`; `false` when that leaves part of a whole system.
    pub(super) fn subtract(&mut self, other: &Self) -> bool {
        let keys = other.keys();
        self.entries.retain(|it| !keys.contains(&it.key()) && !other.has_all(it));
        self.systems.retain(|system| !other.systems.contains(system));
        other.entries.iter().all(|it| !self.has_all(it))
    }

    fn keys(&self) -> HashSet<Key<'i>> {
        self.entries.iter().map(Entry::key).collect()
    }

    fn has_all(&self, entry: &Entry<'_>) -> bool {
        self.systems.contains(entry.url)
    }

    /// Sorted.
    pub(super) fn to_members(&self) -> Members {
        let member = |it: &Entry<'_>| Member { system: it.url.into(), code: it.code.into() };
        let mut codes: Vec<_> = self.entries.iter().map(member).collect();
        codes.sort_unstable();
        Members { codes, systems: self.systems.iter().cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a1 b*`: a code of a system, a whole system.
    fn set(text: &str) -> CodeSet<'_> {
        let mut set = CodeSet::default();
        for word in text.split_whitespace() {
            match word.split_at(1) {
                (system, "*") => {
                    set.systems.insert(system.into());
                }
                (url, code) => {
                    set.entries.push(Entry { url, code, concept: None, listing: None });
                }
            }
        }
        set
    }

    #[test]
    fn sets_combine() {
        for (one, other, union, both, rest) in [
            ("a1 a2", "a2 b1", "a1 a2 b1", "a2", Some("a1")),
            ("a1 b1", "a*", "a* b1", "a1", Some("b1")),
            ("a*", "a1 b1", "a* b1", "a1", None),
            ("a* b*", "a* c1", "a* b* c1", "a*", Some("b*")),
            ("a1", "", "a1", "", Some("a1")),
            ("", "a1 a*", "a*", "", Some("")),
        ] {
            let (one, other) = (set(one), set(other));
            let mut united = Union::default();
            for it in [&one, &other, &one] {
                united.add(it.clone());
            }
            assert_eq!(united.set.to_members(), set(union).to_members(), "{one:?} and {other:?}");
            let found = one.intersect(&other).to_members();
            assert_eq!(found, set(both).to_members(), "{one:?} and {other:?}");
            let mut left = one.clone();
            let is_whole = left.subtract(&other);
            let left = is_whole.then_some(left.to_members());
            assert_eq!(left, rest.map(|it| set(it).to_members()), "{one:?} without {other:?}");
        }
    }
}
