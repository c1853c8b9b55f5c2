//! Whether two samples of times differ, by their ranks alone (Mann and Whitney): how the times are
//! spread does not count.

/// From here on a difference is hardly chance: one of a hundred samples of the same gets there.
pub(super) const CHANCE: f64 = 2.58;

/// How many standard deviations the ranks of `left` are from where they would be, were there no
/// difference: positive when `left` is slower.
pub(super) fn deviations(left: &[u64], right: &[u64]) -> f64 {
    let (n, m) = (left.len() as f64, right.len() as f64);
    let mut all: Vec<(u64, bool)> = left.iter().map(|time| (*time, true)).collect();
    all.extend(right.iter().map(|time| (*time, false)));
    all.sort_unstable();
    let (mut sum, mut ties, mut place) = (0.0, 0.0, 0);
    for same in all.chunk_by(|one, other| one.0 == other.0) {
        let count = same.len() as f64;
        let rank = place as f64 + f64::midpoint(count, 1.0);
        sum += rank * same.iter().filter(|(_, is_left)| *is_left).count() as f64;
        ties += count * count * count - count;
        place += same.len();
    }
    let total = n + m;
    let expected = n * (total + 1.0) / 2.0;
    let spread = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)).max(1.0));
    if spread > 0.0 { (sum - expected) / spread.sqrt() } else { 0.0 }
}

/// The middle of a sample.
pub(super) fn median(times: &[u64]) -> u64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slower_is_told_from_what_is_the_same() {
        let scattered =
            |from: u64| -> Vec<u64> { (0..500).map(|at| from + at * 7 % 100).collect() };
        let (base, same, slower) = (scattered(100), scattered(100), scattered(120));
        assert!(deviations(&base, &same).abs() < 0.001);
        assert!(deviations(&slower, &base) > CHANCE);
        assert!(deviations(&base, &slower) < -CHANCE);
        assert!(deviations(&[], &base).abs() < 0.001);
        assert!(deviations(&[5; 9], &[5; 9]).abs() < 0.001);
        // By hand: ranks 1 and 3 of four.
        assert!((deviations(&[1, 3], &[2, 4]) + 0.7746).abs() < 0.001);
        assert_eq!((median(&[3, 1, 2]), median(&[])), (2, 0));
    }
}
