//! What one way to be served costs beside another, and whether that may be.

use std::time::Duration;

use super::super::figures::{Bound, Figure};
use super::super::load::Measured;
use super::super::report::Report;

/// What may be lost of the throughput of reads at full load, of writes at eight clients, in percent.
const READS_LOSS: f64 = 25.0;
const WRITES_LOSS: f64 = 5.0;
/// How much longer half of the reads of eight clients may take, in milliseconds.
const READ_P50_MS: f64 = 1.5;
/// What one client may wait for beside the flush of its row: the row's own work, and what middle times differ by.
const NOISE_MS: f64 = 0.5;
/// What no busy machine and no unoptimised build explains: percent lost, and milliseconds longer.
const FAR_LOSS: f64 = 60.0;
const FAR_MS: f64 = 10.0;
/// Whether this build is one that figures at full load are meant of: others are judged by what is far more.
const IS_OPTIMISED: bool = !cfg!(debug_assertions);

/// Rate and middle time of one of the two.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::app::bench) struct Sums {
    pub(super) requests: u64,
    pub(super) time: Duration,
    pub(super) p50_ms: f64,
}

/// Both of one round: the one that is judged, then the other.
pub(in crate::app::bench) type Round = [Sums; 2];

impl Sums {
    pub(super) fn of(measured: &Measured) -> Self {
        Self {
            requests: measured.notes.count(None),
            time: measured.elapsed,
            p50_ms: measured.notes.percentiles(None)[0],
        }
    }

    /// Of all rounds: the rate over all of their time, and the mean of the middle times.
    pub(in crate::app::bench) fn over(rounds: &[Round]) -> Round {
        let mut all = Round::default();
        for round in rounds {
            for (sum, one) in all.iter_mut().zip(round) {
                sum.requests += one.requests;
                sum.time += one.time;
                sum.p50_ms += one.p50_ms / rounds.len() as f64;
            }
        }
        all
    }

    /// Requests a second.
    pub(in crate::app::bench) fn per_second(self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64().max(0.001)
    }
}

/// What it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    /// Percent of the requests that are lost.
    loss: f64,
    /// How much longer half of them take, in milliseconds.
    later_ms: f64,
}

/// What it may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Budget {
    loss: Option<f64>,
    later_ms: Option<f64>,
    /// Whether more than that is refused, where one asks for it; else what is far more.
    is_firm: bool,
}

impl Budget {
    /// Of reads at a pace that both can bear.
    pub(super) const PACED: Self =
        Self { loss: Some(10.0), later_ms: Some(READ_P50_MS), is_firm: true };

    /// Of reads by so many clients, where a flush to the disk takes `flush` milliseconds. One client waits for its own
    /// row alone, so that there the time is judged, by that, and not the rate.
    pub(super) fn of_reads(count: usize, flush: Option<f64>) -> Self {
        let of_all = Self { loss: Some(READS_LOSS), later_ms: None, is_firm: IS_OPTIMISED };
        match count {
            1 => Self::of_one(flush),
            8 => Self { later_ms: Some(READ_P50_MS), ..of_all },
            _ => of_all,
        }
    }

    /// The same of writes; only that of eight clients is a promise.
    pub(super) fn of_writes(count: usize, flush: Option<f64>) -> Self {
        match count {
            1 => Self::of_one(flush),
            8 => Self { loss: Some(WRITES_LOSS), later_ms: None, is_firm: IS_OPTIMISED },
            _ => Self { loss: Some(READS_LOSS), later_ms: None, is_firm: false },
        }
    }

    /// Of one client; where no flush was measured, what is far more alone is refused.
    fn of_one(flush: Option<f64>) -> Self {
        match flush {
            Some(flush) => {
                Self { loss: None, later_ms: Some(flush + NOISE_MS), is_firm: IS_OPTIMISED }
            }
            None => Self { loss: Some(READS_LOSS), later_ms: None, is_firm: false },
        }
    }
}

/// How a cost is beside its budget.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    Within,
    Over,
    /// Beyond what a measurement may be wrong by.
    FarOver,
}

