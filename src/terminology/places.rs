//! Sets of places in a code system: a bit for each concept, so that half a million are 60 KB.

/// A set of places.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Places {
    words: Vec<u64>,
    count: usize,
}

impl Places {
    /// No place of a system with `concepts` concepts.
    pub(super) fn none(concepts: usize) -> Self {
        Self { words: vec![0; concepts.div_ceil(64)], count: 0 }
    }

    /// All places of such a system.
    pub(super) fn all(concepts: usize) -> Self {
        Self::none(concepts).complement(concepts)
    }

    /// These places.
    pub(super) fn of(concepts: usize, places: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::none(concepts);
        for at in places {
            set.insert(at);
        }
        set
    }

    /// Adds a place of the system; `false` when it was in.
    pub(super) fn insert(&mut self, at: u32) -> bool {
        let (word, bit) = (at as usize / 64, 1 << (at % 64));
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(is_new);
        is_new
    }

    /// Takes a place out.
    pub(super) fn remove(&mut self, at: u32) {
        if self.contains(at) {
            self.words[at as usize / 64] &= !(1 << (at % 64));
            self.count -= 1;
        }
    }

    /// Takes a place out; whether it was in.
    pub(super) fn take(&mut self, at: u32) -> bool {
        let was_in = self.contains(at);
        self.remove(at);
        was_in
    }

    /// Whether a place is in.
    pub(super) fn contains(&self, at: u32) -> bool {
        self.words.get(at as usize / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// How many are in.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Takes out what is not in `other`, a set of the same system.
    pub(super) fn intersect(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
        self.count = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }

    /// All others of the same system.
    pub(super) fn complement(&self, concepts: usize) -> Self {
        let mut words: Vec<u64> = self.words.iter().map(|word| !word).collect();
        if let (Some(last), rest @ 1..) = (words.last_mut(), concepts % 64) {
            *last &= (1 << rest) - 1;
        }
        Self { words, count: concepts - self.count }
    }

    /// The places in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.words).flat_map(|(at, word)| Bits(*word).map(move |bit| at * 64 + bit))
    }
}

/// The bits of a word that are set, lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_places_behave_as_sets() {
        for concepts in [0, 1, 63, 64, 65, 200] {
            let odd = Places::of(concepts, (0..concepts as u32).filter(|at| at % 2 == 1));
            let even = odd.complement(concepts);
            assert_eq!(odd.len() + even.len(), concepts);
            assert!(even.iter().all(|at| at % 2 == 0 && !odd.contains(at)), "{concepts}");
            assert_eq!(even.iter().count(), even.len());
            let all: Vec<u32> = Places::all(concepts).iter().collect();
            assert_eq!(all, (0..concepts as u32).collect::<Vec<_>>());
            let mut none = odd.clone();
            none.intersect(&even);
            assert_eq!(none, Places::none(concepts));
        }
        let mut set = Places::of(70, [3, 69]);
        assert!(!set.insert(69) && set.insert(4) && !set.contains(500));
        set.remove(3);
        set.remove(3);
        assert_eq!((set.iter().collect::<Vec<_>>(), set.len()), (vec![4, 69], 2));
    }
}
