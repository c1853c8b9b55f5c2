//! A patient's body over time: growth, weight, blood pressure and pulse, smoking.
//!
//! What people keep is drawn once: a grown person keeps the height, weight drifts, nobody who has
//! smoked becomes one who never did.

use super::random::Random;

/// Height in thousandths of the grown height, at each birthday.
const BOY: &[i64] = &[
    285, 430, 500, 545, 585, 620, 655, 690, 722, 752, 780, 808, 842, 885, 930, 965, 985, 995, 1_000,
];
const GIRL: &[i64] =
    &[305, 460, 530, 580, 625, 665, 705, 740, 775, 808, 845, 885, 928, 963, 984, 995, 1_000];
/// Body mass index in tenths, at each birthday.
const INDEX: &[i64] = &[
    135, 168, 162, 158, 155, 154, 155, 158, 162, 166, 171, 177, 183, 189, 195, 201, 207, 213, 219,
    225, 230, 234, 238, 242, 246, 250,
];
/// Systolic blood pressure, at each birthday.
const SYSTOLIC: &[i64] =
    &[75, 86, 88, 90, 92, 94, 96, 97, 99, 101, 103, 105, 107, 109, 111, 112, 114, 115, 116];

/// Circumference of the head in millimetres, at each birthday.
const HEAD: &[i64] = &[350, 462, 483, 495, 500];

/// Whether a person smokes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Smoking {
    Daily,
    Former,
    Never,
}

/// What a person has and keeps.
#[derive(Clone, Debug)]
pub(super) struct Body {
    is_female: bool,
    grown_mm: i64,
    /// Body mass index above the usual one, in tenths.
    bulk: i64,
    systolic: i64,
    smoking: Smoking,
    /// Circumference of the head beyond the usual one, in millimetres.
    head: i64,
}

/// What children are measured for; the head in millimetres.
pub(super) struct Growth {
    pub(super) head: i64,
    pub(super) head_percentile: i64,
    pub(super) weight_percentile: i64,
}

/// What is measured at a visit; height in millimetres, weight in tenths of a kilogram, the index in
/// tenths.
pub(super) struct Measured {
    pub(super) height: i64,
    pub(super) weight: i64,
    pub(super) index: i64,
    pub(super) systolic: i64,
    pub(super) diastolic: i64,
    pub(super) pulse: i64,
    pub(super) breaths: i64,
}

impl Body {
    pub(super) fn new(random: &mut Random, is_female: bool) -> Self {
        let grown_mm =
            if is_female { random.around(1_520, 1_760) } else { random.around(1_640, 1_910) };
        let smoking = match random.between(1, 100) {
            1..=16 => Smoking::Daily,
            17..=38 => Smoking::Former,
            _ => Smoking::Never,
        };
        let (bulk, systolic) = (random.around(-55, 110), random.around(-10, 16));
        let head = random.around(-15, 15);
        Self { is_female, grown_mm, bulk, systolic, smoking, head }
    }

    /// Whether the person smokes at `age`: children do not, and nobody has stopped before 30.
    pub(super) fn smoking(&self, age: i64) -> Smoking {
        match self.smoking {
            _ if age < 18 => Smoking::Never,
            Smoking::Former if age < 30 => Smoking::Daily,
            smoking => smoking,
        }
    }

    /// How someone of `days` grows, by the last visit's weight.
    pub(super) fn growth(&self, days: i64) -> Growth {
        Growth {
            head: along(HEAD, days) + self.head,
            head_percentile: (50 + self.head * 3).clamp(1, 99),
            weight_percentile: (50 + self.bulk * 2 / 5).clamp(1, 99),
        }
    }

    /// Measures someone of `days`; the next visit finds another weight.
    pub(super) fn measure(
        &mut self,
        random: &mut Random,
        days: i64,
        has_hypertension: bool,
    ) -> Measured {
        let age = days * 100 / 36_525;
        let growth = if self.is_female { GIRL } else { BOY };
        let height = self.grown_mm * along(growth, days) / 1_000;
        self.bulk = (self.bulk + random.between(-4, 4)).clamp(-60, 120);
        // Children differ less.
        let bulk = self.bulk * (30 + (age - 14).clamp(0, 11) * 70 / 11) / 100;
        let weight = (along(INDEX, days) + bulk) * height * height / 1_000_000;
        let usual = if age < 18 { along(SYSTOLIC, days) } else { 113 + age / 6 };
        let raised = if has_hypertension { 18 } else { 0 };
        let systolic = usual + self.systolic + raised + random.around(-7, 7);
        let (pulse, breaths) = match age {
            0 => ((112, 150), (28, 44)),
            1..=4 => ((90, 125), (20, 30)),
            5..=11 => ((72, 105), (16, 24)),
            _ => ((56, 100), (12, 19)),
        };
        Measured {
            height,
            weight,
            index: weight * 1_000_000 / (height * height).max(1),
            systolic,
            diastolic: systolic * 63 / 100 + random.around(-6, 6),
            pulse: random.around(pulse.0, pulse.1),
            breaths: random.around(breaths.0, breaths.1),
        }
    }
}

/// The value of `table` at `days`, between the birthdays in proportion, after the last one the last.
fn along(table: &[i64], days: i64) -> i64 {
    let hundredths = days.max(0) * 10_000 / 36_525;
    let (year, rest) = ((hundredths / 100) as usize, hundredths % 100);
    match (table.get(year), table.get(year + 1)) {
        (Some(low), Some(high)) => low + (high - low) * rest / 100,
        _ => table.last().copied().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_grow_and_the_grown_keep_their_height() {
        let mut random = Random::new(1, 2);
        for is_female in [false, true] {
            let mut body = Body::new(&mut random, is_female);
            let mut last = 0;
            for days in (0..30_000).step_by(50) {
                let found = body.measure(&mut random, days, false);
                assert!(found.height >= last, "{days}: {} after {last}", found.height);
                assert!(days < 7_000 || found.height == body.grown_mm, "{days}");
                assert!((20..1_500).contains(&found.weight), "{days}: {}", found.weight);
                assert!(found.diastolic + 15 < found.systolic, "{days}");
                last = found.height;
            }
        }
    }
}