impl Cost {
    fn of([with, without]: Round) -> Self {
        // Beside nothing everything is dear, and so is what answers nothing.
        if with.requests == 0 || without.requests == 0 {
            return Self { loss: 100.0, later_ms: f64::INFINITY };
        }
        let loss = 100.0 * (1.0 - with.per_second() / without.per_second().max(0.001));
        Self { loss, later_ms: with.p50_ms - without.p50_ms }
    }

    fn judge(self, most: Budget) -> Verdict {
        let Self { loss, later_ms } = self;
        let is_over = |value: f64, most: Option<f64>| most.is_some_and(|most| value > most);
        if is_over(loss, most.loss.map(|_| FAR_LOSS)) || later_ms > FAR_MS {
            Verdict::FarOver
        } else if is_over(loss, most.loss) || is_over(later_ms, most.later_ms) {
            Verdict::Over
        } else {
            Verdict::Within
        }
    }
}

/// Says what is lost over all rounds. Who is refused is so by each round: a machine that has something
/// else to do for a moment spoils one of them, what costs too much spoils all.
pub(super) fn tell(report: &mut Report, what: &str, count: usize, rounds: &[Round], most: Budget) {
    let Cost { loss, later_ms } = Cost::of(Sums::over(rounds));
    let lost = format!("{count} clients, {what}: lost");
    let later = format!("{count} clients, {what}: p50 later by");
    let all = [(lost, loss, "%", most.loss), (later, later_ms, "ms", most.later_ms)];
    for (what, value, unit, most) in all {
        match most {
            Some(most) => report.figure(Figure::new(what, value, unit, Bound::AtMost(most))),
            None => report.note(format!("{what} {value:.3} {unit}")),
        }
    }
    let costs = rounds.iter().map(|round| Cost::of(*round));
    let told: Vec<String> =
        costs.clone().map(|it| format!("{:.1} % and {:+.3} ms", it.loss, it.later_ms)).collect();
    let told = format!("{count} clients, {what}, by round: {}", told.join(", "));
    let best = costs.map(|it| it.judge(most)).min().unwrap_or(Verdict::FarOver);
    if best == Verdict::FarOver || most.is_firm && best == Verdict::Over {
        report.refuse(told.clone());
    }
    report.note(told);
}

#[cfg(test)]
mod tests {
    use super::super::super::Work;
    use super::super::super::process::Meter;
    use super::super::PACE;
    use super::*;

    const PACED: Budget = Budget::PACED;

    fn sums(requests: u64, p50_ms: f64) -> Sums {
        Sums { requests, time: Duration::from_secs(1), p50_ms }
    }

    #[test]
    fn a_cost_is_judged_by_its_budget_and_by_what_no_noise_explains() {
        assert_eq!((PACED.loss, PACED.later_ms, PACED.is_firm), (Some(10.0), Some(1.5), true));
        let without = sums(1_000, 1.0);
        for (with, expected) in [
            (sums(1_000, 1.0), Verdict::Within),
            (sums(1_100, 0.5), Verdict::Within),
            (sums(901, 2.4), Verdict::Within),
            (sums(890, 1.0), Verdict::Over),
            (sums(1_000, 2.6), Verdict::Over),
            (sums(390, 1.0), Verdict::FarOver),
            (sums(1_000, 11.1), Verdict::FarOver),
            (sums(0, 0.0), Verdict::FarOver),
        ] {
            assert_eq!(Cost::of([with, without]).judge(PACED), expected, "{with:?}");
        }
        let dead = Cost::of([sums(1_000, 1.2), sums(0, 0.0)]);
        assert_eq!(dead.judge(PACED), Verdict::FarOver, "nothing to compare with");
        let nothing = Cost::of([sums(0, 0.0), sums(1_000, 1.0)]);
        assert_eq!(nothing.judge(Budget::of_reads(1, Some(4.0))), Verdict::FarOver, "no answer");
        let creates = Budget::of_writes(8, None);
        assert_eq!(Cost { loss: 4.9, later_ms: 9.0 }.judge(creates), Verdict::Within);
        assert_eq!(Cost { loss: 5.1, later_ms: 0.0 }.judge(creates), Verdict::Over);
        // One client waits for the flush of its row, however much that is of a request.
        let one = Budget::of_reads(1, Some(4.0));
        assert_eq!(Cost { loss: 95.0, later_ms: 4.4 }.judge(one), Verdict::Within);
        assert_eq!(Cost { loss: 0.0, later_ms: 4.6 }.judge(one), Verdict::Over);
    }

