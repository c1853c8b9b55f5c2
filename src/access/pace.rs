//! The moments at which it is told that something is not there, or out of reach; that a login is refused, too.
//!
//! They are multiples of a step after the request came, so that the time does not tell one from the other.
//! What takes about as long as a step would tell it all the same, by the step that it comes after: so the step
//! follows how long such answers take, on this machine and under this load, whichever of the two they are.
//!
//! Spec: security X5, V36

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest step of reads.
const SHORTEST: Duration = Duration::from_millis(4);
/// The longest one of reads: a server that takes longer is hardly there.
const LONGEST: Duration = Duration::from_millis(128);
/// After so many answers it is asked whether the step still fits.
const ROUND: u32 = 64;
/// As many of them may take more than half of the step; a pause of the machine is no reason to be slow.
const LATE: u32 = 1;

/// The step, and what tells whether it fits.
#[derive(Debug)]
pub struct Pace {
    shortest: Duration,
    longest: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    step: Duration,
    /// Answers of this round.
    told: u32,
    /// Those that took more than half of the step.
    late: u32,
    /// Those that would have, were the step half as long.
    late_for_half: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self::beginning(SHORTEST, SHORTEST, LONGEST)
    }
}

impl State {
    fn of(step: Duration) -> Self {
        Self { step, told: 0, late: 0, late_for_half: 0 }
    }
}

impl Pace {
    /// A pace whose step begins with `first`, and is halved down to the shortest and doubled up to the longest. The first
    /// answers tell more where it begins with less than it will be.
    pub fn beginning(first: Duration, shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, state: Mutex::new(State::of(first)) }
    }

    /// Waits for the next moment after `began`.
    pub async fn even_out(&self, began: Instant) {
        let took = began.elapsed();
        tokio::time::sleep_until(began + moment(took, self.step(took))).await;
    }

    /// The step for an answer that took so long.
    fn step(&self, took: Duration) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = state.step;
        state.told += 1;
        state.late += u32::from(took > step / 2);
        state.late_for_half += u32::from(took > step / 4);
        if state.late > LATE && step < self.longest {
            *state = State::of(step * 2);
        } else if state.told == ROUND {
            let fits_half = state.late_for_half <= LATE && step > self.shortest;
            *state = State::of(if fits_half { step / 2 } else { step });
        }
        step
    }
}

/// The first multiple of the step after `took`.
fn moment(took: Duration, step: Duration) -> Duration {
    let past = u32::try_from(took.as_nanos() / step.as_nanos()).unwrap_or(u32::MAX - 1);
    step * (past + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(pace: &Pace) -> Duration {
        pace.state.lock().unwrap().step
    }

    fn told(pace: &Pace, count: u32, millis: u64) {
        for _ in 0..count {
            pace.step(Duration::from_millis(millis));
        }
    }

    #[test]
    fn the_step_is_twice_what_most_take() {
        let pace = Pace::default();
        told(&pace, 1_000, 1);
        assert_eq!(step(&pace), SHORTEST);
        told(&pace, 1_000, 3);
        assert_eq!(step(&pace), Duration::from_millis(8));
        told(&pace, 1_000, 15);
        assert_eq!(step(&pace), Duration::from_millis(32));
        told(&pace, 1_000, 1_000);
        assert_eq!(step(&pace), LONGEST);
        told(&pace, 1_000, 1);
        assert_eq!(step(&pace), SHORTEST);
    }

    #[test]
    fn the_step_stays_between_the_shortest_and_the_longest() {
        let [shortest, longest] = [64, 256].map(Duration::from_millis);
        let pace = Pace::beginning(shortest, shortest, longest);
        assert_eq!(step(&pace), shortest);
        told(&pace, 1_000, 1_000);
        assert_eq!(step(&pace), longest);
        told(&pace, 1_000, 1);
        assert_eq!(step(&pace), shortest);
    }

    #[test]
    fn one_pause_changes_nothing() {
        let pace = Pace::default();
        for _ in 0..10 {
            told(&pace, ROUND - 1, 1);
            told(&pace, 1, 100);
        }
        assert_eq!(step(&pace), SHORTEST);
    }

    #[test]
    fn answers_come_at_multiples_of_the_step() {
        for (took, at) in [(0, 4), (1, 4), (3, 4), (4, 8), (9, 12)] {
            let [took, at] = [took, at].map(Duration::from_millis);
            assert_eq!(moment(took, SHORTEST), at, "{took:?}");
        }
    }
}
