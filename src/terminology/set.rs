//! Sets of codes, some of them whole systems whose codes nobody listed.

use std::collections::{BTreeSet, HashSet};

use crate::spec::terminology::{Member, Members};

/// A set of codes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct CodeSet {
    /// Codes one by one.
    pub(super) codes: HashSet<Member>,
    /// Systems with all their codes.
    pub(super) systems: BTreeSet<Box<str>>,
}

impl CodeSet {
    /// One code of a system.
    pub(super) fn insert(&mut self, system: &str, code: &str) {
        self.codes.insert(Member { system: system.into(), code: code.into() });
    }

    /// What is in one of the two.
    pub(super) fn unite(&mut self, other: Self) {
        self.systems.extend(other.systems);
        self.codes.extend(other.codes);
        self.codes.retain(|member| !self.systems.contains(&member.system));
    }

    /// What is in both.
    pub(super) fn intersect(&self, other: &Self) -> Self {
        let of_self = self.codes.iter().filter(|member| other.has(member));
        let of_other = other.codes.iter().filter(|member| self.has(member));
        Self {
            codes: of_self.chain(of_other).cloned().collect(),
            systems: self.systems.intersection(&other.systems).cloned().collect(),
        }
    }

    /// Takes out what is in `other`; `false` when that leaves part of a whole system.
    pub(super) fn subtract(&mut self, other: &Self) -> bool {
        self.codes.retain(|member| !other.has(member));
        self.systems.retain(|system| !other.systems.contains(system));
        other.codes.iter().all(|member| !self.systems.contains(&member.system))
    }

    fn has(&self, member: &Member) -> bool {
        self.codes.contains(member) || self.systems.contains(&member.system)
    }

    /// Sorted.
    pub(super) fn into_members(self) -> Members {
        let mut codes: Vec<_> = self.codes.into_iter().collect();
        codes.sort_unstable();
        Members { codes, systems: self.systems.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a1 b*`: a code of a system, a whole system.
    fn set(text: &str) -> CodeSet {
        let mut set = CodeSet::default();
        for word in text.split_whitespace() {
            match word.split_at(1) {
                (system, "*") => {
                    set.systems.insert(system.into());
                }
                (system, code) => set.insert(system, code),
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
            let mut united = one.clone();
            united.unite(other.clone());
            assert_eq!(united, set(union), "{one:?} and {other:?}");
            assert_eq!(one.intersect(&other), set(both), "{one:?} and {other:?}");
            let mut left = one.clone();
            let is_whole = left.subtract(&other);
            assert_eq!(is_whole.then_some(left), rest.map(set), "{one:?} without {other:?}");
        }
    }
}