    /// To the letter by an optimised build; reads at a pace by any.
    #[test]
    fn each_load_has_its_budget() {
        let budget = |loss, later_ms, is_firm| Budget { loss, later_ms, is_firm };
        let firm = IS_OPTIMISED;
        for (count, flush, reads, writes) in [
            (1, Some(4.0), budget(None, Some(4.5), firm), budget(None, Some(4.5), firm)),
            (1, None, budget(Some(25.0), None, false), budget(Some(25.0), None, false)),
            (8, Some(4.0), budget(Some(25.0), Some(1.5), firm), budget(Some(5.0), None, firm)),
            (8, None, budget(Some(25.0), Some(1.5), firm), budget(Some(5.0), None, firm)),
            (64, None, budget(Some(25.0), None, firm), budget(Some(25.0), None, false)),
        ] {
            assert_eq!(Budget::of_reads(count, flush), reads, "{count} {flush:?}");
            assert_eq!(Budget::of_writes(count, flush), writes, "{count} {flush:?}");
        }
    }

    /// At a thousand a second half of the reads may take 1.5 ms longer and a tenth may be lost, which each
    /// run of `.ci/run` measures by two servers: what costs more fails it, one bad round does not.
    ///
    /// Covers: security A10.
    #[test]
    fn what_costs_more_than_it_may_in_each_round_is_refused() {
        let (fine, slow, lossy, far) =
            (sums(1_000, 1.2), sums(1_000, 2.6), sums(890, 1.2), sums(390, 1.0));
        let loose = Budget { is_firm: false, ..PACED };
        for (rounds, most, is_refused) in [
            ([fine, fine, fine], PACED, false),
            ([slow, far, fine], PACED, false),
            ([slow, slow, slow], PACED, true),
            ([lossy, lossy, lossy], PACED, true),
            ([slow, lossy, far], PACED, true),
            ([slow, slow, slow], loose, false),
            ([far, slow, far], loose, false),
            ([far, far, far], loose, true),
        ] {
            let meter = Meter { server: None, postmaster: None };
            let mut report = Report::new(Work::Audit, "http://x", None, &meter);
            let rounds = rounds.map(|with| [with, sums(1_000, 1.0)]);
            tell(&mut report, "read", 8, &rounds, most);
            let refused = report.refuse_over();
            assert_eq!(refused.is_err(), is_refused, "{rounds:?} {most:?}: {refused:?}");
        }
        assert_eq!(PACE, 1_000);
        let bench = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/bench"));
        for needed in [
            "--features bench-without-ledger\n",
            " --without-ledger\n",
            " bench audit ",
            " --without ",
            " --bounded ",
        ] {
            assert!(bench.contains(needed), "{needed}: {bench}");
        }
        let steps = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run"));
        assert!(steps.contains("\nstep bench .ci/bench\n"), "{steps}");
    }

    #[test]
    fn rounds_together_have_the_rate_of_all_their_time() {
        let long = Sums { requests: 3_000, time: Duration::from_secs(2), p50_ms: 3.0 };
        let [first, second] = Sums::over(&[[sums(1_000, 1.0), long], [long, long]]);
        assert_eq!((first.requests, first.p50_ms), (4_000, 2.0));
        assert!((first.per_second() - 4_000.0 / 3.0).abs() < 1e-9, "{first:?}");
        assert!((second.per_second() - 1_500.0).abs() < 1e-9, "{second:?}");
    }
}
