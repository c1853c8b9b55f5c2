//! A small seeded generator of random numbers: the same seed gives the same data on every machine.
//!
//! Only integers and exact fractions come out, so no platform's rounding can show.

/// SplitMix64 (Steele, Lea and Flood 2014): 64 bits of state, good enough to look like life.
#[derive(Clone, Debug)]
pub(in crate::app) struct Random(u64);

impl Random {
    /// The stream `stream` of `seed`; streams do not depend on one another.
    pub(in crate::app) fn new(seed: u64, stream: u64) -> Self {
        let mut start = Self(seed ^ 0x6b69_6c6e_2e64_656d);
        let salt = start.next();
        let mut mixed = Self(salt ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        mixed.next();
        mixed
    }

    /// The next 64 bits.
    pub(in crate::app) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of `low..=high`, each equally likely.
    pub(in crate::app) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low).saturating_add(1);
        let picked = (u128::from(self.next()) * u128::from(span)) >> 64;
        low.saturating_add(picked as i64)
    }

    /// A number of `low..=high`, the middle likelier than the ends.
    pub(in crate::app) fn around(&mut self, low: i64, high: i64) -> i64 {
        (self.between(low, high) + self.between(low, high) + self.between(low, high)) / 3
    }

    /// True in `percent` of a hundred cases.
    pub(in crate::app) fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of `items`, which is never empty here: the lists are constants of this module's tables.
    pub(in crate::app) fn pick<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.between(0, items.len() as i64 - 1) as usize]
    }

    /// An id in the shape of a version 4 UUID.
    pub(in crate::app) fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_itself_and_differs_from_its_neighbours() {
        let first = |seed, stream| Random::new(seed, stream).uuid();
        assert_eq!(first(1, 7), first(1, 7));
        assert_ne!(first(1, 7), first(1, 8));
        assert_ne!(first(1, 7), first(2, 7));
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_both_ends() {
        let mut random = Random::new(3, 0);
        let drawn: Vec<i64> = (0..1_000).map(|_| random.between(-2, 2)).collect();
        for expected in -2..=2 {
            assert!(drawn.contains(&expected), "{expected}");
        }
        assert!(drawn.iter().all(|number| (-2..=2).contains(number)));
    }
}
